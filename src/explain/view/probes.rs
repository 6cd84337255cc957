//! The connections that `--probe` tries.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::core::v1::{Service, ServicePort};

use crate::{
    explain::{
        Evidence,
        evidence::{Place, ProbeTarget},
        objects,
        view::{endpoints, hosts::Backend, pods},
    },
    limits,
};

/// The connections that are tried from a node or from a Pod.
pub(in crate::explain) const INSIDE: [Place; 3] =
    [Place::Endpoint, Place::ClusterIp, Place::NodePort];
/// The connections that are tried from other machines.
pub(in crate::explain) const OUTSIDE: [Place; 1] = [Place::ForwardedPod];

/// The connections over TCP to try for the Services, at most [`limits::EXPLAIN_PROBES`] of each
/// place.
pub(in crate::explain) fn targets(
    evidence: &Evidence,
    backends: &[Backend<'_>],
    places: &[Place],
) -> Vec<ProbeTarget> {
    let mut targets = Vec::new();
    for Backend { service, port: wanted, .. } in backends {
        for place in places.iter().copied() {
            let mut addresses: Vec<(SocketAddr, Option<&str>)> = objects::ports(service)
                .iter()
                .filter(|port| objects::protocol(port.protocol.as_ref()) == "TCP")
                .filter(|port| wanted.is_none_or(|number| is_meant(port, number)))
                .flat_map(|port| addresses(evidence, service, port, place))
                .collect();
            let mut seen = HashSet::new();
            addresses.retain(|address| seen.insert(*address));
            addresses.truncate(limits::EXPLAIN_PROBES);
            let (namespace, service) = (objects::namespace(*service), objects::name(*service));
            targets.extend(addresses.into_iter().map(|(address, pod)| ProbeTarget {
                place,
                namespace: namespace.to_owned(),
                service: service.to_owned(),
                address,
                pod: pod.map(str::to_owned),
            }));
        }
    }
    targets
}

fn is_meant(port: &ServicePort, number: i32) -> bool {
    port.port == number || port.node_port == Some(number)
}

/// The addresses at a place, with the Pod if the connection goes through the API server.
fn addresses<'e>(
    evidence: &'e Evidence,
    service: &'e Service,
    port: &ServicePort,
    place: Place,
) -> Vec<(SocketAddr, Option<&'e str>)> {
    let at = |text: &str, number: Option<i32>| {
        let number = u16::try_from(number?).ok().filter(|number| *number > 0)?;
        Some((SocketAddr::new(text.parse::<IpAddr>().ok()?, number), None))
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
            let own = port.name.as_deref().unwrap_or_default();
            endpoints::ready(evidence, service)
                .map(|(slice, it)| (it, endpoints::port(slice, own)))
                .flat_map(|(it, number)| it.addresses.iter().filter_map(move |ip| at(ip, number)))
                .collect()
        }
        Place::ForwardedPod => pods::ready(evidence, service)
            .filter_map(|pod| {
                let address = *objects::pod_addresses(pod).first()?;
                let (address, _) = at(address, objects::at_pod(port, pod))?;
                Some((address, Some(objects::name(pod))))
            })
            .collect(),
    }
}
