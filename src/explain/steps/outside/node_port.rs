//! Checks the node ports of a Service.

use k8s_openapi::api::core::v1::Service;

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    view::{endpoints, exposure},
};

/// The default of the API server's `--service-node-port-range`.
const RANGE: std::ops::RangeInclusive<i32> = 30_000..=32_767;
/// How many node addresses are listed. The others are only counted.
const NAMED: usize = 3;

pub(super) fn judge(evidence: &Evidence, service: &Service, section: &mut Section) {
    let wants = match objects::kind(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service.spec.as_ref().and_then(|spec| spec.allocate_load_balancer_node_ports)
                != Some(false)
        }
        _ => false,
    };
    if !wants {
        return;
    }
    let edit = format!(
        "kubectl -n {} edit service {}    # nodePort",
        objects::namespace(service),
        objects::name(service)
    );
    for port in objects::ports(service) {
        let Some(node_port) = port.node_port.filter(|number| *number > 0) else {
            section
                .broken(
                    checks::OUTSIDE_NODE_PORT,
                    format!("port {} has no nodePort yet", objects::port_name(port)),
                )
                .want("a number from the API server's range")
                .advise(edit.clone());
            continue;
        };
        if !RANGE.contains(&node_port) {
            // A live API server accepted the port, so it has another range.
            let level = if evidence.is_live { FindingLevel::Warning } else { FindingLevel::Broken };
            let finding = section.say(
                level,
                checks::OUTSIDE_NODE_PORT_RANGE,
                format!("nodePort {node_port} is outside of {}-{}", RANGE.start(), RANGE.end()),
            );
            finding
                .want("a port of the API server's --service-node-port-range, and not one that the node uses itself")
                .advise(edit.clone());
            if level == FindingLevel::Broken {
                continue;
            }
        }
        reached_at(
            evidence,
            service,
            node_port,
            objects::protocol(port.protocol.as_ref()),
            section,
        );
    }
}

/// The nodes that accept connections at the port.
fn reached_at(
    evidence: &Evidence,
    service: &Service,
    port: i32,
    protocol: &str,
    section: &mut Section,
) {
    if let Some(unread) = evidence.lacks("nodes", "") {
        section.say(
            FindingLevel::Note,
            checks::OUTSIDE_NODES_UNREAD,
            format!(
                "clients use port {port}/{protocol} of a node; the nodes are not known: {unread}"
            ),
        );
        return;
    }
    let with = endpoints::nodes(evidence, service);
    let answers = |node: &&k8s_openapi::api::core::v1::Node| {
        objects::is_node_ready(node)
            && (!exposure::local_only(service) || with.contains(&objects::name(*node)))
    };
    let addresses: Vec<String> = evidence
        .objects
        .nodes()
        .iter()
        .filter(answers)
        .filter_map(|node| objects::node_addresses(node).first().copied())
        .map(|address| {
            if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            }
        })
        .collect();
    if !addresses.is_empty() {
        let more = addresses.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" or {more} other nodes") } else { String::new() };
        section.ok(
            checks::OUTSIDE_NODE_PORT,
            format!(
                "clients use {}{more}, over {protocol}",
                addresses[..addresses.len().min(NAMED)].join(", ")
            ),
        );
    } else if !exposure::local_only(service) || section.findings.is_empty() {
        let nodes = if exposure::local_only(service) {
            "a node with a ready endpoint; none is known here"
        } else if evidence.objects.nodes().is_empty() {
            "any node; there are no Node objects here"
        } else {
            "any node; no node is ready, or none has an address"
        };
        section.say(
            FindingLevel::Note,
            checks::OUTSIDE_NO_NODES,
            format!("clients use port {port}/{protocol} of {nodes}"),
        );
    }
}
