//! Which upstream is asked next, over what, and for how long: state machines of the time that is
//! passed in.

mod attempt;
mod health;
pub(crate) mod metrics;
mod target;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{
    limits,
    metrics::Metrics,
    wire::{Ede, Name, Rcode},
};

pub use attempt::{Attempt, Next, Over, Verdict};
pub use health::Health;
pub use metrics::{Proto, UpstreamMetrics};
pub use target::{Pem, Target, Tls};

/// What a `forward` line says of its upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub to: Vec<Target>,
    pub policy: Policy,
    pub force_tcp: bool,
    /// UDP first, also for what came in over TCP: so it is always done here, since a truncated
    /// reply is fetched over TCP.
    pub prefer_udp: bool,
    /// How long a question may take, all its attempts together.
    pub read_timeout: Duration,
    /// How long an idle connection is kept.
    pub expire: Duration,
    /// How long a connection is kept at most, idle or not.
    pub max_age: Option<Duration>,
    /// Idle connections that are kept to each upstream; `None` for [`limits::IDLE_CONNECTIONS`],
    /// which no number exceeds.
    pub max_idle: Option<usize>,
    /// The address of ours that questions leave from.
    pub source: Option<IpAddr>,
    /// Failed probes in a row after which an upstream is down; 0 never.
    pub max_fails: u32,
    /// Datagrams and connections that one question may take; `None` for twice the upstreams,
    /// `Some(0)` for as many as fit in its time.
    pub max_attempts: Option<u32>,
    pub health_check: HealthCheck,
    /// Questions that may be on their way at once.
    pub max_concurrent: Option<u32>,
    /// Codes after which another upstream is asked.
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

/// In which order upstreams are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Random,
    RoundRobin,
    Sequential,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            to: Vec::new(),
            policy: Policy::Random,
            force_tcp: false,
            prefer_udp: false,
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

/// The upstreams of one `forward` line.
#[derive(Debug)]
pub struct Group {
    pub settings: Settings,
    upstreams: Box<[Upstream]>,
    turn: AtomicUsize,
    in_flight: AtomicU32,
}

#[derive(Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    pub tls: Option<Arc<Tls>>,
    pub health: Health,
    metrics: OnceLock<UpstreamMetrics>,
}

impl Upstream {
    /// The upstream's series in the registry of the process.
    pub fn metrics(&self, registry: &Arc<Metrics>) -> &UpstreamMetrics {
        self.metrics.get_or_init(|| UpstreamMetrics::new(registry, self.address))
    }
}

impl Group {
    pub fn new(settings: Settings) -> Self {
        let upstreams = settings
            .to
            .iter()
            .cloned()
            .map(|Target { address, tls }| Upstream {
                address,
                tls,
                health: Health::default(),
                metrics: OnceLock::new(),
            })
            .collect();
        Self { settings, upstreams, turn: AtomicUsize::new(0), in_flight: AtomicU32::new(0) }
    }

    /// # Panics
    /// Where `index` did not come from this group's attempts.
    pub fn upstream(&self, index: usize) -> &Upstream {
        &self.upstreams[index]
    }

    /// The order in which a question tries the upstreams that are not down; and whether all are:
    /// then all are tried, from any one on.
    fn order(&self, seed: u64) -> (Vec<usize>, bool) {
        let count = self.upstreams.len();
        let mut order: Vec<usize> = (0..count).collect();
        match self.settings.policy {
            Policy::Sequential => {}
            Policy::RoundRobin => {
                order.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1))
            }
            Policy::Random => {
                let mut state = seed | 1;
                for last in (1..count).rev() {
                    state = state
                        .wrapping_mul(0x5851_f42d_4c95_7f2d)
                        .wrapping_add(0x1405_7b7e_f767_814f);
                    order.swap(last, (state >> 33) as usize % (last + 1));
                }
            }
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

    /// Counts a question in, until the guard is dropped.
    fn enter(self: &Arc<Self>) -> Result<InFlight, Failure> {
        let guard = InFlight(Arc::clone(self));
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        match self.settings.max_concurrent {
            Some(maximum) if before >= maximum => Err(Failure::TooManyInFlight(maximum)),
            _ => Ok(guard),
        }
    }
}

#[derive(Debug)]
struct InFlight(Arc<Group>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a group gave no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came back in time.
    NoAnswer(SocketAddr),
    /// The network or the host said no.
    Unreachable(SocketAddr),
    /// Its certificate is not the one that it should have; why.
    Untrusted(SocketAddr, &'static str),
    /// What came back cannot be read.
    Malformed(SocketAddr),
    /// The aliases in the reply lead in a circle.
    AliasLoop(SocketAddr),
    /// Every upstream is down, and the group is told to fail fast.
    NoneHealthy,
    /// `max_concurrent` questions wait already.
    TooManyInFlight(u32),
}

impl Failure {
    pub fn ede(self) -> Option<Ede> {
        match self {
            Self::NoAnswer(_) | Self::NoneHealthy => Some(Ede::NO_REACHABLE_AUTHORITY),
            Self::Unreachable(_) | Self::Untrusted(..) | Self::Malformed(_) => {
                Some(Ede::NETWORK_ERROR)
            }
            Self::AliasLoop(_) => Some(Ede::ALIAS_LOOP),
            Self::TooManyInFlight(_) => None,
        }
    }
}

/// In the words of CoreDNS's error lines.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(to) => write!(f, "read udp {to}: i/o timeout"),
            Self::Unreachable(to) => write!(f, "read udp {to}: connection refused"),
            Self::Untrusted(to, why) => {
                write!(f, "tls: failed to verify certificate of {to}: {why}")
            }
            Self::Malformed(to) => write!(f, "the reply of {to} cannot be read"),
            Self::AliasLoop(to) => write!(f, "the aliases in the reply of {to} lead in a circle"),
            Self::NoneHealthy => f.write_str("no healthy proxies"),
            Self::TooManyInFlight(maximum) => {
                write!(f, "concurrent queries exceeded maximum {maximum}")
            }
        }
    }
}

/// The time of all attempts of a question.
fn total(settings: &Settings) -> Duration {
    settings.read_timeout.min(limits::QUERY_TIME)
}

#[cfg(test)]
mod tests;
