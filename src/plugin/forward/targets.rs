//! The upstreams of a `forward` line: addresses, host names and files with `nameserver` lines, with
//! or without TLS.

use std::net::{IpAddr, SocketAddr};

use crate::{
    chain::{Level, LogLine},
    corefile::{Arguments, Token},
    plugin::{BuildError, Host, Need, PluginContext},
    transport::Scheme,
    upstream::{Target, TlsClientSettings},
    wire::Name,
};

#[derive(Clone, Debug)]
pub(super) struct ForwardTarget {
    pub(super) host: TargetHost,
    pub(super) encryption: Encryption,
}

#[derive(Clone, Debug)]
pub(super) enum TargetHost {
    Address(SocketAddr),
    /// A host name, to be resolved.
    Name {
        name: String,
        port: u16,
    },
    /// A file in the form of resolv.conf.
    File(String),
}

#[derive(Clone, Debug)]
pub(super) enum Encryption {
    None,
    /// With the name that the certificate must have, if it follows the address.
    Tls(Option<String>),
}

impl ForwardTarget {
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.encryption, Encryption::Tls(_))
    }

    /// `resolvers` resolve a host name.
    pub(super) fn need(&self, resolvers: &[SocketAddr]) -> Option<Need> {
        match &self.host {
            TargetHost::File(path) => Some(Need::File(path.clone())),
            TargetHost::Name { name, .. } => {
                Some(Need::Host(Host { name: name.clone(), resolvers: resolvers.to_vec() }))
            }
            TargetHost::Address(_) => None,
        }
    }

    /// The addresses of this upstream. `tls` has the settings for all upstreams of the line.
    pub(super) fn targets(
        &self,
        context: &mut PluginContext<'_>,
        resolvers: &[SocketAddr],
        tls: &TlsClientSettings,
    ) -> Result<Vec<Target>, BuildError> {
        let addresses = match &self.host {
            TargetHost::Address(address) => vec![*address],
            TargetHost::Name { name, port } => {
                let host = Host { name: name.clone(), resolvers: resolvers.to_vec() };
                let found = context.addresses(&host).map_err(|reason| {
                    BuildError(format!("failed to resolve \"{name}\": {reason}"))
                })?;
                found.iter().map(|address| SocketAddr::new(*address, *port)).collect()
            }
            TargetHost::File(path) => {
                let text =
                    context.file(path).map_err(|reason| BuildError(format!("{path}: {reason}")))?;
                let addresses: Vec<_> = name_servers(text).collect();
                addresses.iter().for_each(|address| warn_of_loopback(*address, path, context));
                addresses
            }
        };
        let tls = self.tls(tls).map(std::sync::Arc::new);
        Ok(addresses.into_iter().map(|address| Target { address, tls: tls.clone() }).collect())
    }

    /// The TLS settings, with the server name of the upstream, of the line, or of the host.
    fn tls(&self, line: &TlsClientSettings) -> Option<TlsClientSettings> {
        let Encryption::Tls(own_name) = &self.encryption else { return None };
        let host = || {
            if let TargetHost::Name { name, .. } = &self.host {
                Some(name.trim_end_matches('.').to_owned())
            } else {
                None
            }
        };
        let server_name = own_name.clone().or_else(|| line.server_name.clone()).or_else(host);
        Some(TlsClientSettings { server_name, ..line.clone() })
    }
}

fn warn_of_loopback(address: SocketAddr, path: &str, context: &mut PluginContext<'_>) {
    if address.ip().is_loopback() && context.servers.have_port(53) {
        let text = format!(
            "{path} names {}, which in a Pod is this server, and on a node most likely a stub resolver that \
             forwards back to this server; forward to its upstreams, such as those in /run/systemd/resolve/resolv.conf",
            address.ip()
        );
        context.outputs.warnings.push(LogLine::new(Level::Warning, "forward", text));
    }
}

/// The `nameserver` lines of a resolv.conf.
fn name_servers(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().filter_map(|line| {
        let mut arguments = line.split_whitespace();
        let address =
            arguments.next().filter(|word| *word == "nameserver").and(arguments.next())?;
        address_of(address, DNS)
    })
}

/// The address of an upstream without encryption. It leaves out the stub of systemd-resolved, which
/// has its own warning.
pub(super) fn plain_address(text: &str) -> Option<SocketAddr> {
    address_of(text.strip_prefix("dns://").unwrap_or(text), DNS)
        .filter(|address| !is_stub(*address))
}

const DNS: u16 = Scheme::Dns.port();
const DNS_OVER_TLS: u16 = Scheme::Tls.port();

