//! `loop`: detects upstreams that forward queries back to this server.
//!
//! At the start the server sends itself a query for a name that nobody else can know. If the query
//! returns, the plugin logs an error. Unlike in CoreDNS the process goes on, because the cluster's
//! own names still work, and because no query may end the process (CVE-2026-26018).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{
    chain::{Cx, Flow, Level, Plugin},
    random::SplitMix64,
    wire::{Name, Query, Question, Rcode, Response, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, NO_OPTIONS, PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "loop",
    about: "Logs an error if an upstream forwards queries back to this server.",
    arguments: "",
    options: &NO_OPTIONS,
    roles: &[Role::Observes],
    example: ".:53 {\n    loop\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

/// A probe that arrives more often than this has returned through an upstream: the first is the
/// server's own query, and the second may be its retransmission.
const LOOP_THRESHOLD: u32 = 2;

#[derive(Debug)]
struct LoopSettings;

struct LoopDetector {
    probe: Name,
    zone: Name,
    seen: AtomicU32,
}

impl PluginSettings for LoopSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let zone = context.zones.first().cloned().unwrap_or_else(Name::root);
        let mut random = SplitMix64::new(context.build.seed);
        let labels = [random.next_u64().to_string(), random.next_u64().to_string()];
        let Some(probe) = Name::join(labels.iter().map(String::as_bytes), &zone) else {
            return Ok(Vec::new());
        };
        context.probes.push(Question::new(probe.clone(), Type::HINFO));
        Ok(vec![Arc::new(LoopDetector { probe, zone, seen: AtomicU32::new(0) })])
    }
}

impl Plugin for LoopDetector {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.qtype != Type::HINFO || question.name != self.probe {
            return Flow::Next;
        }
        match self.seen.fetch_add(1, Ordering::Relaxed) {
            0..LOOP_THRESHOLD => Flow::Next,
            seen => {
                if seen == LOOP_THRESHOLD {
                    let text = format!(
                        "Loop ({} -> {}) detected for zone \"{}\", see https://coredns.io/plugins/loop#troubleshooting. \
                         Query: \"HINFO {}\"; forward to a server other than this one",
                        cx.peer, cx.local, self.zone, self.probe
                    );
                    cx.log(Level::Error, "loop", text);
                }
                Flow::Answer(Response::of(Rcode::REFUSED))
            }
        }
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    lines.once(|_| {});
    Some(Box::new(LoopSettings))
}
