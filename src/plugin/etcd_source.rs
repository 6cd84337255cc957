//! Which keys of which etcd cluster are read, and with which credentials.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::upstream::TlsClientSettings;

/// The servers of an etcd cluster, and the keys that are read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSource {
    pub endpoints: Vec<EtcdEndpoint>,
    pub tls: TlsClientSettings,
    pub credentials: Option<(String, Password)>,
    /// The directory of the keys.
    pub prefix: String,
}

impl Default for EtcdSource {
    fn default() -> Self {
        let endpoint = EtcdEndpoint { encrypted: false, host: "localhost".to_owned(), port: PORT };
        Self {
            endpoints: vec![endpoint],
            tls: TlsClientSettings::default(),
            credentials: None,
            prefix: "skydns".to_owned(),
        }
    }
}

/// A server of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdEndpoint {
    pub encrypted: bool,
    /// A name or an address.
    pub host: String,
    pub port: u16,
}

/// etcd's port for clients.
const PORT: u16 = 2379;

impl EtcdEndpoint {
    /// Reads `http://HOST:PORT`, `https://HOST:PORT` or `HOST:PORT`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let encrypted = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(PORT), |port| port.parse().ok())?;
        let fits = !host.is_empty() && !host.contains(['/', '@', ' ']);
        fits.then(|| Self { encrypted, host: host.to_owned(), port })
    }

    /// The URL without a path.
    pub fn url(&self) -> String {
        let Self { encrypted, host, port } = self;
        let scheme = if *encrypted { "https" } else { "http" };
        if host.contains(':') {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        }
    }
}

/// `Debug` prints a digest instead of the password, so that no log contains the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        write!(f, "Password({:016x})", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_a_scheme_a_host_and_a_port_or_their_defaults() {
        let url = |text: &str| EtcdEndpoint::parse(text).map(|endpoint| endpoint.url());
        assert_eq!(url("http://localhost:2379").as_deref(), Some("http://localhost:2379"));
        assert_eq!(url("https://etcd/").as_deref(), Some("https://etcd:2379"));
        assert_eq!(url("192.0.2.1:4001").as_deref(), Some("http://192.0.2.1:4001"));
        assert_eq!(url("http://[fd00::1]:1").as_deref(), Some("http://[fd00::1]:1"));
        assert_eq!(url("http://[fd00::1]").as_deref(), Some("http://[fd00::1]:2379"));
        for odd in ["", "http://", "ftp://x:1", "http://x:port", "http://u@x:1", "http://x/y:1"] {
            assert_eq!(url(odd), None, "{odd}");
        }
    }
}
