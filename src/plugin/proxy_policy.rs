//! The load balancers from which ndots accepts the addresses of clients.

use std::net::{IpAddr, SocketAddr};

use crate::proxy_header::{Carrier, Header, ProxyHeader};

use super::network::Network;

/// From which addresses headers are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyPolicy {
    pub(super) allow: Vec<Network>,
    pub(super) others: Option<HeaderUse>,
}

/// What happens to a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderUse {
    Use,
    Ignore,
    Reject,
    Skip,
}

/// The result of the check of the first octets of a message or a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The client's address, and the octets of the header: 0 without a header.
    Client(SocketAddr, usize),
    /// The header is not complete yet.
    Incomplete,
    /// The message or the connection is dropped.
    Rejected,
}

impl ProxyPolicy {
    /// The client of a datagram from `peer`.
    pub fn of_datagram(&self, peer: SocketAddr, packet: &[u8]) -> Beginning {
        match self.beginning(peer, packet) {
            (Beginning::Incomplete, _) => Beginning::Rejected,
            (
                Beginning::Client(..),
                Some(Header { carrier: Carrier::Stream | Carrier::Unspecified, .. }),
            ) => Beginning::Rejected,
            (beginning, _) => beginning,
        }
    }

    /// The client of a stream from `peer` that begins with these octets.
    pub fn of_stream(&self, peer: SocketAddr, octets: &[u8]) -> Beginning {
        self.beginning(peer, octets).0
    }

    fn beginning(&self, peer: SocketAddr, octets: &[u8]) -> (Beginning, Option<Header>) {
        let action = self.action(peer.ip());
        if action == HeaderUse::Skip {
            return (Beginning::Client(peer, 0), None);
        }
        match ProxyHeader::read(octets) {
            ProxyHeader::Absent => (Beginning::Client(peer, 0), None),
            ProxyHeader::Incomplete => (Beginning::Incomplete, None),
            ProxyHeader::Malformed => (Beginning::Rejected, None),
            ProxyHeader::Present(_) if action == HeaderUse::Reject => (Beginning::Rejected, None),
            ProxyHeader::Present(header) => {
                let source = header.source.filter(|_| action == HeaderUse::Use);
                (Beginning::Client(source.unwrap_or(peer), header.length), Some(header))
            }
        }
    }

    fn action(&self, peer: IpAddr) -> HeaderUse {
        if self.allow.is_empty() {
            self.others.unwrap_or(HeaderUse::Use)
        } else if self.allow.iter().any(|network| network.contains(peer)) {
            HeaderUse::Use
        } else {
            self.others.unwrap_or(HeaderUse::Ignore)
        }
    }
}
