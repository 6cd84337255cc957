//! Checks whether NetworkPolicies let the client reach DNS and the Pods of the Service.
//!
//! A policy is a whitelist: as soon as one selects a Pod, only what some policy allows may enter
//! (or leave). Network plugins (CNI) see the port of the Pod, after the Service's port was
//! translated.

mod hint;

use std::net::IpAddr;

use k8s_openapi::api::{
    core::v1::{Pod, Service, ServicePort},
    discovery::v1::Endpoint,
    networking::v1::NetworkPolicy,
};

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    steps::unchecked,
    view::{
        endpoints,
        isolation::{Decision, Direction, Peer, Port, decide},
        labels::Labels,
        names::Subject,
        peers::{self, Client, on_host},
        pods,
        truth::Truth,
        workloads::pods_or_templates,
    },
};

/// How many policies a message names.
const NAMED: usize = 3;

/// The connection of one client to one Pod, or to an endpoint that is not a Pod.
struct Connection<'e> {
    client: &'e Client<'e>,
    target: Peer<'e>,
    port: Port<'e>,
    /// `Pod web-1`, `the Pods of Deployment web`, `endpoint 192.0.2.11`.
    name: String,
}

/// Checks the policies between the client and each Service.
pub(in crate::explain) fn judge(
    evidence: &Evidence,
    subject: &Subject<'_>,
    services: &[(&Service, Option<i32>)],
    section: &mut Section,
) {
    unchecked::policies(evidence, section);
    let namespaces = services.iter().map(|(service, _)| objects::namespace(*service));
    if let Some(unread) = namespaces
        .chain([evidence.asker.namespace.as_str()])
        .find_map(|namespace| evidence.lacks("networkpolicies", namespace))
    {
        let saw = format!("network policies were not read: {unread}");
        section.say(FindingLevel::Skipped, checks::POLICY_NOT_READ, saw);
        return;
    }
    if evidence.objects.network_policies().is_empty() {
        return;
    }
    let clients = match subject {
        Subject::Ingress { ingresses, .. } => peers::controllers(evidence, ingresses),
        Subject::Routes { addresses, .. } => {
            peers::behind(evidence, addresses, "the controller of the Gateway")
        }
        _ => {
            let client = peers::asker(evidence);
            dns(evidence, &client, section);
            vec![client]
        }
    };
    let before = section.findings.len();
    for (service, port) in services {
        if let Some(client) = clients.first() {
            of_service(evidence, client, service, *port, section);
        }
        from_outside(evidence, service, *port, section);
    }
    if section.findings.len() == before && !services.is_empty() {
        let saw = format!("network policies let {} reach the Pods", clients[0].name);
        section.ok(checks::POLICY_ALLOWED, saw);
    }
}

/// The ports of the Service that the user means, at one Pod.
fn ports<'e>(service: &'e Service, wanted: Option<i32>, pod: &'e Pod) -> Vec<Port<'e>> {
    meant_ports(service, wanted)
        .filter_map(|port| {
            let number = objects::at_pod(port, pod)?;
            Some(at_pod(pod, objects::protocol(port.protocol.as_ref()), number))
        })
        .collect()
}

/// The ports of the Service that the user means.
fn meant_ports(service: &Service, wanted: Option<i32>) -> impl Iterator<Item = &ServicePort> {
    objects::ports(service).iter().filter(move |port| {
        wanted.is_none_or(|number| port.port == number || port.node_port == Some(number))
    })
}

fn at_pod<'e>(pod: &'e Pod, protocol: &'e str, number: i32) -> Port<'e> {
    let names = objects::declared(pod)
        .filter(|it| {
            it.container_port == number && objects::protocol(it.protocol.as_ref()) == protocol
        })
        .filter_map(|it| it.name.as_deref())
        .collect();
    Port { protocol, number, names }
}

/// The egress rules of the client, and the ingress rules of the Pod.
fn both<'e>(evidence: &'e Evidence, connection: &Connection<'_>) -> [(Direction, Decision<'e>); 2] {
    let Connection { client, target, port, .. } = connection;
    let policies = || evidence.objects.network_policies();
    // Nothing shows that a policy selects a client whose namespace is not known.
    let of_client = policies().iter().filter(|_| !has_unknown_namespace(&client.peer));
    let egress = decide(of_client, Direction::Egress, &without_labels(&client.peer), target, port);
    let ingress = decide(policies(), Direction::Ingress, target, &client.peer, port);
    [(Direction::Egress, egress), (Direction::Ingress, ingress)]
}

