//! Connections over QUIC: DNS over QUIC (RFC 9250) and DNS over HTTPS with HTTP/3. Each query has a
//! stream of its own.
//!
//! A handshake does not wait for other handshakes. While many handshakes are in progress, a new
//! client must first prove that it receives datagrams at its address (Retry, RFC 9000 §8.1.2). The
//! server stores nothing for the client before that.

mod connection;
mod http3;
mod streams;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig,
    VarInt, crypto::rustls::QuicServerConfig,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    limits,
    server::{Listen, Scheme, Server},
    shares::Shares,
};

use super::{
    dispatch::Dispatcher,
    slots::Slots,
    status_counter::StatusCounter,
    stream::{GRACE, stopped},
    tls::CurrentIdentity,
};

use connection::ClientConnection;

/// Error codes of DNS over QUIC (RFC 9250 §4.3).
mod code {
    use quinn::VarInt;

    pub(super) const NO_ERROR: VarInt = VarInt::from_u32(0);
    pub(super) const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
    pub(super) const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
    pub(super) const REQUEST_CANCELLED: VarInt = VarInt::from_u32(3);
    pub(super) const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);
}

/// Serves until `stop` is true, then answers the queries that have arrived, and ends.
pub(super) async fn serve(
    dispatcher: Arc<Dispatcher>,
    listen: Listen,
    (socket, identity): (Arc<UdpSocket>, Arc<CurrentIdentity>),
    slots: Arc<Slots>,
    mut stop: watch::Receiver<bool>,
) {
    let server = dispatcher.server.load_full();
    let (handshakes, connections) = (Shares::new(limits::QUIC_HANDSHAKES), JoinSet::new());
    let bound = socket.local_addr().unwrap_or(listen.address);
    let counted = match listen.scheme {
        Scheme::Https3 => &http3::RESPONSES,
        _ => &connection::RESPONSES,
    };
    let responses = StatusCounter::new(counted, listen, &dispatcher.metrics);
    let mut acceptor = Acceptor {
        dispatcher,
        responses,
        server,
        listen,
        bound,
        identity,
        slots,
        handshakes,
        stop: stop.clone(),
        connections,
    };
    let mut logged = None;
    loop {
        match Listener::new(&socket, &acceptor.identity) {
            Ok(mut listener) => {
                logged = None;
                tokio::select! {
                    () = listener.accept(&mut acceptor) => {}
                    () = stopped(&mut stop) => return acceptor.finish(&listener.endpoint).await,
                }
            }
            // An error that lasts is logged once.
            Err(error) => {
                let text = error.to_string();
                if logged.as_ref() != Some(&text) {
                    tracing::error!("cannot serve {listen}: {text}");
                }
                logged = Some(text);
            }
        }
        // The socket failed, or there is no certificate. A pause gives the system time to recover.
        tokio::select! {
            () = sleep(limits::ACCEPT_PAUSE) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// The QUIC state of a socket.
struct Listener {
    endpoint: Endpoint,
    config: ServerConfig,
    /// The TLS configuration that `config` contains.
    tls: Arc<rustls::ServerConfig>,
}

impl Listener {
    fn new(socket: &UdpSocket, identity: &CurrentIdentity) -> io::Result<Self> {
        let tls = identity.config().ok_or_else(|| io::Error::other("there is no certificate"))?;
        let mut config = ServerConfig::with_crypto(crypto(&tls)?);
        // Access rules and permits belong to the address of the handshake, so clients must not
        // change it.
        config
            .migration(false)
            .max_incoming(limits::QUIC_HANDSHAKES)
            .incoming_buffer_size(limits::QUIC_EARLY_OCTETS)
            .incoming_buffer_size_total(limits::QUIC_EARLY_OCTETS * 16);
        let (endpoint_config, socket) = (EndpointConfig::default(), socket.try_clone()?);
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(endpoint_config, Some(config.clone()), socket, runtime)?;
        Ok(Self { endpoint, config, tls })
    }

    /// Accepts connections until the socket fails.
    async fn accept(&mut self, acceptor: &mut Acceptor) {
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { return };
                    acceptor.update_server();
                    self.update_config(acceptor);
                    acceptor.accept(incoming);
                }
                // The memory of a task that has ended is freed only by this call.
                Some(_) = acceptor.connections.join_next() => {}
            }
        }
    }

    /// The next client gets the current certificate and the current timeouts.
    fn update_config(&mut self, acceptor: &Acceptor) {
        if let Some(tls) = acceptor.identity.config().filter(|tls| !Arc::ptr_eq(tls, &self.tls))
            && let Ok(crypto) = crypto(&tls)
        {
            self.config.crypto = crypto;
            self.tls = tls;
        }
        let idle = acceptor.server.timeouts(acceptor.listen).idle;
        self.config.transport_config(Arc::new(transport(acceptor.listen.scheme, idle)));
        self.endpoint.set_server_config(Some(self.config.clone()));
    }
}

