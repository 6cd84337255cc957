//! Counts the responses of a listener by their status.

use std::sync::Arc;

use crate::{
    limits,
    metrics::{CounterFamily, IntCounter, Metrics, SeriesCache},
    server::Listen,
};

/// A family with the labels of CoreDNS, `server` and `status`, and how the status is written.
pub(super) struct StatusFamily {
    pub(super) counters: CounterFamily<2>,
    pub(super) label: fn(u16) -> String,
}

/// The counters of one listener.
pub(super) struct StatusCounter {
    family: &'static StatusFamily,
    metrics: Arc<Metrics>,
    server: String,
    series: SeriesCache<u16, IntCounter>,
}

impl StatusCounter {
    pub(super) fn new(
        family: &'static StatusFamily,
        listen: Listen,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            family,
            metrics: Arc::clone(metrics),
            server: listen.to_string(),
            series: SeriesCache::new(limits::CACHED_SERIES),
        })
    }

    pub(super) fn count(&self, status: u16) {
        let StatusFamily { counters, label } = self.family;
        let find = || counters.with(&self.metrics, [&self.server, &label(status)]);
        self.series.count(status, find, IntCounter::inc);
    }
}
