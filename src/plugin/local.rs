//! `local`: the names of this machine's loopback addresses (RFC 6303, RFC 6761 §6.3).

use std::{net::Ipv6Addr, sync::Arc};

use crate::{
    chain::{Cx, Flow, Plugin},
    metrics::{CounterFamily, Family, IntCounter},
    wire::{Class, Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, OptionSpec, OptionTable, PluginContext, PluginSettings,
    Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "local",
    about: "Answers localhost, names under it, names that begin with `localhost.`, and names in `0.in-addr.arpa`, `127.in-addr.arpa` and `255.in-addr.arpa`.",
    arguments: "",
    options: &OPTIONS,
    roles: &[Role::Answers],
    example: ".:53 {\n    local\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<LocalSettings> = OptionTable(&[OptionSpec::new(
    "localhost_prefix",
    "on|off",
    "With `on`, the default, answers names that begin with `localhost.`; search lists create such names.",
    |local, option| {
        let state = option.one_of("localhost_prefix", &[("on", true), ("off", false)]);
        local.prefix = state.unwrap_or(local.prefix);
    },
)]);

static REQUESTS: CounterFamily<0> = Family::new(
    "local_localhost_requests_total",
    "Queries for names below `localhost.`, or names whose first label is `localhost`.",
    [],
);

/// One week in seconds, as in CoreDNS.
const TTL: u32 = 604_800;

#[derive(Clone, Debug)]
struct LocalSettings {
    prefix: bool,
}

struct Local {
    prefix: bool,
    localhost: Name,
    /// All zones that are answered.
    zones: [Name; 4],
    /// The one name with a PTR record.
    loopback: Name,
    requests: IntCounter,
}

impl PluginSettings for LocalSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let requests = REQUESTS.with(context.build.metrics, []);
        Ok(vec![Arc::new(Local::new(self.prefix, requests))])
    }
}

impl Local {
    fn new(prefix: bool, requests: IntCounter) -> Self {
        let name = |text: &str| text.parse::<Name>().expect("a short name");
        let zones =
            ["localhost.", "0.in-addr.arpa.", "127.in-addr.arpa.", "255.in-addr.arpa."].map(name);
        let (localhost, loopback) = (name("localhost."), name("1.0.0.127.in-addr.arpa."));
        Self { prefix, localhost, zones, loopback, requests }
    }

    fn answer(&self, question: &Question) -> Option<Response> {
        let name = &question.name;
        let under = name.is_within(&self.localhost) && *name != self.localhost;
        let begins = self.prefix && name.wire().starts_with(b"\x09localhost");
        if under || begins && *name != self.localhost {
            self.requests.inc();
            return Some(host(question.qtype).unwrap_or_else(|| no_data(Owner::Question)));
        }
        let zone = self.zones.iter().find(|zone| name.is_within(zone))?;
        let left = name.left_of(zone)?;
        if left.is_empty() {
            return Some(self.apex(question));
        }
        let apex = Owner::QuestionFrom(u8::try_from(left.len()).unwrap_or_default());
        if *name == self.loopback && question.qtype == Type::PTR {
            let target = Rdatas::one(self.localhost.wire());
            return Some(response(RecordSet::new(Owner::Question, Type::PTR, TTL, target)));
        }
        // Names between the zone and its PTR record exist (RFC 8020).
        if self.loopback.is_within(name) {
            return Some(no_data(apex));
        }
        Some(Response { rcode: Rcode::NXDOMAIN, ..no_data(apex) })
    }

    fn apex(&self, question: &Question) -> Response {
        let is_host = question.name == self.localhost;
        match question.qtype {
            Type::SOA => response(soa(Owner::Question)),
            Type::NS => {
                let target = Rdatas::one(self.localhost.wire());
                response(RecordSet::new(Owner::Question, Type::NS, TTL, target))
            }
            qtype => {
                let found = host(qtype).filter(|_| is_host);
                found.unwrap_or_else(|| no_data(Owner::Question))
            }
        }
    }
}

/// The loopback address of this type.
fn host(qtype: Type) -> Option<Response> {
    let address = match qtype {
        Type::A => vec![127, 0, 0, 1],
        Type::AAAA => Ipv6Addr::LOCALHOST.octets().to_vec(),
        _ => return None,
    };
    Some(response(RecordSet::new(Owner::Question, qtype, TTL, Rdatas::one(&address))))
}

fn response(set: RecordSet) -> Response {
    let mut response = Response::of(Rcode::NOERROR);
    response.answer.push(set);
    response
}

fn no_data(zone: Owner) -> Response {
    let mut response = Response::of(Rcode::NOERROR);
    response.authority.push(soa(zone));
    response
}

/// `localhost. root.localhost. 1 0 0 0 604800`.
fn soa(zone: Owner) -> RecordSet {
    let mut rdata = b"\x09localhost\x00\x04root\x09localhost\x00".to_vec();
    for number in [1, 0, 0, 0, TTL] {
        rdata.extend_from_slice(&number.to_be_bytes());
    }
    RecordSet::new(zone, Type::SOA, TTL, Rdatas::one(&rdata))
}

impl Plugin for Local {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.class != Class::IN {
            return Flow::Next;
        }
        self.answer(question).map_or(Flow::Next, Flow::Answer)
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut local = LocalSettings { prefix: true };
    lines.each(|arguments| OPTIONS.read(arguments, &mut local));
    Some(Box::new(local))
}
