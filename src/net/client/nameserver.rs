//! A nameserver and its notation on the command line.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use crate::{
    transport::{Scheme, Transport},
    upstream::TlsClientSettings,
};

/// `10.96.0.10`, `[fd00::a]:53`, `tcp://10.96.0.10`, `tls://dns.example`,
/// `https://dns.example/dns-query`, `quic://dns.example`, `grpc://10.96.0.10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    pub transport: Transport,
    pub host: String,
    pub port: u16,
    /// Path of the URL, over HTTPS.
    pub path: String,
    /// How to verify its certificate, over TLS, HTTPS and QUIC.
    pub tls: TlsClientSettings,
}

impl Nameserver {
    /// The same nameserver over TCP.
    #[must_use]
    pub fn over_tcp(&self) -> Self {
        Self { transport: Transport::Tcp, ..self.clone() }
    }

    /// The name that its certificate must have: the configured one, or the host.
    pub(super) fn certificate_name(&self) -> &str {
        self.tls.server_name.as_deref().unwrap_or(&self.host)
    }
}

/// A server that gets queries over UDP.
impl From<SocketAddr> for Nameserver {
    fn from(address: SocketAddr) -> Self {
        Self {
            transport: Transport::Udp,
            host: address.ip().to_string(),
            port: address.port(),
            path: String::new(),
            tls: TlsClientSettings::default(),
        }
    }
}

/// A server that gets queries over UDP at port 53.
impl From<IpAddr> for Nameserver {
    fn from(address: IpAddr) -> Self {
        SocketAddr::new(address, 53).into()
    }
}

impl FromStr for Nameserver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
        let wanted = if scheme == Scheme::Dns.name() { "udp" } else { scheme };
        // The client does not speak HTTP/3.
        let known = || Transport::all().filter(|known| *known != Transport::Https3);
        let Some(transport) = known().find(|known| known.address_scheme() == wanted) else {
            let names: Vec<_> = known().map(Transport::address_scheme).collect();
            let names = names.join(", ");
            return Err(format!("`{scheme}` is none of {names}"));
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if !path.is_empty() && transport != Transport::Https {
            return Err(format!("only https:// takes a path, and `{path}` is one"));
        }
        let (host, port) = host_and_port(authority, transport.scheme().port())?;
        let path =
            if path.is_empty() && transport == Transport::Https { "/dns-query" } else { path };
        Ok(Self { transport, host, port, path: path.to_owned(), tls: TlsClientSettings::default() })
    }
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), String> {
    let port = |text: &str| text.parse().map_err(|_| format!("`{text}` is not a port"));
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

/// The text form of a name server. It has the port only if that is not the usual one.
impl fmt::Display for Nameserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.transport != Transport::Udp {
            write!(f, "{}://", self.transport.address_scheme())?;
        }
        match (self.port == self.transport.scheme().port(), self.host.contains(':')) {
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
    fn nameservers_are_read_and_printed() {
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
            ("quic://1.1.1.1:853", Ok("quic://1.1.1.1")),
            ("h3://1.1.1.1", Err("`h3` is none of udp, tcp, tls, https, quic, grpc")),
            ("1.1.1.1/x", Err("only https:// takes a path, and `/x` is one")),
            ("1.1.1.1:dns", Err("`dns` is not a port")),
            ("tls://", Err("it names no host")),
        ] {
            let read = text.parse::<Nameserver>().map(|nameserver| nameserver.to_string());
            assert_eq!(read, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
