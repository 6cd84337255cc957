//! The connections to one upstream, and the queries that wait on them.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use crate::{
    limits,
    net::{
        client::{grpc, https::HttpsConnection, is_answered, quic::QuicConnection},
        grpc::GrpcConnection,
    },
    shares::{Share, Shares},
    upstream::{GroupSettings, Health},
    wire::Query,
};

use super::super::{framed::FramedConnection, lock};

/// The connections to one upstream, the newest one last.
#[derive(Default)]
pub(super) struct Route {
    /// Held while a connection is opened that waiting queries can share.
    pub(super) dialing: tokio::sync::Mutex<()>,
    connections: Mutex<Vec<Arc<SharedConnection>>>,
}

pub(super) struct SharedConnection {
    connection: Connection,
    opened: Instant,
    usage: Mutex<Usage>,
}

pub(super) enum Connection {
    /// TCP or TLS.
    Framed(FramedConnection),
    Https(HttpsConnection),
    Quic(QuicConnection),
    Grpc(GrpcConnection),
}

struct Usage {
    /// When the queries that wait were sent, by their numbers.
    waiting: BTreeMap<u64, Instant>,
    next: u64,
    /// When the last reply arrived, or the connection was opened.
    heard: Instant,
    /// When the connection is closed if no query uses it.
    expires: Instant,
    /// The permit for a socket, counted for the client whose query woke the connection. An idle
    /// connection has none.
    share: Option<Share>,
}

/// The upstream and the client of a query, and the limits that apply to it.
#[derive(Clone, Copy)]
pub(super) struct Guest<'g> {
    /// The connections to the upstream.
    pub(super) route: &'g Arc<Route>,
    pub(super) settings: &'g GroupSettings,
    pub(super) health: &'g Health,
    /// The permits for sockets to all upstreams.
    pub(super) sockets: &'g Arc<Shares>,
    pub(super) client: IpAddr,
}

/// The place of one query on a connection.
pub(super) struct Place<'g> {
    pub(super) connection: Arc<SharedConnection>,
    guest: Guest<'g>,
    number: u64,
    pub(super) sent: Instant,
    is_answered: AtomicBool,
}

impl Connection {
    fn is_closed(&self) -> bool {
        match self {
            Self::Framed(connection) => connection.is_closed(),
            Self::Https(connection) => connection.is_closed(),
            Self::Quic(connection) => connection.is_closed(),
            Self::Grpc(connection) => connection.is_closed(),
        }
    }

    fn capacity(&self, health: &Health) -> usize {
        match self {
            Self::Framed(_) if !health.pipelines() => 1,
            Self::Https(connection) => connection.capacity(),
            Self::Framed(_) | Self::Quic(_) | Self::Grpc(_) => limits::UPSTREAM_STREAMS,
        }
    }
}

impl Place<'_> {
    pub(super) async fn converse(&self, query: &Query) -> io::Result<Vec<u8>> {
        let Self { connection, guest, number, .. } = self;
        let answered = match &connection.connection {
            Connection::Framed(connection) => connection.converse(query).await,
            Connection::Https(connection) => connection.converse(query).await,
            Connection::Quic(connection) => connection.converse(query).await,
            Connection::Grpc(connection) => grpc::converse(connection, query).await,
        };
        if answered.as_ref().map_or_else(is_answered, |_| true) {
            let mut usage = lock(&connection.usage);
            usage.heard = Instant::now();
            let overtook = usage.waiting.range(..*number).next().is_some();
            if overtook && connection.is_framed() {
                guest.health.record_overtaking();
            }
            self.is_answered.store(true, Ordering::Relaxed);
        }
        answered
    }

    /// Whether a reply arrived on the connection after the query was sent.
    pub(super) fn heard_since(&self) -> bool {
        lock(&self.connection.usage).heard > self.sent
    }

    /// Whether an earlier query still waits on the connection, and no reply has arrived since this
    /// query was sent.
    pub(super) fn is_blocked(&self) -> bool {
        let usage = lock(&self.connection.usage);
        usage.heard <= self.sent && usage.waiting.range(..self.number).next().is_some()
    }

    /// Whether this is a TCP or TLS connection on which other queries wait.
    pub(super) fn is_shared(&self) -> bool {
        self.connection.is_framed() && lock(&self.connection.usage).waiting.len() > 1
    }

    /// Removes the connection, so that no further query uses it. Queries in progress continue.
    pub(super) fn retire(&self) {
        self.guest.route.retire(&self.connection);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Guest { route, settings, health, .. } = self.guest;
        let SharedConnection { usage, opened, .. } = &*self.connection;
        let mut usage = lock(usage);
        usage.waiting.remove(&self.number);
        let unused = Instant::now() + settings.expire;
        usage.expires = settings.max_age.map_or(unused, |age| unused.min(*opened + age));
        let is_idle = usage.waiting.is_empty();
        if is_idle {
            usage.share = None;
        }
        // Later queries would wait behind the one that was given up.
        let blocks = !self.is_answered.load(Ordering::Relaxed)
            && self.connection.is_framed()
            && !(health.pipelines() && usage.heard > self.sent);
        drop(usage);
        if blocks {
            route.retire(&self.connection);
        } else if is_idle {
            route.drop_surplus(settings);
        }
    }
}

