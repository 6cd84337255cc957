//! Accepts connections, encrypts them if the listener has a certificate, and hands them to the
//! protocol of their scheme. Queries of one connection are answered as soon as they
//! are ready, in any order (RFC 7766 §6.2.1.1), within bounds that a slow or greedy client cannot
//! exceed.

mod framed;
mod grpc;
mod http_body;
mod https;
mod resettable;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    chain::Cx,
    limits,
    plugin::{Beginning, ProxiedClient, ProxyReader, Timeouts},
    server::{Listen, Scheme, Server},
};

use super::{
    dispatch::{Dispatcher, new_cx},
    slots::{Slot, Slots},
    status_counter::StatusCounter,
    tls::CurrentIdentity,
};

use framed::FramedConnection;
pub(super) use grpc::message_of as grpc_message;
use resettable::{ResetFlag, ResettableStream};

/// Accepts connections until `stop` is true, then answers the queries that have arrived, and ends.
pub(super) async fn serve(
    dispatcher: Arc<Dispatcher>,
    listen: Listen,
    (listener, identity): (TcpListener, Arc<CurrentIdentity>),
    slots: Arc<Slots>,
    mut stop: watch::Receiver<bool>,
) {
    let server = dispatcher.server.load_full();
    let responses = StatusCounter::new(&https::RESPONSES, listen, &dispatcher.metrics);
    let mut acceptor = Acceptor {
        dispatcher,
        responses,
        server,
        listen,
        identity,
        slots,
        stop: stop.clone(),
        connections: JoinSet::new(),
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => acceptor.accept(accepted).await,
            // The memory of a task that has ended is freed only by this call.
            Some(_) = acceptor.connections.join_next() => {}
            () = stopped(&mut stop) => break,
        }
    }
    for _ in 0..limits::TCP_BACKLOG {
        let Ok(accepted) = timeout(limits::TCP_DRAIN_TIME, listener.accept()).await else { break };
        acceptor.accept(accepted).await;
    }
    // From now on the system refuses connections, and another listener may bind the address.
    drop(listener);
    while acceptor.connections.join_next().await.is_some() {}
}

struct Acceptor {
    dispatcher: Arc<Dispatcher>,
    responses: Arc<StatusCounter>,
    server: Arc<Server>,
    listen: Listen,
    identity: Arc<CurrentIdentity>,
    slots: Arc<Slots>,
    stop: watch::Receiver<bool>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn accept(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => {
                let Some(slot) = self.slots.take(peer.ip()) else { return };
                self.dispatcher.update_server(&mut self.server, self.listen);
                let _ = stream.set_nodelay(true);
                let _ = SockRef::from(&stream).set_send_buffer_size(limits::TCP_SEND_BUFFER);
                let local = stream.local_addr().unwrap_or(self.listen.address);
                let (dispatcher, server) = (Arc::clone(&self.dispatcher), Arc::clone(&self.server));
                let (listen, reset) = (self.listen, ResetFlag::default());
                let stream = ResettableStream::new(stream, reset.clone());
                let session = Session {
                    dispatcher,
                    responses: Arc::clone(&self.responses),
                    server,
                    listen,
                    peer,
                    proxy_tlvs: None,
                    local,
                    slot,
                    reset,
                };
                let tls = self.identity.config();
                self.connections.spawn(session.run(stream, tls, self.stop.clone()));
            }
            // This client has closed its connection already; others may wait.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            // The process has no descriptor or memory left. A pause gives it time to recover.
            Err(_) => sleep(limits::ACCEPT_PAUSE).await,
        }
    }
}

/// Waits until `stop` is true, or its sender is dropped.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One client's connection: its addresses, its slot, and the server that answers it.
struct Session {
    dispatcher: Arc<Dispatcher>,
    /// Only those over HTTPS are counted.
    responses: Arc<StatusCounter>,
    server: Arc<Server>,
    listen: Listen,
    peer: SocketAddr,
    /// The facts that a load balancer adds about the client.
    proxy_tlvs: Option<Arc<[u8]>>,
    local: SocketAddr,
    slot: Slot,
    reset: ResetFlag,
}

