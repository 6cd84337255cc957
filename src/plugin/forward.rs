//! `forward FROM TO… { … }`: passes questions to upstreams.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::{
    chain::{Back, Cx, Exchange, Flow, From, Plugin, Reply},
    corefile::{Token, Words, go_duration},
    limits,
    upstream::{self, Group, Policy},
    wire::{Ede, Name, Query, Rcode, Response},
};

use super::{Host, Need, Reading, Settings, Site, names};

/// All `forward` lines of a block, in the order of the file: the first whose zone has the name takes it.
#[derive(Debug)]
struct Written {
    stanzas: Vec<Stanza>,
}

#[derive(Clone, Debug)]
struct Stanza {
    from: Name,
    except: Vec<Name>,
    to: Vec<To>,
    /// Who is asked for the addresses of hosts in `to`.
    resolvers: Vec<SocketAddr>,
    /// Codes with which the next `forward` line is asked.
    next: Vec<Rcode>,
    /// So it is with a reply that says there is no such record.
    next_on_nodata: bool,
    settings: upstream::Settings,
}

#[derive(Clone, Debug)]
enum To {
    Address(SocketAddr),
    /// To be looked up.
    Host {
        name: String,
        port: u16,
    },
    /// In the form of resolv.conf: its name servers.
    File(String),
}

struct Forward {
    stanza: Stanza,
    group: Arc<Group>,
    /// The `forward` lines below this one.
    later: Vec<Stanza>,
}

/// Says that the reply is that of the next `forward` line.
const NEXT: u32 = 1;

impl Settings for Written {
    fn needs(&self) -> Vec<Need> {
        let targets = self.stanzas.iter().flat_map(|stanza| stanza.to.iter().map(move |to| (stanza, to)));
        let need = |(stanza, to): (&Stanza, &To)| match to {
            To::File(path) => Some(Need::File(path.clone())),
            To::Host { name, .. } => Some(Need::Host(stanza.host(name))),
            To::Address(_) => None,
        };
        targets.filter_map(need).chain([Need::AnyClass]).collect()
    }

    fn build(&self, site: &mut Site<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
        for (at, stanza) in self.stanzas.iter().enumerate() {
            let settings = upstream::Settings { to: stanza.addresses(site)?, ..stanza.settings.clone() };
            let group = site.group(settings);
            let later = self.stanzas[at + 1..].to_vec();
            plugins.push(Arc::new(Forward { stanza: stanza.clone(), group, later }));
        }
        Ok(plugins)
    }
}

impl Stanza {
    fn host(&self, name: &str) -> Host {
        Host { name: name.to_owned(), resolvers: self.resolvers.clone() }
    }

    /// Whether it is the one to ask for the name.
    fn takes(&self, name: &Name) -> bool {
        let excepted = self.except.iter().any(|zone| *zone != self.from && name.is_within(zone));
        name.is_within(&self.from) && !excepted
    }

    /// Whether the next `forward` line is asked instead.
    fn passes_on(&self, response: &Response) -> bool {
        self.next.contains(&response.rcode) || self.next_on_nodata && response.rcode == Rcode::NOERROR && response.answer.is_empty()
    }

    fn addresses(&self, site: &mut Site<'_>) -> Result<Vec<SocketAddr>, String> {
        let mut addresses = Vec::new();
        for to in &self.to {
            match to {
                To::Address(address) => addresses.push(*address),
                To::Host { name, port } => match site.hosts.get(&self.host(name)) {
                    Some(Ok(found)) => addresses.extend(found.iter().map(|address| SocketAddr::new(*address, *port))),
                    Some(Err(reason)) => return Err(format!("plugin/forward: failed to resolve \"{name}\": {reason}")),
                    None => {}
                },
                To::File(path) => match site.files.get(path) {
                    Some(Ok(text)) => {
                        for address in name_servers(text) {
                            if address.ip().is_loopback() && site.servers.have_port(53) {
                                site.warnings.push(format!(
                                    "plugin/forward: {path} names {}, which in a Pod is this server itself, and on a machine most likely a stub \
                                     that asks back here; forward to its upstreams, such as those in /run/systemd/resolve/resolv.conf",
                                    address.ip()
                                ));
                            }
                            addresses.push(address);
                        }
                    }
                    Some(Err(reason)) => return Err(format!("plugin/forward: {path}: {reason}")),
                    None => {}
                },
            }
        }
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        if addresses.is_empty() { Err("plugin/forward: no valid upstream addresses found".to_owned()) } else { Ok(addresses) }
    }
}

