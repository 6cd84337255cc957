//! A query in the body of a POST (RFC 8484 §4.1), over HTTP/2 or 1.1 as agreed by ALPN.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, body::Incoming, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::{
    limits,
    wire::{Query, reply},
};

use super::Nameserver;

const MESSAGE: &str = "application/dns-message";

pub(super) async fn query(
    nameserver: &Nameserver,
    stream: TlsStream<TcpStream>,
    query: &Query,
) -> io::Result<Vec<u8>> {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = request(nameserver, query)?;
    let message = if is_http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(io::Error::other)?;
        drive(connection, async { read(sender.send_request(request).await).await }).await
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        drive(connection, async { read(sender.send_request(request).await).await }).await
    }?;
    if reply::matches(&message, query) == reply::Match::No {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the message in the HTTP response does not answer the query",
        ));
    }
    Ok(message)
}

/// Runs the connection until the reply has arrived.
async fn drive<C, T>(connection: C, reply: impl Future<Output = io::Result<T>>) -> io::Result<T>
where
    C: Future<Output = hyper::Result<()>>,
{
    tokio::pin!(connection, reply);
    tokio::select! {
        reply = &mut reply => reply,
        ended = &mut connection => match ended {
            // The reply may have been read before the connection ended.
            Ok(()) => reply.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}

fn request(nameserver: &Nameserver, query: &Query) -> io::Result<Request<Full<Bytes>>> {
    let mut message = Vec::new();
    query.encode(&mut message);
    let (name, port) = (nameserver.certificate_name(), nameserver.port);
    let host =
        if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
    Request::post(format!("https://{host}{}", nameserver.path))
        .header(header::HOST, &host)
        .header(header::CONTENT_TYPE, MESSAGE)
        .header(header::ACCEPT, MESSAGE)
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
