//! Step 4: how a client outside of the cluster reaches the Service, and whether that works.

mod load_balancer;
mod node_port;

use k8s_openapi::api::core::v1::Service;

use crate::explain::{
    Evidence, checks,
    evidence::Place,
    objects,
    report::{FindingLevel, Section},
    steps::{claims, connect, gateway, ingress, unchecked},
    view::{destination::Destination, endpoints, exposure, hosts, names::Subject, routes},
};

pub(in crate::explain) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    subject: &Subject<'_>,
) -> Section {
    let mut section = Section::new(checks::Step::Outside);
    match subject {
        Subject::Service { service, .. } => of_service(evidence, wanted, service, &mut section),
        Subject::Ingress { host, ingresses } => {
            ingress::judge(evidence, wanted, host, ingresses, &mut section);
        }
        Subject::Routes { host, routes, .. } => {
            gateway::judge(evidence, wanted, host, routes, &mut section);
        }
        _ => drop(section.say(
            FindingLevel::Skipped,
            checks::OUTSIDE_NONE,
            "not applicable: the name has no Service and no Ingress",
        )),
    }
    claims::judge(evidence, wanted, subject, &mut section);
    unchecked::objects(evidence, subject, &mut section);
    section
}

fn of_service(evidence: &Evidence, wanted: &Destination, service: &Service, section: &mut Section) {
    section.about("Service", objects::namespace(service), objects::name(service));
    if objects::kind(service) == "ExternalName" {
        section.say(
            FindingLevel::Skipped,
            checks::OUTSIDE_EXTERNAL_NAME,
            "clients outside use the external name itself",
        );
        return;
    }
    for (host, path) in hosts::leading_to(evidence, service) {
        section.say(
            FindingLevel::Note,
            checks::OUTSIDE_BY_INGRESS,
            format!("an Ingress sends {host}{path} here: ndots explain {host}{path}"),
        );
    }
    for host in routes::leading_to(evidence, service) {
        section.say(
            FindingLevel::Note,
            checks::OUTSIDE_BY_ROUTE,
            format!("a route of a Gateway sends {host} here: ndots explain http://{host}/"),
        );
    }
    let local = exposure::local_only(service);
    // A repository of manifests does not show where Pods run.
    if local && exposure::ways_in(service) && evidence.shows_pods() {
        local_nodes(evidence, wanted, service, section);
    }
    node_port::judge(evidence, service, section);
    connect::judge(evidence, service, Place::NodePort, section);
    load_balancer::judge(evidence, service, section);
    external_ips(evidence, service, section);
    if exposure::ways_in(service) {
        let saw = if local {
            "Pods see the client's own address (externalTrafficPolicy: Local)"
        } else {
            "Pods see a node's address, not the client's (externalTrafficPolicy: Cluster)"
        };
        section.say(FindingLevel::Note, checks::OUTSIDE_SOURCE, saw);
    } else if section.findings.is_empty() {
        section.say(
            FindingLevel::Skipped,
            checks::OUTSIDE_INSIDE_ONLY,
            "not exposed: no NodePort, LoadBalancer, externalIP, Ingress or route",
        );
    }
}

/// Reports which nodes have endpoints. With externalTrafficPolicy `Local`, a node without an
/// endpoint drops connections from outside.
fn local_nodes(
    evidence: &Evidence,
    wanted: &Destination,
    service: &Service,
    section: &mut Section,
) {
    let with = endpoints::nodes(evidence, service);
    let edit = format!(
        "kubectl -n {} edit service {}    # externalTrafficPolicy",
        objects::namespace(service),
        objects::name(service)
    );
    if with.is_empty() && !endpoints::addresses(evidence, service).is_empty() {
        let broken = section.broken(
            checks::OUTSIDE_LOCAL,
            "externalTrafficPolicy is Local, and no ready endpoint says on which node it is: every node drops connections from outside",
        );
        broken.want("endpoints with a nodeName, or externalTrafficPolicy: Cluster").advise(edit);
        return;
    }
    let asked = evidence.objects.node_at(&wanted.host).map(objects::name);
    if let Some(node) = asked.or(evidence.node.as_deref()).filter(|node| !with.contains(node)) {
        let saw = format!(
            "externalTrafficPolicy is Local, and node {node} has no ready endpoint: it drops connections from outside"
        );
        section
            .broken(checks::OUTSIDE_LOCAL, saw)
            .want(format!("use {}, or externalTrafficPolicy: Cluster", some(&with)))
            .advise(edit);
        return;
    }
    let without: Vec<&str> = evidence
        .objects
        .nodes()
        .iter()
        .map(objects::name)
        .filter(|name| !with.contains(name))
        .collect();
    if with.is_empty() {
        let broken = section
            .broken(checks::OUTSIDE_LOCAL, "externalTrafficPolicy is Local, and no node has a ready endpoint: every node drops connections from outside");
        broken.want("ready Pods").advise(edit);
    } else if !without.is_empty() {
        let saw = format!(
            "externalTrafficPolicy is Local: connections from outside to {} are answered, those to {} are dropped",
            some(&with),
            some(&without)
        );
        section.say(FindingLevel::Warning, checks::OUTSIDE_LOCAL_NODES, saw);
    }
}

fn some(nodes: &[&str]) -> String {
    let more =
        if nodes.len() > 5 { format!(" and {} more", nodes.len() - 5) } else { String::new() };
    if nodes.is_empty() {
        "no node".to_owned()
    } else {
        format!("{}{more}", nodes[..nodes.len().min(5)].join(", "))
    }
}

/// Checks the external IPs, which the administrator has to route to a node.
fn external_ips(evidence: &Evidence, service: &Service, section: &mut Section) {
    if !objects::external_ips(service).is_empty() {
        section
            .say(
                FindingLevel::Warning,
                checks::OUTSIDE_EXTERNAL_IPS_DEPRECATED,
                "Kubernetes 1.36 deprecates externalIPs (KEP-5707): a later release ignores the field",
            )
            .want("a Service of type LoadBalancer, an Ingress or a Gateway");
    }
    for ip in objects::external_ips(service) {
        let of_node = evidence.objects.node_at(ip);
        let ports = objects::ports(service)
            .iter()
            .map(|port| format!("{ip}:{}/{}", port.port, objects::protocol(port.protocol.as_ref())))
            .collect::<Vec<_>>()
            .join(", ");
        match of_node {
            Some(node) => section.ok(
                checks::OUTSIDE_EXTERNAL_IP,
                format!("clients use {ports}, an address of node {}", objects::name(node)),
            ),
            None if evidence.lacks("nodes", "").is_some() => {
                section.say(
                    FindingLevel::Unknown,
                    checks::OUTSIDE_EXTERNAL_IP,
                    format!(
                        "cannot tell whether a node has externalIP {ip}: this account cannot read nodes"
                    ),
                );
            }
            None => {
                let saw = format!(
                    "no node has externalIP {ip}: it is not a node address, so your network must route it"
                );
                let unknown = section.say(FindingLevel::Unknown, checks::OUTSIDE_EXTERNAL_IP, saw);
                unknown.want(format!("an address of a node, or a route: ip route add {ip} via NODE, at the client's router"));
                unknown.advise(format!(
                    "ip route get {ip}    # at the client; then connect to {ports}"
                ));
            }
        }
    }
}
