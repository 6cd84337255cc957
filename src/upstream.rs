//! Decides which upstream a query goes to next, over which transport, and how long to wait. The
//! state machines here do no I/O, and the caller passes the time in.

mod attempt;
mod form;
mod health;
pub(crate) mod metrics;
mod ports;
mod target;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    metrics::Metrics,
    random::SplitMix64,
    wire::{Ede, Name, Rcode},
};

pub use attempt::{Attempt, NextAction, ReplyDecision};
pub use form::{LetterCase, QueryForm, ReplySummary, UpstreamTransport};
pub use health::{EdnsSupport, Health, UdpSupport};
pub use metrics::{Proto, UpstreamMetrics};
pub use ports::{PortBudget, RestingPorts};
pub use target::{HttpMethod, Pem, Protocol, Target, TlsClientSettings};

/// The upstreams of one `forward` directive and how they are queried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    pub targets: Vec<Target>,
    pub policy: Policy,
    pub force_tcp: bool,
    /// Has no effect. Whatever transport the client used, a query is sent over UDP first, unless
    /// the upstream does not reply over UDP, and a truncated reply is fetched over TCP.
    pub prefer_udp: bool,
    /// Queries over UDP have random letter case (draft-vixie-dnsext-dns0x20).
    pub random_case: bool,
    /// The longest pause before a query is sent again. A query ends after this time only if all
    /// upstreams are down, or if many queries wait for one of them. Otherwise a later reply is
    /// used.
    pub read_timeout: Duration,
    /// How long an idle connection stays open.
    pub expire: Duration,
    /// How long a connection stays open at most, idle or not.
    pub max_age: Option<Duration>,
    /// How many idle connections to each upstream stay open. `None` means
    /// [`crate::limits::IDLE_CONNECTIONS`], which is also the maximum.
    pub max_idle: Option<usize>,
    /// The local address that queries are sent from.
    pub source: Option<IpAddr>,
    /// An upstream is down after more failed probes in a row than this. With 0 it is never down.
    pub max_fails: u32,
    /// How many times one query may be sent to the next upstream. A send to the same upstream in
    /// another form or over another transport does not count. `None` means twice the number of
    /// upstreams, but at least [`crate::limits::MIN_SENDS`]. `Some(0)` sets no limit but the time.
    pub max_attempts: Option<u32>,
    pub health_check: HealthCheck,
    /// How many queries may wait for these upstreams at once.
    pub max_concurrent: Option<u32>,
    /// RCODEs after which the next upstream is queried.
    pub failover: Vec<Rcode>,
    /// Fail at once when every upstream is down.
    pub failfast: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub interval: Duration,
    pub recursion_desired: bool,
    pub domain: Name,
}

/// A query that was sent to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentQuery {
    pub upstream: SocketAddr,
    pub proto: Proto,
    pub sent: Instant,
    pub replied: Option<Instant>,
}

/// The order in which upstreams are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Random,
    RoundRobin,
    Sequential,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            policy: Policy::Random,
            force_tcp: false,
            prefer_udp: false,
            random_case: false,
            read_timeout: Duration::from_secs(2),
            expire: Duration::from_secs(10),
            max_age: None,
            max_idle: None,
            source: None,
            max_fails: 2,
            max_attempts: None,
            health_check: HealthCheck {
                interval: Duration::from_millis(500),
                recursion_desired: true,
                domain: Name::root(),
            },
            max_concurrent: None,
            failover: Vec::new(),
            failfast: false,
        }
    }
}

/// The upstreams of one `forward` directive, with their state.
#[derive(Debug)]
pub struct Group {
    pub settings: GroupSettings,
    upstreams: Box<[Upstream]>,
    /// Counts queries for [`Policy::RoundRobin`].
    turn: AtomicUsize,
    in_flight: AtomicU32,
}

#[derive(Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    pub protocol: Protocol,
    pub health: Health,
    metrics: OnceLock<UpstreamMetrics>,
}

impl Upstream {
    /// The upstream's series in the registry of the process.
    pub fn metrics(&self, registry: &Arc<Metrics>) -> &UpstreamMetrics {
        let is_grpc = matches!(self.protocol, Protocol::Grpc(_));
        let owner = if is_grpc { metrics::Owner::Grpc } else { metrics::Owner::Forward };
        self.metrics.get_or_init(|| UpstreamMetrics::new(registry, self.address, owner))
    }
}

