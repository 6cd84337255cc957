//! One query in UDP datagrams, from a port of its own.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use tokio::net::UdpSocket;

use crate::{
    limits,
    wire::{Query, reply},
};

/// A socket that is connected to the server, so that the kernel drops datagrams from elsewhere. Its
/// port is one that the kernel chose at random.
pub(in crate::net) struct UdpQuery<'q> {
    socket: UdpSocket,
    query: &'q Query,
    packet: Vec<u8>,
    mismatches: u32,
}

/// What arrived for a query.
pub(in crate::net) enum UdpReply {
    Match(Vec<u8>),
    /// The reply matches except for the case of the question's letters: the server does not keep
    /// the case, or the reply is forged.
    OtherCase(Vec<u8>),
    /// No datagram can be trusted to be the whole reply: too many did not match (RFC 5452 §9.2), or
    /// one filled the buffer, so its end may be lost.
    Doubtful,
}

/// The local address of a socket that is connected to `to`. A link-local address needs an interface
/// (RFC 4007 §6), which is that of the other side.
pub(in crate::net) fn local(source: IpAddr, to: SocketAddr) -> SocketAddr {
    match (source, to) {
        (IpAddr::V6(v6), SocketAddr::V6(to)) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, 0, 0, to.scope_id()).into()
        }
        _ => SocketAddr::new(source, 0),
    }
}

impl<'q> UdpQuery<'q> {
    /// `source` is the local address, where it is configured.
    pub(in crate::net) async fn open(
        to: SocketAddr,
        source: Option<IpAddr>,
        query: &'q Query,
    ) -> io::Result<Self> {
        let any = match to {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(local(source.unwrap_or(any), to)).await?;
        socket.connect(to).await?;
        let mut packet = Vec::with_capacity(limits::UDP_OCTETS.into());
        query.encode(&mut packet);
        Ok(Self { socket, query, packet, mismatches: 0 })
    }

    pub(in crate::net) async fn send(&self) -> io::Result<()> {
        self.socket.send(&self.packet).await.map(drop)
    }

    /// Waits for the reply. A datagram that does not match is passed over and reported to
    /// `on_mismatch`: a forger must guess port, id and case, and cannot end the wait by guessing
    /// wrong.
    pub(in crate::net) async fn receive(&mut self, on_mismatch: impl Fn()) -> io::Result<UdpReply> {
        let mut buffer = vec![0; limits::UDP_REPLY_OCTETS];
        while self.mismatches < limits::STRAY_REPLIES {
            let length = self.socket.recv(&mut buffer).await?;
            let verdict = reply::matches(&buffer[..length], self.query);
            if verdict == reply::Match::No {
                on_mismatch();
                self.mismatches += 1;
                continue;
            }
            if length == buffer.len() {
                return Ok(UdpReply::Doubtful);
            }
            buffer.truncate(length);
            return Ok(match verdict {
                reply::Match::WrongCase => UdpReply::OtherCase(buffer),
                _ => UdpReply::Match(buffer),
            });
        }
        Ok(UdpReply::Doubtful)
    }
}
