//! What the plugins with upstreams have in common: the names that they forward, and how a Corefile
//! names upstreams, their policy and their certificates.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use crate::{
    chain::{Exchange, Flow},
    corefile::{Arguments, Token},
    limits,
    transport::Scheme,
    upstream::{Group, Policy, Target, TlsClientSettings},
    wire::{Ede, Name, Query, Rcode, Response},
};

use super::{Awaited, BuildError, Need, PluginContext, ScopedAddress, UpstreamTls, names};

/// The names that a line forwards.
#[derive(Clone, Debug)]
pub(super) struct ForwardedNames {
    pub(super) from: Name,
    /// The next plugin gets queries for names in these zones.
    pub(super) except: Vec<Name>,
}

impl ForwardedNames {
    /// Reads the first argument of a line.
    pub(super) fn read(arguments: &mut Arguments<'_>) -> Option<Self> {
        let zone = arguments.required("the zone to forward and the upstreams")?;
        let zones = names(&arguments.zones_of(zone));
        let from = zones.first()?.clone();
        if zones.len() > 1 {
            let message =
                format!("`{}` is {} zones, and only `{from}` is forwarded", zone.text, zones.len());
            arguments
                .warning(zone.span, &message)
                .help("write a server block for each of them, or use a larger address block");
        }
        Some(Self { from, except: Vec::new() })
    }

    /// Reads `except ZONE…`.
    pub(super) fn read_except(&mut self, option: &mut Arguments<'_>) {
        let Some(first) = option.required("a zone") else { return };
        let mut zones = option.zones_of(first);
        zones.extend(option.zones());
        self.except.extend(names(&zones));
    }

    pub(super) fn include(&self, name: &Name) -> bool {
        let excepted = self.except.iter().any(|zone| *zone != self.from && name.is_within(zone));
        name.is_within(&self.from) && !excepted
    }
}

/// The upstreams of a line as they are written.
pub(super) fn upstreams<'w>(arguments: &mut Arguments<'w>) -> Option<Vec<&'w Token>> {
    let first = arguments.required("an upstream")?;
    let targets: Vec<_> = [first].into_iter().chain(arguments.rest()).collect();
    if let Some(extra) = targets.get(limits::FORWARD_TARGETS) {
        let message =
            format!("more than {} TOs configured: {}", limits::FORWARD_TARGETS, targets.len());
        arguments.error(extra.span, &message);
    }
    Some(targets)
}

/// Reads `policy random|round_robin|sequential`.
pub(super) fn read_policy(policy: &mut Policy, option: &mut Arguments<'_>) {
    let policies = [
        ("random", Policy::Random),
        ("round_robin", Policy::RoundRobin),
        ("sequential", Policy::Sequential),
    ];
    *policy = option.one_of("policy", &policies).unwrap_or(*policy);
}

/// Reads `tls_servername NAME`.
pub(super) fn read_server_name(server_name: &mut Option<String>, option: &mut Arguments<'_>) {
    let Some(name) = option.required("a name") else { return };
    // The text of an environment variable that is not set is empty.
    if name.text.is_empty() {
        return;
    }
    if !is_server_name(&name.text) {
        let message = format!("`{}` cannot be the name in a certificate", name.text);
        option
            .warning(name.span, &message)
            .label("encrypted upstreams are never reached")
            .help("such as `dns.quad9.net`");
    }
    *server_name = Some(name.text.trim_end_matches('.').to_owned());
}

/// Whether a certificate can have this name.
pub(super) fn is_server_name(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok() || !text.is_empty() && is_host_name(text)
}

pub(super) fn is_host_name(name: &str) -> bool {
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let plain = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
    plain
        && !last.is_empty()
        && !last.bytes().all(|octet| octet.is_ascii_digit())
        && name.parse::<Name>().is_ok()
}

/// What the certificates for upstreams of a plugin need.
pub(super) fn tls_needs(plugin: &'static str, tls: &UpstreamTls) -> Vec<Need> {
    let mut needs: Vec<_> = tls.files().map(|file| Need::File(file.path.clone())).collect();
    if !needs.is_empty() {
        // Upstreams reject an expired certificate.
        needs.extend([Need::WatchFiles, Need::UpstreamTls { plugin, tls: tls.clone() }]);
    }
    needs
}

