//! Which keys of which etcd cluster are read, and with which credentials.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
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

/// `Debug` prints a digest instead of the password. Equal passwords have equal digests, but the key
/// of the digest is a secret of this process, so a digest does not help to guess a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        write!(f, "Password({:016x})", KEY.hash_one(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

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

    #[test]
    fn digests_of_passwords_cannot_be_computed_elsewhere() {
        let shown = |text: &str| format!("{:?}", Password(text.to_owned()));
        assert_eq!(shown("secret"), shown("secret"));
        assert_ne!(shown("secret"), shown("other"));
        let mut hasher = DefaultHasher::new();
        "secret".hash(&mut hasher);
        assert_ne!(shown("secret"), format!("Password({:016x})", hasher.finish()));
    }
}
