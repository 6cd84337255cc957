//! `hosts [FILE [ZONE…]] { … }`.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use smallvec::smallvec;

use crate::{
    chain::{Cx, Flow, Plugin},
    corefile::{Arguments, nearest},
    metrics::{Family, Gauge, GaugeFamily, Metrics},
    wire::{Class, Name, Owner, Query, Rcode, Rdatas, RecordSet, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role, names, root::Root,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "hosts",
    about: "Answers A, AAAA and PTR queries from a file in the form of /etc/hosts.",
    arguments: "[FILE [ZONE…]]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::ReadsFiles, Role::DecidesCacheContents],
    example: ".:53 {\n    hosts {\n        192.0.2.7 printer.example.org\n        fallthrough\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<HostsSettings> = OptionTable(&[
    OptionSpec::new(
        "ttl",
        "SECONDS",
        "Sets the TTL of answers; the default is 3600.",
        |hosts, option| {
            hosts.ttl = option.number("the TTL", 1, 65_535).unwrap_or(hosts.ttl);
            option.ignore_rest();
        },
    ),
    OptionSpec::new("no_reverse", "", "Passes PTR queries to the next plugin.", |hosts, option| {
        hosts.no_reverse = true;
        option.ignore_rest();
    }),
    OptionSpec::new(
        "reload",
        "DURATION",
        "Watches the file for changes; 0 turns that off.",
        // All other durations have the same effect: a change shows within two seconds.
        |hosts, option| {
            hosts.watched = option.duration("the interval") != Some(Duration::ZERO);
        },
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes names that do not exist to the next plugin. Without this option they get SERVFAIL.",
        |hosts, option| hosts.fallthrough = Some(Fallthrough::read(option)),
    ),
    OptionSpec::new(
        "fallthrough_unsupported",
        "",
        "Passes queries for types other than A, AAAA and PTR to the next plugin, too. It needs `fallthrough`.",
        |hosts, _| hosts.fallthrough_unsupported = true,
    ),
    OptionSpec::matching(
        is_address,
        "ADDRESS",
        "NAME…",
        "Adds a line to those of the file.",
        read_address,
    ),
    OptionSpec::matching(
        |_| true,
        "OTHER",
        "",
        "A line that begins with neither an option nor an address is ignored, as in a hosts file.",
        read_other,
    ),
]);

static ENTRIES: GaugeFamily<1> = Family::new(
    "hosts_entries",
    "Addresses and reverse names of a hosts file, and of the lines in the plugin's block.",
    ["hostsfile"],
);
static MODIFIED: Family<Gauge, 0> = Family::new(
    "hosts_reload_timestamp_seconds",
    "Time of the last change of the hosts file that was read last.",
    [],
);

pub(super) fn declare_metrics(metrics: &Metrics) {
    MODIFIED.with(metrics, []);
}

#[derive(Clone, Debug)]
struct HostsSettings {
    file: String,
    zones: Vec<Name>,
    /// The address lines of the block.
    inline: Vec<(IpAddr, Vec<Name>)>,
    ttl: u32,
    no_reverse: bool,
    fallthrough: Option<Fallthrough>,
    fallthrough_unsupported: bool,
    watched: bool,
}

struct Hosts {
    settings: HostsSettings,
    zones: Vec<Name>,
    addresses: HashMap<Name, Vec<IpAddr>>,
    /// The data of PTR records. A blocklist has a hundred thousand names for one address, so the
    /// data is not made for each query.
    pointers: HashMap<Name, Rdatas>,
    /// The number of addresses and reverse names.
    entries: usize,
}

/// The lines of a hosts file and of the block, while they are read.
#[derive(Default)]
struct HostsLines {
    addresses: HashMap<Name, Vec<IpAddr>>,
    names: HashMap<Name, Vec<Name>>,
}

