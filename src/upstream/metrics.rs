//! The metrics of each upstream: CoreDNS's families of `forward` and `grpc`, and those of its
//! `proxy` package.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    limits,
    metrics::{
        CounterFamily, Family, GaugeFamily, Histogram, HistogramFamily, IntCounter, Metrics,
        SeriesCache, query_seconds,
    },
    wire::Rcode,
};

/// The plugin that has an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Forward,
    /// Only `grpc` has upstreams over gRPC.
    Grpc,
}

impl Owner {
    /// The label `proxy_name` of CoreDNS's `proxy` package.
    fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Grpc => "grpc",
        }
    }
}

pub(crate) static REQUESTS: CounterFamily<1> =
    Family::new("forward_requests_total", "Queries sent to an upstream.", ["to"]);
pub(crate) static RESPONSES: CounterFamily<2> =
    Family::new("forward_responses_total", "Replies of an upstream.", ["to", "rcode"]);
static DURATION: HistogramFamily<2> = Family::histogram(
    "forward_request_duration_seconds",
    "Time until an upstream replied.",
    ["to", "rcode"],
    query_seconds,
);
static GRPC_REQUESTS: CounterFamily<1> =
    Family::new("grpc_requests_total", "Queries that `grpc` sent to an upstream.", ["to"]);
static GRPC_RESPONSES: CounterFamily<2> =
    Family::new("grpc_responses_total", "Replies of an upstream of `grpc`.", ["rcode", "to"]);
static GRPC_DURATION: HistogramFamily<1> = Family::histogram(
    "grpc_request_duration_seconds",
    "Time until an upstream of `grpc` replied.",
    ["to"],
    query_seconds,
);
static PROXY_DURATION: HistogramFamily<3> = Family::histogram(
    "proxy_request_duration_seconds",
    "Time until an upstream replied.",
    ["proxy_name", "to", "rcode"],
    query_seconds,
);
static PROBE_FAILURES: CounterFamily<1> = Family::new(
    "forward_healthcheck_failures_total",
    "Failed health checks of an upstream.",
    ["to"],
);
static PROXY_PROBE_FAILURES: CounterFamily<2> = Family::new(
    "proxy_healthcheck_failures_total",
    "Failed health checks of an upstream.",
    ["proxy_name", "to"],
);
pub(crate) static CONNECTION_HITS: CounterFamily<3> = Family::new(
    "proxy_conn_cache_hits_total",
    "Connections to an upstream that were used again.",
    ["proxy_name", "to", "proto"],
);
pub(crate) static CONNECTION_MISSES: CounterFamily<3> = Family::new(
    "proxy_conn_cache_misses_total",
    "Connections to an upstream that were opened.",
    ["proxy_name", "to", "proto"],
);
pub(crate) static STRAYS: CounterFamily<1> = Family::new(
    "forward_stray_replies_total",
    "Datagrams from an upstream's address that were not the expected reply.",
    ["to"],
);

pub(crate) static DOWN: GaugeFamily<1> = Family::new(
    "forward_upstream_down",
    "How many `forward` and `grpc` directives find an upstream down now: it replies neither to health checks nor to queries.",
    ["to"],
);

/// The label `proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    Udp,
    Tcp,
    Tls,
    Https,
    Quic,
    Grpc,
}

impl Proto {
    const COUNT: usize = 6;

    fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tcp-tls",
            Self::Https => "https",
            Self::Quic => "quic",
            Self::Grpc => "grpc",
        }
    }
}

/// The series of one upstream. Most of them are created at their first use.
#[derive(Debug)]
pub struct UpstreamMetrics {
    registry: Arc<Metrics>,
    owner: Owner,
    to: String,
    down: AtomicBool,
    requests: OnceLock<IntCounter>,
    strays: OnceLock<IntCounter>,
    replies: SeriesCache<Rcode, Replies>,
    connection_hits: SeriesCache<Proto, IntCounter>,
    connection_misses: SeriesCache<Proto, IntCounter>,
}

#[derive(Debug)]
struct Replies {
    count: IntCounter,
    durations: Vec<Histogram>,
}

