//! `etcd [ZONE…] { … }`: services that etcd holds in the form of SkyDNS.

mod answer;
mod options;

use std::{cell::Cell, sync::Arc};

use smallvec::smallvec;

use crate::{
    chain::{Ask, Back, Cx, Flow, From, Nested, Plugin, QueryError, Reply, ReplySource},
    limits,
    skydns::{LeaseBounds, LookupError, SkydnsStore},
    wire::{
        Class, Ede, Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Sets, Type,
    },
};

use super::{
    BuildError, Directive, DirectiveLines, EtcdSource, Fallthrough, Need, PluginContext,
    PluginSettings, Role, UpstreamTls, ZoneArguments, names,
    root::Root,
    upstreams::{client_tls, tls_needs},
};

use answer::{EtcdZone, Part, Section};
use options::OPTIONS;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "etcd",
    about: "Answers from the services that etcd holds in the form of SkyDNS. They are watched, so a change shows at once, and the last ones are served while etcd is unreachable.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::ReadsFiles, Role::TakesZones(ZoneArguments::All)],
    example: "services.example.org:53 {\n    etcd {\n        path /skydns\n        endpoint http://192.0.2.1:2379 http://192.0.2.2:2379\n    }\n}\n",
    lints: &[],
    read,
};

/// The TTL of SOA records and the time that negative answers last, in seconds, as in CoreDNS.
const NEGATIVE_TTL: u32 = 30;

#[derive(Clone, Debug)]
struct EtcdSettings {
    zones: Vec<Name>,
    source: EtcdSource,
    tls: Option<UpstreamTls>,
    bounds: LeaseBounds,
    apex_fallback: bool,
    fallthrough: Fallthrough,
    root: Root,
}

struct Etcd {
    settings: EtcdSettings,
    store: Arc<SkydnsStore>,
}

impl PluginSettings for EtcdSettings {
    fn needs(&self) -> Vec<Need> {
        self.tls.iter().flat_map(|tls| tls_needs(DIRECTIVE.name, tls)).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let tls = client_tls(&self.tls.clone().unwrap_or_default(), context)?;
        let store = context.etcd(EtcdSource { tls, ..self.source.clone() });
        Ok(vec![Arc::new(Etcd { settings: self.clone(), store })])
    }
}

/// What the plugin has for a question.
enum Lookup {
    Parts(Vec<Part>),
    Answer(Box<Response>),
    /// The next plugin gets the query.
    PassOn,
}

impl Lookup {
    fn of(response: Response) -> Self {
        Self::Answer(Box::new(response))
    }
}

/// The state of an answer that is being assembled.
enum Progress {
    Complete(Response),
    /// The part with this index needs the reply to a nested query.
    Waits(usize, Ask, Response),
}

impl Etcd {
    fn zone(&self, name: &Name) -> Option<&Name> {
        let zones = self.settings.zones.iter().filter(|zone| name.is_within(zone));
        zones.max_by_key(|zone| zone.wire().len())
    }

    fn look_up(&self, cx: &Cx, question: &Question) -> Lookup {
        let Some(origin) = self.zone(&question.name) else { return Lookup::PassOn };
        let EtcdSettings { source, bounds, apex_fallback, fallthrough, .. } = &self.settings;
        if question.qtype == Type::SOA && question.name == *origin {
            return Lookup::of(Response {
                answer: smallvec![self.soa(origin)],
                ..Response::authoritative(Rcode::NOERROR)
            });
        }
        let zone = EtcdZone {
            store: &self.store,
            prefix: &source.prefix,
            origin,
            now: cx.now,
            bounds: *bounds,
            apex_fallback: *apex_fallback,
            lookups: Cell::new(0),
        };
        match zone.parts(question) {
            Ok(parts) => Lookup::Parts(parts),
            Err(LookupError::NoName) if fallthrough.includes(&question.name) => Lookup::PassOn,
            Err(LookupError::NoName) if question.name == *origin => {
                Lookup::of(self.negative(origin, Rcode::NOERROR))
            }
            Err(LookupError::NoName) => Lookup::of(self.negative(origin, Rcode::NXDOMAIN)),
            Err(LookupError::NotLoaded) => {
                Lookup::of(Response { ede: Some(Ede::NO_ZONE), ..Response::of(Rcode::SERVFAIL) })
            }
            Err(LookupError::Malformed | LookupError::TooMany) => {
                Lookup::of(Response::of(Rcode::SERVFAIL))
            }
        }
    }

