//! The limits of a reply.

use crate::limits;

use super::{Cookie, Edns};

/// How large a reply may be, and the options of its OPT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Octets of the whole message.
    pub limit: usize,
    /// Octets of a UDP message that this server accepts (RFC 6891 §6.2.3).
    pub advertise: u16,
    pub cookie: Option<Cookie>,
    /// How long a connection may be idle, in tenths of a second (RFC 7828 §3.1).
    pub keepalive: Option<u16>,
    /// The reply is padded to a multiple of this many octets (RFC 7830).
    pub padding: Option<u16>,
}

impl Room {
    /// Over UDP: the size that the client accepts (RFC 6891 §6.2.3), and never more than `ours`.
    pub fn datagram(edns: Option<Edns>, ours: u16) -> Self {
        let client = edns.map_or(0, |edns| edns.size).max(limits::UDP_OCTETS_PLAIN);
        Self { limit: usize::from(client.min(ours)), ..Self::stream(ours) }
    }

    /// The room that is left beside a TSIG record of this size.
    pub fn beside(self, octets: usize) -> Self {
        let limit = self.limit.saturating_sub(octets).max(limits::TSIG_REPLY_OCTETS);
        Self { limit, ..self }
    }

    pub fn stream(ours: u16) -> Self {
        Self {
            limit: limits::STREAM_OCTETS,
            advertise: ours,
            cookie: None,
            keepalive: None,
            padding: None,
        }
    }
}
