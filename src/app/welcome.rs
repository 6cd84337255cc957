//! What is printed at the start.

use crate::{
    corefile::{Key, Scheme},
    model::Kind,
    net::{admin::Admin, listeners::Listeners},
    source::manifests::Reading,
};

use super::{config::Configuration, say, sources::Started};

/// CoreDNS's banner: the zones with their ports, then who this is.
pub(super) fn banner(configuration: &Configuration) -> String {
    let keys = configuration.blocks.iter().flat_map(|block| &block.keys);
    let scheme = |key: &Key| if key.scheme == Scheme::Dns { String::new() } else { format!("{}://", key.scheme.name()) };
    let mut lines: Vec<_> = keys.map(|(zone, key)| format!("{}{zone}:{}", scheme(key), key.port_or(53))).collect();
    lines.sort();
    lines.dedup();
    lines.push(format!("ndots-{}", env!("CARGO_PKG_VERSION")));
    lines.push(format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH));
    lines.join("\n")
}

/// With port 0 nobody else can tell where this is.
pub(super) fn chosen_ports(listeners: &Listeners, admin: &Admin) {
    for (listen, bound) in listeners.bound().filter(|(listen, _)| listen.address.port() == 0) {
        say!("{listen} is {bound}");
    }
    for (address, bound) in admin.bound().filter(|(address, _)| address.ends_with(":0")) {
        say!("{address} is {bound}");
    }
}

/// What was read, where it is served, and what to try.
pub(super) fn newcomer(sources: &[Started], listeners: &Listeners, zone: &str) {
    say!("ndots {}", env!("CARGO_PKG_VERSION"));
    let mut examples = Vec::new();
    for source in sources {
        match source {
            Started::Manifests(reading) => {
                tell_reading(reading);
                examples.extend_from_slice(&reading.examples);
            }
            Started::Cluster { host, place } => {
                say!("watching the API server {host} ({place})");
                examples.push("kubernetes.default.svc".to_owned());
            }
        }
    }
    let Some((_, bound)) = listeners.bound().next() else { return };
    say!("listening on {bound}, over UDP and TCP; Ctrl-C stops\n\ntry:");
    for name in examples.iter().take(3) {
        say!("  dig @{} -p {} {name}.{zone}", bound.ip(), bound.port());
    }
}

fn tell_reading(reading: &Reading) {
    let kinds = [Kind::Namespace, Kind::Service, Kind::EndpointSlice, Kind::Pod, Kind::Node, Kind::Ingress];
    let counts: Vec<_> = kinds.iter().map(|kind| (kind.name(), reading.count(*kind))).filter(|(_, count)| *count > 0).collect();
    let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}{}", plural(name, *count))).collect();
    let others = if reading.others > 0 { format!("; {} of kinds that DNS does not need", reading.others) } else { String::new() };
    say!("read {}: {}{others}", reading.directory.display(), counts.join(", "));
}

fn plural(name: &str, count: usize) -> &'static str {
    match (count, name.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    }
}
