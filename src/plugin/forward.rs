//! `forward FROM TO… { … }`: passes questions to upstreams.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    chain::{Cx, Exchange, Flow, Plugin},
    corefile::Words,
    upstream::{self, Group, Policy},
    wire::{Name, Query, Rcode},
};

use super::{Need, Reading, Settings, Site, names};

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
    settings: upstream::Settings,
}

#[derive(Clone, Debug)]
enum To {
    Address(SocketAddr),
    /// In the form of resolv.conf: its name servers.
    File(String),
}

struct Forward {
    stanza: Stanza,
    group: Arc<Group>,
}

impl Settings for Written {
    fn needs(&self) -> Vec<Need> {
        let targets = self.stanzas.iter().flat_map(|stanza| &stanza.to);
        let file = |to: &To| match to {
            To::File(path) => Some(Need::File(path.clone())),
            To::Address(_) => None,
        };
        targets.filter_map(file).chain([Need::AnyClass]).collect()
    }

    fn build(&self, site: &mut Site<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
        for stanza in &self.stanzas {
            let settings = upstream::Settings { to: stanza.addresses(site)?, ..stanza.settings.clone() };
            let group = site.group(settings);
            plugins.push(Arc::new(Forward { stanza: stanza.clone(), group }));
        }
        Ok(plugins)
    }
}

impl Stanza {
    fn addresses(&self, site: &Site<'_>) -> Result<Vec<SocketAddr>, String> {
        let mut addresses = Vec::new();
        for to in &self.to {
            match to {
                To::Address(address) => addresses.push(*address),
                To::File(path) => match site.files.get(path) {
                    Some(Ok(text)) => addresses.extend(name_servers(text)),
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
        let name = &query.question.name;
        let excepted = self.stanza.except.iter().any(|zone| *zone != self.stanza.from && name.is_within(zone));
        if !name.is_within(&self.stanza.from) || excepted {
            return Flow::Next;
        }
        Flow::Forward(Exchange { query: query.clone(), group: Arc::clone(&self.group) })
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
    reading.each(|words| written.stanzas.extend(read_stanza(words)));
    Some(Box::new(written))
}

fn read_stanza(words: &mut Words<'_>) -> Option<Stanza> {
    let from = words.required("the zone to forward and the upstreams")?;
    let from = match crate::corefile::reverse_zones(&from.text).and_then(|zones| zones.first()?.parse().ok()) {
        Some(zone) => zone,
        None => match from.text.parse::<Name>() {
            Ok(zone) => zone,
            Err(reason) => {
                words.error(from.span, &format!("`{}` is no zone: {reason}", from.text));
                return None;
            }
        },
    };
    let mut to = Vec::new();
    let first = words.required("an upstream")?;
    for token in [first].into_iter().chain(words.rest()) {
        to.extend(read_target(words, token));
    }
    let mut stanza = Stanza { from, except: Vec::new(), to, settings: upstream::Settings::default() };
    words.options(|option| stanza.option(option));
    Some(stanza)
}

fn read_target(words: &mut Words<'_>, token: &crate::corefile::Token) -> Option<To> {
    let text = &*token.text;
    if let Some((scheme, rest)) = text.split_once("://") {
        match scheme {
            "dns" => return address_of(rest).map(To::Address).or_else(|| bad_target(words, token)),
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
        if address.ip().is_loopback() && address.ip() != IpAddr::from([127, 0, 0, 1]) && address.port() == 53 {
            let message = format!("{address} is most likely this machine's own stub resolver, which asks back here");
            words.warning(token.span, &message).help("forward to /run/systemd/resolve/resolv.conf instead");
        }
        return Some(To::Address(address));
    }
    if text.contains('/') { Some(To::File(text.to_owned())) } else { bad_target(words, token) }
}

fn bad_target(words: &mut Words<'_>, token: &crate::corefile::Token) -> Option<To> {
    let message = format!("not an IP address or file: \"{}\"", token.text);
    words.error(token.span, &message).help("an upstream is `10.0.0.2`, `10.0.0.2:53`, `[fd00::2]:53` or a file such as /etc/resolv.conf");
    None
}

impl Stanza {
    fn option(&mut self, option: &mut Words<'_>) {
        let settings = &mut self.settings;
        match option.name() {
            "except" => self.except.extend(names(&option.zones())),
            "force_tcp" => settings.force_tcp = true,
            "prefer_udp" => settings.prefer_udp = true,
            "expire" => settings.expire = option.duration("expire").unwrap_or(settings.expire),
            "read_timeout" => settings.read_timeout = option.duration("the timeout").unwrap_or(settings.read_timeout),
            "max_fails" => settings.max_fails = option.number("max_fails", 0, u32::MAX).unwrap_or(settings.max_fails),
            "max_connect_attempts" => settings.max_attempts = option.number("max_connect_attempts", 0, u32::MAX),
            "policy" => {
                let policies = [("random", Policy::Random), ("round_robin", Policy::RoundRobin), ("sequential", Policy::Sequential)];
                settings.policy = option.one_of("policy", &policies).unwrap_or(settings.policy);
            }
            "health_check" => self.health_check(option),
            "max_concurrent" => settings.max_concurrent = option.number("max_concurrent", 0, u32::MAX).filter(|max| *max > 0),
            "failover" => self.failover(option),
            "failfast_all_unhealthy_upstreams" => settings.failfast = true,
            "max_age" | "max_idle_conns" | "tls" | "tls_servername" | "next" | "next_on_nodata" | "doh_method" | "source_address"
            | "resolver" => {
                return option.not_yet();
            }
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
        for token in option.rest() {
            match token.text.parse::<Rcode>() {
                Ok(rcode) if rcode != Rcode::NOERROR => self.settings.failover.push(rcode),
                Ok(_) => {
                    option.error(token.span, "failover: NOERROR is no failure");
                }
                Err(()) => {
                    option.error(token.span, &format!("failover: {} is no response code", token.text));
                }
            }
        }
    }
}
