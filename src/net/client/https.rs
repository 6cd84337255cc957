//! Queries in HTTP requests (RFC 8484 §4.1), over HTTP/2 or 1.1 as agreed by ALPN.

use std::io;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::{http1, http2},
    header,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::client::TlsStream;

use crate::{
    limits,
    transport::Scheme,
    upstream::HttpMethod,
    wire::{Query, grow_older},
};

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

    /// The path and query of the first request.
    fn target(&self, message: &[u8]) -> String {
        match self.method {
            HttpMethod::Get => format!("{}?dns={}", self.path, URL_SAFE_NO_PAD.encode(message)),
            HttpMethod::Post => self.path.clone(),
        }
    }

    fn request(&self, target: &str, message: &Bytes) -> io::Result<Request<Full<Bytes>>> {
        let authority = &self.authority;
        let url = format!("https://{authority}{target}");
        let (request, body) = match self.method {
            HttpMethod::Get => (Request::get(url), Bytes::new()),
            HttpMethod::Post => {
                (Request::post(url).header(header::CONTENT_TYPE, MESSAGE), message.clone())
            }
        };
        request
            .header(header::HOST, authority)
            .header(header::ACCEPT, MESSAGE)
            .body(Full::new(body))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    }

    /// The path and query that a response leads to, if it is a redirection within this server
    /// (RFC 9110 §15.4). The method stays. A redirection to another server is not followed, because
    /// its name would have to be resolved.
    fn redirection(&self, response: &Response<Incoming>) -> Option<String> {
        if !response.status().is_redirection() {
            return None;
        }
        let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
        let location: Uri = location.parse().ok()?;
        let is_here = match (location.scheme_str(), location.authority()) {
            (None, None) => true,
            (Some("https"), Some(authority)) => {
                let usual = format!(":{}", Scheme::Https.port());
                let authority = authority.as_str();
                authority.strip_suffix(&*usual).unwrap_or(authority) == self.authority
            }
            _ => false,
        };
        let target = location.path_and_query()?.as_str();
        (is_here && target.starts_with('/')).then(|| target.to_owned())
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
        let mut message = Vec::new();
        query.encode(&mut message);
        let message = Bytes::from(message);
        let mut target = self.endpoint.target(&message);
        for _ in 0..limits::HTTP_REDIRECTS {
            let response = self.send(self.endpoint.request(&target, &message)?).await?;
            match self.endpoint.redirection(&response) {
                Some(next) => target = next,
                None => return read(response, query).await,
            }
            // Over HTTP/1.1 the next request waits until the body has been read.
            body(response).await?;
        }
        read(self.send(self.endpoint.request(&target, &message)?).await?, query).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> io::Result<Response<Incoming>> {
        let response = match &self.sender {
            Sender::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await.map_err(io::Error::other)?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await.map_err(io::Error::other)?;
                sender.send_request(request).await
            }
        };
        response.map_err(io::Error::other)
    }
}

async fn body(response: Response<Incoming>) -> io::Result<Vec<u8>> {
    let body = Limited::new(response.into_body(), limits::STREAM_OCTETS).collect().await;
    Ok(body.map_err(|error| io::Error::other(error.to_string()))?.to_bytes().to_vec())
}

/// A reply counts whatever the status of its response is, as in CoreDNS. The time that it was in an
/// HTTP cache is taken off its TTLs.
async fn read(response: Response<Incoming>, query: &Query) -> io::Result<Vec<u8>> {
    let status = response.status();
    let age = response.headers().get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok());
    let mut reply =
        answer_on_stream(body(response).await?, query).map_err(|error| match status {
            StatusCode::OK => error,
            status => super::StreamError::Status(status.as_u16()).into(),
        })?;
    grow_older(&mut reply, age.unwrap_or(0));
    Ok(reply)
}