    fn soa(&self, origin: &Name) -> RecordSet {
        let name = |labels: &[&[u8]]| {
            let name = Name::join(labels.iter().copied(), origin);
            name.unwrap_or_else(|| origin.clone()).wire().to_vec()
        };
        // The revision grows with each change, as a serial must.
        let numbers = [self.store.revision() as u32, 7200, 1800, 86_400, NEGATIVE_TTL];
        let mut rdata = name(&[b"ns", b"dns"]);
        rdata.extend(name(&[b"hostmaster"]));
        rdata.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        RecordSet::new(Owner::from(origin), Type::SOA, NEGATIVE_TTL, Rdatas::one(&rdata))
    }

    fn negative(&self, origin: &Name, rcode: Rcode) -> Response {
        Response { authority: smallvec![self.soa(origin)], ..Response::authoritative(rcode) }
    }

    /// Adds the parts from this index on.
    fn assemble(
        &self,
        question: &Question,
        parts: Vec<Part>,
        from: usize,
        mut response: Response,
    ) -> Progress {
        for (at, part) in parts.into_iter().enumerate().skip(from) {
            match part {
                Part::Record(section, set) => add(&mut response, section, set),
                Part::Outside { target, qtype, .. } => {
                    let Some(name) = Name::from_wire(&target.wire().to_ascii_lowercase()) else {
                        continue;
                    };
                    let question = Question::new(name, qtype);
                    let ask = Ask { question, from: From::Top, step: at as u32 };
                    return Progress::Waits(at, ask, response);
                }
            }
        }
        if !response.answer.is_empty() {
            merge(&mut response.answer);
            merge(&mut response.additional);
        } else {
            let origin = self.zone(&question.name).unwrap_or(&question.name);
            response =
                Response { truncated: response.truncated, ..self.negative(origin, Rcode::NOERROR) };
        }
        Progress::Complete(response)
    }

    /// Leaves out the parts that need more nested queries than [`limits::ETCD_TARGETS`].
    fn bounded(parts: Vec<Part>) -> Vec<Part> {
        let mut outside = 0;
        let fits = |part: &Part| {
            outside += usize::from(matches!(part, Part::Outside { .. }));
            outside <= limits::ETCD_TARGETS || matches!(part, Part::Record(..))
        };
        parts.into_iter().filter(fits).collect()
    }
}

impl Plugin for Etcd {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.class != Class::IN || self.zone(&question.name).is_none() {
            return Flow::Next;
        }
        match self.look_up(cx, question) {
            Lookup::Answer(response) => Flow::Answer(*response),
            Lookup::PassOn => Flow::Next,
            Lookup::Parts(parts) => {
                let empty = Response::authoritative(Rcode::NOERROR);
                match self.assemble(question, Self::bounded(parts), 0, empty) {
                    Progress::Complete(response) => Flow::Answer(response),
                    Progress::Waits(_, ask, _) => Flow::Ask(ask),
                }
            }
        }
    }

    fn nested_reply(&self, cx: &mut Cx, query: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        cx.set_answered(self.name(), ReplySource::Local);
        let question = &query.question;
        let parts = match self.look_up(cx, question) {
            Lookup::Parts(parts) => Self::bounded(parts),
            Lookup::Answer(response) => return Back::Up(Ok(*response)),
            Lookup::PassOn => return Back::PassOn,
        };
        let empty = || Response::authoritative(Rcode::NOERROR);
        let so_far = nested.held.cloned().or_else(|| {
            match self.assemble(question, parts.clone(), 0, empty()) {
                Progress::Waits(at, _, response) => (at as u32 == nested.step).then_some(response),
                Progress::Complete(_) => None,
            }
        });
        let at = nested.step as usize;
        let progress = match (so_far, parts.get(at)) {
            (Some(mut response), Some(Part::Outside { section, alias, target, qtype }))
                if nested.question.name.wire().eq_ignore_ascii_case(target.wire()) =>
            {
                if let Some(reply) = for_target(reply) {
                    response.truncated |= reply.truncated;
                    alias.iter().for_each(|set| add(&mut response, *section, set.clone()));
                    let is_glue = *section == Section::Additional && *qtype == Type::AAAA;
                    // The query for A records has already added the aliases.
                    let sets =
                        reply.answer.into_iter().filter(|set| !is_glue || set.rtype != Type::CNAME);
                    for set in sets {
                        let owner = set.owner.clone().named(target.wire());
                        add(&mut response, *section, RecordSet { owner, ..set });
                    }
                }
                self.assemble(question, parts, at + 1, response)
            }
            // The services have changed since the query for the target was sent.
            _ => self.assemble(question, parts, 0, empty()),
        };
        match progress {
            Progress::Complete(response) => Back::Up(Ok(response)),
            Progress::Waits(_, ask, response) => Back::Hold(ask, Box::new(response)),
        }
    }
}

