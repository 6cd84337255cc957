//! Sends spans to a collector: OTLP with protocol buffers over HTTP/1.1.

use std::{io, pin::pin, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::Error as RequestError;
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::wall_clock;
use crate::{
    limits,
    plugin::{Collector, TraceSink},
    trace::{self, SpanQueue},
    upstream::TlsClientSettings,
};

use super::tls::{TlsConfigError, client};

/// Why a collector has not taken spans.
#[derive(Debug, Error)]
enum OtlpError {
    #[error("no reply within {} s", limits::TRACE_TIME.as_secs())]
    Timeout,
    #[error("HTTP status {0}")]
    Status(StatusCode),
    #[error("`{0}` cannot be the name of a TLS server")]
    ServerName(String),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Sends the spans of the queue until it is closed.
pub async fn run(sink: TraceSink, queue: Arc<SpanQueue>) {
    let mut logged = None::<tokio::time::Instant>;
    loop {
        let until = tokio::time::Instant::now() + limits::TRACE_INTERVAL;
        while tokio::time::Instant::now() < until && !queue.is_closed() {
            sleep(limits::TRACE_LOOK).await;
        }
        let is_closed = queue.is_closed();
        let spans = Vec::from(queue.take());
        let mut batches = spans.chunks(limits::TRACE_BATCH);
        while let Some(batch) = batches.next() {
            let body = trace::request(&sink.service, batch, wall_clock());
            let sent = timeout(limits::TRACE_TIME, send(&sink.collector, body)).await;
            let Err(error) = sent.unwrap_or(Err(OtlpError::Timeout)) else { continue };
            // The next batch would fail, too.
            let unsent = batch.len() + batches.map(<[_]>::len).sum::<usize>();
            queue.count_dropped(unsent as u64);
            if logged.is_none_or(|logged| logged.elapsed() >= limits::API_LOG_INTERVAL) {
                logged = Some(tokio::time::Instant::now());
                tracing::warn!(
                    plugin = "trace",
                    "{} does not take spans: {error}; they are dropped, and ndots tries again",
                    sink.collector
                );
            }
            break;
        }
        if is_closed {
            return;
        }
    }
}

async fn send(collector: &Collector, body: Vec<u8>) -> Result<(), OtlpError> {
    let stream = TcpStream::connect((collector.host.as_str(), collector.port)).await?;
    if !collector.encrypted {
        return post(stream, collector, body).await;
    }
    let config = client::config(&TlsClientSettings::default())?;
    let name = ServerName::try_from(collector.host.clone())
        .map_err(|_| OtlpError::ServerName(collector.host.clone()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    post(stream, collector, body).await
}

async fn post(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    collector: &Collector,
    body: Vec<u8>,
) -> Result<(), OtlpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post(&collector.path)
        .header(HOST, collector.authority())
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(Bytes::from(body)))?;
    let mut response = pin!(sender.send_request(request));
    let response = tokio::select! {
        response = &mut response => response,
        // The collector may have closed the connection after its reply.
        _ = connection => response.await,
    };
    match response?.status() {
        status if status.is_success() => Ok(()),
        status => Err(OtlpError::Status(status)),
    }
}
