//! Queries over UDP. While there are few queries, each has its own port. Otherwise they share the
//! [`limits::SHARED_SOCKETS`] sockets of their upstream, or fewer if there are more than eight
//! upstreams. Each query uses a random one of them, and each socket is replaced after
//! [`limits::SHARED_SOCKET_TIME`].

use std::{
    collections::HashMap,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use socket2::SockRef;
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep_until,
};

use crate::{
    limits,
    metrics::IntCounter,
    net::client::udp::{UdpQuery, UdpReply, bind_port},
    upstream::{Group, PortBudget, RestingPorts, Upstream},
    wire::Query,
};

use super::{
    Shared, lock,
    pending::{Delivery, Pending},
    raw::RawReply,
    spawn,
};

pub(super) struct Sockets {
    pub(super) budget: Mutex<PortBudget>,
    routes: Mutex<HashMap<RouteKey, Route>>,
    /// The permits for shared sockets. The configuration decides how many there are, so they do not
    /// count against the share of a client.
    shared: Arc<Semaphore>,
}

impl Default for Sockets {
    fn default() -> Self {
        let shared = Arc::new(Semaphore::new(limits::SHARED_SOCKETS_ALL));
        Self { budget: Mutex::default(), routes: Mutex::default(), shared }
    }
}

/// The upstream, and the local address if it is configured.
type RouteKey = (SocketAddr, Option<IpAddr>);

/// The shared sockets to one upstream.
struct Route {
    slots: Vec<Weak<SharedSocket>>,
    resting: RestingPorts,
}

impl Default for Route {
    fn default() -> Self {
        let slots = (0..limits::SHARED_SOCKETS).map(|_| Weak::new()).collect();
        Self { slots, resting: RestingPorts::default() }
    }
}

/// A connected socket. The task that reads from it owns it.
struct SharedSocket {
    socket: UdpSocket,
    pending: Arc<Pending>,
    /// From this moment on, the socket gets no further queries.
    retires: Instant,
    strays: AtomicU32,
    _permit: OwnedSemaphorePermit,
}

