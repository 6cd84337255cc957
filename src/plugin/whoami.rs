//! `whoami`: the address is an A or AAAA record and the port an SRV record, as in CoreDNS.

use std::{net::IpAddr, sync::Arc};

use crate::{
    chain::{Cx, Flow, Plugin},
    wire::{Name, Owner, Query, Rcode, Rdatas, RecordSet, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, NO_OPTIONS, PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "whoami",
    about: "Answers every query with the address and port of the client.",
    arguments: "",
    options: &NO_OPTIONS,
    roles: &[Role::Answers],
    example: "example.org:53 {\n    whoami\n}\n",
    lints: &[],
    read,
};

#[derive(Debug)]
struct Whoami;

impl PluginSettings for Whoami {
    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(Self)])
    }
}

impl Plugin for Whoami {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let (rtype, address) = match cx.peer.ip().to_canonical() {
            IpAddr::V4(v4) => (Type::A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (Type::AAAA, v6.octets().to_vec()),
        };
        let mut response = Response::authoritative(Rcode::NOERROR);
        response.additional.push(RecordSet::new(Owner::Question, rtype, 0, Rdatas::one(&address)));
        let transport = format!("_{}", cx.transport.proto());
        if let Some(name) = Name::join([transport.as_bytes()], &query.question.name) {
            let srv = [&[0; 4], &cx.peer.port().to_be_bytes()[..], &[0]].concat();
            response.additional.push(RecordSet::new(
                Owner::from(&name),
                Type::SRV,
                0,
                Rdatas::one(&srv),
            ));
        }
        Flow::Answer(response)
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    lines.each(|_| {});
    Some(Box::new(Whoami))
}
