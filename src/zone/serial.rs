//! The serial of a zone. It never decreases, even if the clock is set back. After a client has seen
//! a serial, the next change gets another one, because a secondary must notice every change (RFC
//! 1982).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

#[derive(Debug, Default)]
pub(super) struct Serial {
    /// 0 before the first change.
    value: AtomicU32,
    /// Whether the serial has been read since it was set.
    seen: AtomicBool,
}

impl Serial {
    /// The serial for a client that may be a secondary.
    pub(super) fn read(&self) -> u32 {
        self.seen.store(true, Ordering::Release);
        self.peek()
    }

    /// The serial for a reader that does not compare it with an earlier one.
    pub(super) fn peek(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Continues from the serial of an earlier process, which clients have seen.
    pub(super) fn resume(&self, earlier: u32) {
        self.value.fetch_max(earlier, Ordering::AcqRel);
        self.seen.store(true, Ordering::Release);
    }

    /// Sets the serial after a change, and returns it: the Unix time if that is later, or else the
    /// next number if a client has seen the last one. Only one thread calls this.
    pub(super) fn advance(&self, unix_seconds: u32) -> u32 {
        let old = self.peek();
        let seen = self.seen.swap(false, Ordering::AcqRel);
        let new = if unix_seconds > old { unix_seconds } else { old + u32::from(seen) };
        self.value.store(new, Ordering::Release);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::Serial;

    #[test]
    fn a_serial_never_goes_back_and_is_never_used_again_once_it_was_seen() {
        let serial = Serial::default();
        let check = |unix_seconds, read, expected| {
            assert_eq!(serial.advance(unix_seconds), expected, "{unix_seconds}");
            if read {
                assert_eq!(serial.read(), expected);
            }
        };
        check(1000, false, 1000);
        // No client has seen the serial of this second.
        check(1000, true, 1000);
        check(1000, true, 1001);
        // The clock goes back a day.
        check(0, true, 1002);
        check(500, false, 1003);
        check(500, false, 1003);
        check(1002, true, 1003);
        check(2000, true, 2000);
        // A restart, after which the clock is behind the serial of the snapshot.
        let serial = Serial::default();
        serial.resume(2000);
        assert_eq!((serial.read(), serial.advance(1500)), (2000, 2001));
    }
}
