//! Questions over TCP, on connections that are kept for a while.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, Weak},
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    limits,
    upstream::Group,
    wire::{Query, reply},
};

use super::{Raw, Shared, lock, spawn};

/// Idle connections by upstream, the one used last on top, each with its end.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<SocketAddr, Vec<(TcpStream, Instant)>>>);

impl Pool {
    fn take(&self, to: SocketAddr) -> Option<TcpStream> {
        let now = Instant::now();
        let mut idle = lock(&self.0);
        let connections = idle.get_mut(&to)?;
        connections.retain(|(_, ends)| now < *ends);
        connections.pop().map(|(stream, _)| stream)
    }

    /// True where it is the pool's first, so that somebody must see to its end.
    fn put(&self, to: SocketAddr, stream: TcpStream, ends: Instant) -> bool {
        let mut idle = lock(&self.0);
        let first = idle.is_empty();
        let connections = idle.entry(to).or_default();
        if connections.len() < limits::IDLE_CONNECTIONS {
            connections.push((stream, ends));
        }
        first
    }

    /// Closes what is over; false where nothing is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut idle = lock(&self.0);
        idle.retain(|_, connections| {
            connections.retain(|(_, ends)| now < *ends);
            !connections.is_empty()
        });
        !idle.is_empty()
    }
}

/// Keeps a connection for the next question.
fn keep(shared: &Arc<Shared>, group: &Group, to: SocketAddr, stream: TcpStream) {
    if shared.connections.put(to, stream, Instant::now() + group.settings.expire) {
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

/// Asks on a connection that is kept, and where the peer has closed that meanwhile, once more on a new one.
pub(super) async fn ask(shared: &Arc<Shared>, group: &Group, to: SocketAddr, asked: &Query) -> io::Result<Raw> {
    let mut frame = vec![0; 2];
    asked.encode(&mut frame);
    let length = (frame.len() - 2) as u16;
    frame[..2].copy_from_slice(&length.to_be_bytes());
    let labels = ["forward", &to.to_string(), "tcp"];
    if let Some(mut stream) = shared.connections.take(to) {
        shared.metrics.proxy_conn_hits.with_label_values(&labels).inc();
        if let Ok(packet) = converse(&mut stream, &frame, asked).await {
            keep(shared, group, to, stream);
            return Ok(Raw::Packet(packet));
        }
    }
    shared.metrics.proxy_conn_misses.with_label_values(&labels).inc();
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let packet = converse(&mut stream, &frame, asked).await?;
    keep(shared, group, to, stream);
    Ok(Raw::Packet(packet))
}

/// Writes the question and reads up to its reply; another message on the connection is passed over.
async fn converse(stream: &mut TcpStream, frame: &[u8], asked: &Query) -> io::Result<Vec<u8>> {
    stream.write_all(frame).await?;
    for _ in 0..limits::STRAYS {
        let length = stream.read_u16().await?;
        let mut packet = vec![0; length.into()];
        stream.read_exact(&mut packet).await?;
        // Whoever answers here has seen the connection's sequence numbers: no forger, so the case may be lost.
        if reply::matches(&packet, asked) != reply::Match::No {
            return Ok(packet);
        }
    }
    Err(io::Error::other("the connection brings other messages only"))
}