fn crypto(tls: &Arc<rustls::ServerConfig>) -> io::Result<Arc<QuicServerConfig>> {
    let crypto = QuicServerConfig::try_from(Arc::clone(tls)).map_err(io::Error::other)?;
    Ok(Arc::new(crypto))
}

/// The bounds of a connection.
fn transport(scheme: Scheme, idle: Duration) -> TransportConfig {
    let (one_way, window) = match scheme {
        Scheme::Https3 => (limits::HTTP3_STREAMS, limits::HTTP3_REQUEST_OCTETS),
        _ => (0, limits::REQUEST_OCTETS + 2),
    };
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(idle).ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::TCP_PENDING_QUERIES as u32))
        .max_concurrent_uni_streams(VarInt::from_u32(one_way))
        .stream_receive_window(VarInt::from_u32(window as u32))
        .receive_window(VarInt::from_u32(limits::QUIC_WINDOW_OCTETS))
        .send_window(limits::UNSENT_OCTETS_CONNECTION as u64)
        .crypto_buffer_size(limits::QUIC_EARLY_OCTETS as usize)
        .datagram_receive_buffer_size(None);
    transport
}

struct Acceptor {
    dispatcher: Arc<Dispatcher>,
    responses: Arc<StatusCounter>,
    server: Arc<Server>,
    listen: Listen,
    bound: SocketAddr,
    identity: Arc<CurrentIdentity>,
    slots: Arc<Slots>,
    /// One permit for each handshake in progress.
    handshakes: Arc<Shares>,
    stop: watch::Receiver<bool>,
    connections: JoinSet<()>,
}

impl Acceptor {
    fn update_server(&mut self) {
        self.dispatcher.update_server(&mut self.server, self.listen);
    }

    fn accept(&mut self, incoming: Incoming) {
        let crowded = self.handshakes.taken() >= limits::QUIC_UNPROVEN;
        if crowded && !incoming.remote_address_validated() {
            // The client sends its first message again, with a token that proves its address.
            let _ = incoming.retry();
            return;
        }
        let peer = incoming.remote_address();
        let Some(handshake) = self.handshakes.take(peer.ip().to_canonical()) else {
            return incoming.refuse();
        };
        let local =
            SocketAddr::new(incoming.local_ip().unwrap_or(self.bound.ip()), self.bound.port());
        let Ok(connecting) = incoming.accept() else { return };
        let (dispatcher, server) = (Arc::clone(&self.dispatcher), Arc::clone(&self.server));
        let (listen, slots, stop) = (self.listen, Arc::clone(&self.slots), self.stop.clone());
        let responses = Arc::clone(&self.responses);
        self.connections.spawn(async move {
            let connected = timeout(limits::TLS_HANDSHAKE_TIME, connecting).await;
            drop(handshake);
            let Ok(Ok(connection)) = connected else { return };
            // The slot is taken only now, when the client's address is proven.
            let is_http = listen.scheme == Scheme::Https3;
            let Some(slot) = slots.take(peer.ip()) else {
                let code = if is_http { http3::EXCESSIVE_LOAD } else { code::EXCESSIVE_LOAD };
                return connection.close(code, b"");
            };
            let client = ClientConnection {
                dispatcher,
                responses,
                server,
                listen,
                connection,
                peer,
                local,
                slot,
            };
            if is_http {
                Box::pin(client.run_http(stop)).await;
            } else {
                client.run(stop).await;
            }
        });
    }

    /// Lets the connections end. New ones are refused.
    async fn finish(mut self, endpoint: &Endpoint) {
        endpoint.set_server_config(None);
        let ended = async { while self.connections.join_next().await.is_some() {} };
        let _ = timeout(GRACE, ended).await;
        // This sends the clients the frames that close their connections.
        let _ = timeout(limits::TCP_DRAIN_TIME, endpoint.wait_idle()).await;
    }
}
