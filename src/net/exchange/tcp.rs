//! Questions over TCP, or TLS above it, on connections that are kept for a while.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpSocket,
};

use crate::{
    limits,
    upstream::{Group, Proto, TlsClientSettings, Upstream},
    wire::{Query, reply},
};

use super::{Raw, Shared, lock, spawn};

/// Idle connections by upstream and address of ours, the one used last on top.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<Ends, Vec<Idle>>>);

/// The two ends of connections, ours where it is chosen, and what is spoken.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Ends {
    to: SocketAddr,
    source: Option<IpAddr>,
    tls: Option<Arc<TlsClientSettings>>,
}

struct Connection {
    stream: Box<dyn Stream>,
    made: Instant,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Idle {
    connection: Connection,
    ends: Instant,
}

impl Pool {
    fn take(&self, between: &Ends) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = lock(&self.0);
        let connections = idle.get_mut(between)?;
        connections.retain(|idle| now < idle.ends);
        connections.pop().map(|idle| idle.connection)
    }

    /// True where it is the pool's first, so that somebody must see to its end.
    fn put(&self, between: Ends, idle: Idle, most: usize) -> bool {
        let mut pool = lock(&self.0);
        let first = pool.is_empty();
        let connections = pool.entry(between).or_default();
        if connections.len() < most {
            connections.push(idle);
        }
        first
    }

    /// Closes what is over; false where nothing is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut idle = lock(&self.0);
        idle.retain(|_, connections| {
            connections.retain(|idle| now < idle.ends);
            !connections.is_empty()
        });
        !idle.is_empty()
    }
}

/// Keeps a connection for the next question.
fn keep(shared: &Arc<Shared>, group: &Group, between: Ends, connection: Connection) {
    let settings = &group.settings;
    let unused = Instant::now() + settings.expire;
    let ends = settings.max_age.map_or(unused, |age| unused.min(connection.made + age));
    let most = settings.max_idle.unwrap_or(usize::MAX).min(limits::IDLE_CONNECTIONS);
    if shared.connections.put(between, Idle { connection, ends }, most) {
        spawn(&shared.background, sweep(Arc::downgrade(shared)));
    }
}

/// Nobody reads from an idle connection, so only its time closes it.
async fn sweep(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(limits::IDLE_SWEEP).await;
        if !shared.upgrade().is_some_and(|shared| shared.connections.sweep()) {
            return;
        }
    }
}

/// Asks on a connection that is kept, and where the peer has closed that meanwhile, once more on a
/// new one.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    group: &Group,
    upstream: &Upstream,
    asked: &Query,
) -> io::Result<Raw> {
    let between =
        Ends { to: upstream.address, source: group.settings.source, tls: upstream.tls.clone() };
    let mut frame = vec![0; 2];
    asked.encode(&mut frame);
    let length = (frame.len() - 2) as u16;
    frame[..2].copy_from_slice(&length.to_be_bytes());
    let proto = if between.tls.is_some() { Proto::Tls } else { Proto::Tcp };
    let metrics = upstream.metrics(&shared.metrics);
    if let Some(mut connection) = shared.connections.take(&between) {
        metrics.count_reused_connections(proto, 1);
        if let Ok(packet) = converse(&mut *connection.stream, &frame, asked).await {
            keep(shared, group, between, connection);
            return Ok(Raw::Packet(packet));
        }
    }
    metrics.count_new_connection(proto);
    let mut stream = connected(shared, &between).await?;
    let made = Instant::now();
    let packet = converse(&mut *stream, &frame, asked).await?;
    keep(shared, group, between, Connection { stream, made });
    Ok(Raw::Packet(packet))
}

async fn connected(
    shared: &Shared,
    Ends { to, source, tls }: &Ends,
) -> io::Result<Box<dyn Stream>> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(*source, 0))?;
    }
    let stream = socket.connect(*to).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(shared.clients.connect(tls, to.ip(), stream).await?)),
    }
}

/// Writes the question and reads up to its reply; another message on the connection is passed over.
async fn converse(stream: &mut dyn Stream, frame: &[u8], asked: &Query) -> io::Result<Vec<u8>> {
    stream.write_all(frame).await?;
    stream.flush().await?;
    for _ in 0..limits::STRAY_REPLIES {
        let length = stream.read_u16().await?;
        let mut packet = vec![0; length.into()];
        stream.read_exact(&mut packet).await?;
        // Whoever answers here has seen the connection's sequence numbers: no forger, so the case
        // may be lost.
        if reply::matches(&packet, asked) != reply::Match::No {
            return Ok(packet);
        }
    }
    Err(io::Error::other("the connection brings other messages only"))
}
