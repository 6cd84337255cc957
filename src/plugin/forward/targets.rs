//! The upstreams of a `forward` line as they are written: addresses, host names and files with
//! `nameserver` lines, with or without encryption.

use std::net::{IpAddr, SocketAddr};

use crate::{
    corefile::{Arguments, Token},
    plugin::{
        Host, Need, ScopedAddress,
        upstreams::{is_host_name, is_server_name},
    },
    transport::Scheme,
};

#[derive(Clone, Debug)]
pub(super) struct ForwardTarget {
    pub(super) scheme: Scheme,
    pub(super) host: TargetHost,
    /// The name that the certificate must have, if it follows the address.
    pub(super) server_name: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum TargetHost {
    Address(ScopedAddress),
    /// A host name that must be resolved.
    Name {
        name: String,
        port: u16,
    },
    /// A file with this name if it exists, else a host name, as in CoreDNS.
    NameOrFile(String),
    /// A file in the form of resolv.conf.
    File(String),
}

impl ForwardTarget {
    pub(super) fn is_encrypted(&self) -> bool {
        self.scheme != Scheme::Dns
    }

    /// The file or the host name that this upstream needs. `resolvers` resolve the host name.
    pub(super) fn needs(&self, resolvers: &[SocketAddr]) -> Vec<Need> {
        let host =
            |name: &String| Need::Host(Host { name: name.clone(), resolvers: resolvers.to_vec() });
        match &self.host {
            TargetHost::File(path) => vec![Need::File(path.clone())],
            TargetHost::Name { name, .. } => vec![host(name)],
            TargetHost::NameOrFile(text) => vec![Need::File(text.clone()), host(text)],
            TargetHost::Address(_) => Vec::new(),
        }
    }
}

/// The address of an upstream without encryption. `None` for the stub of systemd-resolved, which
/// has its own warning.
pub(super) fn plain_address(text: &str) -> Option<SocketAddr> {
    ScopedAddress::parse(text.strip_prefix("dns://").unwrap_or(text), DNS)
        .map(|read| read.address)
        .filter(|address| !is_stub(*address))
}

pub(super) const DNS: u16 = Scheme::Dns.port();

pub(super) fn read(arguments: &mut Arguments<'_>, token: &Token) -> Option<ForwardTarget> {
    let (name, rest) = token.text.split_once("://").unwrap_or(("dns", &token.text));
    match Scheme::all().find(|scheme| scheme.name() == name) {
        Some(Scheme::Dns) => plain(rest, arguments, token),
        Some(Scheme::Https) if rest.contains('/') => {
            let message = format!(
                "paths are not allowed in HTTPS upstream addresses (the /dns-query path is used by default): {}",
                token.text
            );
            arguments.error(token.span, &message).help("write only the host, and its port");
            None
        }
        Some(scheme @ (Scheme::Tls | Scheme::Https | Scheme::Quic)) => {
            encrypted(scheme, rest).or_else(|| bad_target(arguments, token))
        }
        Some(Scheme::Grpc | Scheme::Https3) | None => {
            arguments.error(
                token.span,
                &format!(
                    "'{name}' is not supported as a destination protocol in forward: {}",
                    token.text
                ),
            );
            None
        }
    }
}

/// Reads an upstream without encryption.
fn plain(text: &str, arguments: &mut Arguments<'_>, token: &Token) -> Option<ForwardTarget> {
    let host = if let Some(read) = ScopedAddress::parse(text, DNS) {
        if is_stub(read.address) {
            let message = format!(
                "{} is the stub of systemd-resolved, which forwards to the servers in resolv.conf, most likely to this server",
                read.address.ip()
            );
            arguments
                .warning(token.span, &message)
                .help("forward to /run/systemd/resolve/resolv.conf instead");
        }
        TargetHost::Address(read)
    } else if text.contains('/') {
        TargetHost::File(text.to_owned())
    } else if is_host_name(text) {
        TargetHost::NameOrFile(text.to_owned())
    } else {
        host_name(text, DNS).or_else(|| bad_target(arguments, token))?
    };
    Some(ForwardTarget { scheme: Scheme::Dns, host, server_name: None })
}

/// Reads `ADDRESS%NAME:PORT` or `HOST%NAME:PORT`. The name and the port are optional. After a
/// link-local address, the first `%` begins its interface, because the address has no meaning
/// without one; a second `%` begins the name.
fn encrypted(scheme: Scheme, text: &str) -> Option<ForwardTarget> {
    let scoped = ScopedAddress::parse(text, scheme.port()).filter(ScopedAddress::is_link_local);
    if let Some(read) = scoped.filter(|it| it.zone.as_ref().is_some_and(|it| !it.contains('%'))) {
        let host = TargetHost::Address(read);
        return Some(ForwardTarget { scheme, host, server_name: None });
    }
    let (host, server_name) = match text.rsplit_once('%') {
        None => (text.to_owned(), None),
        Some((host, name)) => {
            let (name, port) = name
                .rsplit_once(':')
                .map_or((name, String::new()), |(name, port)| (name, format!(":{port}")));
            // The closing bracket of an IPv6 address may stand before or after the name.
            let (host, name) = match name.strip_suffix(']') {
                Some(name) => (format!("{host}]"), name),
                None => (host.to_owned(), name),
            };
            if !is_server_name(name) {
                return None;
            }
            (format!("{host}{port}"), Some(name.to_owned()))
        }
    };
    let address = ScopedAddress::parse(&host, scheme.port()).map(TargetHost::Address);
    let host = address.or_else(|| host_name(&host, scheme.port()))?;
    Some(ForwardTarget { scheme, host, server_name })
}

/// Reads `NAME` or `NAME:PORT`. If the last label is a number, the text is taken for a mistyped
/// address, and the result is `None`.
fn host_name(text: &str, default: u16) -> Option<TargetHost> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (text, default),
    };
    is_host_name(name).then(|| TargetHost::Name { name: name.to_owned(), port })
}

