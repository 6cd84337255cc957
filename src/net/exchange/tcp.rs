//! Questions over TCP, on connections that are kept for a while.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
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

use super::{Raw, Shared, lock};

/// Idle connections by upstream, the one used last on top.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<SocketAddr, Vec<(TcpStream, Instant)>>>);

impl Pool {
    fn take(&self, to: SocketAddr, expire: Duration) -> Option<TcpStream> {
        let mut idle = lock(&self.0);
        let connections = idle.get_mut(&to)?;
        connections.retain(|(_, since)| since.elapsed() < expire);
        connections.pop().map(|(stream, _)| stream)
    }

    fn put(&self, to: SocketAddr, stream: TcpStream) {
        let mut idle = lock(&self.0);
        let connections = idle.entry(to).or_default();
        if connections.len() < limits::IDLE_CONNECTIONS {
            connections.push((stream, Instant::now()));
        }
    }
}

/// Asks on a connection that is kept, and where the peer has closed that meanwhile, once more on a new one.
pub(super) async fn ask(shared: &Shared, group: &Group, to: SocketAddr, asked: &Query) -> io::Result<Raw> {
    let mut frame = vec![0; 2];
    asked.encode(&mut frame);
    let length = (frame.len() - 2) as u16;
    frame[..2].copy_from_slice(&length.to_be_bytes());
    let labels = ["forward", &to.to_string(), "tcp"];
    if let Some(mut stream) = shared.connections.take(to, group.settings.expire) {
        shared.metrics.proxy_conn_hits.with_label_values(&labels).inc();
        if let Ok(packet) = converse(&mut stream, &frame, asked).await {
            shared.connections.put(to, stream);
            return Ok(Raw::Packet(packet));
        }
    }
    shared.metrics.proxy_conn_misses.with_label_values(&labels).inc();
    let mut stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let packet = converse(&mut stream, &frame, asked).await?;
    shared.connections.put(to, stream);
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