fn has_unknown_namespace(peer: &Peer<'_>) -> bool {
    matches!(peer, Peer::Pod { namespace: None, .. })
}

/// A Pod whose labels are unknown counts as a Pod without labels.
fn without_labels<'e>(peer: &Peer<'e>) -> Peer<'e> {
    match peer {
        Peer::Pod { namespace, namespace_labels, labels: None, addresses } => Peer::Pod {
            namespace: *namespace,
            namespace_labels: namespace_labels.clone(),
            labels: Some(Labels::new()),
            addresses: addresses.clone(),
        },
        other => other.clone(),
    }
}

fn of_service(
    evidence: &Evidence,
    client: &Client<'_>,
    service: &Service,
    wanted: Option<i32>,
    section: &mut Section,
) {
    let pods = pods_or_templates(evidence, service);
    let to_pods = pods.iter().flat_map(|(pod, name)| {
        let target = peers::of_pod(evidence, pod).peer;
        ports(service, wanted, pod)
            .into_iter()
            .map(move |port| (target.clone(), port, name.clone()))
    });
    let targets: Vec<_> = to_pods.chain(without_pods(evidence, service, wanted)).collect();
    let results: Vec<(Connection<'_>, [(Direction, Decision<'_>); 2])> = targets
        .into_iter()
        .map(|(target, port, name)| {
            let connection = Connection { client, target, port, name };
            let decisions = both(evidence, &connection);
            (connection, decisions)
        })
        .collect();
    let worst = |decisions: &[(Direction, Decision<'_>); 2]| {
        decisions.iter().map(|(_, decision)| decision.allowed).min().unwrap_or(Truth::Yes)
    };
    let none = results.iter().all(|(_, decisions)| worst(decisions) == Truth::No);
    let Some((connection, decisions)) =
        results.iter().min_by_key(|(_, decisions)| worst(decisions))
    else {
        return;
    };
    let Some((direction, decision)) = decisions.iter().min_by_key(|(_, decision)| decision.allowed)
    else {
        return;
    };
    match decision.allowed {
        Truth::Yes => {}
        Truth::No => {
            let level = if none { FindingLevel::Broken } else { FindingLevel::Warning };
            denied(level, connection, service, (*direction, decision), section);
        }
        Truth::Maybe => depends(evidence, connection, decision, section),
    }
}

/// The endpoints of a Service without a selector, such as those of the API server.
fn without_pods<'e>(
    evidence: &'e Evidence,
    service: &'e Service,
    wanted: Option<i32>,
) -> impl Iterator<Item = (Peer<'e>, Port<'e>, String)> {
    let namespace = objects::namespace(service);
    let meant = meant_ports(service, wanted).filter(move |_| !objects::has_selector(service));
    meant.flat_map(move |port| {
        let name = port.name.as_deref().unwrap_or_default();
        let protocol = objects::protocol(port.protocol.as_ref());
        endpoints::ready(evidence, service).flat_map(move |(slice, endpoint)| {
            let number = endpoints::port(slice, name);
            let addresses = endpoint.addresses.iter().filter_map(|text| text.parse().ok());
            addresses.zip(std::iter::repeat(number)).filter_map(move |(address, number)| {
                Some(at_endpoint(evidence, (namespace, endpoint), address, (protocol, number?)))
            })
        })
    })
}

/// An endpoint of a Service without a selector. It is often a Pod, such as the leader of a
/// database.
fn at_endpoint<'e>(
    evidence: &'e Evidence,
    (namespace, endpoint): (&'e str, &'e Endpoint),
    address: IpAddr,
    (protocol, number): (&'e str, i32),
) -> (Peer<'e>, Port<'e>, String) {
    let named = endpoint.target_ref.as_ref().filter(|it| it.kind.as_deref() == Some("Pod"));
    let pod = named.and_then(|it| {
        let namespace = it.namespace.as_deref().unwrap_or(namespace);
        evidence.objects.pod(namespace, it.name.as_deref()?)
    });
    let pod = pod.or_else(|| pods::at_address(&evidence.objects, address));
    if let Some(pod) = pod.filter(|pod| !pods::has_ended(pod)) {
        let peer = peers::of_pod(evidence, pod).peer;
        return (peer, at_pod(pod, protocol, number), format!("Pod {}", objects::path(pod)));
    }
    let can_be_pod = named.is_some()
        || evidence.lacks("pods", namespace).is_some()
            && evidence.objects.node_at(&address.to_string()).is_none();
    let peer = if can_be_pod {
        Peer::Pod {
            namespace: Some(namespace),
            namespace_labels: peers::namespace_labels(evidence, namespace),
            labels: None,
            addresses: vec![address],
        }
    } else {
        Peer::Address(Some(address))
    };
    let port = Port { protocol, number, names: Vec::new() };
    (peer, port, format!("endpoint {address}"))
}

