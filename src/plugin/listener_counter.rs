//! A counter with a series for each listener of a block.

use std::sync::Arc;

use crate::{
    chain::Cx,
    limits,
    metrics::{CounterFamily, IntCounter, Metrics, SeriesCache},
};

use super::{PluginContext, ServerLabels};

pub(super) struct ListenerCounter {
    family: &'static CounterFamily<1>,
    metrics: Arc<Metrics>,
    servers: ServerLabels,
    /// The key is the index of the listener.
    series: SeriesCache<usize, IntCounter>,
}

impl ListenerCounter {
    /// The one label of the family is the label of the listener.
    pub(super) fn new(family: &'static CounterFamily<1>, context: &PluginContext<'_>) -> Self {
        Self {
            family,
            metrics: Arc::clone(context.build.metrics),
            servers: context.servers.clone(),
            series: SeriesCache::new(limits::CACHED_SERIES),
        }
    }

    /// Counts a query of the listener that received it.
    pub(super) fn count(&self, cx: &Cx) {
        let server = self.servers.index(cx);
        let find = || self.family.with(&self.metrics, [self.servers.label(server)]);
        self.series.count(server, find, IntCounter::inc);
    }
}
