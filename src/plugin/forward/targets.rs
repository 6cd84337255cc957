//! The upstreams that a `forward` line names: addresses, hosts, files with `nameserver` lines; in
//! the clear or over TLS.

use std::net::{IpAddr, SocketAddr};

use crate::{
    corefile::{Arguments, Token},
    plugin::{Host, Need, PluginContext},
    transport::Scheme,
    upstream::{Target, TlsClientSettings},
    wire::Name,
};

#[derive(Clone, Debug)]
pub(super) struct To {
    pub(super) place: Place,
    pub(super) speech: Speech,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    Address(SocketAddr),
    /// To be looked up.
    Host {
        name: String,
        port: u16,
    },
    /// In the form of resolv.conf: its name servers.
    File(String),
}

#[derive(Clone, Debug)]
pub(super) enum Speech {
    Clear,
    /// With the name that the certificate must have, where one is written behind the address.
    Tls(Option<String>),
}

impl To {
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.speech, Speech::Tls(_))
    }

    /// `resolvers` are asked for a host's addresses.
    pub(super) fn need(&self, resolvers: &[SocketAddr]) -> Option<Need> {
        match &self.place {
            Place::File(path) => Some(Need::File(path.clone())),
            Place::Host { name, .. } => {
                Some(Need::Host(Host { name: name.clone(), resolvers: resolvers.to_vec() }))
            }
            Place::Address(_) => None,
        }
    }

    /// What the need brought; `tls` is what holds for all of the line's upstreams.
    pub(super) fn targets(
        &self,
        context: &mut PluginContext<'_>,
        resolvers: &[SocketAddr],
        tls: &TlsClientSettings,
    ) -> Result<Vec<Target>, String> {
        let addresses = match &self.place {
            Place::Address(address) => vec![*address],
            Place::Host { name, port } => match context
                .hosts
                .get(&Host { name: name.clone(), resolvers: resolvers.to_vec() })
            {
                Some(Ok(found)) => {
                    found.iter().map(|address| SocketAddr::new(*address, *port)).collect()
                }
                Some(Err(reason)) => {
                    return Err(format!("plugin/forward: failed to resolve \"{name}\": {reason}"));
                }
                None => Vec::new(),
            },
            Place::File(path) => match context.files.get(path) {
                Some(Ok(text)) => name_servers(text)
                    .inspect(|address| warn_of_loopback(*address, path, context))
                    .collect(),
                Some(Err(reason)) => return Err(format!("plugin/forward: {path}: {reason}")),
                None => Vec::new(),
            },
        };
        let tls = self.tls(tls).map(std::sync::Arc::new);
        Ok(addresses.into_iter().map(|address| Target { address, tls: tls.clone() }).collect())
    }

    /// The name that is written, that of the line, or the host's.
    fn tls(&self, line: &TlsClientSettings) -> Option<TlsClientSettings> {
        let Speech::Tls(written) = &self.speech else { return None };
        let host = || {
            if let Place::Host { name, .. } = &self.place {
                Some(name.trim_end_matches('.').to_owned())
            } else {
                None
            }
        };
        let server_name = written.clone().or_else(|| line.server_name.clone()).or_else(host);
        Some(TlsClientSettings { server_name, ..line.clone() })
    }
}

