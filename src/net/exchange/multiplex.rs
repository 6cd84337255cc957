//! Queries over HTTPS, QUIC or gRPC, on connections that many queries share.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use futures_util::future::{Either, select};
use tokio::time::timeout;

use crate::{
    limits,
    net::{
        client::{
            grpc,
            https::{HttpEndpoint, HttpsConnection, PATH},
            is_answered, quic, stream,
        },
        grpc::GrpcConnection,
    },
    transport::Scheme,
    upstream::{Group, GroupSettings, HttpMethod, Proto, Protocol, TlsClientSettings, Upstream},
    wire::Query,
};

use super::{Shared, lock, raw::RawReply, spawn};

/// The connections to upstreams over HTTPS, QUIC and gRPC.
#[derive(Default)]
pub(super) struct Multiplexed(Mutex<HashMap<RouteKey, Arc<Route>>>);

/// Connections with equal keys are interchangeable.
#[derive(Clone, PartialEq, Eq, Hash)]
struct RouteKey {
    to: SocketAddr,
    /// The local address, if it is configured.
    source: Option<IpAddr>,
    protocol: Protocol,
}

/// The connections to one upstream, the newest one last.
#[derive(Default)]
struct Route {
    /// Held while a connection is opened, so that waiting queries share it.
    dialing: tokio::sync::Mutex<()>,
    connections: Mutex<Vec<Arc<SharedConnection>>>,
}

struct SharedConnection {
    connection: Connection,
    opened: Instant,
    usage: Mutex<Usage>,
}

enum Connection {
    Https(HttpsConnection),
    Quic(quic::QuicConnection),
    Grpc(GrpcConnection),
}

struct Usage {
    /// Queries that wait for their reply.
    queries: usize,
    /// When the last reply arrived, or the connection was opened.
    heard: Instant,
    /// When the connection is closed if no query uses it.
    expires: Instant,
}

impl Connection {
    fn is_closed(&self) -> bool {
        match self {
            Self::Https(connection) => connection.is_closed(),
            Self::Quic(connection) => connection.is_closed(),
            Self::Grpc(connection) => connection.is_closed(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Https(connection) => connection.capacity(),
            Self::Quic(_) | Self::Grpc(_) => limits::UPSTREAM_STREAMS,
        }
    }
}

/// The place of one query on a connection.
struct Place<'g> {
    connection: Arc<SharedConnection>,
    route: Arc<Route>,
    settings: &'g GroupSettings,
}

impl Place<'_> {
    async fn converse(&self, query: &Query) -> io::Result<Vec<u8>> {
        let SharedConnection { connection, usage, .. } = &*self.connection;
        let answered = match connection {
            Connection::Https(connection) => connection.converse(query).await,
            Connection::Quic(connection) => connection.converse(query).await,
            Connection::Grpc(connection) => grpc::converse(connection, query).await,
        };
        if answered.as_ref().map_or_else(is_answered, |_| true) {
            lock(usage).heard = Instant::now();
        }
        answered
    }

    fn heard_since(&self, time: Instant) -> bool {
        lock(&self.connection.usage).heard > time
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let SharedConnection { usage, opened, .. } = &*self.connection;
        let mut usage = lock(usage);
        usage.queries -= 1;
        let unused = Instant::now() + self.settings.expire;
        usage.expires = self.settings.max_age.map_or(unused, |age| unused.min(*opened + age));
        let is_idle = usage.queries == 0;
        drop(usage);
        if is_idle {
            self.route.drop_surplus(self.settings);
        }
    }
}