/// Sends a query of a client and waits for its reply. Without a reply this never ends.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    group: &Group,
    upstream: &Upstream,
    (mut asked, client): (Query, IpAddr),
) -> io::Result<RawReply> {
    let key = (upstream.address, group.settings.source);
    let metrics = upstream.metrics(&shared.metrics);
    if lock(&shared.udp.budget).take(Instant::now())
        && let Some(_share) = shared.sockets.take(client)
    {
        metrics.count_new_socket();
        return over_own_port(key.0, key.1, &asked, metrics.strays()).await;
    }
    let slot = rand::random::<u32>() as usize % shared.udp.slots();
    let mut message = Vec::with_capacity(limits::UDP_OCTETS.into());
    loop {
        let socket = match shared.udp.find(key, slot) {
            Some(socket) => {
                metrics.count_reused_socket();
                socket
            }
            None => {
                metrics.count_new_socket();
                open(shared, key, slot, metrics.strays()).await?
            }
        };
        let Some(ticket) = socket.pending.add(&mut asked) else {
            shared.udp.forget(key, &socket);
            continue;
        };
        message.clear();
        asked.encode(&mut message);
        let sent = socket.socket.send(&message).await;
        match sent {
            Ok(_) => {
                drop(socket);
                return ticket.reply().await;
            }
            // The error is the result of an earlier datagram. The kernel reports it only once.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                drop(ticket);
                socket.pending.end_all(|| Err(io::ErrorKind::ConnectionRefused.into()));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sends one datagram from a port of its own, and waits for the reply. [`RawReply::Doubtful`] after
/// too many datagrams that do not match.
pub(super) async fn over_own_port(
    to: SocketAddr,
    source: Option<IpAddr>,
    asked: &Query,
    strays: &IntCounter,
) -> io::Result<RawReply> {
    let mut exchange = UdpQuery::open(to, source, asked).await?;
    exchange.send().await?;
    Ok(match exchange.receive(|| strays.inc()).await? {
        UdpReply::Match(packet) => RawReply::Packet(packet),
        UdpReply::OtherCase(packet) => RawReply::OtherCase(packet),
        UdpReply::Doubtful => RawReply::Doubtful,
    })
}

impl Sockets {
    /// The number of sockets that are in use for each upstream. There may be as many retired ones.
    fn slots(&self) -> usize {
        let each = limits::SHARED_SOCKETS_ALL / 2 / lock(&self.routes).len().max(1);
        each.clamp(1, limits::SHARED_SOCKETS)
    }

    /// The socket of this slot, if it is in use.
    fn find(&self, key: RouteKey, slot: usize) -> Option<Arc<SharedSocket>> {
        let routes = lock(&self.routes);
        let socket = routes.get(&key)?.slots.get(slot)?.upgrade()?;
        socket.is_in_use().then_some(socket)
    }

    /// A socket of any slot that is in use.
    fn any(&self, key: RouteKey) -> Option<Arc<SharedSocket>> {
        let routes = lock(&self.routes);
        let mut open = routes.get(&key)?.slots.iter().filter_map(Weak::upgrade);
        open.find(|socket| socket.is_in_use())
    }

    /// The port of the next socket. 0 means that the system chooses a new port.
    fn next_port(&self, key: RouteKey) -> u16 {
        let now = Instant::now();
        let mut routes = lock(&self.routes);
        let open = routes.len().max(1) * limits::SHARED_SOCKETS;
        let resting: usize = routes.values_mut().map(|route| route.resting.count(now)).sum();
        let route = routes.get_mut(&key);
        route.and_then(|route| route.resting.take(open + resting, now, rand::random())).unwrap_or(0)
    }

    fn put(&self, key: RouteKey, slot: usize, socket: &Arc<SharedSocket>) {
        let mut routes = lock(&self.routes);
        // This removes the upstreams that a reload dropped: they have no open sockets.
        if !routes.contains_key(&key) {
            routes.retain(|_, route| route.slots.iter().any(|slot| slot.strong_count() > 0));
        }
        if let Some(place) = routes.entry(key).or_default().slots.get_mut(slot) {
            *place = Arc::downgrade(socket);
        }
    }

    /// Removes the socket from its slot, so that it gets no more queries.
    fn forget(&self, key: RouteKey, socket: &Arc<SharedSocket>) {
        let mut routes = lock(&self.routes);
        for place in routes.get_mut(&key).into_iter().flat_map(|route| &mut route.slots) {
            if place.as_ptr() == Arc::as_ptr(socket) {
                *place = Weak::new();
            }
        }
    }

    fn rest(&self, key: RouteKey, port: u16) {
        if let Some(route) = lock(&self.routes).get_mut(&key) {
            route.resting.add(port, Instant::now());
        }
    }
}

/// Opens a socket for the slot, and starts the task that reads from it.
async fn open(
    shared: &Arc<Shared>,
    key: RouteKey,
    slot: usize,
    strays: &IntCounter,
) -> io::Result<Arc<SharedSocket>> {
    let Ok(permit) = Arc::clone(&shared.udp.shared).try_acquire_owned() else {
        return shared.udp.any(key).ok_or_else(|| io::ErrorKind::QuotaExceeded.into());
    };
    let port = shared.udp.next_port(key);
    let bound = match bind_port(key.0, key.1, port).await {
        // Another program has taken the port.
        Err(error) if port != 0 && error.kind() == io::ErrorKind::AddrInUse => {
            bind_port(key.0, key.1, 0).await
        }
        bound => bound,
    };
    let socket = Arc::new(SharedSocket {
        socket: bound?,
        pending: Arc::default(),
        retires: Instant::now() + limits::SHARED_SOCKET_TIME,
        strays: AtomicU32::new(0),
        _permit: permit,
    });
    shared.udp.put(key, slot, &socket);
    let port = socket.socket.local_addr()?.port();
    let (reader, owner, strays) = (Arc::clone(&socket), Arc::downgrade(shared), strays.clone());
    spawn(&shared.background, async move {
        let ended_early = reader.read(&strays).await;
        drop(reader);
        if let Some(shared) = owner.upgrade()
            && !ended_early
        {
            shared.udp.rest(key, port);
        }
    });
    Ok(socket)
}

impl SharedSocket {
    fn is_in_use(&self) -> bool {
        Instant::now() < self.retires && !self.was_attacked()
    }

    /// Whether a forger may have found the port (RFC 5452 §9.2).
    fn was_attacked(&self) -> bool {
        self.strays.load(Ordering::Relaxed) >= limits::STRAY_REPLIES
    }

    /// Reads replies until the socket has retired and no query waits for a reply. Returns true if
    /// forged replies or errors ended it before.
    async fn read(&self, strays: &IntCounter) -> bool {
        let mut check = pin!(sleep_until(self.retires.into()));
        loop {
            // If a datagram was rejected, the socket has an error but is not readable.
            let interest = Interest::READABLE.add(Interest::ERROR);
            tokio::select! {
                _ = self.socket.async_io(interest, || self.receive(strays)) => {
                    self.pending.close(|| Ok(RawReply::Doubtful));
                    return true;
                }
                () = check.as_mut() => {
                    if self.pending.close_if_idle() {
                        return false;
                    }
                    check.as_mut().reset((Instant::now() + limits::RETIRED_SOCKET_POLL).into());
                }
            }
        }
    }

    /// Reads the datagrams that have arrived. `Ok` if the socket must not be used any more, because
    /// too many datagrams did not match, or because there were too many errors in one call.
    fn receive(&self, strays: &IntCounter) -> io::Result<()> {
        let mut buffer = [0; limits::UDP_REPLY_OCTETS];
        let mut errors = 0;
        while !self.was_attacked() && errors < limits::STRAY_REPLIES {
            match (&*SockRef::from(&self.socket)).read(&mut buffer) {
                Ok(length) => {
                    let message = buffer.get(..length).unwrap_or_default();
                    let is_whole = length < buffer.len();
                    if self.pending.deliver(message, is_whole) == Delivery::Stray {
                        strays.inc();
                        self.strays.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // The host rejected one datagram, so it rejects the other datagrams, too.
                Err(error) => {
                    self.pending.end_all(|| Err(error.kind().into()));
                    errors += 1;
                }
            }
        }
        Ok(())
    }
}

impl Drop for SharedSocket {
    fn drop(&mut self) {
        self.pending.close(|| Err(io::ErrorKind::ConnectionAborted.into()));
    }
}
