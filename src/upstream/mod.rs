//! Which upstream is asked next, over what, and for how long: state machines of the time that is passed in.

use std::{fmt, net::SocketAddr};

use crate::wire::Ede;

/// The upstreams of one `forward` line.
#[derive(Debug)]
pub struct Group {}

/// Why a group gave no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came back in time.
    NoAnswer(SocketAddr),
    /// The network or the host said no.
    Unreachable(SocketAddr),
    /// What came back cannot be read, or leads in a circle.
    Malformed(SocketAddr),
    /// Every upstream is down, and the group is told to fail fast.
    NoneHealthy,
    /// `max_concurrent` questions wait already.
    TooManyInFlight(u32),
}

impl Failure {
    pub fn ede(self) -> Option<Ede> {
        match self {
            Self::NoAnswer(_) | Self::NoneHealthy => Some(Ede::NO_REACHABLE_AUTHORITY),
            Self::Unreachable(_) | Self::Malformed(_) => Some(Ede::NETWORK_ERROR),
            Self::TooManyInFlight(_) => None,
        }
    }
}

/// In the words of CoreDNS's error lines.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(to) => write!(f, "read udp {to}: i/o timeout"),
            Self::Unreachable(to) => write!(f, "read udp {to}: connection refused"),
            Self::Malformed(to) => write!(f, "reply of {to} cannot be read"),
            Self::NoneHealthy => f.write_str("no healthy proxies"),
            Self::TooManyInFlight(maximum) => write!(f, "concurrent queries exceeded maximum {maximum}"),
        }
    }
}
