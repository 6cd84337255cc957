//! What ndots knows about one upstream: how fast it replies, whether it is down, and whether it
//! supports random letter case, EDNS and UDP.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    limits,
    shares::{Share, Shares},
};

/// All queries share this. The values are estimates, so relaxed atomics are enough.
#[derive(Debug)]
pub struct Health {
    /// The smoothed round-trip time in microseconds; 0 before the first reply.
    rtt_micros: AtomicU32,
    failed_probes: AtomicU32,
    probing: AtomicBool,
    /// The number of replies. If it has changed between two readings, a reply has arrived.
    replies: AtomicU32,
    /// Whether the last probe failed, or got no reply in a short time. Without health checks:
    /// whether no query got a reply for a while.
    suspect: AtomicBool,
    /// Queries that wait for a reply.
    queries: Arc<Shares>,
    /// Replies that show that the upstream does not handle random case.
    lost_cases: AtomicU32,
    edns: Mutex<EdnsSupport>,
    udp: Mutex<UdpSupport>,
    pipelining: Mutex<Pipelining>,
}

/// Whether the upstream answers several queries on one connection over TCP or TLS at once.
#[derive(Clone, Copy, Debug, Default)]
struct Pipelining {
    works: bool,
    next_test: Option<Instant>,
}

/// Whether the upstream supports OPT records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdnsSupport {
    /// Not known yet. The number counts the queries in a row to which the upstream replied only
    /// without OPT.
    Unknown(u32),
    Works,
    /// Until this time, the upstream gets queries without OPT.
    Missing(Instant),
}

impl Default for EdnsSupport {
    fn default() -> Self {
        Self::Unknown(0)
    }
}

/// Whether the upstream replies over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpSupport {
    /// Not known yet. The number counts the queries in a row to which the upstream replied only
    /// over TCP.
    Unknown(u32),
    Works,
    /// Until this time, the upstream is queried over TCP.
    Missing(Instant),
}

impl Default for UdpSupport {
    fn default() -> Self {
        Self::Unknown(0)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            rtt_micros: AtomicU32::default(),
            failed_probes: AtomicU32::default(),
            probing: AtomicBool::default(),
            replies: AtomicU32::default(),
            suspect: AtomicBool::default(),
            queries: Shares::new(limits::UPSTREAM_QUERIES_EACH),
            lost_cases: AtomicU32::default(),
            edns: Mutex::default(),
            udp: Mutex::default(),
            pipelining: Mutex::default(),
        }
    }
}

impl Health {
    pub fn is_down(&self, max_fails: u32) -> bool {
        max_fails > 0 && self.failed_probes.load(Ordering::Relaxed) > max_fails
    }

    /// Takes one of the [`limits::UPSTREAM_QUERIES_EACH`] permits for queries that wait for this
    /// upstream. `None` if this client already holds as many permits as are free.
    pub fn reserve_query(&self, client: IpAddr) -> Option<Share> {
        self.queries.take(client)
    }

    /// Call this for every reply, whatever it says. `took` is the round-trip time.
    pub fn record_reply(&self, took: Duration) {
        self.suspect.store(false, Ordering::Relaxed);
        self.failed_probes.store(0, Ordering::Relaxed);
        self.replies.fetch_add(1, Ordering::Relaxed);
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let old = self.rtt_micros.load(Ordering::Relaxed);
        // RFC 6298 §2.3: the new value has a weight of one eighth.
        let new = if old == 0 { took } else { old - old / 8 + took / 8 };
        self.rtt_micros.store(new.max(1), Ordering::Relaxed);
    }

    /// The number of replies so far, modulo 2³².
    pub fn replies(&self) -> u32 {
        self.replies.load(Ordering::Relaxed)
    }

    /// How long to wait for a reply before the query is sent again.
    pub fn hedge_delay(&self) -> Duration {
        match self.rtt_micros.load(Ordering::Relaxed) {
            0 => limits::MAX_HEDGE_DELAY,
            rtt => Duration::from_micros(u64::from(rtt) * 3)
                .clamp(limits::MIN_HEDGE_DELAY, limits::MAX_HEDGE_DELAY),
        }
    }

    /// About the round-trip time: a third of [`Health::hedge_delay`], so at most 100 ms.
    pub fn rtt_at_most(&self) -> Duration {
        self.hedge_delay() / 3
    }

    /// Call this if a query got no reply. True means that the caller must start to probe; false
    /// means that another task probes already.
    pub fn claim_probing(&self) -> bool {
        !self.probing.swap(true, Ordering::Relaxed)
    }

    pub fn probe_failed(&self) {
        self.failed_probes.fetch_add(1, Ordering::Relaxed);
    }

