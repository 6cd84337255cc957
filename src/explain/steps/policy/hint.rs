//! Names the rule that almost allows a connection, and what it lacks.

use k8s_openapi::{
    api::{
        core::v1::Service,
        networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::explain::{
    objects,
    view::{
        isolation::{Direction, Peer, Port, any_peer, any_port, rules},
        labels::{matches, written},
        truth::Truth,
    },
};

/// What the closest rule lacks; `None` if no rule is close.
pub(super) fn near_miss(
    policies: &[&NetworkPolicy],
    direction: Direction,
    other: &Peer<'_>,
    port: &Port<'_>,
    service: &Service,
) -> Option<String> {
    for policy in policies {
        for (peers, ports) in rules(policy, direction) {
            let path = objects::path(*policy);
            let peer = any_peer(peers, objects::namespace(*policy), other);
            if peer == Truth::Yes {
                return Some(other_port(&path, ports, port, service));
            }
            if any_port(ports, port) == Truth::Yes
                && let Some(hint) = peers
                    .iter()
                    .find_map(|peer| other_peer(peer, objects::namespace(*policy), other))
            {
                return Some(format!("closest: NetworkPolicy {path}: {hint}"));
            }
        }
    }
    None
}

fn other_port(
    path: &str,
    ports: &[NetworkPolicyPort],
    port: &Port<'_>,
    service: &Service,
) -> String {
    let wanted = ports.iter().map(printed).collect::<Vec<_>>().join(", ");
    let of_service = objects::ports(service).iter().any(|own| {
        own.port != port.number
            && ports.iter().any(|it| it.port == Some(IntOrString::Int(own.port)))
    });
    let why = if of_service {
        format!("policies see the port of the Pods, {}, and not that of the Service", port.number)
    } else {
        format!("the connection has port {}/{}", port.number, port.protocol)
    };
    format!("closest: NetworkPolicy {path} allows port {wanted}: {why}")
}

fn printed(port: &NetworkPolicyPort) -> String {
    let number = match &port.port {
        Some(IntOrString::Int(first)) => match port.end_port {
            Some(last) => format!("{first}-{last}"),
            None => first.to_string(),
        },
        Some(IntOrString::String(name)) => format!("\"{name}\""),
        None => "any".to_owned(),
    };
    format!("{number}/{}", objects::protocol(port.protocol.as_ref()))
}

/// Why a peer of a rule is not the other end of the connection.
fn other_peer(peer: &NetworkPolicyPeer, own: &str, other: &Peer<'_>) -> Option<String> {
    let Peer::Pod { namespace: Some(namespace), namespace_labels, labels, .. } = other else {
        return None;
    };
    if let Some(block) = &peer.ip_block {
        return Some(format!(
            "its ipBlock {}{} does not contain the address",
            block.cidr,
            block
                .except
                .as_ref()
                .map_or(String::new(), |except| format!(" except {}", except.join(", ")))
        ));
    }
    let of_pod = peer
        .pod_selector
        .as_ref()
        .map_or(Truth::Yes, |selector| matches(selector, labels.as_ref()));
    let pods = peer.pod_selector.as_ref().map(written).unwrap_or_default();
    match &peer.namespace_selector {
        None if of_pod == Truth::Yes => Some(format!(
            "a podSelector without namespaceSelector means Pods of namespace {own}, and the Pod is in {namespace}"
        )),
        Some(selector) => {
            let of_namespace = matches(selector, namespace_labels.as_ref());
            if of_namespace == Truth::No && of_pod == Truth::Yes {
                return Some(format!(
                    "namespace {namespace} does not have the labels {}",
                    written(selector)
                ));
            }
            (of_namespace == Truth::Yes).then(|| {
                format!(
                    "namespace and Pod must both match, and the Pod does not have the labels {pods}"
                )
            })
        }
        None if *namespace == own => Some(format!("the Pod does not have the labels {pods}")),
        None => None,
    }
}

/// The clients that a policy admits: `the client among: Pods app=frontend of namespace shop`.
pub(super) fn admitted(policy: &NetworkPolicy, port: &Port<'_>) -> String {
    let namespace = objects::namespace(policy);
    let peers: Vec<String> = rules(policy, Direction::Ingress)
        .into_iter()
        .filter(|(_, ports)| any_port(ports, port) == Truth::Yes)
        .flat_map(|(peers, _)| peers)
        .map(|peer| match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
            (Some(block), ..) => format!("addresses in {}", block.cidr),
            (None, Some(namespaces), Some(pods)) => {
                format!("Pods {} of namespaces {}", written(pods), written(namespaces))
            }
            (None, Some(namespaces), None) => format!("Pods of namespaces {}", written(namespaces)),
            (None, None, Some(pods)) => format!("Pods {} of namespace {namespace}", written(pods)),
            (None, None, None) => "nobody".to_owned(),
        })
        .collect();
    format!("the client among: {}", peers.join("; "))
}
