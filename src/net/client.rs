//! Asks one server one question, as a person's tool does: over UDP, TCP, TLS (RFC 7858) or HTTPS
//! (RFC 8484).

mod https;
mod server;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, crypto::ring, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    limits,
    wire::{Query, Question, reply},
};

use super::tls;

pub use server::{Server, Transport};

/// What a server said, and over what it came in the end.
pub struct Heard {
    pub message: Vec<u8>,
    pub over: Transport,
}

/// Asks with one retry over UDP; a reply that is cut is fetched again over TCP.
///
/// # Errors
/// Why there is no reply.
pub async fn ask(
    server: &Server,
    authorities: Option<&[u8]>,
    question: Question,
    patience: Duration,
) -> io::Result<Heard> {
    let asked = Query { id: rand::random(), ..Query::internal(question) };
    let silent = |_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no reply within {} s", patience.as_secs_f32()),
        )
    };
    let to = timeout(patience, address(server)).await.map_err(silent)??;
    let mut over = server.transport;
    if over == Transport::Udp {
        let heard = timeout(patience, udp(to, &asked, patience / 2)).await.map_err(silent)??;
        match heard {
            Some(message) => return Ok(Heard { message, over }),
            None => over = Transport::Tcp,
        }
    }
    let message = timeout(patience, stream(server, to, over, authorities, &asked))
        .await
        .map_err(silent)??;
    Ok(Heard { message, over })
}

async fn address(server: &Server) -> io::Result<SocketAddr> {
    let mut found = tokio::net::lookup_host((server.host.as_str(), server.port)).await?;
    found.next().ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", server.host))
    })
}

/// `None` for a reply that is cut.
async fn udp(to: SocketAddr, asked: &Query, retry: Duration) -> io::Result<Option<Vec<u8>>> {
    let any = if to.is_ipv4() {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    let mut packet = Vec::new();
    asked.encode(&mut packet);
    let mut buffer = vec![0; limits::UDP_REPLY_OCTETS];
    loop {
        socket.send(&packet).await?;
        let reply = timeout(retry, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if reply::matches(&buffer[..length], asked) != reply::Match::No {
                    return io::Result::Ok(length);
                }
            }
        });
        if let Ok(length) = reply.await {
            buffer.truncate(length?);
            let truncated = buffer.get(2).is_some_and(|flags| flags & 2 != 0);
            return Ok((!truncated).then_some(buffer));
        }
    }
}

async fn stream(
    server: &Server,
    to: SocketAddr,
    over: Transport,
    authorities: Option<&[u8]>,
    asked: &Query,
) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect(to).await?;
    let message = match over {
        Transport::Udp | Transport::Tcp => framed(stream, asked).await?,
        Transport::Tls => {
            framed(handshake(server, stream, authorities, &[b"dot"]).await?, asked).await?
        }
        Transport::Https => {
            let stream = handshake(server, stream, authorities, &[b"h2", b"http/1.1"]).await?;
            https::ask(server, stream, asked).await?
        }
    };
    if reply::matches(&message, asked) == reply::Match::No {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what came back is no reply to the question",
        ));
    }
    Ok(message)
}

async fn handshake(
    server: &Server,
    stream: TcpStream,
    authorities: Option<&[u8]>,
    protocols: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut config = config(authorities)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = server.name.as_ref().unwrap_or(&server.host);
    let name = ServerName::try_from(name.clone())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Trusts who signed by these authorities, or by the machine's.
fn config(authorities: Option<&[u8]>) -> io::Result<ClientConfig> {
    let invalid = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
    let authorities =
        authorities.map(str::from_utf8).transpose().map_err(|error| invalid(error.to_string()))?;
    let roots = tls::roots(authorities).map_err(invalid)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A message behind its length (RFC 1035 §4.2.2).
async fn framed(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    asked: &Query,
) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 2];
    asked.encode(&mut frame);
    let length = (frame.len() - 2) as u16;
    frame[..2].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame).await?;
    stream.flush().await?;
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