impl PluginSettings for HostsSettings {
    fn needs(&self) -> Vec<Need> {
        let watch = self.watched.then_some(Need::WatchFiles);
        [Need::File(self.file.clone())].into_iter().chain(watch).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let missing = context.file(&self.file).err();
        if let Some(reason) = missing {
            let text = self.without_file(&reason);
            context.warn(DIRECTIVE.name, text);
        }
        let text = context.file(&self.file).unwrap_or_default();
        let zones = if self.zones.is_empty() { context.zones.to_vec() } else { self.zones.clone() };
        let hosts = self.hosts(text, zones);
        ENTRIES.with(context.build.metrics, [&self.file]).set(hosts.entries as i64);
        let since = context
            .build
            .modified
            .get(&self.file)
            .and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        MODIFIED.with(context.build.metrics, []).set(since.unwrap_or_default().as_secs_f64());
        Ok(vec![Arc::new(hosts)])
    }
}

impl HostsSettings {
    fn hosts(&self, text: &str, zones: Vec<Name>) -> Hosts {
        let mut lines = HostsLines::default();
        for (address, names) in
            text.lines().filter_map(read_line).chain(self.inline.iter().cloned())
        {
            let names = names.into_iter();
            names
                .filter(|name| zones.iter().any(|zone| name.is_within(zone)))
                .for_each(|name| lines.add(address, name));
        }
        if self.no_reverse {
            lines.names.clear();
        }
        let HostsLines { addresses, names } = lines;
        let entries = addresses.values().map(Vec::len).chain(names.values().map(Vec::len)).sum();
        let pointers = names
            .into_iter()
            .map(|(reverse, names)| (reverse, names.iter().map(Name::wire).collect()))
            .collect();
        Hosts { settings: self.clone(), zones, addresses, pointers, entries }
    }

    /// The warning for a file that cannot be read. As in CoreDNS, it counts as an empty file.
    fn without_file(&self, reason: &str) -> String {
        let later = if self.watched {
            "it is read as soon as it exists"
        } else {
            "`reload 0` means that it is read at the next start or reload"
        };
        format!("the file {} cannot be read and counts as empty: {reason}; {later}", self.file)
    }
}

/// Reads `ADDRESS NAME…`, with a comment after `#`. `None` if the line has another form.
fn read_line(line: &str) -> Option<(IpAddr, Vec<Name>)> {
    let mut arguments = line.split('#').next()?.split_whitespace();
    let address: IpAddr = arguments.next()?.split('%').next()?.parse().ok()?;
    Some((address.to_canonical(), arguments.filter_map(|name| name.parse().ok()).collect()))
}

impl HostsLines {
    fn add(&mut self, address: IpAddr, name: Name) {
        let addresses = self.addresses.entry(name.clone()).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
        let wildcard = name.labels().next() == Some(b"*");
        if !wildcard {
            self.names.entry(Name::reverse(address)).or_default().push(name);
        }
    }
}

impl Hosts {
    /// The addresses of the name, else those of the name with `*` instead of its first label.
    fn find(&self, name: &Name) -> Option<&Vec<IpAddr>> {
        let wildcard = || self.addresses.get(&Name::join([b"*".as_slice()], &name.parent()?)?);
        self.addresses.get(name).or_else(wildcard)
    }

    fn pointer(&self, query: &Query) -> Flow {
        match self.pointers.get(&query.question.name) {
            Some(pointers) => self.answer(Type::PTR, pointers.clone()),
            None => Flow::Next,
        }
    }

    fn answer(&self, rtype: Type, rdatas: Rdatas) -> Flow {
        let mut response = Response::authoritative(Rcode::NOERROR);
        if !rdatas.is_empty() {
            response.answer =
                smallvec![RecordSet::new(Owner::Question, rtype, self.settings.ttl, rdatas)];
        }
        Flow::Answer(response)
    }

    /// Whether the next plugin gets a query for a name that exists, with a type other than A and
    /// AAAA.
    fn passes_unsupported(&self, name: &Name) -> bool {
        let includes = |fallthrough: &Fallthrough| fallthrough.includes(name);
        self.settings.fallthrough_unsupported
            && self.settings.fallthrough.as_ref().is_some_and(includes)
    }

