//! `siit { … }` makes A records from AAAA records, for IPv4-only clients that reach IPv6-only
//! servers through a translator (RFC 6052, RFC 7757).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::{
    chain::{Ask, Back, Cx, From, Nested, Plugin, Reply},
    metrics::{CounterFamily, Family},
    wire::{Class, Query, Question, Rcode, Rdatas, RecordSet, Response, Sets, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, OptionSpec, OptionTable, PluginContext, PluginSettings,
    Role,
    listener_counter::ListenerCounter,
    nat64::{Lengths, Prefix, longest_ttl, without_signatures},
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "siit",
    about: "Makes A records from AAAA records for names that have no A records.",
    arguments: "",
    options: &OPTIONS,
    roles: &[Role::ChangesReplies],
    example: ".:53 {\n    siit {\n        eam 192.0.2.10 2001:db8::10\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<SiitSettings> = OptionTable(&[
    OptionSpec::new(
        "ipv6_prefix",
        "PREFIX",
        "The prefix of IPv6 addresses that contain an IPv4 address; the default is 64:ff9b::/96.",
        |siit, option| {
            let token = option.required("the prefix");
            siit.prefix = token
                .and_then(|it| Prefix::read(option, it, Lengths::OfTheRfc))
                .unwrap_or(siit.prefix);
        },
    ),
    OptionSpec::repeated(
        "eam",
        "IPV4 IPV6",
        "Translates this IPv6 address to this IPv4 address, instead of by `ipv6_prefix`.",
        |siit, option| {
            let mut address = |what: &str| {
                let token = option.required(what)?;
                let address = token.text.parse::<IpAddr>().ok();
                if address.is_none() {
                    let message = format!("invalid IP address: {:?}", token.text);
                    option.error(token.span, &message);
                }
                Some((token, address?))
            };
            let pair = address("an IPv4 address").zip(address("an IPv6 address"));
            match pair {
                Some(((_, IpAddr::V4(v4)), (_, IpAddr::V6(v6)))) => siit.explicit.push((v6, v4)),
                Some(((token, IpAddr::V6(_)), _)) => {
                    option.error(token.span, &format!("invalid IPv4 address: {:?}", token.text));
                }
                Some((_, (token, IpAddr::V4(_)))) => {
                    option.error(token.span, &format!("invalid IPv6 address: {:?}", token.text));
                }
                None => {}
            }
        },
    ),
]);

static TRANSLATED: CounterFamily<1> = Family::new(
    "siit_requests_translated_total",
    "Queries answered with A records from AAAA records.",
    ["server"],
);

#[derive(Clone, Debug)]
struct SiitSettings {
    prefix: Prefix,
    /// The explicit address mappings. If an address has several, the last one counts.
    explicit: Vec<(Ipv6Addr, Ipv4Addr)>,
}

struct Siit {
    settings: SiitSettings,
    translated: ListenerCounter,
}

impl PluginSettings for SiitSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(Siit {
            settings: self.clone(),
            translated: ListenerCounter::new(&TRANSLATED, context),
        })])
    }
}

impl SiitSettings {
    /// The IPv4 address that stands for an IPv6 address. The explicit mappings come first
    /// (RFC 7757 §3.3.2).
    fn address(&self, v6: Ipv6Addr) -> Option<Ipv4Addr> {
        let explicit = self.explicit.iter().rev().find(|(known, _)| *known == v6);
        explicit.map(|(_, v4)| *v4).or_else(|| self.prefix.extract(v6))
    }

    /// A set of AAAA records as A records. Addresses that have no IPv4 address are left out.
    fn translate(&self, set: RecordSet, longest_ttl: u32) -> Option<RecordSet> {
        if set.rtype != Type::AAAA {
            return without_signatures(set, Type::AAAA);
        }
        let addresses = set.rdatas.iter().filter_map(|rdata| {
            let octets: [u8; 16] = rdata.try_into().ok()?;
            Some(self.address(octets.into())?.octets())
        });
        let rdatas: Rdatas = addresses.collect();
        (!rdatas.is_empty()).then(|| RecordSet {
            rtype: Type::A,
            ttl: set.ttl.min(longest_ttl),
            rdatas,
            ..set
        })
    }
}

impl Plugin for Siit {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn response(&self, _: &mut Cx, query: &Query, reply: Reply) -> Back {
        let question = &query.question;
        if question.qtype != Type::A || question.class != Class::IN {
            return Back::Up(reply);
        }
        let Ok(response) = reply else { return Back::Up(reply) };
        let has_address = response.answer.iter().any(|set| set.rtype == Type::A);
        if response.truncated || response.rcode == Rcode::NXDOMAIN || has_address {
            return Back::Up(Ok(response));
        }
        let question = Question { qtype: Type::AAAA, ..question.clone() };
        let ask = Ask { question, from: From::Below, step: longest_ttl(&response) };
        Back::Hold(ask, Box::new(response))
    }

    /// The reply to the question for AAAA records.
    fn nested_reply(&self, cx: &mut Cx, _: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        let Ok(response) = reply else { return Back::Up(reply) };
        if response.rcode != Rcode::NOERROR {
            return Back::Up(Ok(Response { authentic_data: false, ..response }));
        }
        let sets = response.answer.into_iter();
        let answer: Sets =
            sets.filter_map(|set| self.settings.translate(set, nested.step)).collect();
        if !answer.iter().any(|set| set.rtype == Type::A) {
            let held = nested.held.cloned().unwrap_or_default();
            return Back::Up(Ok(Response { truncated: response.truncated, ..held }));
        }
        self.translated.count(cx);
        Back::Up(Ok(Response { answer, authentic_data: false, ..response }))
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut siit = SiitSettings { prefix: Prefix::WELL_KNOWN, explicit: Vec::new() };
    lines.each(|arguments| OPTIONS.read(arguments, &mut siit));
    Some(Box::new(siit))
}
