//! How a server is written on a command line.

use std::{fmt, net::IpAddr, str::FromStr};

/// What a question goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Https,
}

impl Transport {
    const ALL: [(&'static str, Self, u16); 4] = [
        ("udp", Self::Udp, 53),
        ("tcp", Self::Tcp, 53),
        ("tls", Self::Tls, 853),
        ("https", Self::Https, 443),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, it, _)| *it == self).map_or("", |(name, ..)| name)
    }
}

/// `10.96.0.10`, `[fd00::a]:53`, `tcp://10.96.0.10`, `tls://dns.example`,
/// `https://dns.example/dns-query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub transport: Transport,
    pub host: String,
    pub port: u16,
    /// Path of the URL, over HTTPS.
    pub path: String,
    /// The name that its certificate must have, where that is not the host.
    pub name: Option<String>,
}

impl Server {
    /// The same server over TCP.
    #[must_use]
    pub fn over_tcp(&self) -> Self {
        Self { transport: Transport::Tcp, ..self.clone() }
    }
}

impl From<IpAddr> for Server {
    fn from(address: IpAddr) -> Self {
        Self {
            transport: Transport::Udp,
            host: address.to_string(),
            port: 53,
            path: String::new(),
            name: None,
        }
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
        let known = Transport::ALL
            .iter()
            .find(|(name, ..)| *name == scheme || *name == "udp" && scheme == "dns");
        let Some((_, transport, default)) = known else {
            return Err(format!("`{scheme}` is none of udp, tcp, tls, https"));
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if !path.is_empty() && *transport != Transport::Https {
            return Err(format!("only https:// takes a path, and `{path}` is one"));
        }
        let (host, port) = host_and_port(authority, *default)?;
        let path =
            if path.is_empty() && *transport == Transport::Https { "/dns-query" } else { path };
        Ok(Self { transport: *transport, host, port, path: path.to_owned(), name: None })
    }
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), String> {
    let port = |text: &str| text.parse().map_err(|_| format!("`{text}` is no port"));
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address.to_string(), default));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, default),
        Some((host, rest)) => (host, port(rest.strip_prefix(':').unwrap_or(rest))?),
        None => match text.split_once(':') {
            Some((host, number)) => (host, port(number)?),
            None => (text, default),
        },
    };
    if host.is_empty() {
        return Err("it names no host".to_owned());
    }
    Ok((host.to_owned(), port))
}

/// As it is written; the port only where it is not the usual one.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, _, default) = Transport::ALL
            .iter()
            .find(|(_, it, _)| *it == self.transport)
            .unwrap_or(&Transport::ALL[0]);
        if self.transport != Transport::Udp {
            write!(f, "{}://", self.transport.name())?;
        }
        match (self.port == *default, self.host.contains(':')) {
            (true, _) => f.write_str(&self.host)?,
            (false, true) => write!(f, "[{}]:{}", self.host, self.port)?,
            (false, false) => write!(f, "{}:{}", self.host, self.port)?,
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_written() {
        for (text, want) in [
            ("10.96.0.10", Ok("10.96.0.10")),
            ("10.96.0.10:53", Ok("10.96.0.10")),
            ("dns://10.96.0.10:1053", Ok("10.96.0.10:1053")),
            ("fd00::a", Ok("fd00::a")),
            ("[fd00::a]:5353", Ok("[fd00::a]:5353")),
            ("tcp://[fd00::a]", Ok("tcp://fd00::a")),
            ("tls://dns.example", Ok("tls://dns.example")),
            ("tls://dns.example:8853", Ok("tls://dns.example:8853")),
            ("https://dns.example", Ok("https://dns.example/dns-query")),
            ("https://127.0.0.1:8443/q", Ok("https://127.0.0.1:8443/q")),
            ("quic://1.1.1.1", Err("`quic` is none of udp, tcp, tls, https")),
            ("1.1.1.1/x", Err("only https:// takes a path, and `/x` is one")),
            ("1.1.1.1:dns", Err("`dns` is no port")),
            ("tls://", Err("it names no host")),
        ] {
            let read = text.parse::<Server>().map(|server| server.to_string());
            assert_eq!(read, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
