//! `whoami`: answers with the client's own address and port, in the additional section.

use std::{net::IpAddr, sync::Arc};

use crate::{
    chain::{Cx, Flow, Plugin},
    wire::{Name, Owner, Query, Rcode, Rdatas, RecordSet, Response, Type},
};

use super::{PluginContext, Reading, Settings};

#[derive(Debug)]
struct Whoami;

impl Settings for Whoami {
    fn build(&self, _site: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        Ok(vec![Arc::new(Self)])
    }
}

impl Plugin for Whoami {
    fn name(&self) -> &'static str {
        "whoami"
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

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    reading.each(|arguments| {
        arguments.end();
        arguments.no_body();
    });
    Some(Box::new(Whoami))
}
