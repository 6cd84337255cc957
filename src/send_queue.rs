//! Bounded queues of the messages of `dnstap` and the spans of `trace` that wait to be sent.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::metrics::IntCounter;

/// Items that wait for a receiver. Items without room are dropped and counted, so that no query
/// waits for the receiver.
#[derive(Debug)]
pub struct SendQueue<T> {
    waiting: Mutex<Waiting<T>>,
    /// How many items may wait.
    most: usize,
    /// How many octets the waiting items may have together.
    most_octets: usize,
    dropped: IntCounter,
    /// Items that were dropped and are not in the log yet.
    not_logged: AtomicU64,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<T>,
    octets: usize,
}

impl<T> SendQueue<T> {
    pub fn new(most: usize, most_octets: usize, dropped: IntCounter) -> Self {
        Self {
            waiting: Mutex::new(Waiting { items: VecDeque::new(), octets: 0 }),
            most,
            most_octets,
            dropped,
            not_logged: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Adds all of the items, or none. `octets` is roughly the memory that they take.
    pub(crate) fn add(
        &self,
        items: impl IntoIterator<IntoIter: ExactSizeIterator<Item = T>>,
        octets: usize,
    ) {
        let items = items.into_iter();
        let mut waiting = self.lock();
        if waiting.items.len() + items.len() > self.most
            || waiting.octets + octets > self.most_octets
        {
            drop(waiting);
            return self.count_dropped(items.len() as u64);
        }
        waiting.octets += octets;
        waiting.items.extend(items);
    }

    /// Takes all items.
    pub fn take(&self) -> VecDeque<T> {
        let mut waiting = self.lock();
        waiting.octets = 0;
        std::mem::take(&mut waiting.items)
    }

    /// Counts items that will not be sent: they had no room in the queue, or were taken and could
    /// not be sent.
    pub fn count_dropped(&self, count: u64) {
        self.dropped.inc_by(count);
        self.not_logged.fetch_add(count, Ordering::Relaxed);
    }

    /// How many items were dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.not_logged.swap(0, Ordering::Relaxed)
    }

    /// Closes the queue: the task that sends the items sends the waiting ones and then ends.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Converts an [`Instant`] into the time since 1970.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    pub now: Instant,
    /// The time since 1970 at `now`.
    pub since_1970: Duration,
}

impl WallClock {
    pub(crate) fn time(&self, at: Instant) -> Duration {
        match at.checked_duration_since(self.now) {
            Some(after) => self.since_1970 + after,
            None => self.since_1970.saturating_sub(self.now.saturating_duration_since(at)),
        }
    }
}
