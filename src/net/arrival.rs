//! Requests that arrive in parts. Those that are not complete take memory, so each client address
//! has a share of it.

use std::{pin::pin, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::time::timeout;

use super::slots::Slot;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request, whose errors are those of the connection.
pub(super) trait RequestBody: Body<Data: Send, Error: Into<BoxError>> {}

impl<B: Body<Data: Send, Error: Into<BoxError>>> RequestBody for B {}

/// Why a request does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotArrived {
    /// Too many other requests of the client are incomplete.
    TooMany,
    TooLate,
}

/// Waits for a request of a client. If it is not complete at once, it counts as these `octets`
/// meanwhile.
pub(super) async fn arrival<T>(
    slot: &Slot,
    octets: usize,
    time: Duration,
    request: impl Future<Output = T>,
) -> Result<T, NotArrived> {
    let mut request = pin!(request);
    if let Some(request) = request.as_mut().now_or_never() {
        return Ok(request);
    }
    let _share = slot.count_incomplete(octets).ok_or(NotArrived::TooMany)?;
    timeout(time, request).await.map_err(|_| NotArrived::TooLate)
}

/// Why there is no whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLong,
    /// The client has gone, or has broken the protocol.
    Broken,
}

/// Reads a body of at most `most` octets. The parts are copied: each of them keeps the whole buffer
/// that the connection has read into, and may have one octet.
pub(super) async fn body(body: impl RequestBody, most: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > most as u64 {
        return Err(BodyError::TooLong);
    }
    let (mut body, mut octets) = (pin!(body), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if octets.len() + data.remaining() > most {
            return Err(BodyError::TooLong);
        }
        octets.put(data);
    }
    Ok(octets.freeze())
}