/// The `nameserver` lines of a resolv.conf.
fn name_servers(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        address_of(address)
    })
}

/// The address that a word of a `forward` line names, where it names one that is asked without encryption; a stub is told of
/// by itself.
pub fn target(text: &str) -> Option<SocketAddr> {
    address_of(text.strip_prefix("dns://").unwrap_or(text)).filter(|address| !is_stub(*address))
}

/// `IP`, `IP%zone` and either with `:PORT`.
fn address_of(text: &str) -> Option<SocketAddr> {
    let ip = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    text.parse().ok().or_else(|| ip(text).map(|ip| SocketAddr::new(ip, 53)))
}

impl Plugin for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        if !self.stanza.takes(&query.question.name) {
            return Flow::Next;
        }
        if !query.recursion_desired {
            // To ask upstreams is to recurse. What the cache above has needs nobody to be asked.
            return Flow::Answer(Response { ede: Some(Ede::NOT_AUTHORITATIVE), ..Response::of(Rcode::REFUSED) });
        }
        Flow::Forward(Exchange { query: query.clone(), group: Arc::clone(&self.group) })
    }

    fn response(&self, _cx: &mut Cx, query: &Query, memo: u32, reply: Reply) -> Back {
        let name = &query.question.name;
        let passes = |response: &Response| self.stanza.takes(name) && self.stanza.passes_on(response);
        if memo != NEXT && reply.as_ref().is_ok_and(passes) && self.later.iter().any(|stanza| stanza.takes(name)) {
            return Back::Ask { question: query.question.clone(), from: From::Below, memo: NEXT };
        }
        Back::Up(reply)
    }
}

const OPTIONS: [&str; 21] = [
    "except",
    "force_tcp",
    "prefer_udp",
    "expire",
    "max_age",
    "max_idle_conns",
    "read_timeout",
    "max_fails",
    "max_connect_attempts",
    "tls",
    "tls_servername",
    "policy",
    "health_check",
    "max_concurrent",
    "next",
    "next_on_nodata",
    "failover",
    "failfast_all_unhealthy_upstreams",
    "doh_method",
    "source_address",
    "resolver",
];

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut written = Written { stanzas: Vec::new() };
    reading.each(|words| {
        let Some(stanza) = read_stanza(words) else { return };
        if let Some(before) = written.stanzas.iter().find(|before| before.hides(&stanza)) {
            let message = format!("an earlier `forward {}` takes every name of `{}`", before.from, stanza.from);
            let help = if before.from == stanza.from {
                "name all upstreams in one line, or say with `next` in the first one when the second is asked"
            } else {
                "the order counts, not the length of the zone: write this line above that one"
            };
            let span = words.span();
            words.warning(span, &message).label("never asked").help(help);
        }
        written.stanzas.push(stanza);
    });
    Some(Box::new(written))
}

fn read_stanza(words: &mut Words<'_>) -> Option<Stanza> {
    let zone = words.required("the zone to forward and the upstreams")?;
    let zones = names(&words.zones_of(zone));
    let from = zones.first()?.clone();
    if zones.len() > 1 {
        let message = format!("`{}` is {} zones, and only `{from}` is forwarded", zone.text, zones.len());
        words.warning(zone.span, &message).help("write a `forward` line for each of them, or a larger block");
    }
    let mut to = Vec::new();
    let first = words.required("an upstream")?;
    let targets: Vec<_> = [first].into_iter().chain(words.rest()).collect();
    if let Some(extra) = targets.get(limits::FORWARD_TARGETS) {
        words.error(extra.span, &format!("more than {} TOs configured: {}", limits::FORWARD_TARGETS, targets.len()));
    }
    for token in targets {
        to.extend(read_target(words, token));
    }
    let settings = upstream::Settings::default();
    let mut stanza = Stanza { from, except: Vec::new(), to, resolvers: Vec::new(), next: Vec::new(), next_on_nodata: false, settings };
    words.options(|option| stanza.option(option));
    stanza.agree(words);
    Some(stanza)
}

