//! Step 2: the Service, the Pods that it selects, and its EndpointSlices.

mod ports;
mod selector;
mod slices;

use k8s_openapi::api::core::v1::{Pod, Service};

use crate::explain::{
    Evidence, checks,
    evidence::Place,
    objects,
    report::{FindingLevel, Section},
    steps::{connect, policy, rejected},
    view::{
        backends::{alias_end, backends},
        destination::{Destination, NamedObject},
        names::Subject,
        pods,
    },
};

pub(in crate::explain) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    subject: &Subject<'_>,
) -> Section {
    let mut section = Section::new(checks::Step::Service);
    let backends = backends(evidence, wanted, subject);
    let mut connections: Vec<(&Service, Option<i32>)> =
        backends.iter().map(|it| (it.service, it.port)).collect();
    match subject {
        Subject::Service { service, port, .. } => {
            let number = backends.first().and_then(|it| it.port);
            one(evidence, service, number, &mut section);
            if let Some(end) = alias_end(evidence, service) {
                one(evidence, end, number, &mut section);
                connections = vec![(end, wanted.port.map(i32::from))];
            }
            external_name(service, wanted, &mut section);
            ports::asked_for(evidence, service, wanted, port.as_ref(), &mut section);
        }
        Subject::Ingress { .. } | Subject::Routes { .. } => {
            for backend in &backends {
                let first = section.findings.len();
                one(evidence, backend.service, backend.port, &mut section);
                section.findings[first..].iter_mut().for_each(|finding| {
                    finding.saw = format!("{}: {}", backend.paths, finding.saw);
                });
            }
            if section.findings.is_empty() {
                section.say(
                    FindingLevel::Skipped,
                    checks::SERVICE_NONE,
                    "no Service was found for the name",
                );
            }
        }
        Subject::Pod { candidate, pod: None } => {
            section.say(
                FindingLevel::Skipped,
                checks::SERVICE_NONE,
                format!("{candidate} is a Pod's address: there is no Service in between"),
            );
        }
        Subject::Pod { pod: Some(pod), .. } => of_pod(evidence, pod, &mut section),
        Subject::NoObject(object) => no_object(evidence, object, &mut section),
        Subject::Missing { .. } | Subject::Outside => {
            section.say(
                FindingLevel::Skipped,
                checks::SERVICE_NONE,
                "there is no Service to look at",
            );
        }
    }
    if !connections.is_empty() {
        policy::judge(evidence, subject, &connections, &mut section);
        connect::not_tried(evidence, &mut section);
    }
    section
}

/// Reports whether a Pod is ready, and which Services select it.
fn of_pod(evidence: &Evidence, pod: &Pod, section: &mut Section) {
    let path = objects::path(pod);
    section.about("Pod", objects::namespace(pod), objects::name(pod));
    match pods::unready(&evidence.objects, pod) {
        None => section.ok(checks::POD_READY, format!("Pod {path} is ready")),
        Some(why) => {
            section
                .broken(why.check, format!("Pod {path} is not ready: {}", why.words))
                .want("the condition Ready: no Service sends connections to the Pod without it")
                .advise(why.look(objects::namespace(pod), objects::name(pod)));
        }
    }
    let namespace = objects::namespace(pod);
    let services: Vec<&str> = evidence
        .objects
        .services()
        .iter()
        .filter(|it| objects::namespace(*it) == namespace && objects::selects(it, &pod.metadata))
        .map(objects::name)
        .collect();
    if services.is_empty() {
        section.say(
            FindingLevel::Note,
            checks::POD_NO_SERVICE,
            format!("no Service selects Pod {path}"),
        );
    }
    for service in services {
        section.say(
            FindingLevel::Note,
            checks::POD_SERVICE,
            format!(
                "Service {namespace}/{service} selects it: ndots explain {service}.{namespace}"
            ),
        );
    }
}

/// Reports that the object of the argument does not exist, or that no Service belongs to it.
fn no_object(evidence: &Evidence, object: &NamedObject, section: &mut Section) {
    let namespace = &evidence.asker.namespace;
    let path = format!("{} {namespace}/{}", object.kind.name(), object.name);
    if object.exists {
        section
            .broken(checks::OBJECT_NO_SERVICE, format!("no Service selects the Pods of {path}"))
            .want("a Service whose selector matches the labels of the Pod template")
            .advise(format!("kubectl -n {namespace} get services -o wide"));
        return;
    }
    if let Some(unread) = evidence.lacks(object.resource, namespace) {
        let saw = format!("cannot tell whether {path} exists: {unread}");
        section.say(FindingLevel::Unknown, checks::OBJECT_UNREAD, saw);
        return;
    }
    section
        .broken(checks::OBJECT_MISSING, format!("{path} does not exist"))
        .want("an object of this name; -n says in which namespace")
        .advise(format!("kubectl get all,ingresses -A | grep {}", object.name));
}

