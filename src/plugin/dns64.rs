//! `dns64 [PREFIX]`: AAAA records from A records, for clients that have IPv6 only (RFC 6147).

use std::sync::Arc;

use crate::{
    chain::{Ask, Back, Cx, From, Nested, Plugin, Reply},
    metrics::{CounterFamily, Family},
    wire::{Class, Query, Question, Rcode, RecordSet, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, OptionSpec, OptionTable, PluginContext, PluginSettings,
    Role,
    listener_counter::ListenerCounter,
    nat64::{Lengths, Prefix, longest_ttl, without_signatures},
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "dns64",
    about: "Makes AAAA records from A records for clients that only have IPv6 and reach IPv4 through NAT64.",
    arguments: "[PREFIX]",
    options: &OPTIONS,
    roles: &[Role::ChangesReplies],
    example: ".:53 {\n    dns64 64:ff9b::/96\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<Dns64Settings> = OptionTable(&[
    OptionSpec::new(
        "prefix",
        "PREFIX",
        "The IPv6 prefix of the NAT64 gateway; the default is 64:ff9b::/96.",
        |dns64, option| {
            let token = option.required("the prefix");
            dns64.prefix = token
                .and_then(|it| Prefix::read(option, it, Lengths::Whole))
                .unwrap_or(dns64.prefix);
        },
    ),
    OptionSpec::new(
        "translate_all",
        "",
        "Makes AAAA records even if the name has AAAA records of its own.",
        |dns64, _| dns64.translate_all = true,
    ),
    OptionSpec::new(
        "allow_ipv4",
        "",
        "Makes AAAA records also for clients that send their queries over IPv4.",
        |dns64, _| dns64.allow_ipv4 = true,
    ),
]);

static TRANSLATED: CounterFamily<1> = Family::new(
    "dns64_requests_translated_total",
    "Queries answered with AAAA records from A records.",
    ["server"],
);

#[derive(Clone, Copy, Debug)]
struct Dns64Settings {
    prefix: Prefix,
    translate_all: bool,
    allow_ipv4: bool,
}

struct Dns64 {
    settings: Dns64Settings,
    translated: ListenerCounter,
}

impl PluginSettings for Dns64Settings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(Dns64 {
            settings: *self,
            translated: ListenerCounter::new(&TRANSLATED, context),
        })])
    }
}

impl Dns64Settings {
    fn concerns(&self, cx: &Cx, query: &Query) -> bool {
        let question = &query.question;
        // A client that validates signatures itself would reject the AAAA records that are made
        // here (RFC 6147 §5.5).
        let validates = query.checking_disabled && query.dnssec_ok();
        let family = self.allow_ipv4 || cx.peer.ip().to_canonical().is_ipv6();
        family && question.qtype == Type::AAAA && question.class == Class::IN && !validates
    }

    /// Whether AAAA records that are made from A records take the place of this response. Every
    /// error except NXDOMAIN counts as an empty answer (RFC 6147 §5.1.2).
    fn replaces(&self, response: &Response) -> bool {
        let has_address = response.answer.iter().any(|set| set.rtype == Type::AAAA);
        response.rcode != Rcode::NXDOMAIN && (self.translate_all || !has_address)
    }

    fn translate(&self, response: Response, longest_ttl: u32) -> Response {
        let answer = response.answer.into_iter().filter_map(|set| match set.rtype {
            Type::A => Some(RecordSet {
                rtype: Type::AAAA,
                ttl: set.ttl.min(longest_ttl),
                rdatas: set
                    .rdatas
                    .iter()
                    .filter_map(|rdata| Some(self.prefix.embed(rdata.first_chunk()?).octets()))
                    .collect(),
                ..set
            }),
            _ => without_signatures(set, Type::A),
        });
        Response {
            answer: answer.collect(),
            authoritative: false,
            authentic_data: false,
            ..response
        }
    }
}

impl Plugin for Dns64 {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn response(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        if !self.settings.concerns(cx, query) {
            return Back::Up(reply);
        }
        let Ok(response) = reply else { return Back::Up(reply) };
        // The records that a truncated response lacks may be AAAA records.
        if response.truncated || !self.settings.replaces(&response) {
            return Back::Up(Ok(response));
        }
        let question = Question { qtype: Type::A, ..query.question.clone() };
        Back::Ask(Ask { question, from: From::Below, step: longest_ttl(&response) })
    }

    /// The reply to the question for A records.
    fn nested_reply(&self, cx: &mut Cx, _: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        let Ok(response) = reply else { return Back::Up(reply) };
        self.translated.count(cx);
        Back::Up(Ok(self.settings.translate(response, nested.step)))
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut dns64 =
        Dns64Settings { prefix: Prefix::WELL_KNOWN, translate_all: false, allow_ipv4: false };
    lines.each(|arguments| {
        if let Some(token) = arguments.optional() {
            dns64.prefix = Prefix::read(arguments, token, Lengths::Whole).unwrap_or(dns64.prefix);
        }
        OPTIONS.read(arguments, &mut dns64);
    });
    Some(Box::new(dns64))
}