fn add(response: &mut Response, section: Section, set: RecordSet) {
    match section {
        Section::Answer => response.answer.push(set),
        Section::Additional => response.additional.push(set),
    }
}

/// Makes one set of neighbours that differ only in their data.
fn merge(sets: &mut Sets) {
    let mut merged = Sets::new();
    let is_same = |one: &RecordSet, other: &RecordSet| {
        (&one.owner, one.rtype, one.ttl) == (&other.owner, other.rtype, other.ttl)
    };
    for group in sets.chunk_by(is_same) {
        let [first, rest @ ..] = group else { continue };
        let rdatas = match rest {
            [] => first.rdatas.clone(),
            _ => group.iter().flat_map(|set| set.rdatas.iter()).collect(),
        };
        merged.push(RecordSet { rdatas, ..first.clone() });
    }
    *sets = merged;
}

/// The reply for a target. Without one the alias is left out, as in CoreDNS.
fn for_target(reply: Reply) -> Option<Response> {
    match reply {
        Ok(reply) => Some(reply),
        Err(QueryError::NotRouted) => Some(Response::default()),
        Err(_) => None,
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (block, root) = (lines.zones.to_vec(), Root::of(lines));
    let mut settings = None;
    lines.each(|arguments| {
        if settings.is_some() {
            return arguments.skip();
        }
        let zones = if arguments.is_empty() { block.clone() } else { names(&arguments.zones()) };
        let mut read = EtcdSettings {
            zones,
            source: EtcdSource::default(),
            tls: None,
            bounds: LeaseBounds { min: 30, max: 86_400 },
            apex_fallback: true,
            fallthrough: Fallthrough::default(),
            root: root.clone(),
        };
        OPTIONS.read(arguments, &mut read);
        settings = Some(read);
    });
    settings.map(|settings| Box::new(settings) as Box<dyn PluginSettings>)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with thousands of records is put together once, not again for each record.
    #[test]
    fn neighbours_become_one_set() {
        let owner = |text: &str| Owner::from(&text.parse::<Name>().unwrap());
        let set = |of: &str, ttl, at: u32| {
            RecordSet::new(owner(of), Type::A, ttl, Rdatas::one(&at.to_be_bytes()))
        };
        let mut response = Response::default();
        for at in 0..50_000 {
            add(&mut response, Section::Answer, set("a.test", 60, at));
        }
        add(&mut response, Section::Answer, set("a.test", 30, 1));
        add(&mut response, Section::Answer, set("b.test", 30, 2));
        add(&mut response, Section::Answer, set("b.test", 30, 3));
        merge(&mut response.answer);
        let counts: Vec<_> = response.answer.iter().map(|set| set.rdatas.iter().count()).collect();
        assert_eq!(counts, [50_000, 1, 2]);
    }
}
