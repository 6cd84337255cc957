//! The options of `etcd`.

use std::time::Duration;

use crate::corefile::Arguments;

use super::{
    super::{EtcdEndpoint, Fallthrough, OptionSpec, OptionTable, Password},
    EtcdSettings,
};

pub(super) static OPTIONS: OptionTable<EtcdSettings> = OptionTable(&[
    OptionSpec::new(
        "path",
        "PATH",
        "Sets the directory of the keys; the default is /skydns.",
        |etcd, option| {
            if let Some(path) = option.required("a path") {
                etcd.source.prefix.clone_from(&path.text);
            }
        },
    ),
    OptionSpec::new(
        "endpoint",
        "URL…",
        "Sets the servers of etcd; the default is http://localhost:2379.",
        read_endpoints,
    ),
    OptionSpec::new("credentials", "USERNAME PASSWORD", "Logs in to etcd.", |etcd, option| {
        let user = option.required("a user name");
        let password = option.required("a password");
        etcd.source.credentials = user
            .zip(password)
            .map(|(user, password)| (user.text.clone(), Password(password.text.clone())));
    }),
    OptionSpec::new(
        "tls",
        "[CERT KEY] [CA]",
        "Sets the client certificate and the authority for https:// endpoints.",
        |etcd, option| etcd.tls = Some(etcd.root.read_upstream_tls(option)),
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes names that do not exist to the next plugin.",
        |etcd, option| etcd.fallthrough = Fallthrough::read(option),
    ),
    OptionSpec::new(
        "min-lease-ttl",
        "DURATION",
        "Raises the TTL of a record whose key has a lease; the default is 30s.",
        |etcd, option| etcd.bounds.min = seconds(option).unwrap_or(etcd.bounds.min),
    ),
    OptionSpec::new(
        "max-lease-ttl",
        "DURATION",
        "Lowers the TTL of a record whose key has a lease; the default is 24h.",
        |etcd, option| etcd.bounds.max = seconds(option).unwrap_or(etcd.bounds.max),
    ),
    OptionSpec::new(
        "no_apex_fallback",
        "",
        "Gives the zone's own name only the addresses below `apex.dns`, not all of the zone.",
        |etcd, _| etcd.apex_fallback = false,
    ),
    OptionSpec::new("stubzones", "", "Has no effect, as in CoreDNS.", |_, option| {
        option.rest();
    }),
    OptionSpec::new("upstream", "[ADDRESS…]", "Has no effect, as in CoreDNS.", |_, option| {
        option.rest();
    }),
    OptionSpec::new("debug", "", "Has no effect, as in CoreDNS.", |_, option| {
        option.rest();
    }),
]);

fn read_endpoints(etcd: &mut EtcdSettings, option: &mut Arguments<'_>) {
    let Some(first) = option.required("the URL of a server") else { return };
    etcd.source.endpoints.clear();
    for token in [first].into_iter().chain(option.rest()) {
        match EtcdEndpoint::parse(&token.text) {
            Some(endpoint) => etcd.source.endpoints.push(endpoint),
            None => drop(
                option
                    .error(
                        token.span,
                        &format!("`{}` is not the URL of an etcd server", token.text),
                    )
                    .help("such as `http://192.0.2.1:2379` or `https://etcd.example.org:2379`"),
            ),
        }
    }
}

/// Zero means the default, as in CoreDNS.
fn seconds(option: &mut Arguments<'_>) -> Option<u32> {
    let longest = Duration::from_secs(u32::MAX.into());
    let time = option.duration_or_seconds("the TTL", Duration::ZERO, longest)?;
    u32::try_from(time.as_secs()).ok().filter(|seconds| *seconds > 0)
}
