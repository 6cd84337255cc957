//! What is published for clients outside of the cluster besides the Services.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

#[derive(Debug, Default)]
pub struct Facts {
    serial: AtomicU32,
    /// Whether somebody has seen the serial since it was set.
    seen: AtomicBool,
}

impl Facts {
    /// The serial of what clients outside are told; 0 before the first change.
    pub(in crate::zone) fn serial(&self) -> u32 {
        self.seen.store(true, Ordering::Release);
        self.serial.load(Ordering::Acquire)
    }

    /// What clients outside are told has changed. The serial is the time, and it moves with every change that a secondary
    /// could tell apart: two within a second have different ones if the first was seen (RFC 1982).
    pub(in crate::zone) fn changed(&self, unix_seconds: u32) {
        let serial = self.serial.load(Ordering::Acquire);
        if unix_seconds > serial {
            self.serial.store(unix_seconds, Ordering::Release);
            self.seen.store(false, Ordering::Release);
        } else if self.seen.swap(false, Ordering::AcqRel) {
            self.serial.store(serial + 1, Ordering::Release);
        }
    }
}
