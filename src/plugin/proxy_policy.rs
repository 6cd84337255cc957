//! The load balancers from which ndots accepts the addresses of clients.

mod sessions;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::proxy_header::{Carrier, Header, ProxyHeader};

use super::network::Network;

use sessions::Sessions;

/// From which addresses headers are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyPolicy {
    pub(super) allow: Vec<Network>,
    pub(super) others: Option<HeaderUse>,
    pub(super) tlvs: TlvUse,
    pub(super) sessions: Option<SessionSettings>,
}

/// What happens to a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderUse {
    Use,
    Ignore,
    Reject,
    Skip,
}

/// What happens to the facts in a header, besides the address of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TlvUse {
    #[default]
    Ignored,
    Kept,
}

/// A header counts for later datagrams from the same address, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionSettings {
    /// The time since the last datagram.
    pub(super) time: Duration,
    pub(super) most: usize,
}

/// The result of the check of the first octets of a message or a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    Client(ProxiedClient),
    /// The header is not complete yet.
    Incomplete,
    /// The message or the connection is dropped.
    Rejected,
}

/// A client, which may be behind a load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiedClient {
    pub address: SocketAddr,
    /// Octets of the header: 0 without a header.
    pub header: usize,
    /// The facts that the load balancer adds.
    pub tlvs: Option<Arc<[u8]>>,
}

impl ProxiedClient {
    fn without_header(address: SocketAddr) -> Self {
        Self { address, header: 0, tlvs: None }
    }
}

/// The policy of a listener, with its sessions.
pub struct ProxyReader {
    policy: ProxyPolicy,
    sessions: Option<Sessions>,
}

impl ProxyReader {
    pub fn new(policy: ProxyPolicy) -> Self {
        let sessions = policy.sessions.map(Sessions::new);
        Self { policy, sessions }
    }

    /// The client of a datagram from `peer`.
    pub fn of_datagram(&self, peer: SocketAddr, packet: &[u8], now: Instant) -> Beginning {
        let (Beginning::Client(client), header) = self.policy.beginning(peer, packet) else {
            return Beginning::Rejected;
        };
        if header
            .as_ref()
            .is_some_and(|header| matches!(header.carrier, Carrier::Stream | Carrier::Unspecified))
        {
            return Beginning::Rejected;
        }
        let tracked = self.sessions.as_ref();
        let Some(sessions) = tracked.filter(|_| self.policy.action(peer.ip()) == HeaderUse::Use)
        else {
            return Beginning::Client(client);
        };
        match header {
            None => Beginning::Client(sessions.find(peer, now).unwrap_or(client)),
            Some(header) => {
                if header.source.is_some() {
                    sessions.keep(peer, client.clone(), now);
                }
                // The header of a session may come alone.
                let alone = header.length == packet.len();
                if alone { Beginning::Rejected } else { Beginning::Client(client) }
            }
        }
    }

    /// The client of a stream from `peer` that begins with these octets.
    pub fn of_stream(&self, peer: SocketAddr, octets: &[u8]) -> Beginning {
        self.policy.beginning(peer, octets).0
    }
}

impl ProxyPolicy {
    fn beginning(&self, peer: SocketAddr, octets: &[u8]) -> (Beginning, Option<Header>) {
        let direct = || Beginning::Client(ProxiedClient::without_header(peer));
        let action = self.action(peer.ip());
        if action == HeaderUse::Skip {
            return (direct(), None);
        }
        match ProxyHeader::read(octets) {
            ProxyHeader::Absent => (direct(), None),
            ProxyHeader::Incomplete => (Beginning::Incomplete, None),
            ProxyHeader::Malformed => (Beginning::Rejected, None),
            ProxyHeader::Present(_) if action == HeaderUse::Reject => (Beginning::Rejected, None),
            ProxyHeader::Present(header) => {
                let source = header.source.filter(|_| action == HeaderUse::Use);
                let kept = source.filter(|_| self.tlvs == TlvUse::Kept);
                let client = ProxiedClient {
                    address: source.unwrap_or(peer),
                    header: header.length,
                    tlvs: kept.and_then(|_| header.tlvs(octets)).map(Arc::from),
                };
                (Beginning::Client(client), Some(header))
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
