//! Reports hosts that are not answered with the addresses of the object that contains them: in the
//! log once, and in a metric for as long as this is so.

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
    /// The earliest time of the next look at the claims; `None` before the first look.
    next: Option<Instant>,
    /// [`Gateway::changes`] at the last look.
    changes: u64,
    logged: HashSet<String>,
    counts: BTreeMap<[String; 3], i64>,
}

impl RefusedHosts {
    pub(super) fn new(view: Arc<Gateway>, metrics: Arc<Metrics>) -> Self {
        Self { view, metrics, state: Mutex::default() }
    }

    fn count(&self, refused: &[RefusedClaim], state: &mut State) {
        let before = std::mem::take(&mut state.counts);
        for claim in refused {
            let labels = [
                claim.zone.to_string(),
                claim.object.namespace.to_string(),
                claim.why.label().to_owned(),
            ];
            *state.counts.entry(labels).or_default() += 1;
        }
        self.remove(before.keys().filter(|labels| !state.counts.contains_key(*labels)));
        self.show(state);
    }

    fn remove<'l>(&self, series: impl Iterator<Item = &'l [String; 3]>) {
        for [zone, namespace, reason] in series {
            REFUSED.remove(&self.metrics, [zone, namespace, reason]);
        }
    }

    fn show(&self, state: &State) {
        for ([zone, namespace, reason], count) in &state.counts {
            REFUSED.with(&self.metrics, [zone, namespace, reason]).set(*count);
        }
    }
}

/// Removes the series, because a reload creates another `RefusedHosts`, which sets its own.
impl Drop for RefusedHosts {
    fn drop(&mut self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove(state.counts.keys());
    }
}

impl Timed for RefusedHosts {
    fn due(&self, now: Option<Instant>) -> Vec<LogLine> {
        let Some(now) = now else { return Vec::new() };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.view.changes();
        if state.changes == changes || state.next.is_some_and(|next| now < next) {
            // At a reload, the drop of the earlier `RefusedHosts` removes series with these labels.
            self.show(&state);
            return Vec::new();
        }
        state.changes = changes;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Change, Ingress, Key, Kind, LoadBalancerPoint, Object},
        zone::{
            Index,
            outside::{Apex, ClaimRules, GatewaySettings, NodeAddressType},
        },
    };

    fn ingress(namespace: &str, created: i64) -> Change {
        Change::Upsert(Object::Ingress(Ingress {
            created: Some(created),
            hosts: Box::new(["cafe.example.com".into()]),
            points: Box::new([LoadBalancerPoint::Ip([192, 0, 2, 1].into())]),
            ..Ingress::new(namespace, "web")
        }))
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any time will do as the start")]
    fn each_of_two_changes_within_a_second_is_reported() {
        let mut index = Index::default();
        let settings = GatewaySettings {
            zones: vec!["example.com".parse().unwrap()],
            ttl: 60,
            top: Apex::of_server(&"ns.dmz".parse().unwrap(), None),
            resources: vec![Kind::Ingress],
            ingress_classes: Vec::new(),
            gateway_classes: Vec::new(),
            controllers: Vec::new(),
            node_addresses: vec![NodeAddressType::External],
            own_addresses: Vec::new(),
            claims: ClaimRules::default(),
        };
        let metrics = Arc::new(Metrics::default());
        let view = Arc::new(Gateway::new(index.store(), settings));
        let refused = RefusedHosts::new(view, Arc::clone(&metrics));
        let begin = Instant::now();
        let steps = [("good", 100, 0), ("evil", 101, 1), ("late", 102, 1)];
        for (look, (namespace, created, new)) in (0..).zip(steps) {
            index.apply(ingress(namespace, created), 1000);
            let lines = refused.due(Some(begin + limits::CLAIMS_LOOK * look));
            assert_eq!(lines.len(), new, "{namespace}: {lines:?}");
            let series = format!("namespace=\"{namespace}\",reason=\"older\"");
            assert_eq!(metrics.render().contains(&series), new == 1, "{namespace}");
        }
        let evil = Key::new(Kind::Ingress, "evil", "web");
        index.apply(Change::Remove(evil), 1000);
        refused.due(Some(begin + limits::CLAIMS_LOOK * 3));
        let page = metrics.render();
        assert!(
            !page.contains("namespace=\"evil\"") && page.contains("namespace=\"late\""),
            "{page}"
        );
        drop(refused);
        assert!(!metrics.render().contains("namespace="), "series of a server that is gone");
    }
}
