//! The serial of a zone. It never decreases, even if the clock is set back. After a client has seen
//! a serial, the next change gets another one, because a secondary must notice every change (RFC
//! 1982).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::wire::Type;

/// The serial, which is 0 before the first change, and [`SEEN`]. They are one number, so that no
/// change comes between a client's read of the serial and its mark.
#[derive(Debug, Default)]
pub(super) struct Serial(AtomicU64);

/// Whether the serial has been read since it was set.
const SEEN: u64 = 1;

fn serial_of(word: u64) -> u32 {
    (word >> 1) as u32
}

fn word_of(serial: u32) -> u64 {
    u64::from(serial) << 1
}

impl Serial {
    /// The serial for a client that may be a secondary.
    pub(super) fn read(&self) -> u32 {
        let word = self.0.load(Ordering::Acquire);
        // If the mark is there, nothing is written to memory that all threads share.
        serial_of(if word & SEEN == 0 { self.0.fetch_or(SEEN, Ordering::AcqRel) } else { word })
    }

    /// The serial for a reader that does not compare it with an earlier one.
    pub(super) fn peek(&self) -> u32 {
        serial_of(self.0.load(Ordering::Acquire))
    }

    /// The serial for a reply to a question of this type. A secondary asks for the SOA record, and
    /// remembers its serial. Clients do not remember the serial in the SOA record of a negative
    /// answer.
    pub(super) fn reply(&self, qtype: Type) -> u32 {
        if qtype == Type::SOA || qtype.is_transfer() { self.read() } else { self.peek() }
    }

    /// Continues from the serial of an earlier process, which clients have seen.
    pub(super) fn resume(&self, earlier: u32) {
        self.0.fetch_max(word_of(earlier), Ordering::AcqRel);
        self.0.fetch_or(SEEN, Ordering::AcqRel);
    }

    /// Sets the serial after a change, and returns it: the Unix time if that is later, or else the
    /// next number if a client has seen the last one. Only one thread calls this.
    pub(super) fn advance(&self, unix_seconds: u32) -> u32 {
        let next = |word: u64| {
            let (old, seen) = (serial_of(word), word & SEEN != 0);
            if unix_seconds > old { unix_seconds } else { old + u32::from(seen) }
        };
        let mut word = self.0.load(Ordering::Acquire);
        // A client may read the serial meanwhile.
        while let Err(now) =
            self.0.compare_exchange(word, word_of(next(word)), Ordering::AcqRel, Ordering::Acquire)
        {
            word = now;
        }
        next(word)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        hint,
        sync::atomic::{AtomicBool, AtomicU32, Ordering},
        thread,
    };

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

    #[test]
    fn a_change_after_a_read_gets_another_serial() {
        let (serial, latest, done) = (Serial::default(), AtomicU32::new(0), AtomicBool::new(false));
        serial.advance(1000);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..200_000 {
                    latest.store(serial.read(), Ordering::SeqCst);
                    // The next read would hide that a change has missed this one.
                    (0..100).for_each(|_| hint::spin_loop());
                }
                done.store(true, Ordering::Relaxed);
            });
            let mut repeated = None;
            while !done.load(Ordering::Relaxed) {
                let seen = latest.load(Ordering::SeqCst);
                repeated = repeated.or(Some(seen).filter(|seen| serial.advance(0) == *seen));
            }
            assert_eq!(repeated, None, "a client has read this serial before");
        });
    }
}
