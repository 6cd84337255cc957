//! The connections of `--probe`: which are tried, and what their outcomes mean.

use k8s_openapi::api::core::v1::Service;

use crate::{limits, net::connect::Outcome};

use crate::explain::{
    Evidence,
    checks::{self, Check},
    evidence::{Place, Probe, ProbeTarget},
    objects,
    report::{FindingLevel, Section},
};

impl Place {
    fn check(self) -> &'static Check {
        match self {
            Self::Endpoint => checks::ENDPOINTS_CONNECT,
            Self::ClusterIp => checks::PROXY_CONNECT,
            Self::NodePort => checks::OUTSIDE_CONNECT,
            Self::ForwardedPod => checks::ENDPOINTS_FORWARD,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::ClusterIp => "cluster IP",
            Self::NodePort => "node port",
            Self::ForwardedPod => "Pod",
        }
    }
}

impl ProbeTarget {
    /// `endpoint 10.244.1.10:8080`, `port 8080 of Pod shop/web-1`.
    fn words(&self) -> String {
        match &self.pod {
            Some(pod) => format!("port {} of Pod {}/{pod}", self.address.port(), self.namespace),
            None => format!("{} {}", self.place.name(), self.address),
        }
    }
}

/// Reports the connections to one Service at one place.
pub(in crate::explain) fn judge(
    evidence: &Evidence,
    service: &Service,
    place: Place,
    section: &mut Section,
) {
    let (namespace, name) = (objects::namespace(service), objects::name(service));
    let own = |probe: &&Probe| {
        probe.target.place == place
            && probe.target.namespace == namespace
            && probe.target.service == name
    };
    let mut probes: Vec<&Probe> = evidence.probes.tried.iter().filter(own).collect();
    // Sorted, so that the report does not depend on the order of the endpoints.
    probes.sort_by_key(|probe| probe.target.address);
    let (fine, failed): (Vec<&Probe>, Vec<&Probe>) =
        probes.into_iter().partition(|probe| probe.outcome == Outcome::Connected);
    if !fine.is_empty() {
        let saw = match place {
            Place::ForwardedPod => {
                let all: Vec<String> = fine.iter().map(|it| it.target.words()).collect();
                format!("connected through the API server to {}", all.join(", "))
            }
            _ => {
                let all: Vec<String> =
                    fine.iter().map(|it| it.target.address.to_string()).collect();
                format!("connected to {} {}", place.name(), all.join(", "))
            }
        };
        section.ok(place.check(), saw);
    }
    let level = match place {
        // It is only a warning if other endpoints or nodes still answer.
        _ if !fine.is_empty() => FindingLevel::Warning,
        // A server that listens on the address of the Pod only is not found through the API server.
        Place::ForwardedPod => FindingLevel::Unknown,
        _ => FindingLevel::Broken,
    };
    for probe in failed {
        let address = probe.target.address;
        let words = probe.target.words();
        let saw = match &probe.outcome {
            Outcome::Connected => continue,
            Outcome::Refused => format!("{words} refuses connections"),
            Outcome::Reset => format!("{words} accepts connections and resets them"),
            Outcome::TimedOut => {
                format!("{words} does not reply within {} s", limits::EXPLAIN_ASK_TIME.as_secs())
            }
            Outcome::Failed(error) => format!("{words} cannot be reached: {error}"),
        };
        let finding = section.say(level, place.check(), saw);
        finding.want(reason(place, &probe.outcome));
        if let Some(pod) = &probe.target.pod {
            finding.advise(format!("kubectl -n {namespace} logs {pod}"));
        } else if place == Place::Endpoint {
            finding
                .advise(format!("kubectl -n {namespace} get pods -o wide | grep {}", address.ip()));
        }
    }
}

/// Reports what was not tried.
pub(in crate::explain) fn not_tried(evidence: &Evidence, section: &mut Section) {
    if let Some(reason) = &evidence.probes.not_tried {
        section.say(FindingLevel::Skipped, checks::ENDPOINTS_NOT_PROBED, reason.clone());
    }
}

/// What such an outcome usually means.
fn reason(place: Place, outcome: &Outcome) -> &'static str {
    match (place, outcome) {
        (Place::Endpoint, Outcome::Refused) => {
            "a server that listens at this port of the Pod, on all addresses and not on 127.0.0.1 only"
        }
        (Place::Endpoint, Outcome::Reset) => {
            "a server behind the port: a sidecar or a proxy accepts and finds none, or expects TLS"
        }
        (Place::ForwardedPod, Outcome::Refused) => {
            "a server that listens at this port on all addresses: port-forward uses the loopback address of the Pod"
        }
        (Place::ForwardedPod, Outcome::Reset) => "a server behind the port",
        (Place::ForwardedPod, _) => "a kubelet and a container runtime that forward connections",
        (Place::Endpoint, _) => {
            "a path to the Pod: no network policy, firewall or broken Pod network that drops packets"
        }
        (_, Outcome::Refused) => {
            "rules of kube-proxy that lead to a ready endpoint; without one they refuse connections"
        }
        (_, Outcome::Reset) => "endpoints that answer",
        (Place::ClusterIp, _) => "rules of kube-proxy on this node for the cluster IP",
        (Place::NodePort, _) => {
            "a firewall of the node or the cloud that lets the node port through, and rules of kube-proxy"
        }
    }
}
