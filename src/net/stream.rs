//! Connections: taken while there is room, encrypted where the listener says so, and handed to what
//! is spoken there. Questions of one connection are answered as they are ready, in any order (RFC
//! 7766 §6.2.1.1), within bounds of time and number that a slow or greedy client cannot pass.

mod clients;
mod connection;
mod https;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    chain::Cx,
    limits,
    server::{Listen, Scheme, Server},
};

use super::{
    dispatch::{Dispatcher, new_cx},
    tls::Current,
};

pub(super) use clients::Clients;
use clients::Place;
use connection::Connection;

/// Takes connections until `stop` turns true, then answers what has been asked and ends.
pub(super) async fn serve(
    dispatcher: Arc<Dispatcher>,
    listen: Listen,
    (listener, shown): (TcpListener, Arc<Current>),
    clients: Arc<Clients>,
    mut stop: watch::Receiver<bool>,
) {
    let server = dispatcher.server.load_full();
    let mut acceptor = Acceptor {
        dispatcher,
        server,
        listen,
        shown,
        clients,
        stop: stop.clone(),
        connections: JoinSet::new(),
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => acceptor.take(accepted).await,
            () = stopped(&mut stop) => break,
        }
    }
    for _ in 0..limits::TCP_BACKLOG {
        let Ok(accepted) = timeout(limits::TCP_DRAIN_TIME, listener.accept()).await else { break };
        acceptor.take(accepted).await;
    }
    // Who comes now is told so, and the address is free for others.
    drop(listener);
    while acceptor.connections.join_next().await.is_some() {}
}

struct Acceptor {
    dispatcher: Arc<Dispatcher>,
    server: Arc<Server>,
    listen: Listen,
    shown: Arc<Current>,
    clients: Arc<Clients>,
    stop: watch::Receiver<bool>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn take(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        while self.connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = self.clients.enter(peer.ip()) else { return };
                self.dispatcher.renew(&mut self.server, self.listen);
                let _ = stream.set_nodelay(true);
                let local = stream.local_addr().unwrap_or(self.listen.address);
                let (dispatcher, server) = (Arc::clone(&self.dispatcher), Arc::clone(&self.server));
                let visit = Visit { dispatcher, server, listen: self.listen, peer, local, place };
                self.connections.spawn(visit.run(stream, self.shown.config(), self.stop.clone()));
            }
            // The client has left already: the next one has not.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            // No descriptors or memory: it passes, and asking at once would only burn time.
            Err(_) => sleep(limits::ACCEPT_PAUSE).await,
        }
    }
}

pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Who could say stop is gone: that is one, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A client's stay: who it is, where it came, and what answers it.
struct Visit {
    dispatcher: Arc<Dispatcher>,
    server: Arc<Server>,
    listen: Listen,
    peer: SocketAddr,
    local: SocketAddr,
    place: Place,
}

impl Visit {
    async fn run(
        self,
        stream: TcpStream,
        tls: Option<Arc<ServerConfig>>,
        stop: watch::Receiver<bool>,
    ) {
        let Some(tls) = tls else { return self.converse(stream, false, stop).await };
        let stream = tokio::select! {
            greeted = timeout(limits::TLS_HANDSHAKE_TIME, TlsAcceptor::from(tls).accept(stream)) => greeted,
            () = self.place.taken() => return,
        };
        // Who cannot agree on a key was told by an alert; who took too long has nothing to be told.
        if let Ok(Ok(stream)) = stream {
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            self.converse(stream, h2, stop).await;
        }
    }

    async fn converse<S>(self, stream: S, h2: bool, stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self.listen.scheme {
            Scheme::Https => https::converse(self, stream, h2, stop).await,
            Scheme::Dns | Scheme::Tls | Scheme::Quic => {
                Connection::new(self, stream).run(stop).await
            }
        }
    }

    /// Makes the server that is in force the one that answers.
    fn renew(&mut self) {
        self.dispatcher.renew(&mut self.server, self.listen);
    }

    /// A context for a question that comes in now.
    fn cx(&self) -> Cx {
        new_cx(self.peer, self.local, self.listen.scheme.stream())
    }
}

/// How long a stopping listener's connections may take.
pub(super) const GRACE: Duration = limits::QUERY_TIME;

#[cfg(test)]
mod tests;
