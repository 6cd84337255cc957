//! Step 2: the Service, the Pods that it selects, and its EndpointSlices.

mod pods;
mod ports;
mod slices;
mod templates;

use k8s_openapi::api::core::v1::{Pod, Service};

use crate::limits;

use super::{
    Evidence,
    names::{ClusterName, Destination, Subject, take_apart},
    objects,
    report::{FindingLevel, Section},
    unchecked,
};

pub(super) const TITLE: &str = "Service and endpoints";

pub(super) fn judge(evidence: &Evidence, wanted: &Destination, subject: &Subject<'_>) -> Section {
    let mut section = Section::new(TITLE);
    match subject {
        Subject::Service { service, port, .. } => {
            let end = alias_end(evidence, service);
            one(evidence, service, &mut section);
            if let Some(end) = end {
                one(evidence, end, &mut section);
            }
            ports::asked_for(evidence, service, wanted, port.as_ref(), &mut section);
        }
        Subject::Ingress { host, ingresses } => {
            for (path, service) in
                super::ingress::backends(evidence, ingresses, host, wanted.path.as_deref())
            {
                let Some(service) = service else { continue };
                let first = section.findings.len();
                one(evidence, service, &mut section);
                section.findings[first..]
                    .iter_mut()
                    .for_each(|finding| finding.saw = format!("{path}: {}", finding.saw));
            }
            if section.findings.is_empty() {
                section.say(
                    FindingLevel::Skipped,
                    "service.none",
                    "no Service was found for the name",
                );
            }
        }
        Subject::Pod { candidate } => {
            section.say(
                FindingLevel::Skipped,
                "service.none",
                format!("{candidate} is a Pod's address: there is no Service in between"),
            );
        }
        Subject::Missing { .. } | Subject::Outside => {
            section.say(FindingLevel::Skipped, "service.none", "there is no Service to look at");
        }
    }
    if !matches!(subject, Subject::Missing { .. } | Subject::Outside) {
        unchecked::policies(evidence, &mut section);
    }
    section
}

/// The Service in the cluster at which an ExternalName ends.
fn alias_end<'e>(evidence: &'e Evidence, service: &'e Service) -> Option<&'e Service> {
    let mut end = service;
    for _ in 0..limits::CNAME_HOPS {
        if objects::kind(end) != "ExternalName" {
            break;
        }
        let target = end.spec.as_ref()?.external_name.as_deref()?;
        let ClusterName::Service { namespace, service, .. } = take_apart(target, &evidence.zone)?
        else {
            return None;
        };
        end = evidence.objects.service(&namespace, &service)?;
    }
    (objects::kind(end) != "ExternalName").then_some(end).filter(|end| !std::ptr::eq(*end, service))
}

/// Warns about a namespace that goes away with everything in it.
fn namespace(evidence: &Evidence, service: &Service, section: &mut Section) {
    let name = objects::namespace(service);
    let going = evidence.objects.namespaces().iter().find(|it| {
        objects::name(*it) == name
            && (it.metadata.deletion_timestamp.is_some()
                || it.status.as_ref().is_some_and(|it| it.phase.as_deref() == Some("Terminating")))
    });
    if going.is_some() {
        section
            .say(
                FindingLevel::Warning,
                "service.namespace-terminating",
                format!("namespace {name} is being deleted, with this Service and its Pods"),
            )
            .want("a namespace with status.phase Active")
            .advise(format!(
                "kubectl get namespace {name} -o yaml    # deletionTimestamp, finalizers"
            ));
    }
}

/// Runs all checks of one Service.
pub(super) fn one(evidence: &Evidence, service: &Service, section: &mut Section) {
    describe(service, section);
    namespace(evidence, service, section);
    if objects::kind(service) == "ExternalName" {
        return;
    }
    if !objects::is_headless(service) && objects::cluster_ips(service).is_empty() {
        let broken = section.broken("service.no-cluster-ip", "it has no cluster IP yet");
        broken.want("an address from the API server's range").advise(format!(
            "kubectl -n {} describe service {}",
            objects::namespace(service),
            objects::name(service)
        ));
    }
    ports::judge(evidence, service, section);
    pods::judge(evidence, service, section);
    slices::judge(evidence, service, section);
    policies(evidence, service, section);
}