/// Reports what an alias does not do: it maps no ports, and it does not change the host name in
/// HTTP and TLS.
fn external_name(service: &Service, wanted: &Destination, section: &mut Section) {
    let target = service.spec.as_ref().and_then(|spec| spec.external_name.as_deref());
    let Some(target) = target.filter(|_| objects::kind(service) == "ExternalName") else { return };
    if let Some(number) = wanted.port
        && let Some(port) = objects::ports(service).iter().find(|it| it.port == i32::from(number))
        && objects::target(port) != number.to_string()
    {
        let saw = format!(
            "an ExternalName maps no ports: clients connect to {target}:{number}, and not to targetPort {}",
            objects::target(port)
        );
        section
            .say(FindingLevel::Warning, checks::SERVICE_EXTERNAL_NAME_PORT, saw)
            .want(format!("clients that use port {}", objects::target(port)));
    }
    if wanted.scheme.is_some() {
        let saw = format!(
            "an ExternalName is only an alias in DNS: the server at {target} gets the host name {} in HTTP and TLS",
            wanted.host
        );
        section.say(FindingLevel::Warning, checks::SERVICE_EXTERNAL_NAME_HOST, saw).want(format!(
            "a client that sends the host name {target}, or a server that accepts both"
        ));
    }
}

/// Warns about a namespace that is being deleted with everything in it.
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
                checks::SERVICE_NAMESPACE_TERMINATING,
                format!("namespace {name} is being deleted, with this Service and its Pods"),
            )
            .want("a namespace with status.phase Active")
            .advise(format!(
                "kubectl get namespace {name} -o yaml    # deletionTimestamp, finalizers"
            ));
    }
}

/// Runs all checks of one Service. `wanted` is the port that the user asked for.
pub(in crate::explain) fn one(
    evidence: &Evidence,
    service: &Service,
    wanted: Option<i32>,
    section: &mut Section,
) {
    section.about("Service", objects::namespace(service), objects::name(service));
    describe(service, section);
    if !evidence.is_live {
        rejected::service(service, section);
    }
    namespace(evidence, service, section);
    if objects::kind(service) == "ExternalName" {
        return;
    }
    if !objects::is_headless(service) && objects::cluster_ips(service).is_empty() {
        let broken =
            section.broken(checks::SERVICE_NO_CLUSTER_IP, "the Service has no cluster IP yet");
        broken.want("an address from the API server's range").advise(format!(
            "kubectl -n {} describe service {}",
            objects::namespace(service),
            objects::name(service)
        ));
    }
    let before = section.findings.len();
    // A port that the Service does not have is reported on its own.
    let wanted = wanted.filter(|it| objects::ports(service).iter().any(|port| port.port == *it));
    ports::judge(evidence, service, wanted, section);
    let outcome = selector::judge(evidence, service, section);
    // A fault of the Pods or ports already explains why there are no endpoints.
    let explained =
        section.findings[before..].iter().any(|finding| finding.level == FindingLevel::Broken);
    if outcome == selector::Outcome::Open && !explained {
        slices::judge(evidence, service, wanted, section);
    }
    policies(evidence, service, section);
    connect::judge(evidence, service, Place::Endpoint, section);
    connect::judge(evidence, service, Place::ForwardedPod, section);
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
    section.ok(checks::SERVICE_IS, format!("Service {path}: {address}{ports}"));
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
            checks::SERVICE_AFFINITY,
            format!("session affinity: a client stays with one endpoint for {seconds} s"),
        );
    }
    if spec.internal_traffic_policy.as_deref() != Some("Local") || objects::is_headless(service) {
        return;
    }
    let mut nodes: Vec<&str> = pods::ready(evidence, service)
        .filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    match evidence.near() {
        Some(node) if !nodes.contains(&node) => {
            let saw = format!(
                "internalTrafficPolicy is Local, and node {node} has no ready endpoint: connections from its Pods are dropped"
            );
            let broken = section.broken(checks::SERVICE_INTERNAL_LOCAL, saw);
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
            section.say(FindingLevel::Warning, checks::SERVICE_INTERNAL_LOCAL_NODES, saw);
        }
    }
}
