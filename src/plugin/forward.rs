//! `forward FROM TO… { … }`: passes questions to upstreams.

mod targets;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    chain::{Ask, Back, Cx, Exchange, Flow, From, Nested, Plugin, Reply},
    corefile::{Arguments, Token, go_duration},
    limits,
    upstream::{Group, GroupSettings, Pem, Policy, Target, TlsClientSettings},
    wire::{Ede, Name, Query, Rcode, Response},
};

use super::{Need, PluginContext, Reading, Settings, TlsFile, names};

pub use targets::target;

use targets::{Place, Speech, To};

/// All `forward` lines of a block, in the order of the file: the first whose zone has the name
/// takes it.
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
    tls: UpstreamTls,
    /// The name that the certificates of upstreams over TLS must have.
    server_name: Option<String>,
    settings: GroupSettings,
}

/// The files, in PEM, with which upstreams are spoken to over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Our own certificate and its key.
    pub identity: Option<(TlsFile, TlsFile)>,
    /// Who signs upstreams' certificates; else whom this machine trusts.
    pub authorities: Option<TlsFile>,
}

struct Forward {
    stanza: Stanza,
    group: Arc<Group>,
    /// The `forward` lines below this one.
    later: Vec<Stanza>,
}

impl Settings for Written {
    fn needs(&self) -> Vec<Need> {
        self.stanzas.iter().flat_map(Stanza::needs).chain([Need::AnyClass]).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let mut plugins: Vec<Arc<dyn Plugin>> = Vec::new();
        for (at, stanza) in self.stanzas.iter().enumerate() {
            let settings =
                GroupSettings { targets: stanza.targets(context)?, ..stanza.settings.clone() };
            let group = context.group(settings);
            let later = self.stanzas[at + 1..].to_vec();
            plugins.push(Arc::new(Forward { stanza: stanza.clone(), group, later }));
        }
        Ok(plugins)
    }
}

impl Stanza {
    fn needs(&self) -> Vec<Need> {
        let mut needs: Vec<_> = self.to.iter().filter_map(|to| to.need(&self.resolvers)).collect();
        let files: Vec<_> = self.tls.files().map(|file| Need::File(file.path.clone())).collect();
        if !files.is_empty() {
            // A certificate that has run out convinces nobody.
            needs.extend([Need::WatchFiles, Need::UpstreamTls(self.tls.clone())]);
        }
        needs.extend(files);
        needs
    }

    /// Whether it is the one to ask for the name.
    fn takes(&self, name: &Name) -> bool {
        let excepted = self.except.iter().any(|zone| *zone != self.from && name.is_within(zone));
        name.is_within(&self.from) && !excepted
    }

    /// Whether the next `forward` line is asked instead.
    fn passes_on(&self, response: &Response) -> bool {
        self.next.contains(&response.rcode)
            || self.next_on_nodata && response.rcode == Rcode::NOERROR && response.answer.is_empty()
    }

    fn targets(&self, context: &mut PluginContext<'_>) -> Result<Vec<Target>, String> {
        let tls = self.tls.read(context.files).map_err(|(file, reason)| {
            format!("plugin/forward: cannot use {}: {reason}", file.path)
        })?;
        let tls = TlsClientSettings { server_name: self.server_name.clone(), ..tls };
        let mut targets = Vec::new();
        for to in &self.to {
            targets.extend(to.targets(context, &self.resolvers, &tls)?);
        }
        let mut seen = std::collections::HashSet::new();
        targets.retain(|target| seen.insert(target.clone()));
        if targets.is_empty() {
            Err("plugin/forward: no valid upstream addresses found".to_owned())
        } else {
            Ok(targets)
        }
    }
}

impl UpstreamTls {
    fn files(&self) -> impl Iterator<Item = &TlsFile> {
        self.identity
            .iter()
            .flat_map(|(certificate, key)| [certificate, key])
            .chain(&self.authorities)
    }

