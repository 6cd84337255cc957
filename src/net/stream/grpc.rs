//! DNS over gRPC: CoreDNS's service of one method, whose requests and responses hold one DNS
//! message.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Request, Response,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::time::timeout;

use crate::{
    limits,
    net::{
        client::grpc::{FIELD_OCTETS, METHOD, unwrap, wrap},
        doh::RequestBody,
        grpc::{
            CONTENT, INVALID_ARGUMENT, OK, REASON, RESOURCE_EXHAUSTED, STATUS, UNIMPLEMENTED,
            frame, unframe,
        },
    },
};

use super::http_body::ResponseBody;

/// Why a request has no reply: a status code and a reason.
pub(super) struct Failure(u32, &'static str);

impl Failure {
    pub(super) const NO_REPLY: Self = Self(INVALID_ARGUMENT, "there is no reply to this message");
    pub(super) const UNREAD: Self =
        Self(RESOURCE_EXHAUSTED, "read the replies to earlier queries first");
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
pub(super) async fn packet(request: Request<impl RequestBody>) -> Result<Bytes, Failure> {
    let message = message(request).await?;
    let packet = unwrap(&message).map_err(|_| Failure::MALFORMED)?;
    // The field may have fewer octets than [`FIELD_OCTETS`] beside the message, which leaves room
    // for a longer message.
    if packet.len() > limits::REQUEST_OCTETS {
        return Err(Failure::INCOMPLETE);
    }
    Ok(Bytes::copy_from_slice(packet))
}

/// The DNS message of a request, if it has one.
pub(in crate::net) async fn message_of(request: Request<impl RequestBody>) -> Option<Bytes> {
    packet(request).await.ok()
}

/// The protocol buffer of a request.
async fn message(request: Request<impl RequestBody>) -> Result<Bytes, Failure> {
    if request.uri().path() != METHOD {
        return Err(Failure::UNKNOWN);
    }
    let longest = limits::REQUEST_OCTETS + FIELD_OCTETS;
    let body = Limited::new(request.into_body(), longest + 5).collect();
    let Ok(Ok(body)) = timeout(limits::TCP_MESSAGE_TIME, body).await else {
        return Err(Failure::INCOMPLETE);
    };
    let mut octets = BytesMut::from(body.to_bytes());
    unframe(&mut octets, longest).ok().flatten().ok_or(Failure::INCOMPLETE)
}