fn warn_of_loopback(address: SocketAddr, path: &str, context: &mut PluginContext<'_>) {
    if address.ip().is_loopback() && context.servers.have_port(53) {
        context.warnings.push(format!(
            "plugin/forward: {path} names {}, which in a Pod is this server itself, and on a machine most likely a stub that asks \
             back here; forward to its upstreams, such as those in /run/systemd/resolve/resolv.conf",
            address.ip()
        ));
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

/// The address that a word of a `forward` line names, where it names one that is asked without
/// encryption; a stub is told of by itself.
pub fn target(text: &str) -> Option<SocketAddr> {
    address_of(text.strip_prefix("dns://").unwrap_or(text), DNS)
        .filter(|address| !is_stub(*address))
}

const DNS: u16 = Scheme::Dns.port();
const DNS_OVER_TLS: u16 = Scheme::Tls.port();

/// `IP`, `IP%zone` and either with `:PORT`.
pub(super) fn address_of(text: &str, port: u16) -> Option<SocketAddr> {
    let ip = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    text.parse().ok().or_else(|| ip(text).map(|ip| SocketAddr::new(ip, port)))
}

pub(super) fn read(arguments: &mut Arguments<'_>, token: &Token) -> Option<To> {
    let text = &*token.text;
    let clear = |place| To { place, speech: Speech::Clear };
    if let Some((scheme, rest)) = text.split_once("://") {
        match scheme {
            "dns" => {
                let place = address_of(rest, DNS).map(Place::Address).or_else(|| host(rest, DNS));
                return place.map(clear).or_else(|| bad_target(arguments, token));
            }
            "tls" => return over_tls(rest).or_else(|| bad_target(arguments, token)),
            "https" | "quic" => {
                arguments.error(
                    token.span,
                    &format!("`{scheme}://` upstreams are known to CoreDNS, not here yet"),
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
                "{} is systemd-resolved's stub, which asks whom resolv.conf names: most likely this server",
                address.ip()
            );
            arguments
                .warning(token.span, &message)
                .help("forward to /run/systemd/resolve/resolv.conf instead");
        }
        return Some(clear(Place::Address(address)));
    }
    if text.contains('/') {
        return Some(clear(Place::File(text.to_owned())));
    }
    host(text, DNS).map(clear).or_else(|| bad_target(arguments, token))
}

/// `ADDRESS%NAME:PORT` or `HOST%NAME:PORT`, where the name and the port may be left out.
fn over_tls(text: &str) -> Option<To> {
    let (place, server_name) = match text.rsplit_once('%') {
        None => (text.to_owned(), None),
        Some((place, name)) => {
            let (name, port) = name
                .rsplit_once(':')
                .map_or((name, String::new()), |(name, port)| (name, format!(":{port}")));
            // An IPv6 address may have its bracket before or behind the name.
            let (place, name) = match name.strip_suffix(']') {
                Some(name) => (format!("{place}]"), name),
                None => (place.to_owned(), name),
            };
            if !is_server_name(name) {
                return None;
            }
            (format!("{place}{port}"), Some(name.to_owned()))
        }
    };
    let place = address_of(&place, DNS_OVER_TLS)
        .map(Place::Address)
        .or_else(|| host(&place, DNS_OVER_TLS))?;
    Some(To { place, speech: Speech::Tls(server_name) })
}

/// What a certificate may be made out to.
pub(super) fn is_server_name(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || !text.is_empty() && is_host_name(text)
}

/// `NAME` or `NAME:PORT`; what ends in a number was meant to be an address.
fn host(text: &str, default: u16) -> Option<Place> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (text, default),
    };
    is_host_name(name).then(|| Place::Host { name: name.to_owned(), port })
}

fn is_host_name(name: &str) -> bool {
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let plain = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
    plain
        && !last.is_empty()
        && !last.bytes().all(|octet| octet.is_ascii_digit())
        && name.parse::<Name>().is_ok()
}

/// Where systemd-resolved listens for programs of its own machine.
fn is_stub(address: SocketAddr) -> bool {
    address.port() == DNS
        && matches!(address.ip(), IpAddr::V4(v4) if [[127, 0, 0, 53], [127, 0, 0, 54]].contains(&v4.octets()))
}

fn bad_target(arguments: &mut Arguments<'_>, token: &Token) -> Option<To> {
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
    fn upstreams_over_tls_are_read_with_their_names() {
        let check = |text: &str, expected: Option<(&str, Option<&str>)>| {
            let found = over_tls(text).map(|to| {
                let Speech::Tls(name) = to.speech else { panic!("{text} is in the clear") };
                let place = match to.place {
                    Place::Address(address) => address.to_string(),
                    Place::Host { name, port } => format!("{name} {port}"),
                    Place::File(path) => path,
                };
                (place, name)
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
