//! `hosts [FILE [ZONES…]] { … }`: names and addresses as in /etc/hosts.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use smallvec::smallvec;

use crate::{
    chain::{Cx, Flow, Plugin},
    corefile::Arguments,
    metrics::{Family, Gauge, GaugeFamily, Metrics},
    wire::{Class, Name, Owner, Query, Rcode, Rdatas, RecordSet, Response, Type},
};

use super::{Fallthrough, Need, PluginContext, Reading, Settings, names};

static ENTRIES: GaugeFamily<1> = Family::new(
    "hosts_entries",
    "Addresses and reverse names of a hosts file and its block.",
    ["hostsfile"],
);
static MODIFIED: Family<Gauge, 0> = Family::new(
    "hosts_reload_timestamp_seconds",
    "When the hosts file that was read last was modified.",
    [],
);

pub(super) fn declare_metrics(metrics: &Metrics) {
    MODIFIED.with(metrics, []);
}

#[derive(Clone, Debug)]
struct Written {
    file: String,
    zones: Vec<Name>,
    /// Lines of the block: addresses with their names.
    inline: Vec<(IpAddr, Vec<Name>)>,
    ttl: u32,
    no_reverse: bool,
    fallthrough: Option<Fallthrough>,
    fallthrough_unsupported: bool,
    watched: bool,
}

/// `hosts` at work.
struct Hosts {
    written: Written,
    zones: Vec<Name>,
    addresses: HashMap<Name, Vec<IpAddr>>,
    names: HashMap<Name, Vec<Name>>,
}

impl Settings for Written {
    fn needs(&self) -> Vec<Need> {
        let watch = self.watched.then_some(Need::WatchFiles);
        [Need::File(self.file.clone())].into_iter().chain(watch).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        // A file that is not there yet is an empty one, as in CoreDNS.
        let text =
            context.files.get(&self.file).and_then(|text| text.as_deref().ok()).unwrap_or_default();
        let zones = if self.zones.is_empty() { context.zones.to_vec() } else { self.zones.clone() };
        let mut hosts = Hosts {
            written: self.clone(),
            zones,
            addresses: HashMap::new(),
            names: HashMap::new(),
        };
        for (address, names) in
            text.lines().filter_map(read_line).chain(self.inline.iter().cloned())
        {
            names.into_iter().for_each(|name| hosts.add(address, name));
        }
        ENTRIES.with(context.metrics, [&self.file]).set(hosts.entries() as i64);
        let since = context
            .modified
            .get(&self.file)
            .and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        MODIFIED.with(context.metrics, []).set(since.unwrap_or_default().as_secs_f64());
        Ok(vec![Arc::new(hosts)])
    }
}

/// `ADDRESS NAME…`, with a comment behind `#`; `None` for what is no such line.
fn read_line(line: &str) -> Option<(IpAddr, Vec<Name>)> {
    let mut arguments = line.split('#').next()?.split_whitespace();
    let address: IpAddr = arguments.next()?.split('%').next()?.parse().ok()?;
    Some((address.to_canonical(), arguments.filter_map(|name| name.parse().ok()).collect()))
}

impl Hosts {
    fn add(&mut self, address: IpAddr, name: Name) {
        if !self.zones.iter().any(|zone| name.is_within(zone)) {
            return;
        }
        let addresses = self.addresses.entry(name.clone()).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
        let wildcard = name.labels().next() == Some(b"*");
        if !self.written.no_reverse && !wildcard {
            self.names.entry(Name::reverse(address)).or_default().push(name);
        }
    }

    fn entries(&self) -> usize {
        self.addresses.values().map(Vec::len).chain(self.names.values().map(Vec::len)).sum()
    }

    /// The name itself, or `*` in the place of its first label.
    fn find(&self, name: &Name) -> Option<&Vec<IpAddr>> {
        let wildcard = || self.addresses.get(&Name::join([b"*".as_slice()], &name.parent()?)?);
        self.addresses.get(name).or_else(wildcard)
    }

