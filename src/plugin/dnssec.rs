//! `dnssec [ZONE…] { key file PATH…; … }`: signs replies that have no signatures, when they are
//! sent.
//!
//! A reply that denies a name or a type gets an NSEC record for this name only, and its code
//! becomes NOERROR, as in CoreDNS ("black lies"). So the record needs no knowledge of the zone.

mod denial;
mod signatures;

use std::sync::Arc;

use crate::{
    chain::{Ask, Back, Cx, Flow, From, Nested, Plugin, Reply},
    corefile::Arguments,
    dnssec::ZoneKey,
    limits,
    metrics::{CounterFamily, Family, GaugeFamily, IntGauge},
    wire::{Class, Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Sets, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role, ServerLabels, ZoneArguments, key_files::KeyFiles,
    listener_counter::ListenerCounter, names, root::Root,
};
use denial::Meaning;
use signatures::Signatures;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "dnssec",
    about: "Signs replies when they are sent (DNSSEC). Existing signatures stay.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[
        Role::ChangesReplies,
        Role::DecidesCacheContents,
        Role::ReadsFiles,
        Role::TakesZones(ZoneArguments::All),
    ],
    example: "example.org:53 {\n    dnssec {\n        key file /etc/coredns/Kexample.org.+013+45330\n    }\n    file /etc/coredns/db.example.org\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<DnssecOptions> = OptionTable(&[
    OptionSpec::repeated(
        "key",
        "file PATH…",
        "Signs with these keys. `dnssec-keygen -a ECDSAP256SHA256 ZONE` writes PATH.key and PATH.private. If there are keys with the bit SEP and keys without it, the former sign DNSKEY records and the latter all others.",
        read_key,
    ),
    OptionSpec::new(
        "cache_capacity",
        "COUNT",
        "Signatures that are kept; the default is 10000.",
        |options, option| {
            let capacity = option.number("the capacity", 0, limits::SIGNATURES_MAX);
            options.settings.capacity = capacity.unwrap_or(options.settings.capacity);
        },
    ),
]);

static HITS: CounterFamily<1> =
    Family::new("dnssec_cache_hits_total", "Signatures from the cache.", ["server"]);
static MISSES: CounterFamily<1> =
    Family::new("dnssec_cache_misses_total", "Signatures that were made.", ["server"]);
static ENTRIES: GaugeFamily<2> =
    Family::new("dnssec_cache_entries", "Signatures in the cache.", ["server", "type"]);

struct DnssecOptions {
    settings: DnssecSettings,
    root: Root,
}

#[derive(Clone, Debug)]
struct DnssecSettings {
    zones: Vec<Name>,
    keys: Vec<KeyFiles>,
    capacity: usize,
}

struct Dnssec {
    zones: Vec<Name>,
    /// The DNSKEY records of each zone.
    keys: RecordSet,
    signatures: Signatures,
    metrics: DnssecMetrics,
}

struct DnssecMetrics {
    hits: ListenerCounter,
    misses: ListenerCounter,
    servers: ServerLabels,
    /// By the index of the listener.
    entries: Vec<IntGauge>,
}

impl PluginSettings for DnssecSettings {
    fn needs(&self) -> Vec<Need> {
        self.keys.iter().flat_map(KeyFiles::needs).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let loaded = self.keys.iter().map(|key| key.load(context));
        let keys = loaded.collect::<Result<Vec<ZoneKey>, _>>()?;
        if let Some(other) =
            keys.iter().find(|key| !self.zones.iter().any(|zone| zone.is_within(&key.owner)))
        {
            return Err(BuildError(format!(
                "key {} (keyid: {}) can not sign any of the zones; make one with `dnssec-keygen -a ECDSAP256SHA256 ZONE`",
                other.owner,
                other.tag()
            )));
        }
        let Some(first) = keys.first() else { return Ok(Vec::new()) };
        let ttl = first.ttl.unwrap_or(limits::SIGNED_TTL);
        let rdatas: Rdatas = keys.iter().map(ZoneKey::rdata).collect();
        let labels = context.servers.labels();
        let entries = |server| ENTRIES.with(context.build.metrics, [server, "signature"]);
        Ok(vec![Arc::new(Dnssec {
            zones: self.zones.clone(),
            keys: RecordSet::new(Owner::Question, Type::DNSKEY, ttl, rdatas),
            metrics: DnssecMetrics {
                hits: ListenerCounter::new(&HITS, context),
                misses: ListenerCounter::new(&MISSES, context),
                servers: context.servers.clone(),
                entries: labels.map(entries).collect(),
            },
            signatures: Signatures::new(keys, self.capacity),
        })])
    }
}