fn read_target(words: &mut Words<'_>, token: &Token) -> Option<To> {
    let text = &*token.text;
    if let Some((scheme, rest)) = text.split_once("://") {
        match scheme {
            "dns" => return address_of(rest).map(To::Address).or_else(|| host(rest)).or_else(|| bad_target(words, token)),
            "tls" | "https" | "quic" => {
                words.error(token.span, &format!("`{scheme}://` upstreams are known to CoreDNS, not here yet"));
            }
            _ => {
                words.error(token.span, &format!("'{scheme}' is not supported as a destination protocol in forward: {text}"));
            }
        }
        return None;
    }
    if let Some(address) = address_of(text) {
        if is_stub(address) {
            let message =
                format!("{} is systemd-resolved's stub, which asks whom resolv.conf names: most likely this server", address.ip());
            words.warning(token.span, &message).help("forward to /run/systemd/resolve/resolv.conf instead");
        }
        return Some(To::Address(address));
    }
    if text.contains('/') {
        return Some(To::File(text.to_owned()));
    }
    host(text).or_else(|| bad_target(words, token))
}

/// `NAME` or `NAME:PORT`; what ends in a number was meant to be an address.
fn host(text: &str) -> Option<To> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (text, 53),
    };
    let last = name.trim_end_matches('.').rsplit('.').next()?;
    let plain = name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
    let is_name = plain && !last.is_empty() && !last.bytes().all(|octet| octet.is_ascii_digit()) && name.parse::<Name>().is_ok();
    is_name.then(|| To::Host { name: name.to_owned(), port })
}

/// Where systemd-resolved listens for programs of its own machine.
fn is_stub(address: SocketAddr) -> bool {
    address.port() == 53 && matches!(address.ip(), IpAddr::V4(v4) if [[127, 0, 0, 53], [127, 0, 0, 54]].contains(&v4.octets()))
}

fn bad_target(words: &mut Words<'_>, token: &Token) -> Option<To> {
    let message = format!("not an IP address, file, or valid domain: \"{}\"", token.text);
    words
        .error(token.span, &message)
        .help("an upstream is `10.0.0.2`, `10.0.0.2:53`, `[fd00::2]:53`, a host's name, or a file such as /etc/resolv.conf");
    None
}

impl Stanza {
    fn option(&mut self, option: &mut Words<'_>) {
        option.once_unless(&["except", "next", "failover"]);
        let settings = &mut self.settings;
        match option.name() {
            "except" => {
                if let Some(first) = option.required("a zone") {
                    let zones = option.zones_of(first).into_iter().chain(option.zones()).collect::<Vec<_>>();
                    self.except.extend(names(&zones));
                }
            }
            "force_tcp" => settings.force_tcp = true,
            "prefer_udp" => settings.prefer_udp = true,
            "expire" => settings.expire = option.duration("expire").unwrap_or(settings.expire),
            "max_age" => settings.max_age = option.duration("max_age").filter(|age| !age.is_zero()),
            "max_idle_conns" => {
                let most = option.number("max_idle_conns", 0, u32::MAX).filter(|most| *most > 0);
                settings.max_idle = most.map(|most| most as usize);
            }
            "read_timeout" => {
                let timeout = option.duration_between("the timeout", Duration::from_nanos(1), Duration::MAX);
                settings.read_timeout = timeout.unwrap_or(settings.read_timeout);
            }
            "source_address" => settings.source = option.address("the source address"),
            "max_fails" => settings.max_fails = option.number("max_fails", 0, u32::MAX).unwrap_or(settings.max_fails),
            "max_connect_attempts" => settings.max_attempts = option.number("max_connect_attempts", 0, u32::MAX),
            "policy" => {
                let policies = [("random", Policy::Random), ("round_robin", Policy::RoundRobin), ("sequential", Policy::Sequential)];
                settings.policy = option.one_of("policy", &policies).unwrap_or(settings.policy);
            }
            "health_check" => self.health_check(option),
            "max_concurrent" => settings.max_concurrent = option.number("max_concurrent", 0, u32::MAX).filter(|max| *max > 0),
            "resolver" => self.resolver(option),
            "next" => self.next.extend(rcodes(option)),
            "next_on_nodata" => self.next_on_nodata = true,
            "failover" => self.failover(option),
            "failfast_all_unhealthy_upstreams" => settings.failfast = true,
            "tls" | "tls_servername" | "doh_method" => return option.not_yet(),
            _ => return option.unknown(&OPTIONS),
        }
        option.end();
        option.no_body();
    }