/// Reports a connection that no policy allows.
fn denied(
    level: FindingLevel,
    connection: &Connection<'_>,
    service: &Service,
    (direction, decision): (Direction, &Decision<'_>),
    section: &mut Section,
) {
    let Connection { client, port, name, target } = connection;
    let at = format!("{}/{}", port.number, port.protocol);
    let policies = names(&decision.isolating);
    let (id, saw) = match direction {
        Direction::Egress => (
            checks::POLICY_EGRESS,
            format!(
                "{policies} limits egress of {}, and no policy lets it connect to {name} at {at}",
                client.name
            ),
        ),
        Direction::Ingress => (
            checks::POLICY_INGRESS,
            format!(
                "{policies} limits ingress of {name}, and no policy lets {} connect at {at}",
                client.name
            ),
        ),
    };
    let other = match direction {
        Direction::Egress => target.clone(),
        Direction::Ingress => client.peer.clone(),
    };
    let finding = section.say(level, id, saw);
    match hint::near_miss(&decision.isolating, direction, &other, port, service) {
        Some(hint) => finding.want(hint),
        None => finding.want(format!(
            "a rule in {} for {} at port {}, the port of the Pods",
            if direction == Direction::Egress { "egress.to" } else { "ingress.from" },
            if direction == Direction::Egress { name } else { &client.name },
            port.number
        )),
    };
    if let Some(policy) = decision.isolating.first() {
        finding.advise(format!(
            "kubectl -n {} describe networkpolicy {}",
            objects::namespace(*policy),
            objects::name(*policy)
        ));
    }
}

/// Reports a connection that depends on labels or addresses that are not known.
fn depends(
    evidence: &Evidence,
    connection: &Connection<'_>,
    decision: &Decision<'_>,
    section: &mut Section,
) {
    let Connection { client, port, name, .. } = connection;
    let reason = if decision.allowing.is_empty() {
        format!("{} may limit the connection: not all labels are known", names(&decision.isolating))
    } else {
        format!("{} lets only some clients connect", names(&decision.allowing))
    };
    if evidence.is_overview {
        section.say(FindingLevel::Note, checks::POLICY_CLIENT, reason);
        return;
    }
    let saw = format!(
        "cannot tell whether {} may connect to {name} at {}/{}: {reason}",
        client.name, port.number, port.protocol
    );
    let unknown = section.say(FindingLevel::Unknown, checks::POLICY_CLIENT, saw);
    if let Some(policy) = decision.allowing.first() {
        unknown.want(hint::admitted(policy, port)).advise(format!(
            "kubectl -n {} describe networkpolicy {}",
            objects::namespace(*policy),
            objects::name(*policy)
        ));
    }
    unknown.advise("add --pod NAMESPACE/NAME to say which Pod connects");
}

/// Warns about policies that deny clients outside of the cluster, if the Service is meant for them.
fn from_outside(
    evidence: &Evidence,
    service: &Service,
    wanted: Option<i32>,
    section: &mut Section,
) {
    if !["NodePort", "LoadBalancer"].contains(&objects::kind(service)) {
        return;
    }
    let world = Peer::Address(None);
    for (pod, name) in pods_or_templates(evidence, service) {
        let target = peers::of_pod(evidence, &pod).peer;
        for port in ports(service, wanted, &pod) {
            let policies = evidence.objects.network_policies();
            let decision = decide(policies, Direction::Ingress, &target, &world, &port);
            if decision.allowed != Truth::No {
                continue;
            }
            let saw = format!(
                "{} limits ingress of {name}, and no policy has an ipBlock for clients outside at {}/{}",
                names(&decision.isolating),
                port.number,
                port.protocol
            );
            section
                .say(FindingLevel::Warning, checks::POLICY_OUTSIDE, saw)
                .want("an ingress rule with ipBlock for the clients, and for the nodes if externalTrafficPolicy is Cluster");
            return;
        }
    }
}

/// Checks that the client may send queries to the DNS Pods, over UDP and TCP.
fn dns(evidence: &Evidence, client: &Client<'_>, section: &mut Section) {
    if client.pod.is_some_and(on_host) {
        return;
    }
    let subject = without_labels(&client.peer);
    let servers = dns_pods(evidence);
    let result = |protocol: &'static str| {
        let all = servers.iter().map(|(pod, number)| {
            let port = at_pod(pod, protocol, *number);
            let target = dns_peer(evidence, pod);
            let policies = evidence.objects.network_policies();
            let egress = decide(policies, Direction::Egress, &subject, &target, &port);
            let ingress = decide(policies, Direction::Ingress, &target, &client.peer, &port);
            if egress.allowed <= ingress.allowed {
                (Direction::Egress, egress)
            } else {
                (Direction::Ingress, ingress)
            }
        });
        all.max_by_key(|(_, decision)| decision.allowed)
    };
    let (Some((direction, udp)), Some((of_tcp, tcp))) = (result("UDP"), result("TCP")) else {
        return;
    };
    // The policies of the DNS Pods are in their namespace.
    let namespace = |direction| match direction {
        Direction::Egress => evidence.asker.namespace.as_str(),
        Direction::Ingress => {
            servers.first().map_or("kube-system", |(pod, _)| objects::namespace(pod))
        }
    };
    let number = servers.first().map_or(53, |(_, number)| *number);
    if udp.allowed == Truth::No && tcp.allowed == Truth::No {
        let saw = format!(
            "{} denies {} all queries to the cluster's DNS (port {number}): no name resolves",
            names(&udp.isolating),
            client.name
        );
        let want = match direction {
            Direction::Egress => format!(
                "an egress rule to namespace kube-system, Pods k8s-app=kube-dns, ports {number}/UDP and {number}/TCP"
            ),
            Direction::Ingress => format!(
                "an ingress rule of the DNS Pods for {}, ports {number}/UDP and {number}/TCP",
                client.name
            ),
        };
        section
            .broken(checks::POLICY_DNS, saw)
            .want(want)
            .advise(format!("kubectl -n {} get networkpolicies", namespace(direction)));
    } else if udp.allowed == Truth::No || tcp.allowed == Truth::No {
        let (missing, decision, direction) =
            if udp.allowed == Truth::No { ("UDP", &udp, direction) } else { ("TCP", &tcp, of_tcp) };
        let saw = format!(
            "{} denies {} queries to the cluster's DNS over {missing} (port {number})",
            names(&decision.isolating),
            client.name
        );
        let level = if missing == "UDP" { FindingLevel::Broken } else { FindingLevel::Warning };
        let id = if missing == "UDP" { checks::POLICY_DNS } else { checks::POLICY_DNS_TCP };
        section
            .say(level, id, saw)
            .want("both protocols: a reply that is too large for UDP is asked for again over TCP")
            .advise(format!("kubectl -n {} get networkpolicies", namespace(direction)));
    }
}

