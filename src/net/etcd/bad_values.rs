//! Warnings about values that are not services, which can be as many as there are keys.

use tokio::time::Instant;

use crate::{limits, skydns::Entry};

/// Counts values that are not services, and logs some of them.
#[derive(Debug, Default)]
pub struct BadValues {
    /// When the current interval began.
    begun: Option<Instant>,
    logged: usize,
    not_logged: usize,
}

impl BadValues {
    pub(super) fn check(&mut self, key: &str, entry: &Entry) {
        let Err(reason) = &entry.service else { return };
        self.tell_rest();
        if self.logged == limits::ETCD_BAD_VALUES {
            self.not_logged += 1;
            return;
        }
        self.begun.get_or_insert_with(Instant::now);
        self.logged += 1;
        tracing::warn!(
            plugin = "etcd",
            "the value of {key:?} is not a service: {reason}; it must be a JSON object such as {{\"host\":\"192.0.2.1\"}}"
        );
    }

    /// After an interval, logs how many values were left out.
    pub(super) fn tell_rest(&mut self) {
        if self.begun.is_none_or(|begun| begun.elapsed() < limits::API_LOG_INTERVAL) {
            return;
        }
        if self.not_logged > 0 {
            let count = self.not_logged;
            tracing::warn!(plugin = "etcd", "the values of {count} other keys are not services");
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_number_of_values_is_logged_in_each_interval() {
        let entry = |service| Entry { service, lease: 0 };
        let mut values = BadValues::default();
        values.check("/good", &entry(Ok(crate::skydns::Service::default())));
        assert_eq!((values.logged, values.not_logged), (0, 0));
        for _ in 0..500 {
            values.check("/bad", &entry(Err("odd".to_owned())));
        }
        assert_eq!((values.logged, values.not_logged), (limits::ETCD_BAD_VALUES, 490));
        tokio::time::advance(limits::API_LOG_INTERVAL).await;
        values.check("/bad", &entry(Err("odd".to_owned())));
        assert_eq!((values.logged, values.not_logged), (1, 0));
    }
}