impl Guest<'_> {
    /// Counts the query as waiting on the connection, and returns its number. `claims` says whether
    /// the query may use the connection. For a pipelining test it also sets the time of the next
    /// test, so it is called only after a permit was found.
    fn enter(
        self,
        connection: &Arc<SharedConnection>,
        now: Instant,
        claims: impl FnOnce() -> bool,
    ) -> Option<u64> {
        let mut usage = lock(&connection.usage);
        let share = match usage.share.take() {
            Some(share) => share,
            None => self.sockets.take(self.client)?,
        };
        let is_claimed = claims();
        if is_claimed || !usage.waiting.is_empty() {
            usage.share = Some(share);
        }
        if !is_claimed {
            return None;
        }
        usage.next += 1;
        let number = usage.next;
        usage.waiting.insert(number, now);
        Some(number)
    }
}

impl Route {
    /// A place on the connection with the fewest waiting queries, among those for which `accepts`
    /// is true. `None` if all are full. A connection over TCP or TLS whose oldest query has waited
    /// longer than the hedge delay without any reply is skipped.
    pub(super) fn place<'g>(
        &self,
        guest: Guest<'g>,
        accepts: impl Fn(&SharedConnection) -> bool,
    ) -> Option<Place<'g>> {
        let accepts = |connection: &SharedConnection, waiting| {
            waiting < connection.connection.capacity(guest.health) && accepts(connection)
        };
        self.place_among(guest, accepts, || true)
    }

    /// A place on a connection on which exactly one query waits, if pipelining may be tested now.
    pub(super) fn place_for_test<'g>(&self, guest: Guest<'g>) -> Option<Place<'g>> {
        let accepts =
            |connection: &SharedConnection, waiting| connection.is_framed() && waiting == 1;
        self.place_among(guest, accepts, || guest.health.claim_pipelining_test(Instant::now()))
    }

    fn place_among<'g>(
        &self,
        guest: Guest<'g>,
        accepts: impl Fn(&SharedConnection, usize) -> bool,
        claims: impl FnOnce() -> bool,
    ) -> Option<Place<'g>> {
        let now = Instant::now();
        let late = guest.health.hedge_delay();
        let mut connections = lock(&self.connections);
        connections.retain(|connection| connection.is_usable(now));
        let is_young =
            |opened: Instant| guest.settings.max_age.is_none_or(|age| now < opened + age);
        let free = connections.iter().rev().filter_map(|connection| {
            let usage = lock(&connection.usage);
            let waiting = usage.waiting.len();
            let is_late = |sent| now.duration_since(sent) > late && usage.heard <= sent;
            let is_stuck = connection.is_framed() && usage.oldest().is_some_and(is_late);
            drop(usage);
            let is_free = is_young(connection.opened) && !is_stuck && accepts(connection, waiting);
            is_free.then_some((waiting, connection))
        });
        // Among connections with equally few queries, the newest is used, so that older ones become
        // idle and expire.
        let (_, connection) = free.min_by_key(|(waiting, _)| *waiting)?;
        let number = guest.enter(connection, now, claims)?;
        let connection = Arc::clone(connection);
        Some(Place { connection, guest, number, sent: now, is_answered: AtomicBool::new(false) })
    }

    /// The first place on a connection that was just opened. `share` is held while the connection
    /// has queries.
    pub(super) fn open<'g>(
        &self,
        guest: Guest<'g>,
        connection: Connection,
        share: Share,
    ) -> Place<'g> {
        let (now, number) = (Instant::now(), 0);
        let usage = Usage {
            waiting: [(number, now)].into(),
            next: number,
            heard: now,
            expires: now + guest.settings.expire,
            share: Some(share),
        };
        let connection =
            Arc::new(SharedConnection { connection, opened: now, usage: Mutex::new(usage) });
        lock(&self.connections).push(Arc::clone(&connection));
        Place { connection, guest, number, sent: now, is_answered: AtomicBool::new(false) }
    }

    /// Removes the connection, so that no further query uses it. Queries in progress continue.
    pub(super) fn retire(&self, connection: &Arc<SharedConnection>) {
        lock(&self.connections).retain(|other| !Arc::ptr_eq(other, connection));
    }

    /// Closes the oldest idle connections if there are too many.
    fn drop_surplus(&self, settings: &GroupSettings) {
        let most = settings.max_idle.unwrap_or(usize::MAX).min(limits::IDLE_CONNECTIONS);
        let mut connections = lock(&self.connections);
        let idle = |connection: &Arc<SharedConnection>| lock(&connection.usage).waiting.is_empty();
        let mut surplus =
            connections.iter().filter(|connection| idle(connection)).count().saturating_sub(most);
        connections.retain(|connection| {
            let keeps = surplus == 0 || !idle(connection);
            surplus -= usize::from(!keeps);
            keeps
        });
    }

    /// Closes expired connections. Returns whether any remain.
    pub(super) fn sweep(&self, now: Instant) -> bool {
        let mut connections = lock(&self.connections);
        connections.retain(|connection| connection.is_usable(now));
        !connections.is_empty()
    }
}

impl Usage {
    fn oldest(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, sent)| *sent)
    }
}

impl SharedConnection {
    pub(super) fn was_opened_after(&self, time: Instant) -> bool {
        self.opened > time
    }

    /// Whether replies share one stream of octets, so that they may wait for each other.
    fn is_framed(&self) -> bool {
        matches!(self.connection, Connection::Framed(_))
    }

    fn is_usable(&self, now: Instant) -> bool {
        let usage = lock(&self.usage);
        !self.connection.is_closed() && (!usage.waiting.is_empty() || now < usage.expires)
    }
}
