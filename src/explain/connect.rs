//! The connections of `--probe`: which are tried, and what their outcomes mean.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::EndpointSlice,
};

use crate::{limits, net::connect::Outcome};

use super::{
    Evidence,
    checks::{self, Check},
    evidence::{Place, Probe, ProbeTarget},
    hosts::Backend,
    objects,
    report::{FindingLevel, Section},
};

impl Place {
    fn check(self) -> &'static Check {
        match self {
            Self::Endpoint => checks::ENDPOINTS_CONNECT,
            Self::ClusterIp => checks::PROXY_CONNECT,
            Self::NodePort => checks::OUTSIDE_CONNECT,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::ClusterIp => "cluster IP",
            Self::NodePort => "node port",
        }
    }
}

/// The connections to try for the Services: to the endpoints, the cluster IPs and the node ports over
/// TCP, at most [`limits::EXPLAIN_PROBES`] of each.
pub(super) fn targets(evidence: &Evidence, backends: &[Backend<'_>]) -> Vec<ProbeTarget> {
    let mut targets = Vec::new();
    for Backend { service, port: wanted, .. } in backends {
        for place in [Place::Endpoint, Place::ClusterIp, Place::NodePort] {
            let mut addresses: Vec<SocketAddr> = objects::ports(service)
                .iter()
                .filter(|port| objects::protocol(port.protocol.as_ref()) == "TCP")
                .filter(|port| wanted.is_none_or(|number| is_meant(port, number)))
                .flat_map(|port| addresses(evidence, service, port, place))
                .collect();
            addresses.dedup();
            addresses.truncate(limits::EXPLAIN_PROBES);
            let (namespace, service) = (objects::namespace(*service), objects::name(*service));
            targets.extend(addresses.into_iter().map(|address| ProbeTarget {
                place,
                namespace: namespace.to_owned(),
                service: service.to_owned(),
                address,
            }));
        }
    }
    targets
}

fn is_meant(port: &ServicePort, number: i32) -> bool {
    port.port == number || port.node_port == Some(number)
}

fn addresses(
    evidence: &Evidence,
    service: &Service,
    port: &ServicePort,
    place: Place,
) -> Vec<SocketAddr> {
    let at = |text: &str, number: Option<i32>| {
        let number = u16::try_from(number?).ok().filter(|number| *number > 0)?;
        Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, number))
    };
    match place {
        Place::ClusterIp => objects::cluster_ips(service)
            .into_iter()
            .filter_map(|ip| at(ip, Some(port.port)))
            .collect(),
        Place::NodePort => evidence
            .objects
            .nodes()
            .iter()
            .filter(|node| objects::is_node_ready(node))
            .filter_map(|node| at(objects::node_addresses(node).first()?, port.node_port))
            .collect(),
        Place::Endpoint => {
            let (namespace, name) = (objects::namespace(service), objects::name(service));
            let own = port.name.as_deref().unwrap_or_default();
            let number = |slice: &EndpointSlice| {
                let mut ports = slice.ports.iter().flatten();
                ports.find(|it| it.name.as_deref().unwrap_or_default() == own)?.port
            };
            let slices = evidence.objects.slices_of(namespace, name);
            slices
                .flat_map(|slice| slice.endpoints.iter().map(move |it| (it, number(slice))))
                .filter(|(it, _)| it.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true))
                .flat_map(|(it, number)| it.addresses.iter().filter_map(move |ip| at(ip, number)))
                .collect()
        }
    }
}

/// Reports the connections to one Service at one place.
pub(super) fn judge(evidence: &Evidence, service: &Service, place: Place, section: &mut Section) {
    let (namespace, name) = (objects::namespace(service), objects::name(service));
    let own = |probe: &&Probe| {
        probe.target.place == place
            && probe.target.namespace == namespace
            && probe.target.service == name
    };
    let probes: Vec<&Probe> = evidence.probes.tried.iter().filter(own).collect();
    let (fine, failed): (Vec<&Probe>, Vec<&Probe>) =
        probes.into_iter().partition(|probe| probe.outcome == Outcome::Connected);
    let word = place.name();
    if !fine.is_empty() {
        let all: Vec<String> = fine.iter().map(|it| it.target.address.to_string()).collect();
        section.ok(place.check(), format!("connected to {word} {}", all.join(", ")));
    }
    // It is only a warning if other endpoints or nodes still answer.
    let level = if fine.is_empty() { FindingLevel::Broken } else { FindingLevel::Warning };
    for probe in failed {
        let address = probe.target.address;
        let saw = match &probe.outcome {
            Outcome::Connected => continue,
            Outcome::Refused => format!("{word} {address} refuses connections"),
            Outcome::Reset => format!("{word} {address} accepts connections and resets them"),
            Outcome::TimedOut => format!(
                "{word} {address} does not reply within {} s",
                limits::EXPLAIN_ASK_TIME.as_secs()
            ),
            Outcome::Failed(error) => format!("{word} {address} cannot be reached: {error}"),
        };
        let finding = section.say(level, place.check(), saw);
        finding.want(reason(place, &probe.outcome));
        if place == Place::Endpoint {
            finding
                .advise(format!("kubectl -n {namespace} get pods -o wide | grep {}", address.ip()));
        }
    }
}

/// Reports why nothing was tried.
pub(super) fn not_tried(evidence: &Evidence, section: &mut Section) {
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