/// Reads `IP` or `IP%zone`, each with or without `:PORT`.
pub(super) fn address_of(text: &str, port: u16) -> Option<SocketAddr> {
    let ip = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    text.parse().ok().or_else(|| ip(text).map(|ip| SocketAddr::new(ip, port)))
}

pub(super) fn read(arguments: &mut Arguments<'_>, token: &Token) -> Option<ForwardTarget> {
    let text = &*token.text;
    let plain = |host| ForwardTarget { host, encryption: Encryption::None };
    if let Some((scheme, rest)) = text.split_once("://") {
        match scheme {
            "dns" => {
                let address = address_of(rest, DNS).map(TargetHost::Address);
                let host = address.or_else(|| host_name(rest, DNS));
                return host.map(plain).or_else(|| bad_target(arguments, token));
            }
            "tls" => return over_tls(rest).or_else(|| bad_target(arguments, token)),
            "https" | "quic" => {
                arguments.error(
                    token.span,
                    &format!("ndots does not have `{scheme}://` upstreams yet, which CoreDNS has"),
                );
            }
            _ => {
                arguments.error(
                    token.span,
                    &format!(
                        "'{scheme}' is not supported as a destination protocol in forward: {text}"
                    ),
                );
            }
        }
        return None;
    }
    if let Some(address) = address_of(text, DNS) {
        if is_stub(address) {
            let message = format!(
                "{} is the stub of systemd-resolved, which forwards to the servers in resolv.conf, most likely to this server",
                address.ip()
            );
            arguments
                .warning(token.span, &message)
                .help("forward to /run/systemd/resolve/resolv.conf instead");
        }
        return Some(plain(TargetHost::Address(address)));
    }
    if text.contains('/') {
        return Some(plain(TargetHost::File(text.to_owned())));
    }
    host_name(text, DNS).map(plain).or_else(|| bad_target(arguments, token))
}

/// Reads `ADDRESS%NAME:PORT` or `HOST%NAME:PORT`. The name and the port are optional.
fn over_tls(text: &str) -> Option<ForwardTarget> {
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
    let address = address_of(&host, DNS_OVER_TLS).map(TargetHost::Address);
    let host = address.or_else(|| host_name(&host, DNS_OVER_TLS))?;
    Some(ForwardTarget { host, encryption: Encryption::Tls(server_name) })
}

/// Whether a certificate can have this name.
pub(super) fn is_server_name(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || !text.is_empty() && is_host_name(text)
}

/// Reads `NAME` or `NAME:PORT`. A name whose last label is a number is not one: it is a mistyped
/// address.
fn host_name(text: &str, default: u16) -> Option<TargetHost> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (text, default),
    };
    is_host_name(name).then(|| TargetHost::Name { name: name.to_owned(), port })
}

fn is_host_name(name: &str) -> bool {
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let plain = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
    plain
        && !last.is_empty()
        && !last.bytes().all(|octet| octet.is_ascii_digit())
        && name.parse::<Name>().is_ok()
}

/// Whether this is the address of systemd-resolved's stub.
fn is_stub(address: SocketAddr) -> bool {
    address.port() == DNS
        && matches!(address.ip(), IpAddr::V4(v4) if [[127, 0, 0, 53], [127, 0, 0, 54]].contains(&v4.octets()))
}

fn bad_target(arguments: &mut Arguments<'_>, token: &Token) -> Option<ForwardTarget> {
    let message = format!("not an IP address, file, or valid domain: \"{}\"", token.text);
    let error = arguments.error(token.span, &message);
    if token.text.starts_with("tls://") {
        error
            .help("an upstream over TLS is `tls://9.9.9.9`, `tls://9.9.9.9%dns.quad9.net`, `tls://[fd00::2]:853` or `tls://dns.quad9.net`");
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
            let found = over_tls(text).map(|to| {
                let Encryption::Tls(name) = to.encryption else {
                    panic!("{text} is not encrypted")
                };
                let host = match to.host {
                    TargetHost::Address(address) => address.to_string(),
                    TargetHost::Name { name, port } => format!("{name} {port}"),
                    TargetHost::File(path) => path,
                };
                (host, name)
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
        check("dns.quad9.net", Some(("dns.quad9.net 853", None)));
        check("dns.quad9.net:8853", Some(("dns.quad9.net 8853", None)));
        for wrong in ["", "9.9.9", "9.9.9.9%", "9.9.9.9%a b", "9.9.9.9/dns-query", "9.9.9.9:x"] {
            check(wrong, None);
        }
    }
}