    /// Call this if a probe got no reply in a short time, or if no query got a reply for a while.
    pub fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// Whether the upstream is probably down. That is enough to prefer a stale reply.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    pub fn probing_ended(&self) {
        self.suspect.store(false, Ordering::Relaxed);
        self.failed_probes.store(0, Ordering::Relaxed);
        self.probing.store(false, Ordering::Relaxed);
    }

    /// Call this if a reply to a query in random case lost the case or was negative, and the reply
    /// to the client's spelling is positive.
    pub fn record_lost_case(&self) {
        self.lost_cases.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether queries may use random case. A single reply that lost the case may be forged, so it
    /// takes [`limits::LOST_CASES`] of them to give up random case.
    pub fn keeps_case(&self) -> bool {
        self.lost_cases.load(Ordering::Relaxed) < limits::LOST_CASES
    }

    pub fn edns(&self, now: Instant) -> EdnsSupport {
        let mut edns = lock(&self.edns);
        if let EdnsSupport::Missing(until) = *edns
            && now >= until
        {
            *edns = EdnsSupport::Unknown(0);
        }
        *edns
    }

    /// Call this for a reply without a failure to a query with OPT.
    pub fn record_edns(&self) {
        self.set_edns(|_| EdnsSupport::Works);
    }

    /// Call this if the upstream rejected OPT, and answered without it.
    pub fn record_rejected_edns(&self, now: Instant) {
        self.set_edns(|_| EdnsSupport::Missing(now + limits::NO_EDNS_TIME));
    }

    /// Call this if the upstream did not reply to a query with OPT, or reported a failure, and
    /// answered the query without OPT. After [`limits::SILENT_EDNS`] such queries in a row ndots
    /// gives up OPT, since a single datagram may be lost.
    pub fn record_silent_edns(&self, now: Instant) {
        self.set_edns(|edns| match edns {
            EdnsSupport::Unknown(silent) if silent + 1 < limits::SILENT_EDNS => {
                EdnsSupport::Unknown(silent + 1)
            }
            EdnsSupport::Works => EdnsSupport::Unknown(1),
            _ => EdnsSupport::Missing(now + limits::NO_EDNS_TIME),
        });
    }

    fn set_edns(&self, change: impl FnOnce(EdnsSupport) -> EdnsSupport) {
        let mut edns = lock(&self.edns);
        *edns = change(*edns);
    }

    pub fn udp(&self, now: Instant) -> UdpSupport {
        let mut udp = lock(&self.udp);
        if let UdpSupport::Missing(until) = *udp
            && now >= until
        {
            *udp = UdpSupport::Unknown(0);
        }
        *udp
    }

    /// Call this for a reply over UDP.
    pub fn record_udp(&self) {
        *lock(&self.udp) = UdpSupport::Works;
    }

    /// Call this if the upstream did not reply over UDP or was unreachable, and answered over TCP.
    /// After [`limits::SILENT_UDP`] such queries in a row ndots gives up UDP, since a single
    /// datagram may be lost.
    pub fn record_silent_udp(&self, now: Instant) {
        let mut udp = lock(&self.udp);
        *udp = match *udp {
            UdpSupport::Unknown(silent) if silent + 1 < limits::SILENT_UDP => {
                UdpSupport::Unknown(silent + 1)
            }
            UdpSupport::Works => UdpSupport::Unknown(1),
            _ => UdpSupport::Missing(now + limits::NO_UDP_TIME),
        };
    }

    /// Call this if a query over TCP failed.
    pub fn forget_udp(&self) {
        let mut udp = lock(&self.udp);
        if let UdpSupport::Missing(_) = *udp {
            *udp = UdpSupport::default();
        }
    }

    /// Whether several queries may wait on one connection over TCP or TLS (RFC 7766 §6.2.1.1).
    pub fn pipelines(&self) -> bool {
        lock(&self.pipelining).works
    }

    /// Whether the caller may test pipelining now: it sends a query on a connection on which
    /// another one waits, and also on a connection of its own. Such a test costs a query, so it is
    /// rare.
    pub fn claim_pipelining_test(&self, now: Instant) -> bool {
        let mut pipelining = lock(&self.pipelining);
        let is_due = !pipelining.works && pipelining.next_test.is_none_or(|due| now >= due);
        if is_due {
            pipelining.next_test = Some(now + limits::PIPELINING_TEST_INTERVAL);
        }
        is_due
    }

    /// Call this if a reply overtook the reply to an earlier query on the same connection.
    pub fn record_overtaking(&self) {
        lock(&self.pipelining).works = true;
    }

    /// Call this if a query waited behind another one and was answered sooner on a connection of
    /// its own, or if a connection was closed after a reply, while other queries waited on it.
    pub fn record_blocked(&self, now: Instant) {
        let next_test = Some(now + limits::NO_PIPELINING_TIME);
        *lock(&self.pipelining) = Pipelining { works: false, next_test };
    }

    /// Whether so many queries wait for this upstream that each of them ends after `read_timeout`,
    /// and not after [`limits::LATE_REPLY_TIME`].
    pub fn is_crowded(&self) -> bool {
        self.queries.taken() >= limits::UPSTREAM_QUERIES_CROWDED
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
