//! The text that is printed at the start.

use crate::{
    model::Kind,
    net::{admin::Admin, listeners::Listeners},
    server::{Listen, Scheme},
    source::manifests::ManifestsUpdate,
    wire::Name,
    zone::is_reverse,
};

use super::{print_line, sources::StartedSource};

/// The version of CoreDNS whose behaviour ndots follows.
const COREDNS: &str = "1.15.0";

/// The commit that the program was built from; empty if the build did not name it.
pub(super) const REVISION: &str = match option_env!("NDOTS_REVISION") {
    Some(revision) => revision,
    None => "",
};

/// CoreDNS's banner: zones with their addresses, then the version.
pub(super) fn banner(zones: &[(Listen, Vec<Name>)]) -> String {
    let mut lines = Vec::new();
    for (Listen { scheme, address }, zones) in zones {
        let scheme =
            if *scheme == Scheme::Dns { String::new() } else { format!("{}://", scheme.name()) };
        let on = if address.ip().is_unspecified() {
            String::new()
        } else {
            format!(" on {}", address.ip())
        };
        for zone in zones {
            if !is_plain(zone) {
                lines.push(format!(
                    "Warning: Domain \"{zone}\" does not follow RFC1035 preferred syntax"
                ));
            }
            lines.push(format!("{scheme}{zone}:{}{on}", address.port()));
        }
    }
    lines.push(version());
    lines.join("\n")
}

/// Scripts look for `CoreDNS-` and for the system in this text.
pub(super) fn version() -> String {
    let own = env!("CARGO_PKG_VERSION");
    format!("ndots-{own}, in the place of CoreDNS-{COREDNS}\n{}", platform())
}

/// The text of `ndots version`.
pub(super) fn versions() -> String {
    let revision = if REVISION.is_empty() { "unknown" } else { REVISION };
    format!(
        "ndots {}\ncommit {revision}\nfollows CoreDNS {COREDNS}\nplatform {}",
        env!("CARGO_PKG_VERSION"),
        platform()
    )
}

/// The platform, as Go names it: `linux/amd64`.
fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{architecture}", std::env::consts::OS)
}

/// RFC 1035 §2.3.1: labels of letters, digits and hyphens that begin with a letter; reverse zones
/// and the root are exempt.
fn is_plain(zone: &Name) -> bool {
    let letter = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphabetic);
    let end = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    let inside =
        |label: &[u8]| label.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    is_reverse(zone)
        || zone.labels().all(|label| letter(label.first()) && end(label.last()) && inside(label))
}

/// Prints the ports that the kernel chose for addresses with port 0.
pub(super) fn print_chosen_ports(listeners: &Listeners, admin: &Admin) {
    for (listen, bound) in listeners.bound().filter(|(listen, _)| listen.address.port() == 0) {
        print_line!("{listen} is {bound}");
    }
    for (address, bound) in admin.bound().filter(|(address, _)| address.ends_with(":0")) {
        print_line!("{address} is {bound}");
    }
}

/// Prints the sources, the address, and queries to try.
pub(super) fn print_examples(sources: &[StartedSource], listeners: &Listeners, zone: &str) {
    print_line!("ndots {}", env!("CARGO_PKG_VERSION"));
    let mut examples = Vec::new();
    for source in sources {
        match source {
            StartedSource::Manifests(update) => {
                print_update(update);
                examples.extend_from_slice(&update.examples);
            }
            StartedSource::Cluster { host, place } => {
                print_line!("watching the API server {host} ({place})");
                examples.push("kubernetes.default.svc".to_owned());
            }
        }
    }
    let Some((_, bound)) = listeners.bound().next() else { return };
    print_line!("listening on {bound}, over UDP and TCP; Ctrl-C stops\n\ntry:");
    for name in examples.iter().take(3) {
        print_line!("  dig @{} -p {} {name}.{zone}", bound.ip(), bound.port());
    }
}

fn print_update(update: &ManifestsUpdate) {
    let counts: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| (kind.name(), update.count(*kind)))
        .filter(|(_, count)| *count > 0)
        .collect();
    let counts: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{count} {name}{}", plural(name, *count)))
        .collect();
    let others = if update.unused > 0 {
        format!("; {} of kinds that DNS does not need", update.unused)
    } else {
        String::new()
    };
    print_line!("read {}: {}{others}", update.directory.display(), counts.join(", "));
}

fn plural(name: &str, count: usize) -> &'static str {
    match (count, name.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    }
}