impl Plugin for Dnssec {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.qtype != Type::DNSKEY
            || question.class != Class::IN
            || !self.zones.contains(&question.name)
        {
            return Flow::Next;
        }
        let mut response = Response::authoritative(Rcode::NOERROR);
        response.answer.push(self.keys.clone());
        if query.dnssec_ok() {
            self.sign(cx, &question.name, &mut response.answer);
        }
        Flow::Answer(response)
    }

    fn response(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        let question = &query.question;
        if !query.dnssec_ok() || question.class != Class::IN {
            return Back::Up(reply);
        }
        let is_signed = |response: &Response| {
            !response.truncated && matches!(response.rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
        };
        let Ok(response) = reply else { return Back::Up(reply) };
        if !is_signed(&response) || self.zone_of(&question.name, question.qtype).is_none() {
            return Back::Up(Ok(response));
        }
        let meaning = Meaning::of(&response, question, &|name| self.zones.contains(name));
        if question.qtype == Type::DS
            && meaning == Meaning::Denial(question.name.clone())
            && !self.zones.contains(&question.name)
        {
            // If the plugins below have NS records of the name, it is delegated to a zone without
            // signatures.
            let question = Question { qtype: Type::NS, ..question.clone() };
            let ask = Ask { question, from: From::Below, step: SERVERS };
            return Back::Hold(ask, Box::new(response));
        }
        self.complete(cx, question, response, &meaning)
    }

    /// The reply to one of the questions about a denial.
    fn nested_reply(&self, cx: &mut Cx, query: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        let Some(held) = nested.held.cloned() else { return Back::Up(reply) };
        let (question, name) = (&query.question, &query.question.name);
        if reply.is_err() && nested.step == SERVERS {
            return Back::Up(reply);
        }
        // The held response is a denial already. If this reply brings no SOA record, the NSEC
        // record of the denial gets the TTL 0.
        let no_records = Response::of(Rcode::SERVFAIL);
        let reply = reply.as_ref().unwrap_or(&no_records);
        match nested.step {
            SERVERS if reply.rcode.is_failure() && reply.rcode != Rcode::REFUSED => {
                Back::Up(Ok(reply.clone()))
            }
            SERVERS if reply.truncated => Back::Up(Ok(Response { truncated: true, ..held })),
            SERVERS => {
                let is_cut =
                    |set: &RecordSet| set.rtype == Type::NS && set.owner.name(name) == *name;
                let meaning = match reply.sets().any(is_cut) {
                    true => Meaning::Cut(name.clone()),
                    false => Meaning::Denial(name.clone()),
                };
                self.complete(cx, question, held, &meaning)
            }
            step => {
                let meaning = match step {
                    START_OF_ZONE_OF_CUT => Meaning::Cut(name.clone()),
                    _ => Meaning::of(&held, question, &|name| self.zones.contains(name)),
                };
                let held = with_start_of_zone(held, nested.question, reply);
                Back::Up(Ok(self.signed(cx, question, held, &meaning)))
            }
        }
    }
}

/// The subjects of nested questions: the name servers of a name whose DS records are denied, or the
/// SOA record that a denial lacks.
const SERVERS: u32 = 0;
const START_OF_ZONE: u32 = 1;
const START_OF_ZONE_OF_CUT: u32 = 2;

impl Dnssec {
    /// Signs a response. If a denial has no SOA record, that of its zone is looked up first,
    /// because resolvers reject an NSEC record without an SOA record.
    fn complete(
        &self,
        cx: &Cx,
        question: &Question,
        response: Response,
        meaning: &Meaning,
    ) -> Back {
        let has_soa = response.authority.iter().any(|set| set.rtype == Type::SOA);
        let (name, step) = match meaning {
            Meaning::Denial(name) => (name, START_OF_ZONE),
            Meaning::Cut(name) => (name, START_OF_ZONE_OF_CUT),
            Meaning::Complete | Meaning::Referral(_) => (&question.name, START_OF_ZONE),
        };
        let is_denial = matches!(meaning, Meaning::Denial(_) | Meaning::Cut(_));
        match self.zone_of(name, Type::SOA).filter(|_| is_denial && !has_soa) {
            Some(zone) => {
                let question = Question::new(zone.clone(), Type::SOA);
                Back::Hold(Ask { question, from: From::Below, step }, Box::new(response))
            }
            None => Back::Up(Ok(self.signed(cx, question, response, meaning))),
        }
    }

    /// The zone with the longest name that has records of this name and type. DS records belong to
    /// the zone above.
    fn zone_of(&self, name: &Name, rtype: Type) -> Option<&Name> {
        let matching = || self.zones.iter().filter(|zone| name.is_within(zone));
        let longest = |zone: &&Name| zone.wire().len();
        let above =
            matching().filter(|zone| rtype == Type::DS && *zone != name).max_by_key(longest);
        above.or_else(|| matching().max_by_key(longest))
    }

