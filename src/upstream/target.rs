//! Where an upstream is, and how it is spoken to.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub address: SocketAddr,
    /// `None`: nothing is encrypted.
    pub tls: Option<Arc<Tls>>,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }
}

/// DNS over TLS (RFC 7858).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The name that an upstream's certificate must have; its address where there is none.
    pub server_name: Option<String>,
    /// Our own certificate and its key, for upstreams that ask.
    pub identity: Option<(Pem, Pem)>,
    /// Who signs upstreams' certificates; else whom this machine trusts.
    pub authorities: Option<Pem>,
}

/// The text of a certificate or a key, which is never printed: a digest stands for it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pem(pub String);

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        write!(f, "Pem({:016x})", hasher.finish())
    }
}
