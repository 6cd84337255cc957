//! DNS over HTTPS: connections with HTTP/1.1 and HTTP/2. The connections of DNS over
//! gRPC are the same, with other requests.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{limits, metrics::Family, transport::Scheme};

use super::{
    super::{
        doh::{self, Refusal},
        slots::Activity,
        status_counter::StatusFamily,
    },
    HttpVersion, Session, grpc,
    http_body::ResponseBody,
    stopped,
};

pub(super) static RESPONSES: StatusFamily = StatusFamily {
    counters: Family::new(
        "dns_https_responses_total",
        "HTTP responses by status code.",
        ["server", "status"],
    ),
    label: |status| status.to_string(),
};

/// Answers until the client closes the connection, is idle for too long, or is evicted.
pub(super) async fn converse<S>(
    session: Session,
    stream: S,
    version: HttpVersion,
    stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection_idle = session.timeouts().idle;
    let connection = Arc::new(HttpConnection {
        session,
        load: watch::Sender::new(Load { requests: 0, since: Instant::now() }),
    });
    let answering = Arc::clone(&connection);
    let service = service_fn(move |request| {
        let connection = Arc::clone(&answering);
        async move { Ok::<_, Infallible>(connection.respond(request).await) }
    });
    let stream = TokioIo::new(stream);
    match version {
        HttpVersion::Http1 => {
            let http = http1(connection_idle).serve_connection(stream, service);
            connection.drive(http, http1::Connection::graceful_shutdown, stop).await;
        }
        HttpVersion::Http2 => {
            let http = http2(Streams::default()).serve_connection(stream, service);
            connection.drive(http, http2::Connection::graceful_shutdown, stop).await;
        }
    }
}

fn http1(idle: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The timeout also applies between requests.
    http.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(limits::HTTP_HEAD_OCTETS);
    http
}

fn http2(streams: Streams) -> http2::Builder<Streams> {
    let mut http = http2::Builder::new(streams);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(limits::TCP_PENDING_QUERIES as u32)
        .max_header_list_size(limits::HTTP_HEAD_OCTETS as u32)
        .initial_connection_window_size(limits::HTTP_WINDOW_OCTETS)
        .max_send_buf_size(limits::STREAM_OCTETS);
    http
}

/// The tasks of one connection's streams, which end with the connection.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(stream);
    }
}

struct HttpConnection {
    session: Session,
    load: watch::Sender<Load>,
}

/// The number of requests that are being answered, and when it last changed.
#[derive(Clone, Copy)]
struct Load {
    requests: usize,
    since: Instant,
}

/// Counts a request until it is dropped.
struct RequestGuard<'l>(&'l watch::Sender<Load>);

impl<'l> RequestGuard<'l> {
    fn new(load: &'l watch::Sender<Load>) -> Self {
        load.send_modify(|load| {
            *load = Load { requests: load.requests + 1, since: Instant::now() };
        });
        Self(load)
    }
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|load| {
            *load = Load { requests: load.requests - 1, since: Instant::now() };
        });
    }
}

impl HttpConnection {
    /// Runs the connection until it ends. `finish` starts hyper's graceful shutdown.
    async fn drive<C: Future>(
        &self,
        connection: C,
        finish: fn(Pin<&mut C>),
        mut stop: watch::Receiver<bool>,
    ) {
        let (mut connection, mut load, mut stopping) =
            (pin!(connection), self.load.subscribe(), false);
        let mut stalled = pin!(self.session.slot.stalled());
        loop {
            let Load { requests, since } = *load.borrow_and_update();
            self.session.slot.set_activity(Activity::of(requests));
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = load.changed() => {}
                () = sleep_until(since + self.session.timeouts().idle), if requests == 0 => break,
                () = self.session.slot.evicted() => break,
                () = &mut stalled => return self.session.reset.set(),
                () = stopped(&mut stop), if !stopping => {
                    // New requests are refused; those that have arrived are answered.
                    stopping = true;
                    finish(connection.as_mut());
                }
            }
        }
        finish(connection.as_mut());
        let _ = timeout(limits::TCP_DRAIN_TIME, connection).await;
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let _guard = RequestGuard::new(&self.load);
        if self.session.listen.scheme == Scheme::Grpc {
            return grpc::response(self.answer_grpc(request).await);
        }
        let reply = match doh::message(&self.session.slot, request).await {
            Ok(packet) => doh::respond(&self.session.slot, self.reply(&packet)).await,
            Err(refusal) => Err(refusal),
        };
        let response = reply.unwrap_or_else(Refusal::into_response).map(ResponseBody::from);
        self.session.responses.count(response.status().as_u16());
        response
    }

    async fn answer_grpc(&self, request: Request<Incoming>) -> Result<Bytes, grpc::Failure> {
        let packet = grpc::packet(&self.session.slot, request).await?;
        if !self.session.slot.has_room() {
            return Err(grpc::Failure::UNREAD);
        }
        let reply = self.reply(&packet).await.ok_or(grpc::Failure::NO_REPLY)?;
        self.session.slot.hold(grpc::body(&reply)).ok_or(grpc::Failure::UNREAD)
    }

    /// The reply to a message; `None` if the client gets none.
    async fn reply(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let Session { dispatcher, listen, .. } = &self.session;
        let mut server = Arc::clone(&self.session.server);
        dispatcher.update_server(&mut server, *listen);
        dispatcher.answer(&server, *listen, packet, self.session.cx()).await
    }
}
