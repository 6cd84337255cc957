//! `any`: a minimal answer to ANY queries (RFC 8482 §4.2).

use std::sync::Arc;

use crate::{
    chain::{Cx, Flow, Plugin},
    wire::{Owner, Query, Rcode, Rdatas, RecordSet, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, NO_OPTIONS, PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "any",
    about: "Answers ANY queries with one small HINFO record, as RFC 8482 recommends.",
    arguments: "",
    options: &NO_OPTIONS,
    roles: &[Role::ChangesReplies],
    example: ".:53 {\n    any\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

/// In seconds: the number of the RFC, as in CoreDNS.
const TTL: u32 = 8482;

#[derive(Clone, Copy, Debug)]
struct Any;

impl PluginSettings for Any {
    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(*self)])
    }
}

impl Plugin for Any {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        if query.question.qtype != Type::ANY {
            return Flow::Next;
        }
        let hinfo = b"\x0dANY obsoleted\x0cSee RFC 8482";
        let set = RecordSet::new(Owner::Question, Type::HINFO, TTL, Rdatas::one(hinfo));
        let mut response = Response::of(Rcode::NOERROR);
        response.answer.push(set);
        Flow::Answer(response)
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    lines.each(|_| {});
    Some(Box::new(Any))
}
