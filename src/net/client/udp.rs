//! One query in UDP datagrams, from a port of its own.

use std::{
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket};

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

/// A socket that is connected to the server. `source` is the local address, if it is configured.
pub(super) async fn bind(to: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    bind_port(to, source, 0).await
}

/// Like [`bind`], with a port. The kernel chooses a random port if it is 0.
pub(in crate::net) async fn bind_port(
    to: SocketAddr,
    source: Option<IpAddr>,
    port: u16,
) -> io::Result<UdpSocket> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let mut local = local(source.unwrap_or(any), to);
    local.set_port(port);
    let socket = UdpSocket::bind(local).await?;
    socket.connect(to).await?;
    Ok(socket)
}

impl<'q> UdpQuery<'q> {
    /// `source` is the local address, if it is configured.
    pub(in crate::net) async fn open(
        to: SocketAddr,
        source: Option<IpAddr>,
        query: &'q Query,
    ) -> io::Result<Self> {
        let socket = bind(to, source).await?;
        let mut packet = Vec::new();
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
        while self.mismatches < limits::STRAY_REPLIES {
            // If a datagram was rejected, the socket has an error but is not readable.
            let interest = Interest::READABLE.add(Interest::ERROR);
            match self.socket.async_io(interest, || self.take_datagram()).await? {
                Some(reply) => return Ok(reply),
                None => {
                    on_mismatch();
                    self.mismatches += 1;
                }
            }
        }
        Ok(UdpReply::Doubtful)
    }

    /// Reads one datagram; `None` if it does not match. The buffer is on the stack, so that a query
    /// that waits has none.
    fn take_datagram(&self) -> io::Result<Option<UdpReply>> {
        let mut buffer = [0; limits::UDP_REPLY_OCTETS];
        let length = (&*SockRef::from(&self.socket)).read(&mut buffer)?;
        let packet = &buffer[..length];
        Ok(match reply::matches(packet, self.query) {
            reply::Match::No => None,
            _ if length == buffer.len() => Some(UdpReply::Doubtful),
            reply::Match::WrongCase => Some(UdpReply::OtherCase(packet.to_vec())),
            reply::Match::Yes | reply::Match::Failure => Some(UdpReply::Match(packet.to_vec())),
        })
    }
}
