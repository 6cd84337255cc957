//! How long to wait after a failure: longer each time, with jitter, so that replicas do not retry
//! at the same time.

use std::time::Duration;

use crate::limits;

#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    /// The longest wait, unless the server asks for a longer one.
    last: Duration,
}

impl Backoff {
    pub(super) fn up_to(last: Duration) -> Self {
        Self { failures: 0, last }
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure. `random` is any number; `asked` is the `Retry-After` of the
    /// server, which is respected up to [`limits::API_RETRY_MAX`].
    pub(super) fn after_failure(&mut self, random: u64, asked: Option<Duration>) -> Duration {
        let full = limits::API_RETRY_MIN.saturating_mul(1 << self.failures.min(16)).min(self.last);
        self.failures += 1;
        // Between a half and all of it.
        let jittered = full / 2 + (full / 2).mul_f64((random >> 11) as f64 / (1u64 << 53) as f64);
        jittered.max(asked.unwrap_or_default().min(limits::API_RETRY_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_have_jitter() {
        let waits = |random| {
            let mut backoff = Backoff::up_to(limits::API_RETRY_MAX);
            (0..12).map(|_| backoff.after_failure(random, None)).collect::<Vec<_>>()
        };
        let (least, most) = (waits(0), waits(u64::MAX));
        assert_eq!(least[0], limits::API_RETRY_MIN / 2);
        assert!(most[0] <= limits::API_RETRY_MIN && most[0] > limits::API_RETRY_MIN.mul_f64(0.99));
        assert!(least.is_sorted() && most.is_sorted());
        assert_eq!(least[11], limits::API_RETRY_MAX / 2);
        assert!(most[11] <= limits::API_RETRY_MAX);
    }

    #[test]
    fn retry_after_is_respected_up_to_a_bound() {
        let mut backoff = Backoff::up_to(limits::API_RETRY_MAX);
        assert_eq!(backoff.after_failure(0, Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(
            backoff.after_failure(0, Some(Duration::from_secs(7000))),
            limits::API_RETRY_MAX
        );
        backoff.reset();
        assert_eq!(backoff.after_failure(0, None), limits::API_RETRY_MIN / 2);
    }
}
