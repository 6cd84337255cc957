//! `header { query|response set|clear aa|ra|rd… }`.

use std::sync::Arc;

use crate::{
    chain::{Back, Cx, Flow, Nested, Plugin, Reply},
    corefile::Arguments,
    wire::{Query, Response},
};

use super::{
    BuildError, Directive, DirectiveLines, OptionSpec, OptionTable, PluginContext, PluginSettings,
    Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "header",
    about: "Sets or clears header flags of replies, and RD of queries.",
    arguments: "",
    options: &OPTIONS,
    roles: &[Role::ChangesReplies],
    example: ".:53 {\n    header {\n        response set ra\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<Header> = OptionTable(&[
    OptionSpec::<Header>::repeated(
        "query",
        "set|clear aa|ra|rd…",
        "Changes flags of the query for the plugins after this one. AA and RA have no meaning in a query.",
        |header, option| {
            let span = option.span();
            for (flag, state) in read_flags(option) {
                match flag {
                    Flag::Rd => header.query_rd = Some(state),
                    Flag::Aa | Flag::Ra => {
                        option.warning(
                            span,
                            "AA and RA of a query have no effect: both are flags of replies",
                        );
                    }
                }
            }
        },
    )
    .in_any_case(),
    OptionSpec::<Header>::repeated(
        "response",
        "set|clear aa|ra|rd…",
        "Changes flags of the reply.",
        |header, option| header.response.extend(read_flags(option)),
    )
    .in_any_case(),
]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Aa,
    Ra,
    Rd,
}

#[derive(Clone, Debug, Default)]
struct Header {
    query_rd: Option<bool>,
    response: Vec<(Flag, bool)>,
}

impl PluginSettings for Header {
    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(self.clone())])
    }
}

impl Plugin for Header {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        match self.query_rd {
            Some(recursion_desired) if recursion_desired != query.recursion_desired => {
                Flow::Instead(Box::new(Query { recursion_desired, ..query.clone() }))
            }
            _ => Flow::Next,
        }
    }

    fn response(&self, _cx: &mut Cx, _query: &Query, reply: Reply) -> Back {
        Back::Up(reply.map(|mut response| {
            // The reply has the flag of the query that was changed, as in CoreDNS.
            response.recursion_desired = self.query_rd.or(response.recursion_desired);
            self.response.iter().for_each(|(flag, state)| set(&mut response, *flag, *state));
            response
        }))
    }

    /// The reply to the query whose flags were changed.
    fn nested_reply(&self, cx: &mut Cx, query: &Query, _: Nested<'_>, reply: Reply) -> Back {
        self.response(cx, query, reply)
    }
}

fn set(response: &mut Response, flag: Flag, state: bool) {
    match flag {
        Flag::Aa => response.authoritative = state,
        Flag::Ra => response.recursion_available = state,
        Flag::Rd => response.recursion_desired = Some(state),
    }
}

fn read_flags(option: &mut Arguments<'_>) -> Vec<(Flag, bool)> {
    let action = option.one_of("the action", &[("set", true), ("clear", false)]);
    let Some(state) = action else {
        option.skip();
        return Vec::new();
    };
    let (mut flags, choices) = (Vec::new(), [("aa", Flag::Aa), ("ra", Flag::Ra), ("rd", Flag::Rd)]);
    while flags.is_empty() || !option.is_empty() {
        let Some(flag) = option.one_of("the flag", &choices) else { break };
        flags.push((flag, state));
    }
    flags
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut header = Header::default();
    lines.each(|arguments| {
        let before = (header.query_rd, header.response.len());
        let span = arguments.span();
        arguments.ignore_rest();
        OPTIONS.read(arguments, &mut header);
        if before == (header.query_rd, header.response.len()) && header.response.is_empty() {
            arguments
                .warning(span, "`header` without a rule has no effect")
                .help("such as `response set ra` in braces");
        }
    });
    Some(Box::new(header))
}
