//! Queries over TCP, TLS, HTTPS, QUIC or gRPC, on connections that queries share.
//!
//! Over TCP and TLS a server may answer the queries of a connection one after another. So at first
//! each query waits alone on its connection. Now and then a query is sent both on a busy connection
//! and on its own. If its reply overtakes another one on the busy connection, the upstream answers
//! queries side by side, and from then on they share connections (RFC 7766 §6.2.1.1).

mod dial;
mod route;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use futures_util::future::{Either, select};
use tokio::time::timeout;

use crate::{
    limits,
    net::client::is_answered,
    upstream::{Group, GroupSettings, Proto, Protocol, Upstream, UpstreamTransport},
    wire::Query,
};

use super::{Shared, lock, raw::RawReply, spawn};

use route::{Guest, Place, Route};

/// The connections to upstreams.
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
        routes.retain(|_, route| route.sweep(now) || Arc::strong_count(route) > 1);
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
    client: IpAddr,
    key: RouteKey,
    route: Arc<Route>,
    query: &'a Query,
}

/// Sends a query of a client on an open connection. It uses a new connection if none is open, or if
/// the open one fails or gives no reply within [`limits::MAX_HEDGE_DELAY`].
pub(super) async fn ask(
    shared: &Arc<Shared>,
    group: &Group,
    upstream: &Upstream,
    (query, client): (&Query, IpAddr),
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
    let ask = Ask { shared, settings: &group.settings, upstream, client, key, route, query };
    ask.run().await.map(RawReply::Packet)
}

impl Ask<'_> {
    async fn run(&self) -> io::Result<Vec<u8>> {
        let guest = self.guest();
        let (begun, is_alone) = (Instant::now(), !self.shares_connections());
        if let Some(place) = self.route.place(guest, |_| true) {
            return self.on_kept(&place).await;
        }
        if is_alone && let Some(place) = self.route.place_for_test(guest) {
            self.count_reuse();
            return self.race(pin!(place.converse(self.query)), &place).await;
        }
        self.on_new(begun).await
    }

    async fn on_kept(&self, place: &Place<'_>) -> io::Result<Vec<u8>> {
        self.count_reuse();
        let mut on_kept = pin!(place.converse(self.query));
        let mut answered = timeout(limits::MAX_HEDGE_DELAY, on_kept.as_mut()).await;
        if answered.is_err() && self.shares_connections() && place.heard_since() {
            // The connection works, so the upstream needs long for this query.
            answered = Ok(on_kept.as_mut().await);
        }
        match answered {
            Ok(Err(error)) if !is_answered(&error) => {
                self.give_up(place, &error);
                self.on_new(place.sent).await
            }
            Ok(answered) => answered,
            Err(_) => self.race(on_kept, place).await,
        }
    }

    /// Waits for the reply on a kept connection, and also sends the query on a new one. A slow
    /// upstream may accept no other connection, so the query fails only if both connections fail.
    async fn race(
        &self,
        on_kept: Pin<&mut (impl Future<Output = io::Result<Vec<u8>>> + Send)>,
        place: &Place<'_>,
    ) -> io::Result<Vec<u8>> {
        let on_new = pin!(async {
            let answered = self.on_new(place.sent).await;
            if answered.is_ok() && place.is_blocked() {
                // Both replies may come at the same time, in any order.
                tokio::time::sleep(self.upstream.health.rtt_at_most()).await;
                if place.is_blocked() {
                    self.upstream.health.record_blocked(Instant::now());
                }
            }
            if !place.heard_since() {
                place.retire();
            }
            answered
        });
        match select(on_kept, on_new).await {
            Either::Left((Ok(answered), _)) | Either::Right((Ok(answered), _)) => Ok(answered),
            Either::Left((Err(_), on_new)) => on_new.await,
            Either::Right((Err(_), on_kept)) => on_kept.await,
        }
    }

    /// Sends the query on a new connection. The connection is for this query alone, or for all
    /// queries that wait for one.
    async fn on_new(&self, begun: Instant) -> io::Result<Vec<u8>> {
        if !self.shares_connections() {
            return self.dial().await?.converse(self.query).await;
        }
        let dialing = self.route.dialing.lock().await;
        let Some(place) = self.route.place(self.guest(), |other| other.was_opened_after(begun))
        else {
            let place = timeout(limits::UPSTREAM_DIAL_TIME, self.dial()).await??;
            drop(dialing);
            return place.converse(self.query).await;
        };
        drop(dialing);
        match place.converse(self.query).await {
            Err(error) if !is_answered(&error) => {
                self.give_up(&place, &error);
                self.dial().await?.converse(self.query).await
            }
            answered => answered,
        }
    }

    /// Retires the connection on which the query failed. Some servers answer one query and close
    /// the connection, so queries do not share the next one. A connection that is closed while it
    /// is idle, or that takes no further query, says nothing about the server.
    fn give_up(&self, place: &Place<'_>, error: &io::Error) {
        place.retire();
        let was_sent = error.kind() != io::ErrorKind::NotConnected;
        if was_sent && place.is_shared() && place.heard_since() {
            self.upstream.health.record_blocked(Instant::now());
        }
    }

    fn guest(&self) -> Guest<'_> {
        Guest {
            route: &self.route,
            settings: self.settings,
            health: &self.upstream.health,
            sockets: &self.shared.sockets,
            client: self.client,
        }
    }

    /// Whether several queries may wait on one connection.
    fn shares_connections(&self) -> bool {
        self.key.protocol.has_streams() || self.upstream.health.pipelines()
    }

    fn count_reuse(&self) {
        self.upstream.metrics(&self.shared.metrics).count_reused_connections(self.proto(), 1);
    }

    fn proto(&self) -> Proto {
        self.key.protocol.proto(UpstreamTransport::Tcp)
    }
}
