//! Sends messages of dnstap to a receiver, or to the receivers that connect.

mod frames;
mod listener;

use std::{collections::VecDeque, io, sync::Arc};

use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    net::{TcpStream, UnixStream},
    time::{interval, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    dnstap::{Sender, TapMessage, TapQueue},
    limits,
    plugin::{DnstapSink, Endpoint, Side},
    upstream::TlsClientSettings,
};

use super::{
    tls::{TlsConfigError, client},
    wall_clock,
};

/// Why a receiver gets no messages.
#[derive(Debug, Error)]
pub(super) enum DnstapError {
    #[error("no progress within {} s", limits::DNSTAP_TIME.as_secs())]
    Timeout,
    #[error("the receiver has closed the connection")]
    Closed,
    #[error("the receiver does not accept a frame stream of the type protobuf:dnstap.Dnstap")]
    Protocol,
    #[error("the listener has no certificate; add the option `tls CERT KEY`")]
    NoCertificate,
    #[error("`{0}` cannot be the name of a TLS server")]
    ServerName(String),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A connection to a receiver.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type BoxStream = Box<dyn Stream>;

/// Sends the messages of the queue until it is closed.
pub async fn run(sink: DnstapSink, queue: Arc<TapQueue>) {
    match &sink.side {
        Side::Connects { .. } => connect_and_send(&sink, &queue).await,
        Side::Listens(tls) => listener::run(&sink, tls.as_deref(), &queue).await,
    }
}

/// Connects again after each error. Meanwhile messages wait in the queue.
async fn connect_and_send(sink: &DnstapSink, queue: &TapQueue) {
    let mut back_off = limits::API_RETRY_MIN;
    let mut report = Report::default();
    loop {
        let begun = tokio::time::Instant::now();
        let ended = match in_time(connect(sink)).await {
            Ok(stream) => send_all(stream, sink, queue, &mut report).await,
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        if begun.elapsed() > limits::API_RECONNECT_MAX {
            back_off = limits::API_RETRY_MIN;
        }
        report.failed(sink, &error);
        let again =
            tokio::time::Instant::now() + back_off.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        back_off = (back_off * 2).min(limits::API_RECONNECT_MAX);
        while tokio::time::Instant::now() < again {
            if queue.is_closed() {
                queue.count_dropped(queue.take().len() as u64);
                return;
            }
            report.dropped(queue);
            sleep(limits::DNSTAP_LOOK).await;
        }
    }
}

async fn in_time<T, E: Into<DnstapError>>(
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, DnstapError> {
    timeout(limits::DNSTAP_TIME, step).await.map_err(|_| DnstapError::Timeout)?.map_err(Into::into)
}

async fn connect(sink: &DnstapSink) -> Result<BoxStream, DnstapError> {
    let (host, port, tls) = match &sink.endpoint {
        Endpoint::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
        Endpoint::Tcp(host, port) => (host, *port, false),
        Endpoint::Tls(host, port) => (host, *port, true),
    };
    // As in CoreDNS, an empty host is this machine.
    let host = if host.is_empty() { "localhost" } else { host.as_str() };
    let stream = TcpStream::connect((host, port)).await?;
    if !tls {
        return Ok(Box::new(stream));
    }
    let config = match sink.side {
        Side::Connects { skip_verify: true } => client::config_for_any_certificate()?,
        _ => client::config(&TlsClientSettings::default())?,
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| DnstapError::ServerName(host.to_owned()))?;
    Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

/// Sends messages until the queue is closed.
async fn send_all(
    stream: BoxStream,
    sink: &DnstapSink,
    queue: &TapQueue,
    report: &mut Report,
) -> Result<(), DnstapError> {
    let (mut read, mut write) = split(stream);
    in_time(frames::open(&mut read, &mut write)).await?;
    report.connected(sink);
    let mut look = interval(limits::DNSTAP_LOOK);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            closed = ended(&mut read) => return Err(closed),
        }
        let is_closed = queue.is_closed();
        send_batch(&mut write, queue.take(), &sink.sender, queue).await?;
        report.dropped(queue);
        if is_closed {
            let _ = in_time(frames::close(&mut read, &mut write)).await;
            return Ok(());
        }
    }
}

/// A receiver sends nothing, so any end of reading is the end of the connection.
async fn ended(read: &mut ReadHalf<BoxStream>) -> DnstapError {
    let mut octets = [0; 64];
    loop {
        match read.read(&mut octets).await {
            Ok(0) => return DnstapError::Closed,
            Ok(_) => {}
            Err(error) => return error.into(),
        }
    }
}

/// Messages that cannot be sent are counted as dropped.
async fn send_batch(
    write: &mut WriteHalf<BoxStream>,
    mut messages: VecDeque<TapMessage>,
    sender: &Sender,
    queue: &TapQueue,
) -> Result<(), DnstapError> {
    while !messages.is_empty() {
        let before = messages.len();
        let part = part(&mut messages, sender);
        let written = in_time(async {
            write.write_all(&part).await?;
            write.flush().await
        });
        if let Err(error) = written.await {
            queue.count_dropped(before as u64);
            return Err(error);
        }
    }
    Ok(())
}

/// Takes messages for one write, as frames.
fn part(messages: &mut VecDeque<TapMessage>, sender: &Sender) -> Vec<u8> {
    let (clock, mut part) = (wall_clock(), Vec::new());
    while part.len() < limits::DNSTAP_WRITE_OCTETS
        && let Some(message) = messages.pop_front()
    {
        frames::add(&mut part, &message.encode(sender, clock));
    }
    part
}

/// When a failure and dropped messages were last logged.
#[derive(Debug, Default)]
struct Report {
    failed: Option<tokio::time::Instant>,
    dropped: Option<tokio::time::Instant>,
}

impl Report {
    /// Logs a failure, but at most once every [`limits::API_LOG_INTERVAL`] while it lasts.
    fn failed(&mut self, sink: &DnstapSink, error: &DnstapError) {
        if self.failed.is_none_or(|last| last.elapsed() >= limits::API_LOG_INTERVAL) {
            self.failed = Some(tokio::time::Instant::now());
            tracing::error!(
                plugin = "dnstap",
                "No connection to dnstap endpoint: {}: {error}; messages wait in the queue, and ndots tries again",
                sink.endpoint
            );
        }
    }

    fn connected(&mut self, sink: &DnstapSink) {
        if self.failed.take().is_some() {
            tracing::info!(plugin = "dnstap", "connected to {}", sink.endpoint);
        }
    }

    fn dropped(&mut self, queue: &TapQueue) {
        if self.dropped.is_none_or(|last| last.elapsed() >= limits::DNSTAP_LOG_INTERVAL) {
            self.dropped = Some(tokio::time::Instant::now());
            let count = queue.take_dropped();
            if count > 0 {
                tracing::warn!(plugin = "dnstap", "Dropped dnstap messages: {count}");
            }
        }
    }
}