/// The DNS Pods, each with its port behind port 53 of the Service. Manifests often have no DNS
/// Pods. Then one Pod with the labels of kubeadm's is assumed.
fn dns_pods(evidence: &Evidence) -> Vec<(Pod, i32)> {
    let service = evidence.dns_service();
    let pods = service.into_iter().flat_map(|service| {
        let port = objects::ports(service).iter().find(|port| port.port == 53);
        evidence.objects.selected(service).map(move |pod| {
            let number = port.and_then(|port| objects::at_pod(port, pod)).unwrap_or(53);
            (pod.clone(), number)
        })
    });
    let found: Vec<(Pod, i32)> = pods.collect();
    if !found.is_empty() {
        return found;
    }
    let mut pod = Pod::default();
    pod.metadata.name = Some("coredns".to_owned());
    pod.metadata.namespace = Some("kube-system".to_owned());
    pod.metadata.labels =
        Some([("k8s-app".to_owned(), "kube-dns".to_owned())].into_iter().collect());
    vec![(pod, 53)]
}

/// The destination of the client's queries: the DNS Pod or, if a nameserver has a link-local
/// address, the cache on the node.
fn dns_peer<'e>(evidence: &Evidence, pod: &'e Pod) -> Peer<'e> {
    let local = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let servers = evidence.asker.resolv.nameservers.iter();
    match servers.filter_map(|text| text.parse().ok()).find(local) {
        Some(address) => Peer::Address(Some(address)),
        None => peers::of_pod(evidence, pod).peer,
    }
}

/// `NetworkPolicy shop/deny, shop/other`.
fn names(policies: &[&NetworkPolicy]) -> String {
    let shown: Vec<String> = policies.iter().take(NAMED).map(|it| objects::path(*it)).collect();
    let more = policies.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("NetworkPolicy {}{more}", shown.join(", "))
}
