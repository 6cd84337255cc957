//! What is known of an upstream: how fast it answers, whether it is down, whether it keeps the case
//! of names.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use crate::limits;

/// Shared by all questions; every figure is good for a guess, so none waits for another.
#[derive(Debug, Default)]
pub struct Health {
    /// Smoothed time of replies in microseconds, 0 before the first.
    rtt_micros: AtomicU32,
    failed_probes: AtomicU32,
    probing: AtomicBool,
    /// Datagrams and connections that wait for a reply.
    waiting: AtomicU32,
    /// Names that came back over TCP in another case than they were asked in.
    case_lost: AtomicU32,
}

/// A question that waits for a reply.
#[derive(Debug)]
pub struct Waiting<'h>(&'h AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Health {
    pub fn is_down(&self, max_fails: u32) -> bool {
        max_fails > 0 && self.failed_probes.load(Ordering::Relaxed) > max_fails
    }

    /// Counts a question in until the guard is dropped; `None` where too many wait already.
    pub fn ask(&self) -> Option<Waiting<'_>> {
        let waiting = Waiting(&self.waiting);
        (self.waiting.fetch_add(1, Ordering::Relaxed) < limits::UPSTREAM_SOCKETS_EACH)
            .then_some(waiting)
    }

    /// A reply came, of whatever content.
    pub fn replied(&self, took: Duration) {
        self.failed_probes.store(0, Ordering::Relaxed);
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let old = self.rtt_micros.load(Ordering::Relaxed);
        // RFC 6298 §2.3: an eighth of the newest.
        let new = if old == 0 { took } else { old - old / 8 + took / 8 };
        self.rtt_micros.store(new.max(1), Ordering::Relaxed);
    }

    /// How long a reply may take before another datagram goes out.
    pub fn patience(&self) -> Duration {
        match self.rtt_micros.load(Ordering::Relaxed) {
            0 => limits::HEDGE_LATEST,
            rtt => Duration::from_micros(u64::from(rtt) * 3)
                .clamp(limits::HEDGE_EARLIEST, limits::HEDGE_LATEST),
        }
    }

    /// A question got no answer: true where the caller is to start probing.
    pub fn needs_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::Relaxed)
    }

    pub fn probe_failed(&self) {
        self.failed_probes.fetch_add(1, Ordering::Relaxed);
    }

    pub fn probing_ended(&self) {
        self.failed_probes.store(0, Ordering::Relaxed);
        self.probing.store(false, Ordering::Relaxed);
    }

    /// Over TCP, where nobody forges, a name came back in another case.
    pub fn case_was_lost(&self) {
        self.case_lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether names go out in random case. One lost case may be a forger's, several over TCP are
    /// not.
    pub fn keeps_case(&self) -> bool {
        self.case_lost.load(Ordering::Relaxed) < limits::CASE_LOST
    }
}
