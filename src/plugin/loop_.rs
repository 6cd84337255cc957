//! `loop`: detects upstreams that forward queries back to this server.
//!
//! At the start the server sends itself a query for a name that no client can know. If the query
//! returns, the plugin logs an error. Unlike in CoreDNS the process goes on, because the cluster's
//! own names still work, and because no query may end the process (CVE-2026-26018).
//!
//! Without a reply the query is sent again, each time with another number as its first label. So,
//! if an upstream is silent, our own repetitions are not mistaken for a query that returned.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{
    chain::{Cx, Flow, Level, Plugin},
    limits,
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

/// A probe that arrives more times than this has returned through an upstream: the first is the
/// server's own query, and the second may be a duplicate that the network made.
const LOOP_THRESHOLD: u32 = 2;

#[derive(Debug)]
struct LoopSettings;

struct LoopDetector {
    /// The parent of the names of all probes.
    probe: Name,
    zone: Name,
    /// How many times each probe arrived.
    seen: [AtomicU32; limits::LOOP_PROBES],
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
        Ok(vec![Arc::new(LoopDetector { probe, zone, seen: Default::default() })])
    }
}

impl Plugin for LoopDetector {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.qtype != Type::HINFO {
            return Flow::Next;
        }
        let Some(seen) = self.count_of(&question.name) else { return Flow::Next };
        match seen.fetch_add(1, Ordering::Relaxed) {
            0..LOOP_THRESHOLD => Flow::Next,
            seen => {
                if seen == LOOP_THRESHOLD {
                    let text = format!(
                        "Loop ({} -> {}) detected for zone \"{}\", see https://coredns.io/plugins/loop#troubleshooting. \
                         Query: \"HINFO {}\"; forward to a server other than this one",
                        cx.peer, cx.local, self.zone, question.name
                    );
                    cx.log(Level::Error, "loop", text);
                }
                Flow::Answer(Response::of(Rcode::REFUSED))
            }
        }
    }
}

impl LoopDetector {
    /// The counter of the probe with this name. `None` for every other name.
    fn count_of(&self, name: &Name) -> Option<&AtomicU32> {
        (name.parent()? == self.probe).then_some(())?;
        let number = std::str::from_utf8(name.labels().next()?).ok()?;
        self.seen.get(number.parse::<usize>().ok()?)
    }
}

/// The name of one of the queries that the server sends itself.
pub fn numbered_probe(probe: &Question, number: usize) -> Option<Question> {
    let name = Name::join([number.to_string().as_bytes()], &probe.name)?;
    Some(Question::new(name, probe.qtype))
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    lines.once(|_| {});
    Some(Box::new(LoopSettings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_probe_is_counted_by_its_own_name() {
        let probe: Name = "1.2.example.".parse().unwrap();
        let detector = LoopDetector {
            probe: probe.clone(),
            zone: "example.".parse().unwrap(),
            seen: Default::default(),
        };
        let question = Question::new(probe.clone(), Type::HINFO);
        let names = [0, 1].map(|number| numbered_probe(&question, number).unwrap().name);
        assert_eq!(names[1].to_string(), "1.1.2.example.");
        for name in &names {
            assert_eq!(detector.count_of(name).unwrap().fetch_add(1, Ordering::Relaxed), 0);
        }
        for other in ["1.2.example.", "x.1.2.example.", "30.1.2.example.", "0.0.1.2.example."] {
            assert!(detector.count_of(&other.parse().unwrap()).is_none(), "{other}");
        }
    }
}
