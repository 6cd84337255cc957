//! `dnstap listen`: receivers connect, and each of them gets all messages.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncWriteExt, split},
    net::{TcpListener, UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
    time::{interval, sleep},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    dnstap::TapQueue,
    limits,
    net::tls::{Identity, Versions},
    plugin::{ClientAuth, DnstapSink, Endpoint, ListenerTls},
    server::Scheme,
};

use super::{BoxStream, DnstapError, Report, ended, frames, in_time, part};

/// Serves receivers until the queue is closed.
pub(super) async fn run(sink: &DnstapSink, tls: Option<&ListenerTls>, queue: &TapQueue) {
    let mut report = Report::default();
    loop {
        let Err(error) = serve(sink, tls, queue, &mut report).await else { return };
        report.failed(sink, &error);
        for _ in 0..PAUSE.as_millis() / limits::DNSTAP_LOOK.as_millis() {
            if queue.is_closed() {
                return;
            }
            queue.count_dropped(queue.take().len() as u64);
            sleep(limits::DNSTAP_LOOK).await;
        }
    }
}

/// How long to wait before another attempt to open the socket.
const PAUSE: Duration = Duration::from_secs(5);

enum Listener {
    Unix(UnixListener, String),
    Tcp(TcpListener, Option<TlsAcceptor>),
}

impl Listener {
    async fn open(endpoint: &Endpoint, tls: Option<&ListenerTls>) -> Result<Self, DnstapError> {
        let (host, port) = match endpoint {
            Endpoint::Unix(path) => {
                remove_unused(path).await;
                return Ok(Self::Unix(UnixListener::bind(path)?, path.clone()));
            }
            Endpoint::Tcp(host, port) | Endpoint::Tls(host, port) => (host, *port),
        };
        let host = if host.is_empty() { "::" } else { host.as_str() };
        let acceptor = match (endpoint, tls) {
            (Endpoint::Tls(..), Some(tls)) => Some(TlsAcceptor::from(Arc::new(config(tls)?))),
            (Endpoint::Tls(..), None) => return Err(DnstapError::NoCertificate),
            _ => None,
        };
        Ok(Self::Tcp(TcpListener::bind((host, port)).await?, acceptor))
    }

    async fn accept(&self) -> io::Result<(BoxStream, Option<TlsAcceptor>)> {
        match self {
            Self::Unix(listener, _) => Ok((Box::new(listener.accept().await?.0), None)),
            Self::Tcp(listener, tls) => Ok((Box::new(listener.accept().await?.0), tls.clone())),
        }
    }
}

/// Removes the file of a socket that a killed process has left.
async fn remove_unused(path: &str) {
    let connected = UnixStream::connect(path).await;
    if connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        let _ = std::fs::remove_file(path);
    }
}

/// Removes the file of the socket. Otherwise the next start could not open a socket at this path.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn config(tls: &ListenerTls) -> Result<ServerConfig, DnstapError> {
    let client_auth = match (&tls.authority, tls.skip_verify) {
        (None, _) => ClientAuth::None,
        (Some(_), true) => ClientAuth::VerifyIfGiven,
        (Some(_), false) => ClientAuth::RequireAndVerify,
    };
    let identity = Identity {
        certificates: tls.certificates.clone(),
        key: tls.key.clone(),
        authorities: tls.authority.clone(),
        client_auth,
        versions: Versions::All,
        key_log: None,
    };
    let mut config = identity.config(Scheme::Tls)?;
    config.alpn_protocols.clear();
    Ok(config)
}

async fn serve(
    sink: &DnstapSink,
    tls: Option<&ListenerTls>,
    queue: &TapQueue,
    report: &mut Report,
) -> Result<(), DnstapError> {
    let listener = Listener::open(&sink.endpoint, tls).await?;
    report.connected(sink);
    let mut look = interval(limits::DNSTAP_LOOK);
    let (mut receivers, mut tasks): (Vec<mpsc::Sender<Bytes>>, _) = (Vec::new(), JoinSet::new());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, tls)) if receivers.len() < limits::DNSTAP_RECEIVERS => {
                    let (sender, parts) = mpsc::channel(limits::DNSTAP_PARTS);
                    receivers.push(sender);
                    tasks.spawn(receiver(stream, tls, parts));
                }
                Ok(_) => {}
                Err(_) => sleep(limits::ACCEPT_PAUSE).await,
            },
            _ = look.tick() => {
                let is_closed = queue.is_closed();
                let mut messages = queue.take();
                while !messages.is_empty() {
                    let before = messages.len();
                    let part = Bytes::from(part(&mut messages, &sink.sender));
                    let count = (before - messages.len()) as u64;
                    // A receiver that is too slow is disconnected, as in CoreDNS.
                    receivers.retain(|receiver| {
                        let fits = receiver.try_send(part.clone()).is_ok();
                        if !fits && !receiver.is_closed() {
                            queue.count_dropped(count);
                        }
                        fits
                    });
                }
                receivers.retain(|receiver| !receiver.is_closed());
                while tasks.try_join_next().is_some() {}
                report.dropped(queue);
                if is_closed {
                    drop(receivers);
                    while tasks.join_next().await.is_some() {}
                    return Ok(());
                }
            }
        }
    }
}

/// Sends parts to a receiver, until there are no more.
async fn receiver(stream: BoxStream, tls: Option<TlsAcceptor>, parts: mpsc::Receiver<Bytes>) {
    if let Err(error) = send(stream, tls, parts).await {
        tracing::debug!(plugin = "dnstap", "a receiver is disconnected: {error}");
    }
}

async fn send(
    stream: BoxStream,
    tls: Option<TlsAcceptor>,
    mut parts: mpsc::Receiver<Bytes>,
) -> Result<(), DnstapError> {
    let stream: BoxStream = match tls {
        Some(tls) => Box::new(in_time(tls.accept(stream)).await?),
        None => stream,
    };
    let (mut read, mut write) = split(stream);
    in_time(frames::open(&mut read, &mut write)).await?;
    loop {
        let part = tokio::select! {
            part = parts.recv() => part,
            closed = ended(&mut read) => return Err(closed),
        };
        let Some(part) = part else {
            return in_time(frames::close(&mut read, &mut write)).await;
        };
        in_time(async {
            write.write_all(&part).await?;
            write.flush().await
        })
        .await?;
    }
}
