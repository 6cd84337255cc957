//! The address of an upstream, its protocol, and the TLS settings for it.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
};

use super::{Proto, UpstreamTransport};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub address: SocketAddr,
    pub protocol: Protocol,
}

/// What an upstream is queried over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// UDP and TCP without encryption.
    Dns,
    /// DNS over TLS (RFC 7858).
    Tls(Arc<TlsClientSettings>),
    /// DNS over HTTPS (RFC 8484).
    Https(Arc<TlsClientSettings>, HttpMethod),
    /// DNS over QUIC (RFC 9250).
    Quic(Arc<TlsClientSettings>),
    /// DNS over gRPC, CoreDNS's own protocol. It is encrypted if the upstream has TLS settings.
    Grpc(Option<Arc<TlsClientSettings>>),
}

impl Protocol {
    /// `None` without encryption.
    pub fn tls(&self) -> Option<&Arc<TlsClientSettings>> {
        match self {
            Self::Dns => None,
            Self::Tls(tls) | Self::Https(tls, _) | Self::Quic(tls) => Some(tls),
            Self::Grpc(tls) => tls.as_ref(),
        }
    }

    pub fn is_encrypted(&self) -> bool {
        self.tls().is_some()
    }

    /// Whether the upstream is queried over UDP, too.
    pub fn has_udp(&self) -> bool {
        *self == Self::Dns
    }

    /// The protocol of a query that is sent over this transport.
    pub fn proto(&self, over: UpstreamTransport) -> Proto {
        match self {
            Self::Dns if over == UpstreamTransport::Udp => Proto::Udp,
            Self::Dns => Proto::Tcp,
            Self::Tls(_) => Proto::Tls,
            Self::Https(..) => Proto::Https,
            Self::Quic(_) => Proto::Quic,
            Self::Grpc(_) => Proto::Grpc,
        }
    }

    /// Whether each query has a request or a stream of its own, so that its message needs no id
    /// (RFC 8484 §4.1, RFC 9250 §4.2.1).
    pub fn has_streams(&self) -> bool {
        matches!(self, Self::Https(..) | Self::Quic(_) | Self::Grpc(_))
    }
}

/// How a query is put into an HTTP request (RFC 8484 §4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HttpMethod {
    /// The query is in the URL, so that HTTP caches can answer.
    Get,
    /// The query is in the body.
    #[default]
    Post,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, protocol: Protocol::Dns }
    }
}

/// How ndots connects to an upstream with an encrypted protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsClientSettings {
    /// The name that the upstream's certificate must have. `None` means its IP address.
    pub server_name: Option<String>,
    /// The client certificate and its key, for upstreams that require one.
    pub identity: Option<(Pem, Pem)>,
    /// The CA certificates for the upstream. `None` means the machine's trust store.
    pub authorities: Option<Pem>,
}

/// A certificate or a key in PEM. Tables of connections are searched by the settings of an upstream
/// for each query, so `Hash` uses a digest of the text. `Debug` prints the digest, so that a key
/// never gets into a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    digest: u64,
    text: String,
}

impl Pem {
    pub fn new(text: String) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self { digest: hasher.finish(), text }
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Hash for Pem {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.digest);
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({:016x})", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the octets that are hashed.
    #[derive(Default)]
    struct Counter(usize);

    impl Hasher for Counter {
        fn write(&mut self, octets: &[u8]) {
            self.0 += octets.len();
        }

        fn finish(&self) -> u64 {
            0
        }
    }

    #[test]
    fn the_texts_of_certificates_are_not_hashed_for_each_query() {
        let pem = |text: &str| Pem::new(text.repeat(100_000));
        let settings = |chain: &str| TlsClientSettings {
            server_name: Some("dns.example".to_owned()),
            identity: Some((pem(chain), pem("key"))),
            authorities: Some(pem("ca")),
        };
        let mut counter = Counter::default();
        Protocol::Tls(Arc::new(settings("a"))).hash(&mut counter);
        assert!(counter.0 < 100, "{} octets", counter.0);
        let hash = |settings: &TlsClientSettings| {
            let mut hasher = DefaultHasher::new();
            settings.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash(&settings("a")), hash(&settings("a")));
        assert_ne!(hash(&settings("a")), hash(&settings("b")));
        assert_ne!(settings("a"), settings("b"));
    }
}
