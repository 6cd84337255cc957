//! `minimal`: answers without authority and additional records.

use std::sync::Arc;

use crate::{
    chain::{Back, Cx, Plugin, Reply},
    wire::{Query, Rcode, Response, Sets, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, NO_OPTIONS, PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "minimal",
    about: "Removes the authority and additional records of answers; referrals and negative answers stay whole.",
    arguments: "",
    options: &NO_OPTIONS,
    roles: &[Role::ChangesReplies],
    example: "example.org:53 {\n    minimal\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

#[derive(Clone, Copy, Debug)]
struct Minimal;

impl PluginSettings for Minimal {
    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(*self)])
    }
}

impl Plugin for Minimal {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn response(&self, _cx: &mut Cx, _query: &Query, reply: Reply) -> Back {
        Back::Up(reply.map(|response| {
            if is_answer(&response) {
                Response { authority: Sets::new(), additional: Sets::new(), ..response }
            } else {
                response
            }
        }))
    }
}

/// Whether this is neither a negative answer, nor a referral, nor an error.
fn is_answer(response: &Response) -> bool {
    let needed = |rtype| [Type::SOA, Type::NS].contains(&rtype);
    response.rcode == Rcode::NOERROR
        && (!response.answer.is_empty() || !response.authority.iter().any(|set| needed(set.rtype)))
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    lines.each(|_| {});
    Some(Box::new(Minimal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Owner, Rdatas, RecordSet};

    #[test]
    fn only_answers_are_shortened() {
        let check = |rcode, answer: &[Type], authority: &[Type], expected| {
            let sets = |types: &[Type]| -> Sets {
                let set =
                    |rtype: &Type| RecordSet::new(Owner::Question, *rtype, 5, Rdatas::one(&[0; 4]));
                types.iter().map(set).collect()
            };
            let (answer, authority) = (sets(answer), sets(authority));
            let response = Response { answer, authority, ..Response::of(rcode) };
            assert_eq!(is_answer(&response), expected, "{response:?}");
        };
        check(Rcode::NOERROR, &[Type::A], &[Type::NS], true);
        check(Rcode::NOERROR, &[Type::CNAME], &[Type::SOA], true);
        check(Rcode::NOERROR, &[], &[], true);
        check(Rcode::NOERROR, &[], &[Type::SOA], false);
        check(Rcode::NOERROR, &[], &[Type::NS], false);
        check(Rcode::NXDOMAIN, &[], &[Type::SOA], false);
        check(Rcode::NXDOMAIN, &[Type::CNAME], &[Type::SOA], false);
        check(Rcode::SERVFAIL, &[], &[], false);
    }
}
