//! Where the messages of a `dnstap` line go, for the task that sends them.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::dnstap::Sender;

/// A receiver, or a listener for receivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnstapSink {
    pub endpoint: Endpoint,
    pub side: Side,
    pub sender: Sender,
}

/// Which side opens connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    Connects {
        /// Any certificate of the receiver is accepted.
        skip_verify: bool,
    },
    /// With a certificate, receivers connect over TLS.
    Listens(Option<Arc<ListenerTls>>),
}

/// The certificate of a listener and its key, in PEM.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ListenerTls {
    pub certificates: String,
    pub key: String,
    /// The authority that signs the certificates of receivers.
    pub authority: Option<String>,
    /// A receiver needs no certificate.
    pub skip_verify: bool,
}

/// `Debug` prints a digest, so that no log contains the key.
impl fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        write!(f, "ListenerTls({:016x})", hasher.finish())
    }
}

/// The socket of a receiver or of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(String),
    Tcp(String, u16),
    Tls(String, u16),
}

impl Endpoint {
    /// Reads `tcp://HOST:PORT`, `tls://HOST:PORT`, `unix://PATH` or a path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let host_and_port = |text: &str| {
            let (host, port) = text.trim_end_matches('/').rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((host.to_owned(), port.parse().ok()?))
        };
        if let Some(rest) = text.strip_prefix("tcp://") {
            return host_and_port(rest).map(|(host, port)| Self::Tcp(host, port));
        }
        if let Some(rest) = text.strip_prefix("tls://") {
            return host_and_port(rest).map(|(host, port)| Self::Tls(host, port));
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        (!path.is_empty()).then(|| Self::Unix(path.to_owned()))
    }

    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(..))
    }
}

/// The URL that the Corefile can have. A bare path gets the scheme `unix://`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Unix(path) => return write!(f, "unix://{path}"),
            Self::Tcp(host, port) => ("tcp", host, port),
            Self::Tls(host, port) => ("tls", host, port),
        };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_paths_or_urls() {
        let shown = |text| Endpoint::parse(text).map(|endpoint| endpoint.to_string());
        for same in ["unix:///run/dnstap.sock", "tcp://192.0.2.1:6000", "tls://[2001:db8::1]:1"] {
            assert_eq!(shown(same).as_deref(), Some(same));
        }
        assert_eq!(shown("/run/dnstap.sock").as_deref(), Some("unix:///run/dnstap.sock"));
        assert_eq!(shown("tcp://:6000/").as_deref(), Some("tcp://:6000"));
        for odd in ["", "unix://", "tcp://host", "tls://host:port"] {
            assert_eq!(shown(odd), None, "{odd}");
        }
    }
}
