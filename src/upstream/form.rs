//! How a query is written for an upstream, and what its reply says about that.

use std::fmt;

use crate::wire::Rcode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamTransport {
    Udp,
    /// TCP, or the encrypted protocol that the upstream is configured with.
    Tcp,
}

/// Prints the name of the network, as CoreDNS does in errors.
impl fmt::Display for UpstreamTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// The case of the letters in a query to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LetterCase {
    /// The name has the letter case of the client's query.
    Client,
    /// The letters have random case, which a forger must guess (draft-vixie-dnsext-dns0x20).
    Random,
}

/// How a query to an upstream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryForm {
    pub case: LetterCase,
    /// Whether the query has an OPT record.
    pub edns: bool,
}

impl QueryForm {
    /// The form that every upstream understands.
    pub const PLAIN: Self = Self { case: LetterCase::Client, edns: false };
    pub const EDNS: Self = Self { case: LetterCase::Client, edns: true };
}

/// What [`super::Attempt::replied`] must know of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplySummary {
    pub rcode: Rcode,
    /// The answer section has records.
    pub has_answer: bool,
    /// The transport and the form of the query that it answers.
    pub transport: UpstreamTransport,
    pub form: QueryForm,
    /// The client's query has an OPT record, so a reply without one may lack what it asks for.
    pub client_edns: bool,
}

impl ReplySummary {
    pub(super) fn is_positive(self) -> bool {
        self.rcode == Rcode::NOERROR && self.has_answer
    }

    /// RFC 6891 §7: how servers without EDNS reply to an OPT record.
    pub(super) fn complains_about_edns(self) -> bool {
        matches!(self.rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::BADVERS)
    }

    /// Some servers, or servers behind them, report a failure when they do not understand OPT.
    pub(super) fn may_dislike_edns(self) -> bool {
        self.rcode == Rcode::SERVFAIL && self.form.edns && !self.client_edns
    }
}
