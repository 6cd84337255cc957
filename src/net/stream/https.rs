//! DNS over HTTPS (RFC 8484): GET and POST, over HTTP/1.1 and HTTP/2. The connections of DNS over
//! gRPC are the same, with other requests.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
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

use crate::{
    limits,
    metrics::{CounterFamily, Family},
    transport::Scheme,
    wire::freshness,
};

use super::{
    super::slots::{Activity, Unsent},
    HttpVersion, Session, grpc,
    http_body::{RequestBody, ResponseBody},
    stopped,
};

static RESPONSES: CounterFamily<2> = Family::new(
    "dns_https_responses_total",
    "HTTP responses by status code.",
    ["server", "status"],
);

/// The path for queries: CoreDNS's, and that of the examples of RFC 8484.
const PATH: &str = "/dns-query";
const MESSAGE: HeaderValue = HeaderValue::from_static("application/dns-message");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

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
        let reply = match message(request).await {
            Ok(packet) => self.answer(&packet).await,
            Err(refusal) => Err(refusal),
        };
        let response = reply.unwrap_or_else(Refusal::into_response);
        let (server, status) = (self.session.listen.to_string(), response.status());
        RESPONSES.with(&self.session.dispatcher.metrics, [&server, status.as_str()]).inc();
        response
    }

    async fn answer_grpc(&self, request: Request<Incoming>) -> Result<Bytes, grpc::Failure> {
        let packet = grpc::packet(request).await?;
        if !self.session.slot.has_room() {
            return Err(grpc::Failure::UNREAD);
        }
        let reply = self.reply(&packet).await.ok_or(grpc::Failure::NO_REPLY)?;
        self.hold(grpc::body(&reply)).ok_or(grpc::Failure::UNREAD)
    }

    /// The reply to a message; `None` if the client gets none.
    async fn reply(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let Session { dispatcher, listen, .. } = &self.session;
        let mut server = Arc::clone(&self.session.server);
        dispatcher.update_server(&mut server, *listen);
        dispatcher.answer(&server, *listen, packet, self.session.cx()).await
    }

    /// The octets, counted until they are sent; `None` if the client must read others first.
    fn hold(&self, reply: Vec<u8>) -> Option<Bytes> {
        let unsent = self.session.slot.count_unsent(reply.len())?;
        Some(Bytes::from_owner(UnsentReply { reply, _unsent: unsent }))
    }

    async fn answer(&self, packet: &[u8]) -> Result<Response<ResponseBody>, Refusal> {
        let unread = Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "read the replies to earlier queries first\n",
        );
        if !self.session.slot.has_room() {
            return Err(unread);
        }
        let reply = self.reply(packet).await;
        let reply = reply
            .ok_or(Refusal::new(StatusCode::BAD_REQUEST, "there is no reply to this message\n"))?;
        let age = HeaderValue::try_from(format!("max-age={}", freshness(&reply)));
        let body = self.hold(reply).ok_or(unread)?;
        let mut response = Response::new(ResponseBody::from(body));
        response.headers_mut().insert(CONTENT_TYPE, MESSAGE);
        response.headers_mut().extend(age.map(|age| (CACHE_CONTROL, age)));
        Ok(response)
    }
}

/// The octets of a reply. HTTP drops them when they are sent, or when the stream ends.
struct UnsentReply {
    reply: Vec<u8>,
    _unsent: Unsent,
}

impl AsRef<[u8]> for UnsentReply {
    fn as_ref(&self) -> &[u8] {
        &self.reply
    }
}

/// The response to a request without a DNS message.
struct Refusal {
    status: StatusCode,
    reason: &'static str,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    fn into_response(self) -> Response<ResponseBody> {
        let body = ResponseBody::from(Bytes::from_static(self.reason.as_bytes()));
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, TEXT);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        response
    }
}

/// The DNS message of a request, or the status for its client.
pub(in crate::net) async fn message_of(
    request: Request<impl RequestBody>,
) -> Result<Bytes, StatusCode> {
    message(request).await.map_err(|refusal| refusal.status)
}

/// The DNS message of a request.
async fn message(request: Request<impl RequestBody>) -> Result<Bytes, Refusal> {
    if request.uri().path() != PATH {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "queries are answered at /dns-query\n"));
    }
    match *request.method() {
        Method::GET => of_query(request.uri().query().unwrap_or_default()),
        Method::POST => of_body(request).await,
        _ => Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "send queries by GET or POST\n")),
    }
}

/// The parameter `dns`: the message in base64url without padding (RFC 8484 §6). A text that is too
/// long is not decoded (CVE-2026-32936).
fn of_query(query: &str) -> Result<Bytes, Refusal> {
    let bad = |reason| Refusal::new(StatusCode::BAD_REQUEST, reason);
    let mut messages = query.split('&').filter_map(|pair| pair.strip_prefix("dns="));
    let (Some(message), None) = (messages.next(), messages.next()) else {
        return Err(bad("expected one parameter `dns`\n"));
    };
    let too_long =
        || Refusal::new(StatusCode::URI_TOO_LONG, "the message is longer than any DNS request\n");
    if message.len() > limits::REQUEST_OCTETS.div_ceil(3) * 4 {
        return Err(too_long());
    }
    let message = BASE64_URL_SAFE_NO_PAD
        .decode(message)
        .map_err(|_| bad("the parameter `dns` must be base64url without padding\n"))?;
    if message.len() > limits::REQUEST_OCTETS { Err(too_long()) } else { Ok(message.into()) }
}

async fn of_body(request: Request<impl RequestBody>) -> Result<Bytes, Refusal> {
    let essence = |kind: &HeaderValue| {
        kind.to_str().is_ok_and(|kind| {
            kind.split(';')
                .next()
                .unwrap_or(kind)
                .trim()
                .eq_ignore_ascii_case("application/dns-message")
        })
    };
    if !request.headers().get(CONTENT_TYPE).is_some_and(essence) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected application/dns-message\n",
        ));
    }
    let too_large = || {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the message is longer than any DNS request\n")
    };
    let body = request.into_body();
    if body.size_hint().lower() > limits::REQUEST_OCTETS as u64 {
        return Err(too_large());
    }
    match timeout(limits::TCP_MESSAGE_TIME, Limited::new(body, limits::REQUEST_OCTETS).collect())
        .await
    {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the body is incomplete\n")),
        Err(_) => {
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"))
        }
    }
}
