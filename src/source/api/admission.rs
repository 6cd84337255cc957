//! Bounds on the requests to an API server: `apiserver_qps`, `apiserver_burst` and
//! `apiserver_max_inflight`.

use std::time::Duration;

use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

/// Bounds the requests in flight, and their rate: after a burst one in each interval.
#[derive(Debug)]
pub struct Admission {
    rate: Option<Rate>,
    in_flight: Option<Semaphore>,
}

#[derive(Debug)]
struct Rate {
    interval: Duration,
    burst: u32,
    /// When the next request would be due if they had come one in each interval.
    reached: Mutex<Instant>,
}

impl Admission {
    /// `None` sets no bound.
    pub fn new(interval: Option<Duration>, burst: u32, in_flight: Option<usize>) -> Self {
        let rate =
            interval.map(|interval| Rate { interval, burst, reached: Mutex::new(Instant::now()) });
        Self {
            rate,
            in_flight: in_flight.map(|most| Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Waits until a request may be sent. The caller drops the permit when the head of the reply
    /// has arrived, so that a watch does not delay a list.
    pub(super) async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        if let Some(rate) = &self.rate {
            rate.wait().await;
        }
        match &self.in_flight {
            // The semaphore is never closed.
            Some(in_flight) => in_flight.acquire().await.ok(),
            None => None,
        }
    }
}

impl Rate {
    /// Waits if this request is more than a burst ahead of the rate (generic cell rate algorithm).
    async fn wait(&self) {
        let mut reached = self.reached.lock().await;
        let now = Instant::now();
        let ahead = self.interval * (self.burst.max(1) - 1);
        *reached = (*reached).max(now) + self.interval;
        let at = (*reached - self.interval).checked_sub(ahead).unwrap_or(now);
        drop(reached);
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_burst_there_is_one_request_in_each_interval() {
        let admission = Admission::new(Some(Duration::from_millis(200)), 3, None);
        let begun = Instant::now();
        let mut waited = Vec::new();
        for _ in 0..6 {
            admission.admit().await;
            waited.push(begun.elapsed().as_millis());
        }
        assert_eq!(waited, [0, 0, 0, 200, 400, 600]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let begun = Instant::now();
        for _ in 0..3 {
            admission.admit().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "a burst is allowed again after a pause");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_flight_are_bounded() {
        let admission = Admission::new(None, 10, Some(2));
        let (first, _second) = (admission.admit().await, admission.admit().await);
        assert!(first.is_some());
        let third = tokio::time::timeout(Duration::from_secs(60), admission.admit());
        assert!(third.await.is_err());
        drop(first);
        assert!(admission.admit().await.is_some());
        let free = Admission::new(None, 10, None);
        for _ in 0..100 {
            assert!(free.admit().await.is_none());
        }
    }
}
