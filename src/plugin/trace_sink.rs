//! The collector of a `trace` line, for the task that sends spans.

use std::fmt;

/// A collector, and the name under which it gets the spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSink {
    pub collector: Collector,
    pub service: String,
}

/// Where spans are sent over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    pub encrypted: bool,
    /// A name or an address.
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl Collector {
    /// Reads `HOST:PORT` or a URL. OTLP over HTTP has the port 4318 and the path `/v1/traces`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        const PORT: u16 = 4318;
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let encrypted = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) if !path.is_empty() => (authority, format!("/{path}")),
            _ => (rest.trim_end_matches('/'), "/v1/traces".to_owned()),
        };
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = port.map_or(Some(PORT), |port| port.parse().ok())?;
        let is_path = path.bytes().all(|octet| octet.is_ascii_graphic());
        let is_host = !host.is_empty() && !host.contains(['@', ' ', '/', '?', '#']);
        (is_host && is_path).then(|| Self { encrypted, host: host.to_owned(), port, path })
    }

    /// The host and the port, as in a URL.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_are_hosts_or_urls() {
        let shown = |text| Collector::parse(text).map(|collector| collector.to_string());
        let check = |text, expected: &str| assert_eq!(shown(text).as_deref(), Some(expected));
        check("localhost", "http://localhost:4318/v1/traces");
        check("192.0.2.1:99", "http://192.0.2.1:99/v1/traces");
        check("https://otel.test/", "https://otel.test:4318/v1/traces");
        check("HTTP://[2001:db8::1]:1/a/b", "http://[2001:db8::1]:1/a/b");
        for odd in ["", "ftp://a", "a:b", "http://me@host/x", "http://a/b c"] {
            assert_eq!(shown(odd), None, "{odd}");
        }
    }
}
