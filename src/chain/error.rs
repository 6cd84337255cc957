//! Why a query has no response.

use std::fmt;

use crate::{
    limits, upstream,
    wire::{Ede, Rcode, Response},
};

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    Upstream(upstream::UpstreamError),
    /// A query caused more nested queries than [`limits::NESTED_QUERIES`].
    TooManyAsks,
    /// No server block has the name.
    NotRouted,
    /// The last plugin of a block passed the query on.
    NoNextPlugin(&'static str),
    /// The exchange continues, but the query has waited long enough.
    Impatient,
    /// The limit of queries that wait for upstreams is reached.
    Overloaded,
    /// The listener closes, and has no time left for another exchange.
    Closing,
}

impl QueryError {
    pub fn rcode(self) -> Rcode {
        match self {
            Self::Upstream(upstream::UpstreamError::TooManyInFlight(_)) => Rcode::REFUSED,
            Self::NotRouted => Rcode::REFUSED,
            Self::Upstream(_)
            | Self::TooManyAsks
            | Self::NoNextPlugin(_)
            | Self::Impatient
            | Self::Overloaded
            | Self::Closing => Rcode::SERVFAIL,
        }
    }

    /// The response that a client gets.
    pub fn response(self) -> Response {
        Response { ede: self.ede(), ..Response::of(self.rcode()) }
    }

    pub fn ede(self) -> Option<Ede> {
        match self {
            Self::Upstream(failure) => failure.ede(),
            Self::Impatient => Some(Ede::NO_REACHABLE_AUTHORITY),
            Self::Closing => Some(Ede::STOPPING),
            Self::TooManyAsks | Self::NotRouted | Self::NoNextPlugin(_) | Self::Overloaded => None,
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(failure) => failure.fmt(f),
            Self::TooManyAsks => {
                write!(f, "the query caused more than {} other queries", limits::NESTED_QUERIES)
            }
            Self::NotRouted => f.write_str("no server block has this name"),
            Self::NoNextPlugin(name) => write!(f, "plugin/{name}: no next plugin found"),
            Self::Impatient => f.write_str("no upstream answered in time"),
            Self::Overloaded => f.write_str("too many questions wait for upstreams"),
            Self::Closing => f.write_str("the server stops and does not query upstreams any more"),
        }
    }
}
