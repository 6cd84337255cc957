//! DNS over HTTPS (RFC 8484): the DNS message of a request, and the response with the reply. All
//! versions of HTTP use this module.

use crate::{limits, wire::freshness};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};

use super::{
    arrival::{self, BodyError, NotArrived, RequestBody, arrival},
    slots::Slot,
};

/// The path for queries, as in CoreDNS and in the examples of RFC 8484.
const PATH: &str = "/dns-query";
const MESSAGE: HeaderValue = HeaderValue::from_static("application/dns-message");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Returns the HTTP response with a DNS reply. The octets of the reply count as unsent until the
/// client has them. While too many octets of other replies are unsent, the query is refused.
pub(super) async fn respond(
    slot: &Slot,
    reply: impl Future<Output = Option<Vec<u8>>>,
) -> Result<Response<Bytes>, Refusal> {
    if !slot.has_room() {
        return Err(Refusal::UNREAD);
    }
    let reply = reply.await.ok_or(Refusal::NO_REPLY)?;
    let age = HeaderValue::try_from(format!("max-age={}", freshness(&reply)));
    let mut response = Response::new(slot.hold(reply).ok_or(Refusal::UNREAD)?);
    response.headers_mut().insert(CONTENT_TYPE, MESSAGE);
    response.headers_mut().extend(age.map(|age| (CACHE_CONTROL, age)));
    Ok(response)
}

/// The response to a request that has no reply.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    reason: &'static str,
}

impl Refusal {
    const UNREAD: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        reason: "read the replies to earlier queries first\n",
    };
    const NO_REPLY: Self =
        Self { status: StatusCode::BAD_REQUEST, reason: "there is no reply to this message\n" };

    fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason }
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let body = Bytes::from_static(self.reason.as_bytes());
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
pub(super) async fn message_of(
    slot: &Slot,
    request: Request<impl RequestBody>,
) -> Result<Bytes, StatusCode> {
    message(slot, request).await.map_err(|refusal| refusal.status)
}

/// The DNS message of a request.
pub(super) async fn message(
    slot: &Slot,
    request: Request<impl RequestBody>,
) -> Result<Bytes, Refusal> {
    if request.uri().path() != PATH {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "queries are answered at /dns-query\n"));
    }
    match *request.method() {
        Method::GET => of_query(request.uri().query().unwrap_or_default()),
        Method::POST => of_body(slot, request).await,
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

/// The body is the message, whatever type the request names: CoreDNS does not look at it either.
async fn of_body(slot: &Slot, request: Request<impl RequestBody>) -> Result<Bytes, Refusal> {
    let body = arrival::body(request.into_body(), limits::REQUEST_OCTETS);
    let (octets, time) = (limits::INCOMPLETE_BODY_OCTETS, limits::TCP_MESSAGE_TIME);
    let (status, reason) = match arrival(slot, octets, time, body).await {
        Ok(Ok(body)) => return Ok(body),
        Ok(Err(BodyError::TooLong)) => {
            (StatusCode::PAYLOAD_TOO_LARGE, "the message is longer than any DNS request\n")
        }
        Ok(Err(BodyError::Broken)) => (StatusCode::BAD_REQUEST, "the body is incomplete\n"),
        Err(NotArrived::TooLate) => {
            (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n")
        }
        Err(NotArrived::TooMany) => {
            (StatusCode::SERVICE_UNAVAILABLE, "complete the other requests first\n")
        }
    };
    Err(Refusal::new(status, reason))
}