/// The version of HTTP that ALPN chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HttpVersion {
    /// HTTP/1.1. It also applies without encryption, and to a client that names no protocol.
    Http1,
    Http2,
}

impl Session {
    async fn run(
        mut self,
        mut stream: ResettableStream,
        tls: Option<Arc<ServerConfig>>,
        stop: watch::Receiver<bool>,
    ) {
        let server = Arc::clone(&self.server);
        if let Some(proxy) = server.proxy(self.listen) {
            let client = proxied(&mut stream, self.peer, proxy);
            let client = tokio::select! {
                client = timeout(self.timeouts().read, client) => client,
                () = self.slot.evicted() => return,
            };
            let Ok(Ok(Some(client))) = client else { return };
            (self.peer, self.proxy_tlvs) = (client.address, client.tlvs);
        }
        // gRPC uses HTTP/2 only.
        let is_grpc = self.listen.scheme == Scheme::Grpc;
        let usual = if is_grpc { HttpVersion::Http2 } else { HttpVersion::Http1 };
        let Some(tls) = tls else { return self.converse(stream, usual, stop).await };
        // Boxed, so that a connection without TLS does not need its memory.
        let handshake = Box::pin(TlsAcceptor::from(tls).accept(stream));
        let stream = tokio::select! {
            stream = timeout(limits::TLS_HANDSHAKE_TIME, handshake) => stream,
            () = self.slot.evicted() => return,
        };
        // A failed handshake has sent its alert. A client that took too long gets none.
        if let Ok(Ok(stream)) = stream {
            let version = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => HttpVersion::Http2,
                _ => usual,
            };
            Box::pin(self.converse(stream, version, stop)).await;
        }
    }

    async fn converse<S>(self, stream: S, version: HttpVersion, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.listen.scheme {
            Scheme::Https | Scheme::Grpc => {
                Box::pin(https::converse(self, stream, version, stop)).await;
            }
            // Listeners of the last two schemes have no TCP connections.
            Scheme::Dns | Scheme::Tls | Scheme::Quic | Scheme::Https3 => {
                FramedConnection::new(self, stream).run(stop).await;
            }
        }
    }

    /// From now on the current server answers.
    fn update_server(&mut self) {
        self.dispatcher.update_server(&mut self.server, self.listen);
    }

    fn timeouts(&self) -> Timeouts {
        self.server.timeouts(self.listen)
    }

    /// The context of a query that arrives now.
    fn cx(&self) -> Cx {
        let mut cx = new_cx(self.peer, self.local, self.listen.scheme.transport());
        cx.closing = self.dispatcher.is_closing();
        cx.proxy_tlvs.clone_from(&self.proxy_tlvs);
        cx
    }
}

/// Reads the header of a load balancer, and returns the client. `None` if the connection is
/// rejected.
async fn proxied(
    stream: &mut ResettableStream,
    peer: SocketAddr,
    proxy: &ProxyReader,
) -> io::Result<Option<ProxiedClient>> {
    let mut octets = vec![0; limits::PROXY_HEADER_OCTETS];
    loop {
        let length = stream.peek(&mut octets).await?;
        match proxy.of_stream(peer, &octets[..length]) {
            Beginning::Client(client) => {
                stream.read_exact(&mut octets[..client.header]).await?;
                return Ok(Some(client));
            }
            Beginning::Incomplete if length > 0 && length < octets.len() => {
                // The rest is on its way. `peek` leaves in the socket what has arrived.
                sleep(limits::PROXY_HEADER_LOOK).await;
            }
            Beginning::Incomplete | Beginning::Rejected => return Ok(None),
        }
    }
}

/// How long the connections of a stopping listener may last.
pub(super) const GRACE: Duration = limits::QUERY_TIME;

#[cfg(test)]
mod tests;