    /// The response with signatures and, if it denies something, with an NSEC record.
    fn signed(
        &self,
        cx: &Cx,
        question: &Question,
        mut response: Response,
        meaning: &Meaning,
    ) -> Response {
        let name = &question.name;
        let nsec = meaning.nsec(question, &response, &|name| self.zones.contains(name));
        if let Some(nsec) = nsec
            .filter(|_| meaning.name().is_some_and(|name| self.zone_of(name, Type::NSEC).is_some()))
        {
            response.rcode = Rcode::NOERROR;
            if question.qtype == Type::NSEC {
                response.authority = Sets::new();
                response.answer.push(nsec);
            } else {
                response.authority.push(nsec);
            }
        }
        let is_referral = matches!(meaning, Meaning::Referral(_));
        self.sign(cx, name, &mut response.answer);
        self.sign(cx, name, &mut response.authority);
        // The addresses of a delegation's servers belong to the zone below.
        if !is_referral {
            self.sign(cx, name, &mut response.additional);
        }
        response
    }

    /// Adds signatures to the sets of a section that have none. Owners may be stored relative to
    /// the name of the question.
    fn sign(&self, cx: &Cx, question: &Name, section: &mut Sets) {
        let mut added = Sets::new();
        for set in section.iter() {
            let owner = set.owner.name(question);
            let Some(zone) = self.zone_of(&owner, set.rtype) else { continue };
            // NS records of a delegation belong to the zone below (RFC 4035 §2.2).
            let is_delegation = set.rtype == Type::NS && owner != *zone;
            if matches!(set.rtype, Type::RRSIG | Type::OPT)
                || is_delegation
                || has_signature(section, &owner, set.rtype, question)
            {
                continue;
            }
            let (made, rdatas) = self.signatures.of(zone, &owner, set, cx.unix);
            let counter = if made { &self.metrics.misses } else { &self.metrics.hits };
            counter.count(cx);
            if !rdatas.is_empty() {
                let owner = set.owner.clone();
                added.push(RecordSet::new(owner, Type::RRSIG, set.ttl, rdatas));
            }
        }
        if !added.is_empty() {
            self.metrics.set_entries(cx, self.signatures.len());
        }
        section.extend(added);
    }
}

/// The denial with the SOA record of its zone, if `reply` has one.
fn with_start_of_zone(mut denial: Response, zone: &Question, reply: &Response) -> Response {
    let found = reply.answer.iter().find(|set| set.rtype == Type::SOA);
    denial.authority.extend(found.map(|soa| {
        let owner = Owner::from(&soa.owner.name(&zone.name));
        RecordSet { owner, ..soa.clone() }
    }));
    denial
}

impl DnssecMetrics {
    fn set_entries(&self, cx: &Cx, count: usize) {
        if let Some(entries) = self.entries.get(self.servers.index(cx)) {
            entries.set(count as i64);
        }
    }
}

/// Whether a section has a signature over this set.
fn has_signature(section: &Sets, owner: &Name, rtype: Type, question: &Name) -> bool {
    let covers = |rdata: &[u8]| rdata.starts_with(&rtype.0.to_be_bytes());
    section.iter().any(|set| {
        set.rtype == Type::RRSIG
            && set.rdatas.iter().any(covers)
            && set.owner.name(question) == *owner
    })
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (root, block) = (Root::of(lines), lines.zones.to_vec());
    let settings =
        DnssecSettings { zones: block.clone(), keys: Vec::new(), capacity: limits::SIGNATURES };
    let mut options = DnssecOptions { settings, root };
    lines.once(|arguments| {
        let span = arguments.span();
        if !arguments.is_empty() {
            options.settings.zones = names(&arguments.zones());
        }
        OPTIONS.read(arguments, &mut options);
        if options.settings.keys.is_empty() {
            arguments.warning(span, "nothing is signed: there is no key").help(
                "make one with `dnssec-keygen -a ECDSAP256SHA256 ZONE`, and write `key file PATH`",
            );
        }
    });
    Some(Box::new(options.settings))
}

fn read_key(options: &mut DnssecOptions, option: &mut Arguments<'_>) {
    let Some(source) = option.required("`file` and the path of a key") else { return };
    match &*source.text {
        "file" => options.settings.keys.extend(KeyFiles::read(&options.root, option)),
        "aws_secretsmanager" => {
            option
                .error(source.span, "ndots does not read keys from AWS Secrets Manager")
                .help("mount the secret as files, for example with the Secrets Store CSI Driver, and write `key file PATH`");
            option.rest();
        }
        other => {
            option
                .error(source.span, &format!("`key {other}` is not known here"))
                .help("write `key file PATH`");
            option.rest();
        }
    }
}
