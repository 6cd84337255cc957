//! What is legal in a Corefile and surely not meant, as far as it shows between plugins and between
//! blocks.

use std::net::{IpAddr, SocketAddr};

use crate::{
    corefile::{Block, Diagnostics, Key, Line, Scheme, Token, reverse_zones},
    plugin::forward_target,
    wire::Name,
    zone::is_reverse,
};

/// A server block and where it is served.
pub(super) struct PlacedBlock<'c> {
    block: &'c Block,
    pub(super) keys: &'c [(Name, Key)],
    /// What its `bind` lines name; empty for everything.
    bound: Vec<&'c str>,
}

impl<'c> PlacedBlock<'c> {
    pub(super) fn new(block: &'c Block, keys: &'c [(Name, Key)]) -> Self {
        let binds = block.directives.iter().filter(|line| line.name.text == "bind");
        Self {
            block,
            keys,
            bound: binds.flat_map(|line| &line.arguments).map(|token| &*token.text).collect(),
        }
    }

    /// Whether some address is that of both blocks.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        self.bound.is_empty() && other.bound.is_empty()
            || self.bound.iter().any(|host| other.bound.contains(host))
    }

    /// Whether a question to this address of this machine is heard here.
    fn hears(&self, address: IpAddr) -> bool {
        let local = address.is_loopback() || address.is_unspecified();
        if self.bound.is_empty() {
            local
        } else {
            self.bound.iter().any(|host| host.parse() == Ok(address))
        }
    }

    fn lines(&self, name: &'static str) -> impl Iterator<Item = &'c Line> {
        self.block.directives.iter().filter(move |line| line.name.text == name)
    }

    fn has(&self, name: &'static str) -> bool {
        self.lines(name).next().is_some()
    }

    fn is(&self, other: &PlacedBlock<'_>) -> bool {
        std::ptr::eq(self.block, other.block)
    }

    /// The zones that a line of `kubernetes` is for, each with where it is written; those of the
    /// block where it names none.
    fn zones_of(&self, line: &'c Line) -> Vec<(Name, crate::corefile::Span)> {
        if line.arguments.is_empty() {
            return self.keys.iter().map(|(zone, _)| (zone.clone(), line.name.span)).collect();
        }
        line.arguments
            .iter()
            .flat_map(|token| zones(token).into_iter().map(|zone| (zone, token.span)))
            .collect()
    }
}

/// The zones that a word names.
fn zones(token: &Token) -> Vec<Name> {
    let reverse = reverse_zones(&token.text);
    reverse.map_or_else(
        || token.text.parse().into_iter().collect(),
        |zones| zones.iter().filter_map(|zone| zone.parse().ok()).collect(),
    )
}

/// The block that has the name, for who asks at this port and can ask what `heard` says.
fn owner<'s, 'c>(
    sites: &'s [PlacedBlock<'c>],
    name: &Name,
    at: &Key,
    heard: impl Fn(&PlacedBlock<'_>) -> bool,
) -> Option<&'s PlacedBlock<'c>> {
    let fits = |key: &Key| key.scheme == at.scheme && key.port == at.port;
    let keys = sites
        .iter()
        .filter(|site| heard(site))
        .flat_map(|site| site.keys.iter().map(move |(zone, key)| (site, zone, key)));
    let matching = keys.filter(|(_, zone, key)| fits(key) && name.is_within(zone));
    matching.max_by_key(|(_, zone, _)| zone.wire().len()).map(|(site, ..)| site)
}

