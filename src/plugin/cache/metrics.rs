//! The metrics of `cache`.

use std::sync::Arc;

use crate::{
    cache::ReplyKind,
    chain::Cx,
    limits,
    metrics::{CounterFamily, Family, GaugeFamily, IntCounter, IntGauge, Metrics, SeriesCache},
    plugin::ServerLabels,
};

const BLOCK: [&str; 3] = ["server", "zones", "view"];
const BLOCK_AND_TYPE: [&str; 4] = ["server", "type", "zones", "view"];

static REQUESTS: CounterFamily<3> =
    Family::new("cache_requests_total", "Queries that the cache looked up.", BLOCK);
static MISSES: CounterFamily<3> =
    Family::new("cache_misses_total", "Queries that the cache could not answer.", BLOCK);
static PREFETCHES: CounterFamily<3> =
    Family::new("cache_prefetch_total", "Entries fetched again before they expire.", BLOCK);
static STALE: CounterFamily<3> =
    Family::new("cache_served_stale_total", "Queries answered with an expired entry.", BLOCK);
static HITS: CounterFamily<4> =
    Family::new("cache_hits_total", "Queries answered from the cache.", BLOCK_AND_TYPE);
static EVICTIONS: CounterFamily<4> =
    Family::new("cache_evictions_total", "Entries removed to make room.", BLOCK_AND_TYPE);
static ENTRIES: GaugeFamily<4> =
    Family::new("cache_entries", "Entries in the cache.", BLOCK_AND_TYPE);

/// An event that has a counter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Request,
    Miss,
    Prefetch,
    Stale,
    Hit(ReplyKind),
    Eviction(ReplyKind),
}

/// The series of one cache, by the server at which a query came in.
pub(super) struct CacheMetrics {
    registry: Arc<Metrics>,
    servers: ServerLabels,
    /// The value of the label `zones`.
    zones: String,
    events: SeriesCache<(usize, Event), IntCounter>,
    entries: SeriesCache<(usize, ReplyKind), IntGauge>,
}

impl CacheMetrics {
    pub(super) fn new(registry: &Arc<Metrics>, servers: &ServerLabels, zones: String) -> Self {
        Self {
            registry: Arc::clone(registry),
            servers: servers.clone(),
            zones,
            events: SeriesCache::new(limits::CACHED_SERIES),
            entries: SeriesCache::new(limits::CACHED_SERIES),
        }
    }

    pub(super) fn count(&self, cx: &Cx, event: Event) {
        self.add(cx, event, 1);
    }

    pub(super) fn add(&self, cx: &Cx, event: Event, count: u64) {
        let server = self.servers.index(cx);
        self.events.count((server, event), || self.find(server, event), |it| it.inc_by(count));
    }

    pub(super) fn set_entries(&self, cx: &Cx, kind: ReplyKind, entries: usize) {
        let server = self.servers.index(cx);
        let find = || ENTRIES.with(&self.registry, self.labels_of(server, kind));
        self.entries.count((server, kind), find, |gauge| gauge.set(entries as i64));
    }

    fn find(&self, server: usize, event: Event) -> IntCounter {
        let registry = &self.registry;
        let labels = [self.servers.label(server), &*self.zones, ""];
        match event {
            Event::Request => REQUESTS.with(registry, labels),
            Event::Miss => MISSES.with(registry, labels),
            Event::Prefetch => PREFETCHES.with(registry, labels),
            Event::Stale => STALE.with(registry, labels),
            Event::Hit(kind) => HITS.with(registry, self.labels_of(server, kind)),
            Event::Eviction(kind) => EVICTIONS.with(registry, self.labels_of(server, kind)),
        }
    }

    fn labels_of(&self, server: usize, kind: ReplyKind) -> [&str; 4] {
        [self.servers.label(server), kind.name(), &self.zones, ""]
    }
}