    fn missing(&self, name: &Name) -> Flow {
        match &self.settings.fallthrough {
            Some(fallthrough) if fallthrough.includes(name) => Flow::Next,
            _ => Flow::Answer(Response::of(Rcode::SERVFAIL)),
        }
    }
}

impl Plugin for Hosts {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
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
            _ if self.passes_unsupported(&question.name) => Flow::Next,
            other => self.answer(other, Rdatas::default()),
        }
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut hosts = HostsSettings {
        file: "/etc/hosts".to_owned(),
        zones: Vec::new(),
        inline: Vec::new(),
        ttl: 3600,
        no_reverse: false,
        fallthrough: None,
        fallthrough_unsupported: false,
        watched: true,
    };
    let root = Root::of(lines);
    lines.once(|arguments| {
        if let Some(file) = arguments.optional() {
            hosts.file = root.path(&file.text);
        }
        hosts.zones = names(&arguments.zones());
        OPTIONS.read(arguments, &mut hosts);
        if hosts.fallthrough_unsupported && hosts.fallthrough.is_none() {
            let span = arguments.span();
            arguments.error(span, "fallthrough_unsupported requires fallthrough");
        }
    });
    Some(Box::new(hosts))
}

fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

fn read_other(hosts: &mut HostsSettings, option: &mut Arguments<'_>) {
    const OPTIONS: [&str; 5] =
        ["ttl", "no_reverse", "reload", "fallthrough", "fallthrough_unsupported"];
    let (span, name) = (option.span(), option.name());
    if hosts.fallthrough.is_some() {
        return option.unknown(&OPTIONS, &[]);
    }
    let message = format!("`{name}` is not an address, and the line is ignored");
    let warning = option.warning(span, &message);
    if let Some(near) = nearest(name, &OPTIONS) {
        warning.help(format!("did you mean `{near}`?"));
    }
    option.skip();
}

fn read_address(hosts: &mut HostsSettings, option: &mut Arguments<'_>) {
    let Ok(address) = option.name().parse::<IpAddr>() else { return };
    if hosts.fallthrough.is_some() {
        let span = option.span();
        option.error(span, "this address stands after `fallthrough`, which must come last");
        option.rest();
        return;
    }
    hosts.inline.push((address.to_canonical(), read_names(option)));
}

fn read_names(option: &mut Arguments<'_>) -> Vec<Name> {
    let mut names = Vec::new();
    // The text of an environment variable that is not set is empty.
    for token in option.rest().iter().filter(|token| !token.text.is_empty()) {
        match token.text.parse::<Name>() {
            Ok(name) => names.push(name),
            Err(reason) => {
                let message = format!("`{}` is left out: it is not a name: {reason}", token.text);
                option.warning(token.span, &message);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{chain::Transport, wire::Question};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn the_names_of_an_address_are_not_copied_for_each_query() {
        let settings = HostsSettings {
            file: String::new(),
            zones: Vec::new(),
            inline: Vec::new(),
            ttl: 60,
            no_reverse: false,
            fallthrough: None,
            fallthrough_unsupported: false,
            watched: false,
        };
        let blocked: String = (0..1000).map(|at| format!("0.0.0.0 ad-{at}.example\n")).collect();
        let hosts = settings.hosts(&(blocked + "0.0.0.0 *.example ad-7\n"), vec![Name::root()]);
        assert_eq!(hosts.entries, 1002 + 1001);
        let question = Question::new(Name::reverse([0, 0, 0, 0].into()), Type::PTR);
        let data = || {
            let address = ([192, 0, 2, 1], 53).into();
            let mut cx = Cx::new(Instant::now(), 1, address, address, Transport::Udp);
            match hosts.query(&mut cx, &Query::internal(question.clone())) {
                Flow::Answer(response) => response.answer[0].rdatas.clone(),
                _ => panic!("no answer"),
            }
        };
        let [one, other] = [data(), data()];
        assert_eq!(one.iter().count(), 1001);
        assert_eq!(one.iter().next().map(<[u8]>::as_ptr), other.iter().next().map(<[u8]>::as_ptr));
    }
}
