//! DNS over gRPC: CoreDNS's service of one method, whose requests and responses hold one DNS
//! message.

use bytes::{Bytes, BytesMut};
use hyper::{
    HeaderMap, Request, Response,
    header::{CONTENT_TYPE, HeaderValue},
};

use crate::{
    limits,
    net::{
        arrival::{self, NotArrived, RequestBody, arrival},
        client::grpc::{FIELD_OCTETS, METHOD, unwrap, wrap},
        grpc::{
            CONTENT, INVALID_ARGUMENT, OK, REASON, RESOURCE_EXHAUSTED, STATUS, UNIMPLEMENTED,
            frame, unframe,
        },
        slots::Slot,
    },
};

use super::http_body::ResponseBody;

/// Why a request has no reply: a status code and a reason.
pub(super) struct Failure(u32, &'static str);

impl Failure {
    pub(super) const NO_REPLY: Self = Self(INVALID_ARGUMENT, "there is no reply to this message");
    pub(super) const UNREAD: Self =
        Self(RESOURCE_EXHAUSTED, "read the replies to earlier queries first");
    const TOO_MANY: Self = Self(RESOURCE_EXHAUSTED, "complete the other requests first");
    const MALFORMED: Self = Self(INVALID_ARGUMENT, "the request is not a protocol buffer");
    const INCOMPLETE: Self = Self(INVALID_ARGUMENT, "the request is incomplete or too long");
    const UNKNOWN: Self = Self(UNIMPLEMENTED, "the only method is coredns.dns.DnsService/Query");
}

/// The body of the response with this DNS message.
pub(super) fn body(reply: &[u8]) -> Vec<u8> {
    frame(&wrap(reply)).into()
}

/// The response with this body, and the outcome after it.
pub(super) fn response(reply: Result<Bytes, Failure>) -> Response<ResponseBody> {
    let mut outcome = HeaderMap::new();
    let mut response = match reply {
        Ok(reply) => {
            outcome.insert(STATUS, HeaderValue::from(OK));
            Response::new(ResponseBody::with_trailers(reply, outcome))
        }
        Err(Failure(status, reason)) => {
            outcome.insert(STATUS, HeaderValue::from(status));
            outcome.insert(REASON, HeaderValue::from_static(reason));
            let mut response = Response::new(ResponseBody::from(Bytes::new()));
            *response.headers_mut() = outcome;
            response
        }
    };
    response.headers_mut().insert(CONTENT_TYPE, CONTENT);
    response
}

/// The DNS message of a request.
pub(super) async fn packet(
    slot: &Slot,
    request: Request<impl RequestBody>,
) -> Result<Bytes, Failure> {
    let message = message(slot, request).await?;
    let packet = unwrap(&message).map_err(|_| Failure::MALFORMED)?;
    // The field may have fewer octets than [`FIELD_OCTETS`] beside the message, which leaves room
    // for a longer message.
    if packet.len() > limits::REQUEST_OCTETS {
        return Err(Failure::INCOMPLETE);
    }
    Ok(Bytes::copy_from_slice(packet))
}

/// The DNS message of a request, if it has one.
pub(in crate::net) async fn message_of(
    slot: &Slot,
    request: Request<impl RequestBody>,
) -> Option<Bytes> {
    packet(slot, request).await.ok()
}

/// The protocol buffer of a request.
async fn message(slot: &Slot, request: Request<impl RequestBody>) -> Result<Bytes, Failure> {
    if request.uri().path() != METHOD {
        return Err(Failure::UNKNOWN);
    }
    let longest = limits::REQUEST_OCTETS + FIELD_OCTETS;
    let body = arrival::body(request.into_body(), longest + 5);
    let (octets, time) = (limits::INCOMPLETE_BODY_OCTETS, limits::TCP_MESSAGE_TIME);
    let mut octets = match arrival(slot, octets, time, body).await {
        Ok(Ok(body)) => BytesMut::from(body),
        Err(NotArrived::TooMany) => return Err(Failure::TOO_MANY),
        Ok(Err(_)) | Err(NotArrived::TooLate) => return Err(Failure::INCOMPLETE),
    };
    unframe(&mut octets, longest).ok().flatten().ok_or(Failure::INCOMPLETE)
}
