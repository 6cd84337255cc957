//! Evaluates NetworkPolicies as the API's reference defines them. A part of a connection can be
//! unknown, for example the labels of the client; then the result can be [`Truth::Maybe`].

use std::net::IpAddr;

use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::explain::{
    objects,
    view::{
        labels::{Labels, matches},
        truth::Truth,
    },
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::explain) enum Direction {
    Ingress,
    Egress,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub(in crate::explain) enum Peer<'e> {
    Pod {
        /// `None` if any namespace is possible.
        namespace: Option<&'e str>,
        /// `None` if they are unknown.
        namespace_labels: Option<Labels>,
        /// `None` if they are unknown.
        labels: Option<Labels>,
        /// Empty if they are unknown.
        addresses: Vec<IpAddr>,
    },
    /// A node, or a machine outside of the cluster; `None` for any address.
    Address(Option<IpAddr>),
}

/// The port at the destination, which is the port of the Pod and not that of a Service.
#[derive(Clone, Debug)]
pub(in crate::explain) struct Port<'e> {
    /// `TCP`.
    pub(in crate::explain) protocol: &'e str,
    pub(in crate::explain) number: i32,
    /// The names that the containers of the destination give this port.
    pub(in crate::explain) names: Vec<&'e str>,
}

/// The result for one direction.
#[derive(Debug)]
pub(in crate::explain) struct Decision<'e> {
    pub(in crate::explain) allowed: Truth,
    /// The policies that isolate the Pod in this direction, or may do it.
    pub(in crate::explain) isolating: Vec<&'e NetworkPolicy>,
    /// Those of them with a rule that allows the connection.
    pub(in crate::explain) allowing: Vec<&'e NetworkPolicy>,
}

/// Decides whether the policies allow a connection from `subject`, which is a Pod, to `other`
/// (egress), or from `other` to `subject` (ingress).
pub(in crate::explain) fn decide<'e>(
    policies: impl IntoIterator<Item = &'e NetworkPolicy>,
    direction: Direction,
    subject: &Peer<'_>,
    other: &Peer<'_>,
    port: &Port<'_>,
) -> Decision<'e> {
    let (mut isolated, mut allowed) = (Truth::No, Truth::No);
    let (mut isolating, mut allowing) = (Vec::new(), Vec::new());
    for policy in policies {
        let selects = if affects(policy, direction) { selects(policy, subject) } else { Truth::No };
        if selects == Truth::No {
            continue;
        }
        isolated = isolated.max(selects);
        isolating.push(policy);
        let rule = allows(policy, direction, other, port).min(selects);
        if rule > Truth::No {
            allowing.push(policy);
        }
        allowed = allowed.max(rule);
    }
    let allowed = match isolated {
        Truth::No => Truth::Yes,
        Truth::Maybe => allowed.max(Truth::Maybe),
        Truth::Yes => allowed,
    };
    Decision { allowed, isolating, allowing }
}

/// Whether the policy isolates Pods in this direction. Without `policyTypes` every policy does for
/// ingress, and one with egress rules for egress, too.
fn affects(policy: &NetworkPolicy, direction: Direction) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let types = spec.policy_types.as_deref().unwrap_or_default();
    match direction {
        Direction::Ingress => types.is_empty() || types.iter().any(|it| it == "Ingress"),
        Direction::Egress if types.is_empty() => {
            spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())
        }
        Direction::Egress => types.iter().any(|it| it == "Egress"),
    }
}

fn selects(policy: &NetworkPolicy, subject: &Peer<'_>) -> Truth {
    let Peer::Pod { namespace, labels, .. } = subject else { return Truth::No };
    let in_namespace = match namespace {
        Some(namespace) => Truth::from(*namespace == objects::namespace(policy)),
        None => Truth::Maybe,
    };
    let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
    in_namespace.min(selector.map_or(Truth::Yes, |selector| matches(selector, labels.as_ref())))
}

fn allows(
    policy: &NetworkPolicy,
    direction: Direction,
    other: &Peer<'_>,
    port: &Port<'_>,
) -> Truth {
    let namespace = objects::namespace(policy);
    rules(policy, direction)
        .into_iter()
        .map(|(peers, ports)| any_peer(peers, namespace, other).min(any_port(ports, port)))
        .max()
        .unwrap_or(Truth::No)
}