/// Whether this is the address of systemd-resolved's stub.
fn is_stub(address: SocketAddr) -> bool {
    address.port() == DNS
        && matches!(address.ip(), IpAddr::V4(v4) if [[127, 0, 0, 53], [127, 0, 0, 54]].contains(&v4.octets()))
}

fn bad_target<T>(arguments: &mut Arguments<'_>, token: &Token) -> Option<T> {
    let message = format!("not an IP address, file, or valid domain: \"{}\"", token.text);
    let error = arguments.error(token.span, &message);
    if let Some((scheme, _)) = token.text.split_once("://").filter(|(name, _)| *name != "dns") {
        error.help(format!(
            "an upstream is `{scheme}://9.9.9.9`, `{scheme}://9.9.9.9%dns.quad9.net`, `{scheme}://[fd00::2]:8853` or `{scheme}://dns.quad9.net`"
        ));
    } else {
        error.help("an upstream is `10.0.0.2`, `10.0.0.2:53`, `[fd00::2]:53`, a host's name, or a file such as /etc/resolv.conf");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_over_tls_may_have_a_server_name() {
        let check = |text: &str, expected: Option<(&str, Option<&str>)>| {
            let found = encrypted(Scheme::Tls, text).map(|to| {
                let host = match to.host {
                    TargetHost::Address(ScopedAddress { address, zone }) => {
                        zone.into_iter().fold(address.to_string(), |all, zone| all + "%" + &zone)
                    }
                    TargetHost::Name { name, port } => format!("{name} {port}"),
                    TargetHost::File(path) | TargetHost::NameOrFile(path) => path,
                };
                (host, to.server_name)
            });
            assert_eq!(
                found,
                expected.map(|(place, name)| (place.to_owned(), name.map(str::to_owned))),
                "{text}"
            );
        };
        check("9.9.9.9", Some(("9.9.9.9:853", None)));
        check("9.9.9.9:8853", Some(("9.9.9.9:8853", None)));
        check("9.9.9.9%dns.quad9.net", Some(("9.9.9.9:853", Some("dns.quad9.net"))));
        check("9.9.9.9%dns.quad9.net:8853", Some(("9.9.9.9:8853", Some("dns.quad9.net"))));
        check("[fd00::2]", Some(("[fd00::2]:853", None)));
        check("fd00::2", Some(("[fd00::2]:853", None)));
        check("[fd00::2%dns.example]:8853", Some(("[fd00::2]:8853", Some("dns.example"))));
        check("[fd00::2]%dns.example", Some(("[fd00::2]:853", Some("dns.example"))));
        check("9.9.9.9:", Some(("9.9.9.9:853", None)));
        check("fe80::2%eth0", Some(("[fe80::2]:853%eth0", None)));
        check("[fe80::2%eth0]:8853", Some(("[fe80::2]:8853%eth0", None)));
        let scoped = Some(("[fe80::2]:8853%eth0", Some("dns.example")));
        check("[fe80::2%eth0%dns.example]:8853", scoped);
        check("dns.quad9.net", Some(("dns.quad9.net 853", None)));
        check("dns.quad9.net:8853", Some(("dns.quad9.net 8853", None)));
        for wrong in ["", "9.9.9", "9.9.9.9%", "9.9.9.9%a b", "9.9.9.9/dns-query", "9.9.9.9:x"] {
            check(wrong, None);
        }
    }
}
