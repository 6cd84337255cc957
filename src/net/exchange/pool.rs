//! Queries over TCP or TLS, on connections that are kept for a while.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use futures_util::future::{Either, select};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::{
    limits,
    net::client::stream,
    transport::Scheme,
    upstream::{Group, Proto, TlsClientSettings, Upstream},
    wire::Query,
};

use super::{Shared, lock, raw::RawReply, spawn};

/// Idle connections; the one that was used last is the last of its list.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<ConnectionKey, Vec<IdleConnection>>>);

/// Connections with equal keys are interchangeable.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ConnectionKey {
    to: SocketAddr,
    /// The local address, if it is configured.
    source: Option<IpAddr>,
    tls: Option<Arc<TlsClientSettings>>,
}

struct Connection {
    stream: Box<dyn Stream>,
    opened: Instant,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct IdleConnection {
    connection: Connection,
    /// When it is closed.
    expires: Instant,
}

impl Pool {
    fn take(&self, key: &ConnectionKey) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = lock(&self.0);
        let connections = idle.get_mut(key)?;
        connections.retain(|idle| now < idle.expires);
        connections.pop().map(|idle| idle.connection)
    }

    /// Keeps a connection, unless there are `most` already.
    fn put(&self, key: ConnectionKey, idle: IdleConnection, most: usize) -> Sweeper {
        let mut pool = lock(&self.0);
        let sweeper = if pool.is_empty() { Sweeper::Needed } else { Sweeper::Running };
        let connections = pool.entry(key).or_default();
        if connections.len() < most {
            connections.push(idle);
        }
        sweeper
    }

    /// Closes expired connections.
    fn sweep(&self) -> Sweeper {
        let now = Instant::now();
        let mut idle = lock(&self.0);
        idle.retain(|_, connections| {
            connections.retain(|idle| now < idle.expires);
            !connections.is_empty()
        });
        if idle.is_empty() { Sweeper::Done } else { Sweeper::Running }
    }
}

/// The state of the task that closes expired connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sweeper {
    /// The pool was empty, so no task runs.
    Needed,
    Running,
    /// The pool is empty, so the task ends.
    Done,
}

/// Keeps a connection for the next query.
fn keep(shared: &Arc<Shared>, group: &Group, key: ConnectionKey, connection: Connection) {
    let settings = &group.settings;
    let unused = Instant::now() + settings.expire;
    let expires = settings.max_age.map_or(unused, |age| unused.min(connection.opened + age));
    let most = settings.max_idle.unwrap_or(usize::MAX).min(limits::IDLE_CONNECTIONS);
    let idle = IdleConnection { connection, expires };
    if shared.connections.put(key, idle, most) == Sweeper::Needed {
        spawn(&shared.background, sweep(Arc::downgrade(shared)));
    }
}

/// No task reads from an idle connection, so only this one closes it.
async fn sweep(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(limits::IDLE_SWEEP).await;
        let sweeper = shared.upgrade().map(|shared| shared.connections.sweep());
        if sweeper != Some(Sweeper::Running) {
            return;
        }
    }
}

/// Sends a query on a kept connection. If the upstream has closed it, or does not answer on it for
/// [`limits::MAX_HEDGE_DELAY`], or there is none, the query is sent on a new one.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    group: &Group,
    upstream: &Upstream,
    query: &Query,
) -> io::Result<RawReply> {
    let key = ConnectionKey {
        to: upstream.address,
        source: group.settings.source,
        tls: upstream.protocol.tls().cloned(),
    };
    let frame = stream::frame(query);
    let proto = if key.tls.is_some() { Proto::Tls } else { Proto::Tcp };
    let metrics = upstream.metrics(&shared.metrics);
    let on_new = pin!(async {
        metrics.count_new_connection(proto);
        let stream = connect(shared, &key).await?;
        converse(Connection { stream, opened: Instant::now() }, &frame, query).await
    });
    let answered = match shared.connections.take(&key) {
        None => on_new.await,
        Some(connection) => {
            metrics.count_reused_connections(proto, 1);
            let mut on_kept = pin!(converse(connection, &frame, query));
            match timeout(limits::MAX_HEDGE_DELAY, on_kept.as_mut()).await {
                Ok(Ok(answered)) => Ok(answered),
                Ok(Err(_)) => on_new.await,
                // An upstream may be slow and take no other connection, so each may fail alone.
                Err(_) => match select(on_kept, on_new).await {
                    Either::Left((Ok(answered), _)) | Either::Right((Ok(answered), _)) => {
                        Ok(answered)
                    }
                    Either::Left((Err(_), on_new)) => on_new.await,
                    Either::Right((Err(_), on_kept)) => on_kept.await,
                },
            }
        }
    };
    let (packet, connection) = answered?;
    keep(shared, group, key.clone(), connection);
    Ok(RawReply::Packet(packet))
}

async fn converse(
    mut connection: Connection,
    frame: &[u8],
    query: &Query,
) -> io::Result<(Vec<u8>, Connection)> {
    let packet = stream::converse(&mut *connection.stream, frame, query).await?;
    Ok((packet, connection))
}

async fn connect(shared: &Shared, key: &ConnectionKey) -> io::Result<Box<dyn Stream>> {
    let stream = stream::connect(key.to, key.source).await?;
    match &key.tls {
        None => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(shared.tls.connect(tls, Scheme::Tls, key.to.ip(), stream).await?)),
    }
}
