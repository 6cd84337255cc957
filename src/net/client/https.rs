//! A question in the body of a POST (RFC 8484 §4.1), over HTTP/2 or 1.1, whichever the server took.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, body::Incoming, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::{limits, wire::Query};

use super::Server;

pub(super) async fn ask(
    server: &Server,
    stream: TlsStream<TcpStream>,
    asked: &Query,
) -> io::Result<Vec<u8>> {
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = request(server, asked)?;
    if h2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(io::Error::other)?;
        driven(connection, async { read(sender.send_request(request).await).await }).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        driven(connection, async { read(sender.send_request(request).await).await }).await
    }
}

/// The reply, while the connection is kept going.
async fn driven<C, T>(connection: C, reply: impl Future<Output = io::Result<T>>) -> io::Result<T>
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::pin!(connection, reply);
    tokio::select! {
        reply = &mut reply => reply,
        ended = &mut connection => match ended {
            // What was read before the end may still be the reply.
            Ok(()) => reply.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}

fn request(server: &Server, asked: &Query) -> io::Result<Request<Full<Bytes>>> {
    let mut message = Vec::new();
    asked.encode(&mut message);
    let name = server.name.as_ref().unwrap_or(&server.host);
    let host = if name.contains(':') {
        format!("[{name}]:{}", server.port)
    } else {
        format!("{name}:{}", server.port)
    };
    Request::post(format!("https://{host}{}", server.path))
        .header(header::HOST, &host)
        .header(header::CONTENT_TYPE, "application/dns-message")
        .header(header::ACCEPT, "application/dns-message")
        .body(Full::new(message.into()))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
}

async fn read(response: hyper::Result<hyper::Response<Incoming>>) -> io::Result<Vec<u8>> {
    let response = response.map_err(io::Error::other)?;
    if response.status() != StatusCode::OK {
        return Err(io::Error::other(format!("HTTP status {}", response.status())));
    }
    let body = Limited::new(response.into_body(), limits::STREAM_OCTETS).collect().await;
    Ok(body.map_err(|error| io::Error::other(error.to_string()))?.to_bytes().to_vec())
}
