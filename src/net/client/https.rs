//! Queries in HTTP requests (RFC 8484 §4.1), over HTTP/2 or 1.1 as agreed by ALPN.

use std::io;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::{http1, http2},
    header,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::client::TlsStream;

use crate::{limits, transport::Scheme, upstream::HttpMethod, wire::Query};

use super::answer_on_stream;

const MESSAGE: &str = "application/dns-message";

/// The path of the upstreams of `forward`, as in CoreDNS.
pub(in crate::net) const PATH: &str = "/dns-query";

/// Where requests of a connection go to.
pub(in crate::net) struct HttpEndpoint {
    /// The host, and its port if it is not the usual one.
    authority: String,
    path: String,
    method: HttpMethod,
}

impl HttpEndpoint {
    /// `host` is a name or an address.
    pub(in crate::net) fn new(host: &str, port: u16, path: &str, method: HttpMethod) -> Self {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let authority = if port == Scheme::Https.port() { host } else { format!("{host}:{port}") };
        Self { authority, path: path.to_owned(), method }
    }

    fn request(&self, query: &Query) -> io::Result<Request<Full<Bytes>>> {
        let mut message = Vec::new();
        query.encode(&mut message);
        let Self { authority, path, method } = self;
        let (request, body) = match method {
            HttpMethod::Get => {
                let message = URL_SAFE_NO_PAD.encode(message);
                (Request::get(format!("https://{authority}{path}?dns={message}")), Bytes::new())
            }
            HttpMethod::Post => {
                let request = Request::post(format!("https://{authority}{path}"));
                (request.header(header::CONTENT_TYPE, MESSAGE), message.into())
            }
        };
        request
            .header(header::HOST, authority)
            .header(header::ACCEPT, MESSAGE)
            .body(Full::new(body))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    }
}

/// An HTTP connection to a DNS server.
pub(in crate::net) struct HttpsConnection {
    sender: Sender,
    endpoint: HttpEndpoint,
}

enum Sender {
    /// One request at a time.
    Http1(Mutex<http1::SendRequest<Full<Bytes>>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl HttpsConnection {
    /// Nothing is sent or received unless the caller polls the future, which ends with the
    /// connection.
    pub(in crate::net) async fn open(
        stream: TlsStream<TcpStream>,
        endpoint: HttpEndpoint,
    ) -> io::Result<(Self, BoxFuture<'static, ()>)> {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        let (sender, driver) = if is_http2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
            (Sender::Http2(sender), connection.map(drop).boxed())
        } else {
            let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
            (Sender::Http1(Mutex::new(sender)), connection.map(drop).boxed())
        };
        Ok((Self { sender, endpoint }, driver))
    }

    /// How many queries may be under way at once.
    pub(in crate::net) fn capacity(&self) -> usize {
        match self.sender {
            Sender::Http1(_) => 1,
            Sender::Http2(_) => limits::UPSTREAM_STREAMS,
        }
    }

    pub(in crate::net) fn is_closed(&self) -> bool {
        match &self.sender {
            // A connection that is in use is open.
            Sender::Http1(sender) => sender.try_lock().is_ok_and(|sender| sender.is_closed()),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends a query and returns its reply.
    pub(in crate::net) async fn converse(&self, query: &Query) -> io::Result<Vec<u8>> {
        let request = self.endpoint.request(query)?;
        match &self.sender {
            Sender::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await.map_err(io::Error::other)?;
                read(sender.send_request(request).await, query).await
            }
            Sender::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await.map_err(io::Error::other)?;
                read(sender.send_request(request).await, query).await
            }
        }
    }
}

/// A reply counts whatever the status of its response is, as in CoreDNS.
async fn read(response: hyper::Result<Response<Incoming>>, query: &Query) -> io::Result<Vec<u8>> {
    let response = response.map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), limits::STREAM_OCTETS).collect().await;
    let body = body.map_err(|error| io::Error::other(error.to_string()))?.to_bytes().to_vec();
    answer_on_stream(body, query).map_err(|error| match status {
        StatusCode::OK => error,
        status => super::StreamError::Status(status.as_u16()).into(),
    })
}
