//! Tries the connections of `--probe`. Without the flag nothing is contacted but the API server,
//! the DNS server and, on a node, kube-proxy's health port.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{
    explain::{
        Evidence,
        evidence::{Place, Probe, ProbeTarget, Probes},
        view::{
            backends::backends,
            destination::Destination,
            names,
            probes::{INSIDE, OUTSIDE, targets},
        },
    },
    limits,
    net::connect::{self, Outcome},
};

use super::forward::{ForwardError, Forwarder, PodPort};

/// Connects from here, or through the API server if there is a forwarder.
pub(super) async fn probe(
    evidence: &Evidence,
    wanted: &Destination,
    forwarder: Option<Forwarder>,
) -> Probes {
    if !evidence.is_live {
        let why = "not probed: there is no cluster behind manifests";
        return Probes { not_tried: Some(why.to_owned()), ..Probes::default() };
    }
    let places: &[Place] = if forwarder.is_some() { &OUTSIDE } else { &INSIDE };
    let subject = names::subject(evidence, wanted);
    let targets = targets(evidence, &backends(evidence, wanted, &subject), places);
    let forwarder = forwarder.map(Arc::new);
    let mut attempts = JoinSet::new();
    for (index, target) in targets.into_iter().enumerate() {
        let forwarder = forwarder.clone();
        attempts.spawn(async move { (index, attempt(&target, forwarder).await, target) });
    }
    let mut tried = attempts.join_all().await;
    tried.sort_by_key(|(index, ..)| *index);
    let mut probes = Probes::default();
    if forwarder.is_some() {
        probes.not_tried = Some("the cluster IP, the node ports and the network between Pods are not probed: this machine is neither a node nor a Pod of the cluster".to_owned());
    }
    for (_, outcome, target) in tried {
        match outcome {
            Ok(outcome) => probes.tried.push(Probe { target, outcome }),
            // All Pods usually fail for the same reason, so one message is enough.
            Err(error) => probes.not_tried = Some(format!("not probed: {error}")),
        }
    }
    probes
}

async fn attempt(
    target: &ProbeTarget,
    forwarder: Option<Arc<Forwarder>>,
) -> Result<Outcome, ForwardError> {
    match (forwarder, &target.pod) {
        (Some(forwarder), Some(pod)) => {
            let (namespace, port) = (target.namespace.as_str(), target.address.port());
            forwarder.attempt(&PodPort { namespace, pod, port }).await
        }
        _ => Ok(connect::attempt(target.address, limits::EXPLAIN_ASK_TIME).await),
    }
}