impl Route {
    /// A place on a connection other than `avoided`, unless all are full.
    fn place<'g>(
        self: &Arc<Self>,
        settings: &'g GroupSettings,
        avoided: Option<&Arc<SharedConnection>>,
    ) -> Option<Place<'g>> {
        let now = Instant::now();
        let mut connections = lock(&self.connections);
        connections.retain(|connection| connection.is_usable(now));
        let is_young = |opened: Instant| settings.max_age.is_none_or(|age| now < opened + age);
        let free = connections.iter().rev().find(|connection| {
            avoided.is_none_or(|avoided| !Arc::ptr_eq(avoided, connection))
                && is_young(connection.opened)
                && lock(&connection.usage).queries < connection.connection.capacity()
        })?;
        Some(self.take(Arc::clone(free), settings))
    }

    fn take<'g>(
        self: &Arc<Self>,
        connection: Arc<SharedConnection>,
        settings: &'g GroupSettings,
    ) -> Place<'g> {
        lock(&connection.usage).queries += 1;
        Place { connection, route: Arc::clone(self), settings }
    }

    /// No further query uses the connection.
    fn retire(&self, connection: &Arc<SharedConnection>) {
        lock(&self.connections).retain(|other| !Arc::ptr_eq(other, connection));
    }

    /// Closes the oldest idle connections if there are too many.
    fn drop_surplus(&self, settings: &GroupSettings) {
        let most = settings.max_idle.unwrap_or(usize::MAX).min(limits::IDLE_CONNECTIONS);
        let mut connections = lock(&self.connections);
        let idle = |connection: &Arc<SharedConnection>| lock(&connection.usage).queries == 0;
        let mut surplus =
            connections.iter().filter(|connection| idle(connection)).count().saturating_sub(most);
        connections.retain(|connection| {
            let keeps = surplus == 0 || !idle(connection);
            surplus -= usize::from(!keeps);
            keeps
        });
    }
}

impl SharedConnection {
    fn is_usable(&self, now: Instant) -> bool {
        let usage = lock(&self.usage);
        !self.connection.is_closed() && (usage.queries > 0 || now < usage.expires)
    }
}

impl Multiplexed {
    fn route(&self, key: &RouteKey) -> (Arc<Route>, bool) {
        let mut routes = lock(&self.0);
        let is_first = routes.is_empty();
        (Arc::clone(routes.entry(key.clone()).or_default()), is_first)
    }

    /// Closes expired connections, and returns whether others remain.
    pub(super) fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut routes = lock(&self.0);
        routes.retain(|_, route| {
            let mut connections = lock(&route.connections);
            connections.retain(|connection| connection.is_usable(now));
            !connections.is_empty() || Arc::strong_count(route) > 1
        });
        !routes.is_empty()
    }
}

async fn sweep(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(limits::IDLE_SWEEP).await;
        if !shared.upgrade().is_some_and(|shared| shared.multiplexed.sweep()) {
            return;
        }
    }
}

/// One query and what it needs for a connection.
struct Ask<'a> {
    shared: &'a Arc<Shared>,
    settings: &'a GroupSettings,
    upstream: &'a Upstream,
    key: RouteKey,
    route: Arc<Route>,
    query: &'a Query,
}

/// Sends a query on an open connection. If that one fails, or is silent for
/// [`limits::MAX_HEDGE_DELAY`], or there is none, the query is sent on a new one.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    group: &Group,
    upstream: &Upstream,
    query: &Query,
) -> io::Result<RawReply> {
    let key = RouteKey {
        to: upstream.address,
        source: group.settings.source,
        protocol: upstream.protocol.clone(),
    };
    let (route, is_first) = shared.multiplexed.route(&key);
    if is_first {
        spawn(&shared.background, sweep(Arc::downgrade(shared)));
    }
    let ask = Ask { shared, settings: &group.settings, upstream, key, route, query };
    ask.run().await.map(RawReply::Packet)
}