    fn pointer(&self, query: &Query) -> Flow {
        match self.names.get(&query.question.name) {
            Some(names) => self.answer(Type::PTR, names.iter().map(Name::wire).collect()),
            None => Flow::Next,
        }
    }

    fn answer(&self, rtype: Type, rdatas: Rdatas) -> Flow {
        let mut response = Response::authoritative(Rcode::NOERROR);
        if !rdatas.is_empty() {
            response.answer =
                smallvec![RecordSet::new(Owner::Question, rtype, self.written.ttl, rdatas)];
        }
        Flow::Answer(response)
    }

    fn missing(&self, name: &Name) -> Flow {
        match &self.written.fallthrough {
            Some(fallthrough) if fallthrough.includes(name) => Flow::Next,
            _ => Flow::Answer(Response::of(Rcode::SERVFAIL)),
        }
    }
}

impl Plugin for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.class == Class::IN && question.qtype == Type::PTR {
            return self.pointer(query);
        }
        if question.class != Class::IN
            || !self.zones.iter().any(|zone| question.name.is_within(zone))
        {
            return Flow::Next;
        }
        let Some(addresses) = self.find(&question.name) else {
            return self.missing(&question.name);
        };
        let v4 = addresses.iter().filter_map(|address| {
            if let IpAddr::V4(v4) = address { Some(v4.octets()) } else { None }
        });
        let v6 = addresses.iter().filter_map(|address| {
            if let IpAddr::V6(v6) = address { Some(v6.octets()) } else { None }
        });
        match question.qtype {
            Type::A => self.answer(Type::A, v4.collect()),
            Type::AAAA => self.answer(Type::AAAA, v6.collect()),
            _ if self.written.fallthrough_unsupported => self.missing(&question.name),
            other => self.answer(other, Rdatas::default()),
        }
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut written = Written {
        file: "/etc/hosts".to_owned(),
        zones: Vec::new(),
        inline: Vec::new(),
        ttl: 3600,
        no_reverse: false,
        fallthrough: None,
        fallthrough_unsupported: false,
        watched: true,
    };
    reading.once(|arguments| {
        if let Some(file) = arguments.optional() {
            written.file.clone_from(&file.text);
        }
        written.zones = names(&arguments.zones());
        arguments.options(|option| {
            // An address may have several lines.
            if option.name().parse::<IpAddr>().is_err() {
                option.once();
            }
            written.option(option);
        });
        if written.fallthrough_unsupported && written.fallthrough.is_none() {
            let span = arguments.span();
            arguments.error(span, "fallthrough_unsupported requires fallthrough");
        }
    });
    Some(Box::new(written))
}

const OPTIONS: [&str; 5] =
    ["ttl", "no_reverse", "reload", "fallthrough", "fallthrough_unsupported"];

impl Written {
    fn option(&mut self, option: &mut Arguments<'_>) {
        match option.name() {
            "ttl" => self.ttl = option.number("the TTL", 1, 65_535).unwrap_or(self.ttl),
            "no_reverse" => self.no_reverse = true,
            // A time of 0 means never; any other is longer than the second or two that it takes.
            "reload" => {
                self.watched = option.duration("the time between looks") != Some(Duration::ZERO)
            }
            "fallthrough" => self.fallthrough = Some(Fallthrough::read(option)),
            "fallthrough_unsupported" => self.fallthrough_unsupported = true,
            address => match address.parse::<IpAddr>() {
                Ok(_) if self.fallthrough.is_some() => {
                    let span = option.span();
                    option
                        .error(span, "this host stands after `fallthrough`, which must come last");
                    option.rest();
                }
                Ok(address) => self.inline.push((address.to_canonical(), hosts_of(option))),
                Err(_) => option.unknown(&OPTIONS),
            },
        }
    }
}

fn hosts_of(option: &mut Arguments<'_>) -> Vec<Name> {
    let mut hosts = Vec::new();
    for token in option.rest() {
        match token.text.parse::<Name>() {
            Ok(name) => hosts.push(name),
            Err(reason) => {
                option.error(token.span, &format!("`{}` is no name: {reason}", token.text));
            }
        }
    }
    hosts
}
