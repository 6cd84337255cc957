//! Calls of gRPC services. A call is an HTTP/2 request. In its body and in the body of the
//! response, five octets precede each message. The trailers of the response have the outcome.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, future::BoxFuture};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Request, StatusCode,
    body::{Body, Frame, Incoming},
    client::conn::http2,
    header::{CONTENT_TYPE, HeaderValue, TE},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::limits;

/// The content type of every request and response.
pub(super) const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");
pub(super) const STATUS: &str = "grpc-status";
pub(super) const REASON: &str = "grpc-message";

/// Status codes of gRPC.
pub(super) const OK: u32 = 0;
pub(super) const INVALID_ARGUMENT: u32 = 3;
pub(super) const NOT_FOUND: u32 = 5;
pub(super) const RESOURCE_EXHAUSTED: u32 = 8;
pub(super) const UNIMPLEMENTED: u32 = 12;

/// Why a call has no result.
#[derive(Debug, Error)]
pub(super) enum GrpcError {
    #[error("gRPC status {0}: {1}")]
    Status(u32, String),
    #[error("HTTP status {0}")]
    Http(u16),
    #[error("the response is not a gRPC message, or too long")]
    Malformed,
    #[error(transparent)]
    Connection(#[from] hyper::Error),
}

/// A message with its length before it.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    // No compression.
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// Takes the first message off the octets; `None` if it is not complete.
pub(super) fn unframe(octets: &mut BytesMut, longest: usize) -> Result<Option<Bytes>, GrpcError> {
    let Some([compressed, length @ ..]) = octets.first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if *compressed != 0 || length > longest {
        return Err(GrpcError::Malformed);
    }
    if octets.len() < length + 5 {
        return Ok(None);
    }
    octets.advance(5);
    Ok(Some(octets.split_to(length).freeze()))
}

/// A connection to a gRPC server.
pub(super) struct GrpcConnection {
    sender: http2::SendRequest<RequestBody>,
    /// The scheme, the host and the port.
    server: String,
    /// The value of the header `token`.
    token: Option<HeaderValue>,
}

impl GrpcConnection {
    /// `server` is a URL without a path. The caller must poll the future: it sends and receives all
    /// data, and ends when the connection ends.
    pub(super) async fn open<S>(
        stream: S,
        server: String,
    ) -> io::Result<(Self, BoxFuture<'static, ()>)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(limits::GRPC_KEEP_ALIVE)
            .keep_alive_timeout(limits::GRPC_KEEP_ALIVE);
        let (sender, connection) =
            http.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        Ok((Self { sender, server, token: None }, connection.map(drop).boxed()))
    }

    /// Later calls present this token.
    pub(super) fn set_token(&mut self, token: &[u8]) {
        self.token = HeaderValue::from_bytes(token).ok();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Calls a method that has one response, of at most `longest` octets.
    pub(super) async fn call(
        &self,
        path: &str,
        message: &[u8],
        longest: usize,
    ) -> Result<Bytes, GrpcError> {
        let body = RequestBody { message: Some(frame(message)), stays_open: false };
        let mut responses = self.send(path, body, longest).await?;
        let response = responses.next().await?.ok_or(GrpcError::Malformed)?;
        // The status follows the message.
        while responses.next().await?.is_some() {}
        Ok(response)
    }

    /// Calls a method with many responses. The request does not end before the responses.
    pub(super) async fn subscribe(
        &self,
        path: &str,
        message: &[u8],
        longest: usize,
    ) -> Result<Responses, GrpcError> {
        let body = RequestBody { message: Some(frame(message)), stays_open: true };
        self.send(path, body, longest).await
    }

    async fn send(
        &self,
        path: &str,
        body: RequestBody,
        longest: usize,
    ) -> Result<Responses, GrpcError> {
        let mut request = Request::post(format!("{}{path}", self.server))
            .header(CONTENT_TYPE, CONTENT)
            .header(TE, "trailers");
        if let Some(token) = &self.token {
            request = request.header("token", token);
        }
        let request = request.body(body).map_err(|_| GrpcError::Malformed)?;
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(GrpcError::Http(response.status().as_u16()));
        }
        // A failure without a message has its status in the header.
        check_status(response.headers())?;
        Ok(Responses { body: response.into_body(), octets: BytesMut::new(), longest })
    }
}

/// The messages of a response, as they arrive.
pub(super) struct Responses {
    body: Incoming,
    octets: BytesMut,
    longest: usize,
}

impl Responses {
    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, GrpcError> {
        loop {
            if let Some(message) = unframe(&mut self.octets, self.longest)? {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else {
                return if self.octets.is_empty() { Ok(None) } else { Err(GrpcError::Malformed) };
            };
            match frame?.into_data() {
                Ok(data) => self.octets.extend_from_slice(&data),
                Err(frame) => frame.trailers_ref().map_or(Ok(()), check_status)?,
            }
        }
    }
}

fn check_status(headers: &HeaderMap) -> Result<(), GrpcError> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match text(STATUS).map(|status| status.parse().unwrap_or(u32::MAX)) {
        None | Some(OK) => Ok(()),
        Some(status) => Err(GrpcError::Status(status, text(REASON).unwrap_or_default().to_owned())),
    }
}

/// The body of a request.
struct RequestBody {
    message: Option<Bytes>,
    /// The body does not end after the message.
    stays_open: bool,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.message.take() {
            Some(message) => Poll::Ready(Some(Ok(Frame::data(message)))),
            None if self.stays_open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && !self.stays_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_off_one_by_one() {
        let mut octets = BytesMut::from(&[&frame(b"one")[..], &frame(b""), b"\0\0\0"].concat()[..]);
        let mut next = || unframe(&mut octets, 3).unwrap();
        assert_eq!(next().as_deref(), Some(&b"one"[..]));
        assert_eq!(next().as_deref(), Some(&b""[..]));
        assert_eq!(next(), None);
        for bad in [&b"\x01\0\0\0\x01a"[..], b"\0\0\0\0\x04abcd", b"\0\xff\xff\xff\xff"] {
            assert!(unframe(&mut BytesMut::from(bad), 3).is_err(), "{bad:?}");
        }
    }
}