impl UpstreamMetrics {
    pub(super) fn new(registry: &Arc<Metrics>, address: SocketAddr, owner: Owner) -> Self {
        let to = address.to_string();
        // This creates the series, so that the page also shows an upstream that was never down.
        DOWN.with(registry, [&to]);
        Self {
            registry: Arc::clone(registry),
            owner,
            to,
            down: AtomicBool::new(false),
            requests: OnceLock::new(),
            strays: OnceLock::new(),
            replies: SeriesCache::new(limits::CACHED_SERIES),
            connection_hits: SeriesCache::new(Proto::COUNT),
            connection_misses: SeriesCache::new(Proto::COUNT),
        }
    }

    /// The plugin that has the upstream.
    pub fn plugin(&self) -> &'static str {
        self.owner.name()
    }

    pub fn count_query(&self) {
        let family = match self.owner {
            Owner::Forward => &REQUESTS,
            Owner::Grpc => &GRPC_REQUESTS,
        };
        self.requests.get_or_init(|| family.with(&self.registry, [&self.to])).inc();
    }

    /// Datagrams that were not the expected reply.
    pub fn strays(&self) -> &IntCounter {
        self.strays.get_or_init(|| STRAYS.with(&self.registry, [&self.to]))
    }

    pub fn count_reply(&self, rcode: Rcode, took: Duration) {
        let find = || {
            let (registry, to, rcode) = (&self.registry, &*self.to, &*rcode.to_string());
            match self.owner {
                Owner::Forward => Replies {
                    count: RESPONSES.with(registry, [to, rcode]),
                    durations: vec![
                        DURATION.with(registry, [to, rcode]),
                        PROXY_DURATION.with(registry, [self.owner.name(), to, rcode]),
                    ],
                },
                Owner::Grpc => Replies {
                    count: GRPC_RESPONSES.with(registry, [rcode, to]),
                    durations: vec![GRPC_DURATION.with(registry, [to])],
                },
            }
        };
        self.replies.count(rcode, find, |replies| {
            replies.count.inc();
            replies.durations.iter().for_each(|histogram| histogram.observe(took.as_secs_f64()));
        });
    }

    /// Counts a query over UDP for which a socket is opened. This also creates the series of reused
    /// sockets, because CoreDNS shows it from the start.
    pub fn count_new_socket(&self) {
        self.count_reused_connections(Proto::Udp, 0);
        self.count_new_connection(Proto::Udp);
    }

    /// Counts a query over a socket that is open already.
    pub fn count_reused_socket(&self) {
        self.count_reused_connections(Proto::Udp, 1);
    }

    /// Counts queries over connections that were idle.
    pub fn count_reused_connections(&self, proto: Proto, count: u64) {
        let find =
            || CONNECTION_HITS.with(&self.registry, [self.owner.name(), &self.to, proto.name()]);
        self.connection_hits.count(proto, find, |hits| hits.inc_by(count));
    }

    /// Counts a query for which a connection is opened.
    pub fn count_new_connection(&self, proto: Proto) {
        let find =
            || CONNECTION_MISSES.with(&self.registry, [self.owner.name(), &self.to, proto.name()]);
        self.connection_misses.count(proto, find, IntCounter::inc);
    }

    /// Shows whether the upstream is down, and returns whether that has changed.
    pub fn set_down(&self, down: bool) -> bool {
        let changed = self.down.swap(down, Ordering::Relaxed) != down;
        if changed {
            DOWN.with(&self.registry, [&self.to]).add(if down { 1 } else { -1 });
        }
        changed
    }

    pub fn count_failed_probe(&self) {
        if self.owner == Owner::Forward {
            PROBE_FAILURES.with(&self.registry, [&self.to]).inc();
        }
        PROXY_PROBE_FAILURES.with(&self.registry, [self.owner.name(), &self.to]).inc();
    }
}

/// A reload may drop an upstream that is down. The gauge must not count it any longer.
impl Drop for UpstreamMetrics {
    fn drop(&mut self) {
        self.set_down(false);
    }
}
