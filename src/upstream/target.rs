//! The address of an upstream, and the TLS settings for it.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub address: SocketAddr,
    /// `None` means plain DNS.
    pub tls: Option<Arc<TlsClientSettings>>,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }
}

/// How ndots connects to an upstream with DNS over TLS (RFC 7858).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsClientSettings {
    /// The name that the upstream's certificate must have. `None` means its IP address.
    pub server_name: Option<String>,
    /// The client certificate and its key, for upstreams that require one.
    pub identity: Option<(Pem, Pem)>,
    /// The CA certificates for the upstream. `None` means the machine's trust store.
    pub authorities: Option<Pem>,
}

/// A certificate or a key in PEM. `Debug` prints a digest of it, so that a key never gets into a log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pem(pub String);

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        write!(f, "Pem({:016x})", hasher.finish())
    }
}
