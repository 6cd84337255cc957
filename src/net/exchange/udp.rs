//! One question in one datagram, from a port of its own.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::UdpSocket;

use crate::{
    limits,
    metrics::IntCounter,
    wire::{Query, reply},
};

use super::Raw;

/// Sends the question and listens until its reply comes. What is no reply to it is counted and
/// passed over: a forger must guess port, id and case, and cannot end the wait by guessing wrong.
pub(super) async fn ask(
    to: SocketAddr,
    source: Option<IpAddr>,
    asked: &Query,
    strays: &IntCounter,
) -> io::Result<Raw> {
    let socket = connected(to, source).await?;
    let mut packet = Vec::with_capacity(limits::UDP_OCTETS.into());
    asked.encode(&mut packet);
    socket.send(&packet).await?;
    let mut buffer = vec![0; limits::UDP_REPLY_OCTETS];
    let mut wrong = 0;
    loop {
        let length = socket.recv(&mut buffer).await?;
        match reply::matches(&buffer[..length], asked) {
            // It fills the buffer, so its end may be lost.
            reply::Match::Yes if length == buffer.len() => return Ok(Raw::Doubtful),
            reply::Match::Yes => {
                buffer.truncate(length);
                return Ok(Raw::Packet(buffer));
            }
            reply::Match::WrongCase => return Ok(Raw::Doubtful),
            reply::Match::No => {
                strays.inc();
                wrong += 1;
                if wrong >= limits::STRAY_REPLIES {
                    return Ok(Raw::Doubtful);
                }
            }
        }
    }
}

/// A socket whose port the kernel chose at random, and which hears this upstream only.
async fn connected(to: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((source.unwrap_or(any), 0)).await?;
    socket.connect(to).await?;
    Ok(socket)
}