    fn health_check(&mut self, option: &mut Words<'_>) {
        let check = &mut self.settings.health_check;
        check.interval = option.duration("the interval").unwrap_or(check.interval);
        while let Some(token) = option.optional() {
            match &*token.text {
                "no_rec" => check.recursion_desired = false,
                "domain" => match option.required("a domain").map(|domain| domain.text.parse()) {
                    Some(Ok(domain)) => check.domain = domain,
                    Some(Err(reason)) => {
                        option.error(token.span, &format!("the domain is no name: {reason}"));
                    }
                    None => {}
                },
                other => {
                    option.error(token.span, &format!("health_check: unknown option {other}")).help("known are: no_rec, domain");
                }
            }
        }
    }

    fn failover(&mut self, option: &mut Words<'_>) {
        for (token, rcode) in rcodes_of(option) {
            if rcode == Rcode::NOERROR {
                option.error(token.span, "failover: NOERROR is no failure");
            } else {
                self.settings.failover.push(rcode);
            }
        }
    }

    fn resolver(&mut self, option: &mut Words<'_>) {
        let Some(first) = option.required("the address of a resolver") else { return };
        for token in [first].into_iter().chain(option.rest()) {
            match address_of(&token.text) {
                Some(address) => self.resolvers.push(address),
                None => {
                    option.error(token.span, &format!("resolver must be an IP address or IP:port: \"{}\"", token.text));
                }
            }
        }
    }

    /// What the options say must fit together.
    fn agree(&self, words: &mut Words<'_>) {
        let (span, settings) = (words.span(), &self.settings);
        if let Some(age) = settings.max_age.filter(|age| *age < settings.expire) {
            let message = format!("max_age ({}) must not be less than expire ({})", go_duration(age), go_duration(settings.expire));
            words.error(span, &message);
        }
        if let Some(source) = settings.source {
            let other = |to: &&To| matches!(to, To::Address(address) if address.is_ipv4() != source.is_ipv4());
            if let Some(To::Address(address)) = self.to.iter().find(other) {
                words.error(span, &format!("{address} cannot be asked from the source address {source}: one is IPv4 and the other IPv6"));
            }
        }
    }

    /// Whether no name is left for a later stanza.
    fn hides(&self, later: &Self) -> bool {
        let passes = self.next_on_nodata || !self.next.is_empty();
        later.from.is_within(&self.from)
            && !passes
            && !self.except.iter().any(|zone| zone.is_within(&later.from) || later.from.is_within(zone))
    }
}

fn rcodes(option: &mut Words<'_>) -> Vec<Rcode> {
    rcodes_of(option).into_iter().map(|(_, rcode)| rcode).collect()
}

/// Response codes by name, at least one.
fn rcodes_of<'w>(option: &mut Words<'w>) -> Vec<(&'w Token, Rcode)> {
    let Some(first) = option.required("a response code") else { return Vec::new() };
    let mut rcodes = Vec::new();
    for token in [first].into_iter().chain(option.rest()) {
        match token.text.parse() {
            Ok(rcode) => rcodes.push((token, rcode)),
            Err(()) => {
                let message = format!("{} is not a valid rcode", token.text);
                option.error(token.span, &message).help("such as SERVFAIL, REFUSED or NXDOMAIN");
            }
        }
    }
    rcodes
}