/// # Errors
/// A file of a certificate or a key cannot be read.
pub(super) fn client_tls(
    tls: &UpstreamTls,
    context: &PluginContext<'_>,
) -> Result<TlsClientSettings, BuildError> {
    tls.read(context.build.files)
        .map_err(|(file, reason)| BuildError(format!("cannot use {}: {reason}", file.path)))
}

/// The addresses in the `nameserver` lines of a resolv.conf. Those that cannot be used yet are left
/// out with a warning.
pub(super) fn name_servers(
    path: &str,
    plugin: &'static str,
    context: &mut PluginContext<'_>,
) -> Vec<SocketAddr> {
    let text = match context.file(path) {
        Ok(text) => text,
        Err(reason) => {
            let text =
                format!("{path} cannot be read: {reason}; it is used as soon as it can be read");
            context.warn(plugin, text);
            context.outputs.awaited.push(Awaited::File(path.to_owned()));
            return Vec::new();
        }
    };
    let words: Vec<_> = text.lines().filter_map(name_server).map(str::to_owned).collect();
    let mut addresses = Vec::new();
    for word in words {
        let Some(read) = ScopedAddress::parse(&word, Scheme::Dns.port()) else {
            context.warn(
                plugin,
                format!("`nameserver {word}` in {path} is left out: it is not an IP address"),
            );
            continue;
        };
        let Some(address) = context.resolve(plugin, &read) else { continue };
        warn_of_loopback(address, path, plugin, context);
        addresses.push(address);
    }
    if addresses.is_empty() {
        context.outputs.awaited.push(Awaited::File(path.to_owned()));
    }
    addresses
}

/// The address of a `nameserver` line, as it is written.
fn name_server(line: &str) -> Option<&str> {
    let mut arguments = line.split_whitespace();
    arguments.next().filter(|word| *word == "nameserver").and(arguments.next())
}

fn warn_of_loopback(
    address: SocketAddr,
    path: &str,
    plugin: &'static str,
    context: &mut PluginContext<'_>,
) {
    if address.ip().is_loopback() && context.servers.have_port(53) {
        let text = format!(
            "{path} names {}, which in a Pod is this server, and on a node most likely a stub resolver that \
             forwards back to this server; forward to its upstreams, such as those in /run/systemd/resolve/resolv.conf",
            address.ip()
        );
        context.warn(plugin, text);
    }
}

/// The targets of a line, each once.
///
/// # Errors
/// No target can be used, but the configuration that is in use has some.
pub(super) fn usable(
    mut targets: Vec<Target>,
    from: &Name,
    plugin: &'static str,
    context: &mut PluginContext<'_>,
) -> Result<Vec<Target>, BuildError> {
    let mut seen = HashSet::new();
    targets.retain(|target| seen.insert(target.clone()));
    if targets.is_empty() {
        if context.replaces_upstreams() {
            return Err(BuildError("no valid upstream addresses found".to_owned()));
        }
        let text = format!(
            "no upstream of `{plugin} {from}` can be used: names that would be forwarded get SERVFAIL, all others are served"
        );
        context.warn(plugin, text);
    }
    Ok(targets)
}

/// What a plugin does with a query that it forwards.
pub(super) fn forwarded(query: &Query, group: &Arc<Group>) -> Flow {
    if !query.recursion_desired {
        // Forwarding is recursion, which the client does not want. Only the cache may answer.
        return Flow::Answer(Response {
            ede: Some(Ede::NOT_AUTHORITATIVE),
            ..Response::of(Rcode::REFUSED)
        });
    }
    // The cache may give the reply to any client, so AD is always asked for (RFC 6840 §5.7). A
    // client gets AD only if it set AD or DO.
    let query = Query { authentic_data: true, ..query.clone() };
    Flow::Forward(Exchange { query, group: Arc::clone(group) })
}