impl Ask<'_> {
    async fn run(&self) -> io::Result<Vec<u8>> {
        let Some(place) = self.route.place(self.settings, None) else {
            return self.on_new(None).await;
        };
        self.upstream.metrics(&self.shared.metrics).count_reused_connections(self.proto(), 1);
        let sent = Instant::now();
        let mut on_kept = pin!(place.converse(self.query));
        let mut answered = timeout(limits::MAX_HEDGE_DELAY, on_kept.as_mut()).await;
        if answered.is_err() && place.heard_since(sent) {
            // The connection works, so this query takes the upstream long.
            answered = Ok(on_kept.as_mut().await);
        }
        match answered {
            Ok(Err(error)) if !is_answered(&error) => {
                self.route.retire(&place.connection);
                self.on_new(None).await
            }
            Ok(answered) => answered,
            // An upstream may be slow and take no other connection, so each may fail alone.
            Err(_) => match select(on_kept, pin!(self.on_new(Some(&place.connection)))).await {
                Either::Left((Ok(answered), _)) | Either::Right((Ok(answered), _)) => Ok(answered),
                Either::Left((Err(_), on_new)) => on_new.await,
                Either::Right((Err(_), on_kept)) => on_kept.await,
            },
        }
    }

    /// Sends the query on a connection that is opened now, for this query or another one, instead
    /// of one that is silent.
    async fn on_new(&self, silent: Option<&Arc<SharedConnection>>) -> io::Result<Vec<u8>> {
        let place = {
            let _dialing = self.route.dialing.lock().await;
            match self.route.place(self.settings, silent) {
                Some(place) => place,
                None => timeout(limits::UPSTREAM_DIAL_TIME, self.dial()).await??,
            }
        };
        if let Some(silent) = silent {
            self.route.retire(silent);
        }
        place.converse(self.query).await
    }

    async fn dial(&self) -> io::Result<Place<'_>> {
        self.upstream.metrics(&self.shared.metrics).count_new_connection(self.proto());
        let RouteKey { to, source, protocol } = &self.key;
        let connection = match protocol {
            Protocol::Quic(tls) => {
                let config = self.shared.tls.config(tls, Scheme::Quic)?;
                let name = name(tls, to.ip());
                Connection::Quic(quic::connect(*to, *source, &name, config).await?)
            }
            Protocol::Https(tls, method) => Connection::Https(self.dial_https(tls, *method).await?),
            Protocol::Grpc(tls) => Connection::Grpc(self.dial_grpc(tls.as_ref()).await?),
            Protocol::Dns | Protocol::Tls(_) => {
                return Err(io::Error::from(io::ErrorKind::Unsupported));
            }
        };
        let now = Instant::now();
        let usage = Usage { queries: 0, heard: now, expires: now + self.settings.expire };
        let connection =
            Arc::new(SharedConnection { connection, opened: now, usage: Mutex::new(usage) });
        let place = self.route.take(Arc::clone(&connection), self.settings);
        lock(&self.route.connections).push(connection);
        Ok(place)
    }

    async fn dial_https(
        &self,
        tls: &Arc<TlsClientSettings>,
        method: HttpMethod,
    ) -> io::Result<HttpsConnection> {
        let RouteKey { to, source, .. } = self.key;
        let tcp = stream::connect(to, source).await?;
        let stream = self.shared.tls.connect(tls, Scheme::Https, to.ip(), tcp).await?;
        let endpoint = HttpEndpoint::new(&name(tls, to.ip()), to.port(), PATH, method);
        let (connection, driver) = HttpsConnection::open(stream, endpoint).await?;
        spawn(&self.shared.background, driver);
        Ok(connection)
    }

    async fn dial_grpc(&self, tls: Option<&Arc<TlsClientSettings>>) -> io::Result<GrpcConnection> {
        let RouteKey { to, source, .. } = self.key;
        let tcp = stream::connect(to, source).await?;
        let (connection, driver) = match tls {
            Some(tls) => {
                let stream = self.shared.tls.connect(tls, Scheme::Grpc, to.ip(), tcp).await?;
                GrpcConnection::open(stream, format!("https://{to}")).await?
            }
            None => GrpcConnection::open(tcp, format!("http://{to}")).await?,
        };
        spawn(&self.shared.background, driver);
        Ok(connection)
    }

    fn proto(&self) -> Proto {
        match self.key.protocol {
            Protocol::Quic(_) => Proto::Quic,
            Protocol::Grpc(_) => Proto::Grpc,
            _ => Proto::Https,
        }
    }
}

/// The name of the upstream in its certificate and in URLs.
fn name(tls: &TlsClientSettings, address: IpAddr) -> String {
    tls.server_name.clone().unwrap_or_else(|| address.to_string())
}