pub(super) fn warn(sites: &[PlacedBlock<'_>], diagnostics: &mut Diagnostics) {
    for site in sites {
        answers_nothing(site, diagnostics);
        caches_nothing(site, diagnostics);
        verifies_for_nobody(site, diagnostics);
        for line in site.lines("forward") {
            forwards_to_itself(sites, site, line, diagnostics);
        }
        transfers_nothing(site, diagnostics);
        for name in ["kubernetes", "k8s_external", "k8s_gateway", "forward", "transfer"] {
            site.lines(name).for_each(|line| is_never_asked(site, line, diagnostics));
        }
        site.lines("kubernetes").for_each(|line| is_shadowed(sites, site, line, diagnostics));
    }
}

/// Plugins that answer no question by themselves.
const SILENT: [&str; 16] = [
    "autopath",
    "bind",
    "bufsize",
    "cache",
    "cancel",
    "debug",
    "errors",
    "health",
    "loadbalance",
    "log",
    "loop",
    "prometheus",
    "ready",
    "reload",
    "tls",
    "transfer",
];

fn answers_nothing(site: &PlacedBlock<'_>, diagnostics: &mut Diagnostics) {
    let silent = |line: &Line| SILENT.contains(&&*line.name.text);
    if let Some(key) = site.block.keys.first()
        && site.block.directives.iter().all(silent)
    {
        let warning = diagnostics
            .warning(key.span, "no plugin of this block answers anything: every question fails");
        warning.help("`kubernetes`, `hosts`, `forward` or `whoami` would; zones inherit nothing from other blocks");
    }
}

fn caches_nothing(site: &PlacedBlock<'_>, diagnostics: &mut Diagnostics) {
    if !site.has("forward")
        && let Some(cache) = site.lines("cache").next()
    {
        let warning = diagnostics.warning(
            cache.name.span,
            "plugin/cache: nothing in this block is kept: only replies of upstreams are",
        );
        warning.help("what is answered from memory needs no cache, and would be stale in it; only its TTL is kept within the bounds");
    }
}

/// Plugins that have zones to hand over.
const WHOLE: [&str; 3] = ["kubernetes", "k8s_external", "k8s_gateway"];

fn transfers_nothing(site: &PlacedBlock<'_>, diagnostics: &mut Diagnostics) {
    if let Some(transfer) = site.lines("transfer").next()
        && !WHOLE.iter().any(|name| site.has(name))
    {
        let warning = diagnostics.warning(
            transfer.name.span,
            "plugin/transfer: no plugin of this block has a zone to hand over",
        );
        warning.help("`kubernetes` has; zones inherit nothing from other blocks");
    }
}

fn verifies_for_nobody(site: &PlacedBlock<'_>, diagnostics: &mut Diagnostics) {
    let verified = |line: &&Line| {
        line.name.text == "pods"
            && line.arguments.first().is_some_and(|mode| mode.text == "verified")
    };
    let option = site.lines("kubernetes").flat_map(|line| &line.body).find(verified);
    if let Some(option) = option.filter(|_| !site.has("autopath")) {
        let message = "plugin/kubernetes: `pods verified` without `autopath` follows every Pod for names that few ask for";
        let warning = diagnostics.warning(option.name.span, message);
        warning
            .help("`pods insecure` answers them from the name alone, `pods disabled` not at all");
    }
}

/// What is forwarded comes back to the same block.
fn forwards_to_itself(
    sites: &[PlacedBlock<'_>],
    site: &PlacedBlock<'_>,
    line: &Line,
    diagnostics: &mut Diagnostics,
) {
    let Some((from, targets)) = line.arguments.split_first() else { return };
    let Some(from) = zones(from).into_iter().next() else { return };
    for token in targets {
        let Some(target) = forward_target(&token.text) else { continue };
        if comes_back(sites, site, &from, target) {
            let message = format!(
                "plugin/forward: {target} is this server itself: what is forwarded there comes back to this block"
            );
            let warning = diagnostics.warning(token.span, message);
            warning
                .label("asks itself")
                .help("name a server that knows the rest of the world's names");
        }
    }
}

fn comes_back(
    sites: &[PlacedBlock<'_>],
    site: &PlacedBlock<'_>,
    from: &Name,
    target: SocketAddr,
) -> bool {
    let listening =
        |key: &&(Name, Key)| key.1.scheme == Scheme::Dns && key.1.port == Some(target.port());
    let Some((_, at)) = sites
        .iter()
        .filter(|site| site.hears(target.ip()))
        .flat_map(|site| site.keys)
        .find(listening)
    else {
        return false;
    };
    let inside = site.keys.iter().map(|(zone, _)| zone).find(|zone| zone.is_within(from));
    let name =
        if site.keys.iter().any(|(zone, _)| from.is_within(zone)) { Some(from) } else { inside };
    name.and_then(|name| owner(sites, name, at, |other| other.hears(target.ip())))
        .is_some_and(|owner| owner.is(site))
}

/// A zone outside of everything that the block is asked for.
fn is_never_asked(site: &PlacedBlock<'_>, line: &Line, diagnostics: &mut Diagnostics) {
    let name = &line.name.text;
    let arguments = if name == "forward" {
        line.arguments.get(..1).unwrap_or_default()
    } else {
        &line.arguments
    };
    for token in arguments {
        let touches = |wanted: &Name| {
            site.keys.iter().any(|(zone, _)| wanted.is_within(zone) || zone.is_within(wanted))
        };
        let wanted = zones(token);
        if !wanted.is_empty() && !wanted.iter().any(touches) && !site.keys.is_empty() {
            let message =
                format!("plugin/{name}: this block is never asked for names of `{}`", token.text);
            diagnostics
                .warning(token.span, message)
                .help("the block's keys say what it is asked for");
        }
    }
}

/// The cluster's zone belongs to another block that knows nothing of the cluster.
fn is_shadowed(
    sites: &[PlacedBlock<'_>],
    site: &PlacedBlock<'_>,
    line: &Line,
    diagnostics: &mut Diagnostics,
) {
    for (zone, span) in site.zones_of(line).into_iter().filter(|(zone, _)| !is_reverse(zone)) {
        let elsewhere = |name: &Name| {
            let mut keys = site.keys.iter().filter(|(key, _)| name.is_within(key));
            let other = |(_, key): &(Name, Key)| {
                owner(sites, name, key, |other| other.is(site) || other.may_meet(site))
            };
            let first = other(keys.next()?)?;
            (!first.is(site) && keys.all(|key| other(key).is_some_and(|owner| !owner.is(site))))
                .then_some(first)
        };
        let names = [Some(zone.clone()), Name::join([b"svc".as_slice()], &zone)];
        let shadowed = names
            .into_iter()
            .flatten()
            .find_map(|name| elsewhere(&name).map(|shadow| (name, shadow)));
        let Some((name, shadow)) = shadowed.filter(|(_, shadow)| !shadow.has("kubernetes")) else {
            continue;
        };
        let Some(key) = shadow.block.keys.first() else { continue };
        let message = format!(
            "plugin/kubernetes: names of `{name}` go to another block, which has no `kubernetes`"
        );
        let warning = diagnostics.warning(span, message);
        warning
            .label("never asked")
            .related(key.span, "the longer zone has them")
            .help("zones inherit nothing: write `kubernetes` there");
    }
}
