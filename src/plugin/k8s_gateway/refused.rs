//! Reports the hosts that an object does not get: in the log once, and in a metric while it lasts.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{
    chain::{Level, LogLine},
    limits,
    metrics::{Family, GaugeFamily, Metrics},
    zone::outside::{Gateway, RefusedClaim},
};

use super::super::Timed;

static REFUSED: GaugeFamily<3> = Family::new(
    "k8s_gateway_refused_hosts",
    "Hosts of objects in this namespace that are not answered with the object's addresses, by reason.",
    ["zone", "namespace", "reason"],
);

pub(super) struct RefusedHosts {
    view: Arc<Gateway>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When the claims are looked at next; `None` before the first time.
    next: Option<Instant>,
    /// The state of the zones that was looked at last.
    revision: u32,
    logged: HashSet<String>,
    counts: BTreeMap<[String; 3], i64>,
}

impl RefusedHosts {
    pub(super) fn new(view: Arc<Gateway>, metrics: Arc<Metrics>) -> Self {
        Self { view, metrics, state: Mutex::default() }
    }

    fn count(&self, refused: &[RefusedClaim], state: &mut State) {
        state.counts.values_mut().for_each(|count| *count = 0);
        for claim in refused {
            let labels = [
                claim.zone.to_string(),
                claim.object.namespace.to_string(),
                claim.why.label().to_owned(),
            ];
            *state.counts.entry(labels).or_default() += 1;
        }
        self.show(state);
        state.counts.retain(|_, count| *count > 0);
    }

    fn show(&self, state: &State) {
        for ([zone, namespace, reason], count) in &state.counts {
            REFUSED.with(&self.metrics, [zone, namespace, reason]).set(*count);
        }
    }
}

/// A reload makes another one, which shows its own figures.
impl Drop for RefusedHosts {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for [zone, namespace, reason] in state.counts.keys() {
            REFUSED.remove(&self.metrics, [zone, namespace, reason]);
        }
    }
}

impl Timed for RefusedHosts {
    fn due(&self, now: Option<Instant>) -> Vec<LogLine> {
        let Some(now) = now else { return Vec::new() };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = self.view.revision();
        if state.revision == revision || state.next.is_some_and(|next| now < next) {
            // The end of the one before the reload has removed series with the same labels.
            self.show(&state);
            return Vec::new();
        }
        state.revision = revision;
        state.next = Some(now + limits::CLAIMS_LOOK);
        let refused = self.view.refused_claims();
        self.count(&refused, &mut state);
        let all: Vec<String> = refused.iter().map(line).collect();
        let new = all.iter().filter(|line| !state.logged.contains(*line));
        let mut lines: Vec<LogLine> = new
            .clone()
            .take(limits::CLAIMS_LOGGED)
            .map(|line| LogLine::new(Level::Warning, "k8s_gateway", line.clone()))
            .collect();
        let more = new.count().saturating_sub(limits::CLAIMS_LOGGED);
        if more > 0 {
            let text = format!("{more} more hosts are not answered for their objects");
            lines.push(LogLine::new(Level::Warning, "k8s_gateway", text));
        }
        state.logged = all.into_iter().collect();
        lines
    }
}

fn line(claim: &RefusedClaim) -> String {
    let RefusedClaim { host, object, why, .. } = claim;
    format!("{host} is not answered with the addresses of {object}: {why}")
}
