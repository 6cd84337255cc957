//! `loop`: tells of upstreams that ask back here.
//!
//! A question that nobody else can know is asked at the start. If it comes back, that is said as an
//! error; unlike CoreDNS the process goes on, since the cluster's own names do not suffer (and no
//! query may end it: CVE-2026-26018).

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{
    chain::{Cx, Flow, Level, Plugin},
    random::SplitMix64,
    wire::{Name, Query, Question, Rcode, Response, Type},
};

use super::{Need, PluginContext, Reading, Settings};

/// Seen this often it has come round: once is our own asking, twice may be a datagram sent again.
const ROUND: u32 = 2;

#[derive(Debug)]
struct Loop;

struct Watching {
    probe: Name,
    zone: Name,
    seen: AtomicU32,
}

impl Settings for Loop {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Probe]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let zone = context.zones.first().cloned().unwrap_or_else(Name::root);
        let mut random = SplitMix64::new(context.seed);
        let labels = [random.next_u64().to_string(), random.next_u64().to_string()];
        let Some(probe) = Name::join(labels.iter().map(String::as_bytes), &zone) else {
            return Ok(Vec::new());
        };
        context.probes.push(Question::new(probe.clone(), Type::HINFO));
        Ok(vec![Arc::new(Watching { probe, zone, seen: AtomicU32::new(0) })])
    }
}

impl Plugin for Watching {
    fn name(&self) -> &'static str {
        "loop"
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.qtype != Type::HINFO || question.name != self.probe {
            return Flow::Next;
        }
        match self.seen.fetch_add(1, Ordering::Relaxed) {
            0..ROUND => Flow::Next,
            seen => {
                if seen == ROUND {
                    let text = format!(
                        "plugin/loop: Loop ({} -> {}) detected for zone \"{}\", see https://coredns.io/plugins/loop#troubleshooting. \
                         Query: \"HINFO {}\"; forward to another server than this one",
                        cx.peer, cx.local, self.zone, self.probe
                    );
                    cx.say(Level::Error, text);
                }
                Flow::Answer(Response::of(Rcode::REFUSED))
            }
        }
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    reading.once(|arguments| {
        arguments.end();
        arguments.no_body();
    });
    Some(Box::new(Loop))
}