impl Group {
    pub fn new(settings: GroupSettings) -> Self {
        let upstreams = settings
            .targets
            .iter()
            .cloned()
            .map(|Target { address, protocol }| Upstream {
                address,
                protocol,
                health: Health::default(),
                metrics: OnceLock::new(),
            })
            .collect();
        Self { settings, upstreams, turn: AtomicUsize::new(0), in_flight: AtomicU32::new(0) }
    }

    /// # Panics
    /// If `index` does not come from an [`Attempt`] of this group.
    pub fn upstream(&self, index: usize) -> &Upstream {
        &self.upstreams[index]
    }

    /// The order in which a query tries the upstreams that are not down, and whether all of them
    /// are down. If all are down, the order has all of them and starts at a random one.
    fn order(&self, seed: u64) -> (Vec<usize>, bool) {
        let count = self.upstreams.len();
        let mut order: Vec<usize> = (0..count).collect();
        match self.settings.policy {
            Policy::Sequential => {}
            Policy::RoundRobin => {
                order.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1));
            }
            Policy::Random => SplitMix64::new(seed).shuffle(&mut order),
        }
        let up: Vec<usize> = order
            .iter()
            .copied()
            .filter(|&at| !self.upstreams[at].health.is_down(self.settings.max_fails))
            .collect();
        if up.is_empty() {
            order.rotate_left(seed as usize % count.max(1));
            return (order, true);
        }
        (up, false)
    }

    /// The upstreams in the order of the configuration.
    pub fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// Whether every upstream is down, or probably is.
    pub fn is_suspect(&self) -> bool {
        self.upstreams.iter().all(|upstream| upstream.health.is_suspect())
    }

    /// Whether every upstream is down.
    fn is_down(&self) -> bool {
        self.upstreams.iter().all(|upstream| upstream.health.is_down(self.settings.max_fails))
    }

    /// Counts a query as in flight until the guard is dropped.
    fn enter(self: &Arc<Self>) -> Result<InFlightGuard, UpstreamError> {
        let guard = InFlightGuard(Arc::clone(self));
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        match self.settings.max_concurrent {
            Some(maximum) if before >= maximum => Err(UpstreamError::TooManyInFlight(maximum)),
            _ => Ok(guard),
        }
    }
}

#[derive(Debug)]
struct InFlightGuard(Arc<Group>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a group gave no reply. The texts of i/o timeout, connection refused, no healthy proxies and
/// concurrent queries are CoreDNS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UpstreamError {
    #[error("read {0} {1}: i/o timeout")]
    NoAnswer(UpstreamTransport, SocketAddr),
    /// No upstream answered, and every one of them is known to be down.
    #[error("read {0} {1}: i/o timeout")]
    Down(UpstreamTransport, SocketAddr),
    /// The network or the host rejected the connection or the datagram.
    #[error("read {0} {1}: connection refused")]
    Unreachable(UpstreamTransport, SocketAddr),
    /// The upstream's certificate is not valid for it. The text says why.
    #[error("tls: failed to verify certificate of {0}: {1}")]
    Untrusted(SocketAddr, &'static str),
    /// The upstream replied over HTTPS, but not with a DNS message.
    #[error("{0} replied with HTTP status {1}")]
    HttpStatus(SocketAddr, u16),
    #[error("the reply of {0} is malformed")]
    Malformed(SocketAddr),
    #[error("the aliases in the reply of {0} form a loop")]
    AliasLoop(SocketAddr),
    #[error("the chain of aliases in the reply of {0} is too long")]
    LongChain(SocketAddr),
    /// Every upstream is down, and the group has `failfast` set.
    #[error("no healthy proxies")]
    NoneHealthy,
    /// The group's `max_concurrent` queries are in flight already.
    #[error("concurrent queries exceeded maximum {0}")]
    TooManyInFlight(u32),
}

impl UpstreamError {
    /// Whether the next query would fail too. A lost datagram or a server that is being restarted
    /// says nothing about the next query.
    pub fn is_certain(self) -> bool {
        !matches!(self, Self::NoAnswer(..) | Self::Unreachable(..) | Self::HttpStatus(..))
    }

    pub fn ede(self) -> Option<Ede> {
        match self {
            Self::NoAnswer(..) | Self::Down(..) | Self::NoneHealthy => {
                Some(Ede::NO_REACHABLE_AUTHORITY)
            }
            Self::Unreachable(..)
            | Self::Untrusted(..)
            | Self::HttpStatus(..)
            | Self::Malformed(_) => Some(Ede::NETWORK_ERROR),
            Self::AliasLoop(_) => Some(Ede::ALIAS_LOOP),
            Self::LongChain(_) => Some(Ede::LONG_CHAIN),
            Self::TooManyInFlight(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