/// The peers and the ports of each rule. An empty list stands for all.
pub(in crate::explain) fn rules(
    policy: &NetworkPolicy,
    direction: Direction,
) -> Vec<(&[NetworkPolicyPeer], &[NetworkPolicyPort])> {
    let Some(spec) = &policy.spec else { return Vec::new() };
    match direction {
        Direction::Ingress => spec
            .ingress
            .iter()
            .flatten()
            .map(|rule| {
                (
                    rule.from.as_deref().unwrap_or_default(),
                    rule.ports.as_deref().unwrap_or_default(),
                )
            })
            .collect(),
        Direction::Egress => spec
            .egress
            .iter()
            .flatten()
            .map(|rule| {
                (rule.to.as_deref().unwrap_or_default(), rule.ports.as_deref().unwrap_or_default())
            })
            .collect(),
    }
}

pub(in crate::explain) fn any_peer(
    peers: &[NetworkPolicyPeer],
    namespace: &str,
    other: &Peer<'_>,
) -> Truth {
    if peers.is_empty() {
        return Truth::Yes;
    }
    peers.iter().map(|peer| is_peer(peer, namespace, other)).max().unwrap_or(Truth::No)
}

fn is_peer(peer: &NetworkPolicyPeer, own: &str, other: &Peer<'_>) -> Truth {
    if let Some(block) = &peer.ip_block {
        return match other {
            Peer::Pod { addresses, .. } => in_block(block, addresses),
            Peer::Address(address) => in_block(block, address.as_slice()),
        };
    }
    let Peer::Pod { namespace, namespace_labels, labels, .. } = other else { return Truth::No };
    let of_namespace = match (&peer.namespace_selector, namespace) {
        (Some(selector), _) => matches(selector, namespace_labels.as_ref()),
        // Without a namespaceSelector only Pods of the policy's own namespace are meant.
        (None, Some(namespace)) => Truth::from(*namespace == own),
        (None, None) => Truth::Maybe,
    };
    let of_pod = peer.pod_selector.as_ref();
    of_namespace.min(of_pod.map_or(Truth::Yes, |selector| matches(selector, labels.as_ref())))
}

/// Whether one of the addresses is in the block and in none of its exceptions.
fn in_block(block: &IPBlock, addresses: &[IpAddr]) -> Truth {
    let except = block.except.as_deref().unwrap_or_default();
    if addresses.is_empty() {
        let all = except.is_empty() && block.cidr.ends_with("/0");
        return if all { Truth::Yes } else { Truth::Maybe };
    }
    let inside = |address: &IpAddr| {
        covers(&block.cidr, *address) && !except.iter().any(|cidr| covers(cidr, *address))
    };
    Truth::from(addresses.iter().any(inside))
}

/// Whether a network such as `10.0.0.0/8` contains the address.
fn covers(cidr: &str, address: IpAddr) -> bool {
    let (network, length) = cidr.split_once('/').unwrap_or((cidr, ""));
    let Ok(network) = network.trim().parse::<IpAddr>() else { return false };
    let width = if network.is_ipv4() { 32 } else { 128 };
    let length: u32 = length.trim().parse().unwrap_or(width);
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let differing = (bits(network) ^ bits(address)).checked_shr(width.saturating_sub(length));
    network.is_ipv4() == address.is_ipv4() && length <= width && differing.unwrap_or(0) == 0
}

pub(in crate::explain) fn any_port(ports: &[NetworkPolicyPort], port: &Port<'_>) -> Truth {
    Truth::from(ports.is_empty() || ports.iter().any(|it| is_port(it, port)))
}

fn is_port(wanted: &NetworkPolicyPort, port: &Port<'_>) -> bool {
    if objects::protocol(wanted.protocol.as_ref()) != port.protocol {
        return false;
    }
    match &wanted.port {
        None => true,
        Some(IntOrString::Int(first)) => {
            (*first..=wanted.end_port.unwrap_or(*first)).contains(&port.number)
        }
        // A number in quotes is a name in the API. Every plugin rejects such names, because a port
        // name needs a letter.
        Some(IntOrString::String(name)) => port.names.contains(&name.as_str()),
    }
}

#[cfg(test)]
mod tests;
