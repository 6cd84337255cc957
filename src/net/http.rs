//! One GET request over plain HTTP, for the process's own health page, kube-proxy's health page,
//! and the pages that `ndots top` shows.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The response with its status line and headers, cut off after `limit` octets. The request goes to
/// the first of the addresses that accepts the connection. Over HTTP/1.0 the body is never chunked.
///
/// # Errors
/// The connection fails, or the response is not UTF-8.
pub async fn get(to: &[SocketAddr], path: &str, limit: u64) -> io::Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    let host = stream.peer_addr()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut response = String::new();
    stream.take(limit).read_to_string(&mut response).await?;
    Ok(response)
}

/// The status code of a response.
pub fn status(response: &str) -> Option<u16> {
    response.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}
