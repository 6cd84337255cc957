//! Messages behind a length of two octets (RFC 1035 §4.2.2), over TCP or TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    limits,
    wire::{Query, reply},
};

use super::udp::local;

/// `source` is the local address, if it is configured.
pub(in crate::net) async fn connect(
    to: SocketAddr,
    source: Option<IpAddr>,
) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) = source {
        socket.bind(local(source, to))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The query's message with its length before it.
pub(in crate::net) fn frame(query: &Query) -> Vec<u8> {
    let mut frame = vec![0; 2];
    query.encode(&mut frame);
    let length = (frame.len() - 2) as u16;
    frame[..2].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Sends the frame and reads up to the reply. Other messages on the connection are passed over, up
/// to [`limits::STRAY_REPLIES`].
pub(in crate::net) async fn converse<S>(
    stream: &mut S,
    frame: &[u8],
    query: &Query,
) -> io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    stream.write_all(frame).await?;
    stream.flush().await?;
    for _ in 0..limits::STRAY_REPLIES {
        let length = stream.read_u16().await?;
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await?;
        // The server knows the connection's sequence numbers, so a reply in another case is not
        // forged: the server does not keep the case.
        if reply::matches(&message, query) != reply::Match::No {
            return Ok(message);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "no message of the server answers the query"))
}
