//! Tries the connections of `--probe`. Without the flag nothing is contacted but the API server and
//! the DNS server.

use tokio::task::JoinSet;

use crate::{
    explain::{
        Evidence,
        backends::backends,
        connect::targets,
        destination::Destination,
        evidence::{Probe, Probes},
        names,
    },
    limits,
    net::connect,
};

pub(super) async fn probe(evidence: &Evidence, wanted: &Destination, is_inside: bool) -> Probes {
    if !evidence.is_live {
        let why = "not probed: there is no cluster behind manifests";
        return Probes { not_tried: Some(why.to_owned()), ..Probes::default() };
    }
    if !is_inside {
        let why =
            "not probed: this machine is neither a node nor a Pod of the cluster; run it there";
        return Probes { not_tried: Some(why.to_owned()), ..Probes::default() };
    }
    let subject = names::subject(evidence, wanted);
    let targets = targets(evidence, &backends(evidence, wanted, &subject));
    let mut attempts = JoinSet::new();
    for (index, target) in targets.into_iter().enumerate() {
        attempts.spawn(async move {
            let outcome = connect::attempt(target.address, limits::EXPLAIN_ASK_TIME).await;
            (index, Probe { target, outcome })
        });
    }
    let mut tried = attempts.join_all().await;
    tried.sort_by_key(|(index, _)| *index);
    Probes { not_tried: None, tried: tried.into_iter().map(|(_, probe)| probe).collect() }
}