    /// The content of the files, which are not looked into.
    ///
    /// # Errors
    /// The file that cannot be read, and why.
    pub fn read<'s>(
        &'s self,
        files: &HashMap<String, Result<String, String>>,
    ) -> Result<TlsClientSettings, (&'s TlsFile, String)> {
        let text = |file: &'s TlsFile| match files.get(&file.path) {
            Some(Ok(text)) => Ok(Pem(text.clone())),
            Some(Err(reason)) => Err((file, reason.clone())),
            None => Err((file, "it was not read".to_owned())),
        };
        let identity = self
            .identity
            .as_ref()
            .map(|(certificate, key)| Ok((text(certificate)?, text(key)?)))
            .transpose()?;
        Ok(TlsClientSettings {
            server_name: None,
            identity,
            authorities: self.authorities.as_ref().map(text).transpose()?,
        })
    }
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
            return Flow::Answer(Response {
                ede: Some(Ede::NOT_AUTHORITATIVE),
                ..Response::of(Rcode::REFUSED)
            });
        }
        Flow::Forward(Exchange { query: query.clone(), group: Arc::clone(&self.group) })
    }

    fn response(
        &self,
        _cx: &mut Cx,
        query: &Query,
        nested: Option<Nested<'_>>,
        reply: Reply,
    ) -> Back {
        let name = &query.question.name;
        let passes =
            |response: &Response| self.stanza.takes(name) && self.stanza.passes_on(response);
        if nested.is_none()
            && reply.as_ref().is_ok_and(passes)
            && self.later.iter().any(|stanza| stanza.takes(name))
        {
            return Back::Ask(Ask { question: query.question.clone(), from: From::Below, step: 0 });
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
    reading.each(|arguments| {
        let Some(stanza) = read_stanza(arguments) else { return };
        if let Some(before) = written.stanzas.iter().find(|before| before.hides(&stanza)) {
            let message = format!("an earlier `forward {}` takes every name of `{}`", before.from, stanza.from);
            let help = if before.from == stanza.from {
                "name all upstreams in one line, or say with `next` in the first one when the second is asked"
            } else {
                "the order counts, not the length of the zone: write this line above that one"
            };
            let span = arguments.span();
            arguments.warning(span, &message).label("never asked").help(help);
        }
        written.stanzas.push(stanza);
    });
    Some(Box::new(written))
}

fn read_stanza(arguments: &mut Arguments<'_>) -> Option<Stanza> {
    let zone = arguments.required("the zone to forward and the upstreams")?;
    let zones = names(&arguments.zones_of(zone));
    let from = zones.first()?.clone();
    if zones.len() > 1 {
        let message =
            format!("`{}` is {} zones, and only `{from}` is forwarded", zone.text, zones.len());
        arguments
            .warning(zone.span, &message)
            .help("write a `forward` line for each of them, or a larger block");
    }
    let mut to = Vec::new();
    let first = arguments.required("an upstream")?;
    let targets: Vec<_> = [first].into_iter().chain(arguments.rest()).collect();
    if let Some(extra) = targets.get(limits::FORWARD_TARGETS) {
        arguments.error(
            extra.span,
            &format!("more than {} TOs configured: {}", limits::FORWARD_TARGETS, targets.len()),
        );
    }
    for token in targets {
        to.extend(targets::read(arguments, token));
    }
    let mut stanza = Stanza {
        from,
        except: Vec::new(),
        to,
        resolvers: Vec::new(),
        next: Vec::new(),
        next_on_nodata: false,
        tls: UpstreamTls::default(),
        server_name: None,
        settings: GroupSettings::default(),
    };
    arguments.options(|option| stanza.option(option));
    stanza.agree(arguments);
    stanza.agree_on_tls(arguments);
    Some(stanza)
}

impl Stanza {
    fn option(&mut self, option: &mut Arguments<'_>) {
        option.once_unless(&["except", "next", "failover"]);
        let settings = &mut self.settings;
        match option.name() {
            "except" => {
                if let Some(first) = option.required("a zone") {
                    let zones = option
                        .zones_of(first)
                        .into_iter()
                        .chain(option.zones())
                        .collect::<Vec<_>>();
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
                let timeout =
                    option.duration_between("the timeout", Duration::from_nanos(1), Duration::MAX);
                settings.read_timeout = timeout.unwrap_or(settings.read_timeout);
            }
            "source_address" => settings.source = option.address("the source address"),
            "max_fails" => {
                settings.max_fails =
                    option.number("max_fails", 0, u32::MAX).unwrap_or(settings.max_fails)
            }
            "max_connect_attempts" => {
                settings.max_attempts = option.number("max_connect_attempts", 0, u32::MAX)
            }
            "policy" => {
                let policies = [
                    ("random", Policy::Random),
                    ("round_robin", Policy::RoundRobin),
                    ("sequential", Policy::Sequential),
                ];
                settings.policy = option.one_of("policy", &policies).unwrap_or(settings.policy);
            }
            "health_check" => self.health_check(option),
            "max_concurrent" => {
                settings.max_concurrent =
                    option.number("max_concurrent", 0, u32::MAX).filter(|max| *max > 0)
            }
            "resolver" => self.resolver(option),
            "next" => self.next.extend(rcodes(option)),
            "next_on_nodata" => self.next_on_nodata = true,
            "failover" => self.failover(option),
            "failfast_all_unhealthy_upstreams" => settings.failfast = true,
            "tls" => self.tls = tls_files(option),
            "tls_servername" => {
                let Some(name) = option.required("a name") else { return };
                if !targets::is_server_name(&name.text) {
                    option
                        .error(name.span, &format!("`{}` is no name for a certificate", name.text))
                        .help("such as `dns.quad9.net`");
                }
                self.server_name = Some(name.text.trim_end_matches('.').to_owned());
            }
            "doh_method" => return option.not_yet(),
            _ => return option.unknown(&OPTIONS),
        }
        option.end();
        option.no_body();
    }

    fn health_check(&mut self, option: &mut Arguments<'_>) {
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
                    option
                        .error(token.span, &format!("health_check: unknown option {other}"))
                        .help("known are: no_rec, domain");
                }
            }
        }
    }

    fn failover(&mut self, option: &mut Arguments<'_>) {
        for (token, rcode) in rcodes_of(option) {
            if rcode == Rcode::NOERROR {
                option.error(token.span, "failover: NOERROR is no failure");
            } else {
                self.settings.failover.push(rcode);
            }
        }
    }

    fn resolver(&mut self, option: &mut Arguments<'_>) {
        let Some(first) = option.required("the address of a resolver") else { return };
        for token in [first].into_iter().chain(option.rest()) {
            match targets::address_of(&token.text, 53) {
                Some(address) => self.resolvers.push(address),
                None => {
                    option.error(
                        token.span,
                        &format!("resolver must be an IP address or IP:port: \"{}\"", token.text),
                    );
                }
            }
        }
    }

    /// What the options say must fit together.
    fn agree(&self, arguments: &mut Arguments<'_>) {
        let (span, settings) = (arguments.span(), &self.settings);
        if let Some(age) = settings.max_age.filter(|age| *age < settings.expire) {
            let message = format!(
                "max_age ({}) must not be less than expire ({})",
                go_duration(age),
                go_duration(settings.expire)
            );
            arguments.error(span, &message);
        }
        if let Some(source) = settings.source {
            let other = |place: &&Place| matches!(place, Place::Address(address) if address.is_ipv4() != source.is_ipv4());
            if let Some(Place::Address(address)) = self.to.iter().map(|to| &to.place).find(other) {
                arguments.error(span, &format!("{address} cannot be asked from the source address {source}: one is IPv4 and the other IPv6"));
            }
        }
    }

    /// What is said of TLS must mean somebody, and one thing.
    fn agree_on_tls(&self, arguments: &mut Arguments<'_>) {
        let span = arguments.span();
        let named = self.to.iter().find_map(|to| {
            if let Speech::Tls(Some(name)) = &to.speech { Some(name) } else { None }
        });
        if let (Some(line), Some(upstream)) = (&self.server_name, named) {
            arguments.error(
                span,
                &format!(
                    "both forward ('{line}') and proxy level ('{upstream}') TLS servernames are set"
                ),
            );
        }
        if (self.server_name.is_some() || self.tls != UpstreamTls::default())
            && !self.to.iter().any(To::is_encrypted)
        {
            let warning = arguments.warning(
                span,
                "`tls` and `tls_servername` have no effect: no upstream is asked over TLS",
            );
            warning.help("such an upstream begins with `tls://`");
        }
    }

    /// Whether no name is left for a later stanza.
    fn hides(&self, later: &Self) -> bool {
        let passes = self.next_on_nodata || !self.next.is_empty();
        later.from.is_within(&self.from)
            && !passes
            && !self
                .except
                .iter()
                .any(|zone| zone.is_within(&later.from) || later.from.is_within(zone))
    }
}

/// `[CA]`, `CERT KEY` or `CERT KEY CA`.
fn tls_files(option: &mut Arguments<'_>) -> UpstreamTls {
    let mut files: Vec<_> =
        std::iter::from_fn(|| option.optional()).take(3).map(TlsFile::from).collect();
    let authorities = if files.len() % 2 == 1 { files.pop() } else { None };
    let key = files.pop();
    UpstreamTls { identity: files.pop().zip(key), authorities }
}

fn rcodes(option: &mut Arguments<'_>) -> Vec<Rcode> {
    rcodes_of(option).into_iter().map(|(_, rcode)| rcode).collect()
}

/// Response codes by name, at least one.
fn rcodes_of<'w>(option: &mut Arguments<'w>) -> Vec<(&'w Token, Rcode)> {
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