/// Reports what the Service is: `ClusterIP 10.96.0.1; https 443/TCP → 6443`.
fn describe(service: &Service, section: &mut Section) {
    let path = objects::path(service);
    let address = match objects::kind(service) {
        "ExternalName" => format!(
            "ExternalName {}",
            service.spec.as_ref().and_then(|spec| spec.external_name.as_deref()).unwrap_or("?")
        ),
        _ if objects::is_headless(service) => "headless".to_owned(),
        kind => format!("{kind} {}", objects::cluster_ips(service).join(", ")),
    };
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let node_port = port
            .node_port
            .filter(|port| *port > 0)
            .map_or(String::new(), |port| format!(", node port {port}"));
        format!("{} → {}{node_port}", objects::port_name(port), objects::target(port))
    };
    let ports = objects::ports(service).iter().map(port).collect::<Vec<_>>().join("; ");
    let ports = if ports.is_empty() { String::new() } else { format!("; {ports}") };
    section.ok("service.is", format!("Service {path}: {address}{ports}"));
}

/// Reports session affinity and internalTrafficPolicy.
fn policies(evidence: &Evidence, service: &Service, section: &mut Section) {
    let Some(spec) = &service.spec else { return };
    if spec.session_affinity.as_deref() == Some("ClientIP") {
        let seconds = spec
            .session_affinity_config
            .as_ref()
            .and_then(|config| config.client_ip.as_ref()?.timeout_seconds)
            .unwrap_or(10_800);
        section.say(
            FindingLevel::Note,
            "service.affinity",
            format!("session affinity: a client stays with one endpoint for {seconds} s"),
        );
    }
    if spec.internal_traffic_policy.as_deref() != Some("Local") || objects::is_headless(service) {
        return;
    }
    let mut nodes: Vec<&str> = ready_pods(evidence, service)
        .filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    match evidence.near() {
        Some(node) if !nodes.contains(&node) => {
            let saw = format!(
                "internalTrafficPolicy is Local, and node {node} has no ready endpoint: connections from its Pods are dropped"
            );
            let broken = section.broken("service.internal-local", saw);
            broken.want(format!(
                "a ready Pod on {node} (there are some on {}), or internalTrafficPolicy: Cluster",
                nodes.join(", ")
            ));
            broken.advise(format!(
                "kubectl -n {} edit service {}",
                objects::namespace(service),
                objects::name(service)
            ));
        }
        Some(_) => {}
        None => {
            let saw = format!(
                "internalTrafficPolicy is Local: only Pods on {} get an answer; --pod or --node says which one asks",
                nodes.join(", ")
            );
            section.say(FindingLevel::Warning, "service.internal-local-nodes", saw);
        }
    }
}

/// The Pods that the selector matches, in the Service's namespace. Without a selector there are none.
pub(super) fn selected<'e>(
    evidence: &'e Evidence,
    service: &'e Service,
) -> impl Iterator<Item = &'e Pod> {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref())
        .filter(|selector| !selector.is_empty());
    let matches = move |pod: &&Pod| {
        let labels = pod.metadata.labels.as_ref();
        selector.is_some_and(|selector| {
            selector
                .iter()
                .all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
        })
    };
    evidence
        .objects
        .pods()
        .iter()
        .filter(|pod| objects::namespace(*pod) == objects::namespace(service))
        .filter(matches)
}

pub(super) fn ready_pods<'e>(
    evidence: &'e Evidence,
    service: &'e Service,
) -> impl Iterator<Item = &'e Pod> {
    selected(evidence, service).filter(|pod| pods::unready(pod).is_none())
}

/// Whether Pods that are not ready are endpoints, too (`publishNotReadyAddresses`).
fn publishes_unready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

pub(super) use slices::ready as ready_endpoints;

pub(super) fn is_pod_ready(pod: &Pod) -> bool {
    pods::unready(pod).is_none()
}
