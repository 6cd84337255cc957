//! `transfer [ZONES…] { to ADDR…|*; source ADDR }`: who may have whole zones (RFC 5936), over TCP
//! or TLS.
//!
//! `kubernetes` sends nobody NOTIFY, in CoreDNS neither: a cluster's zone changes all the time.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    chain::{Cx, Flow, Plugin},
    corefile::Arguments,
    transport::Framing,
    wire::{Name, Query, Rcode, Response, Type},
};

use super::{Need, PluginContext, Reading, Settings, names};

#[derive(Clone, Debug)]
struct Transfers(Vec<Rule>);

/// A line: who may have the zones that are within its own.
#[derive(Clone, Debug)]
struct Rule {
    zones: Vec<Name>,
    to: Vec<To>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Anyone,
    Host(IpAddr),
}

impl Settings for Transfers {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Transfers]
    }

    fn build(&self, _site: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        Ok(vec![Arc::new(self.clone())])
    }
}

impl Plugin for Transfers {
    fn name(&self) -> &'static str {
        "transfer"
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if !question.qtype.is_transfer() {
            return Flow::Next;
        }
        let may = cx.transport.framing() == Framing::Length
            && self.may_have(&question.name, cx.peer.ip().to_canonical());
        if !may {
            return Flow::Answer(Response::of(Rcode::REFUSED));
        }
        // Without its own version in it the request says nothing (RFC 1995 §3).
        if question.qtype == Type::IXFR && query.serial.is_none() {
            return Flow::Answer(Response::of(Rcode::FORMERR));
        }
        Flow::Transfer
    }
}

impl Transfers {
    /// The line with the longest matching zone decides, wherever it stands (CVE-2026-33489).
    fn may_have(&self, zone: &Name, client: IpAddr) -> bool {
        let lines = self.0.iter().flat_map(|rule| rule.zones.iter().map(move |zone| (zone, rule)));
        let matching = lines.filter(|(wanted, _)| zone.is_within(wanted));
        let decides = matching.max_by_key(|(wanted, _)| wanted.wire().len());
        decides.is_some_and(|(_, rule)| {
            rule.to.iter().any(|to| *to == To::Anyone || *to == To::Host(client))
        })
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let (mut rules, block) = (Vec::new(), reading.zones.to_vec());
    reading.each(|arguments| {
        let zones = if arguments.is_empty() { block.clone() } else { names(&arguments.zones()) };
        let (mut to, mut source, span) = (None, false, arguments.span());
        arguments.options(|option| match option.name() {
            "to" => read_to(option, to.get_or_insert_default()),
            "source" => {
                let span = option.span();
                if std::mem::replace(&mut source, true) {
                    option.error(span, "source already specified");
                }
                if option.address("source address").is_some() {
                    option
                        .warning(span, "`source` has no effect: it is where notifications come from")
                        .help("`kubernetes` sends none, in CoreDNS neither; secondary servers look at the SOA record");
                }
            }
            _ => option.unknown(&["to", "source"]),
        });
        if to.is_none() {
            arguments.error(span, "'to' is required").help("`to *` lets everyone have the zone, `to 10.0.0.1` one server");
        }
        rules.push(Rule { zones, to: to.unwrap_or_default() });
    });
    Some(Box::new(Transfers(rules)))
}

fn read_to(option: &mut Arguments<'_>, to: &mut Vec<To>) {
    let Some(first) = option.required("addresses, or `*` for everyone") else { return };
    for token in [first].into_iter().chain(option.rest()) {
        let host = token
            .text
            .parse::<IpAddr>()
            .or_else(|_| token.text.parse::<SocketAddr>().map(|address| address.ip()));
        match (&*token.text, host) {
            ("*", _) => to.push(To::Anyone),
            (_, Ok(host)) => to.push(To::Host(host.to_canonical())),
            (text, Err(_)) => {
                let error =
                    option.error(token.span, &format!("must specify an IP address: `{text}`"));
                error.help("such as `10.0.0.1`, `10.0.0.1:53` or `*` for everyone");
            }
        }
    }
}
