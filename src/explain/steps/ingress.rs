//! Checks the hosts and paths of Ingresses: their Services, addresses and certificates.

pub(in crate::explain) mod certificate;

use k8s_openapi::api::{
    core::v1::Service,
    networking::v1::{Ingress, IngressClass},
};

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    steps::rejected,
    view::{
        destination::Destination,
        hosts::{self, IngressPath, Requests, addresses, class_name},
    },
};

pub(in crate::explain) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    host: &str,
    ingresses: &[&Ingress],
    section: &mut Section,
) {
    let requests = wanted.requests(host);
    let hosts_of = |ingress| match requests {
        Requests::To { host, .. } => vec![host],
        Requests::All => hosts::all(ingress),
    };
    for ingress in ingresses {
        section.about("Ingress", objects::namespace(*ingress), objects::name(*ingress));
        host_name(ingress, section);
        if !evidence.is_live {
            rejected::ingress(ingress, section);
        }
        class(evidence, ingress, section);
        address(evidence, ingress, &hosts_of(ingress), section);
    }
    let routes = hosts::meant(ingresses, requests);
    if routes.is_empty() {
        let path = wanted.path.as_deref().unwrap_or("/");
        let paths = hosts::paths(ingresses, requests);
        let all = paths
            .iter()
            .map(|route| format!("{} ({})", route.label(), route.path_type))
            .collect::<Vec<_>>()
            .join(", ");
        let has_star = paths.iter().any(|route| route.path.len() > 1 && route.path.contains('*'));
        let but =
            if has_star { "; with pathType Prefix or Exact, * is not a wildcard" } else { "" };
        let broken = section.broken(
            checks::OUTSIDE_INGRESS_PATH,
            format!("no path of Ingress {} matches {host}{path}", objects::path(ingresses[0])),
        );
        broken.want(if all.is_empty() {
            "a rule with a path".to_owned()
        } else {
            format!("one of {all}{but}")
        });
        broken.advise(format!(
            "kubectl -n {} edit ingress {}",
            objects::namespace(ingresses[0]),
            objects::name(ingresses[0])
        ));
    }
    twice(ingresses, requests, &routes, section);
    for route in &routes {
        section.about("Ingress", objects::namespace(route.ingress), objects::name(route.ingress));
        backend(evidence, &route.place(requests), route, section);
    }
    for ingress in ingresses {
        section.about("Ingress", objects::namespace(*ingress), objects::name(*ingress));
        certificate::judge(evidence, ingress, &hosts_of(ingress), section);
    }
}

/// Checks that the hosts of the rules are host names.
fn host_name(ingress: &Ingress, section: &mut Section) {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let wrong = rules
        .filter_map(|rule| rule.host.as_deref())
        .find(|host| *host != hosts::bare(host) || host.parse::<std::net::IpAddr>().is_ok());
    if let Some(host) = wrong {
        section
            .broken(
                checks::OUTSIDE_INGRESS_HOST,
                format!(
                    "Ingress {} has host {host}, which is not a host name: the API server rejects it",
                    objects::path(ingress)
                ),
            )
            .want("a host name without scheme, port and path; for an address a rule without host")
            .advise(format!(
                "kubectl -n {} edit ingress {}",
                objects::namespace(ingress),
                objects::name(ingress)
            ));
    }
}

/// Reports a path that two Ingresses of one class have: the controller uses one of them.
fn twice(
    ingresses: &[&Ingress],
    requests: Requests<'_>,
    routes: &[IngressPath<'_>],
    section: &mut Section,
) {
    let all = hosts::paths(ingresses, requests);
    let same = |one: &IngressPath<'_>, other: &IngressPath<'_>| {
        !std::ptr::eq(one.ingress, other.ingress)
            && one.host.eq_ignore_ascii_case(other.host)
            && (&one.path, one.path_type) == (&other.path, other.path_type)
            && one.backend != other.backend
            && class_name(one.ingress) == class_name(other.ingress)
    };
    for route in routes.iter().filter(|route| !is_canary(route.ingress)) {
        let other = all.iter().find(|it| !is_canary(it.ingress) && same(route, it));
        let Some(other) = other else { continue };
        let saw = format!(
            "Ingresses {} and {} both have {} ({}), and lead to different backends: the controller uses only one of them",
            objects::path(route.ingress),
            objects::path(other.ingress),
            route.place(requests),
            route.path_type
        );
        section
            .say(FindingLevel::Warning, checks::OUTSIDE_INGRESS_TWICE, saw)
            .want("one Ingress for each host and path; most controllers use the oldest")
            .advise("kubectl get ingresses -A");
        return;
    }
}

/// Whether the Ingress is a canary, which takes a part of the requests of another Ingress on
/// purpose.
fn is_canary(ingress: &Ingress) -> bool {
    let annotations = ingress.metadata.annotations.iter().flatten();
    annotations.into_iter().any(|(key, value)| key.ends_with("/canary") && value == "true")
}

/// Checks the IngressClass, which decides the controller that implements the Ingress.
fn class(evidence: &Evidence, ingress: &Ingress, section: &mut Section) {
    let classes: Vec<&str> = evidence.objects.ingress_classes().iter().map(objects::name).collect();
    let Some(class) = class_name(ingress) else {
        return without_class(evidence, ingress, section);
    };
    let by_annotation = ingress.spec.as_ref().is_none_or(|spec| spec.ingress_class_name.is_none());
    // Controllers such as GKE's take an annotation without an IngressClass object.
    if by_annotation && !addresses(ingress).is_empty() {
        return;
    }
    if !classes.is_empty() && !classes.contains(&class.as_str()) {
        let broken = section.broken(
            checks::OUTSIDE_INGRESS_CLASS,
            format!("Ingress {}: IngressClass {class} does not exist", objects::path(ingress)),
        );
        broken.want(format!("one of {}", classes.join(", "))).advise("kubectl get ingressclasses");
    }
}

/// Reports an Ingress that names no class, if no class is the default and no controller has taken
/// it.
fn without_class(evidence: &Evidence, ingress: &Ingress, section: &mut Section) {
    const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
    let classes = evidence.objects.ingress_classes();
    let is_default = |class: &IngressClass| {
        let annotations = class.metadata.annotations.as_ref();
        annotations.and_then(|it| it.get(DEFAULT)).is_some_and(|value| value == "true")
    };
    if classes.is_empty() || classes.iter().any(is_default) || !addresses(ingress).is_empty() {
        return;
    }
    let names: Vec<&str> = classes.iter().map(objects::name).collect();
    section
        .broken(
            checks::OUTSIDE_INGRESS_NO_CLASS,
            format!(
                "Ingress {} names no class, and no IngressClass is the default: no controller takes it",
                objects::path(ingress)
            ),
        )
        .want(format!("ingressClassName: one of {}", names.join(", ")))
        .advise("kubectl get ingressclasses");
}

/// Checks the address that clients connect to.
fn address(evidence: &Evidence, ingress: &Ingress, hosts: &[&str], section: &mut Section) {
    let addresses = addresses(ingress);
    let path = objects::path(ingress);
    if addresses.is_empty() && !evidence.shows_status(ingress.status.is_some()) {
        section.say(
            FindingLevel::Skipped,
            checks::OUTSIDE_INGRESS_NO_STATUS,
            format!("the manifest of Ingress {path} has no status, so its address is not known"),
        );
        return;
    }
    if addresses.is_empty() {
        let broken = section.broken(
            checks::OUTSIDE_INGRESS_ADDRESS,
            format!("Ingress {path} has no address: no controller has accepted it"),
        );
        broken.want("status.loadBalancer, which the controller of its class writes");
        broken
            .advise(format!(
                "kubectl -n {} describe ingress {}",
                objects::namespace(ingress),
                objects::name(ingress)
            ))
            .advise("kubectl get ingressclasses,pods -A | grep -i ingress");
        return;
    }
    section.ok(
        checks::OUTSIDE_INGRESS_ADDRESS,
        format!(
            "public DNS for {} must point to {}, the address of Ingress {path}",
            hosts::listed(hosts),
            addresses.join(", ")
        ),
    );
}

/// Checks the Service behind a path, and its port.
fn backend(evidence: &Evidence, place: &str, route: &IngressPath<'_>, section: &mut Section) {
    let Some(wanted) = &route.backend.service else {
        section.say(
            FindingLevel::Note,
            checks::OUTSIDE_INGRESS_RESOURCE,
            format!("{place} goes to a resource that is not a Service"),
        );
        return;
    };
    let namespace = objects::namespace(route.ingress);
    let edit = format!("kubectl -n {namespace} edit ingress {}", objects::name(route.ingress));
    let Some(service) = route.service(evidence) else {
        missing(evidence, place, route, &wanted.name, section);
        return;
    };
    let port = wanted.port.as_ref();
    let is = |it: &&k8s_openapi::api::core::v1::ServicePort| match (
        port.and_then(|port| port.number),
        port.and_then(|port| port.name.as_deref()),
    ) {
        (Some(number), _) => it.port == number,
        (None, Some(name)) => it.name.as_deref() == Some(name),
        (None, None) => true,
    };
    let written = port.map_or("?".to_owned(), |port| {
        port.name.clone().unwrap_or_else(|| port.number.unwrap_or_default().to_string())
    });
    if objects::kind(service) != "ExternalName" && !objects::ports(service).iter().any(|it| is(&it))
    {
        let broken = section.broken(
            checks::OUTSIDE_INGRESS_PORT,
            format!(
                "{place} goes to port {written} of Service {}, which has no such port",
                objects::path(service)
            ),
        );
        broken
            .want(format!(
                "one of {}",
                objects::ports(service)
                    .iter()
                    .map(objects::port_name)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
            .advise(edit);
        return;
    }
    to_node_ports(evidence, route, service, section);
    rewrite(route, section);
    section.ok(
        checks::OUTSIDE_INGRESS_ROUTE,
        format!("{place} goes to Service {}, port {written}", objects::path(service)),
    );
}

/// Reports a rewrite of ingress-nginx with a group that the path does not have.
fn rewrite(route: &IngressPath<'_>, section: &mut Section) {
    const REWRITE: &str = "nginx.ingress.kubernetes.io/rewrite-target";
    let annotations = route.ingress.metadata.annotations.as_ref();
    let Some(target) = annotations.and_then(|it| it.get(REWRITE)) else { return };
    let groups = route.path.matches('(').count();
    let used = target.match_indices('$').filter_map(|(at, _)| {
        let digits = target[at + 1..].find(|it: char| !it.is_ascii_digit());
        let end = digits.map_or(target.len(), |length| at + 1 + length);
        target[at + 1..end].parse::<usize>().ok()
    });
    let Some(last) = used.max().filter(|last| *last > groups) else { return };
    let saw = format!(
        "path {} of Ingress {} has no group ${last}, which the annotation rewrite-target: {target} uses: it is empty for every request",
        route.path,
        objects::path(route.ingress)
    );
    section.say(FindingLevel::Warning, checks::OUTSIDE_INGRESS_REWRITE, saw).want(
        "a path with the groups, such as /api(/|$)(.*), and pathType: ImplementationSpecific",
    );
}

/// Reports a Service without node ports, if the load balancer of the Ingress sends to node ports.
/// The load balancer of AWS does so, unless the target type is `ip`.
fn to_node_ports(
    evidence: &Evidence,
    route: &IngressPath<'_>,
    service: &Service,
    section: &mut Section,
) {
    const CONTROLLER: &str = "ingress.k8s.aws/alb";
    const TARGET: &str = "alb.ingress.kubernetes.io/target-type";
    let Some(name) = class_name(route.ingress) else { return };
    let class = evidence.objects.ingress_classes().iter().find(|it| objects::name(*it) == name);
    let class = class.and_then(|class| class.spec.as_ref());
    let is_aws = match class {
        Some(class) => class.controller.as_deref() == Some(CONTROLLER),
        None => name == "alb",
    };
    let annotation = |annotations: &Option<std::collections::BTreeMap<String, String>>| {
        annotations.as_ref().and_then(|it| it.get(TARGET)).is_some_and(|it| it == "ip")
    };
    let by_address = annotation(&route.ingress.metadata.annotations)
        || annotation(&service.metadata.annotations)
        // The parameters of a class can set the target type.
        || class.is_some_and(|class| class.parameters.is_some());
    let has_node_ports = ["NodePort", "LoadBalancer"].contains(&objects::kind(service));
    if !is_aws || by_address || has_node_ports || objects::kind(service) == "ExternalName" {
        return;
    }
    // The controller can have another default. If it has accepted the Ingress, this is a warning.
    let is_refused = addresses(route.ingress).is_empty()
        && evidence.shows_status(route.ingress.status.is_some());
    let level = if is_refused { FindingLevel::Broken } else { FindingLevel::Warning };
    let saw = format!(
        "the load balancer of class {name} sends to node ports, and Service {} has none: its type is {}",
        objects::path(service),
        objects::kind(service)
    );
    section.say(level, checks::OUTSIDE_INGRESS_NODE_PORT, saw).want(format!(
        "the annotation {TARGET}: ip on the Ingress, or type: NodePort for the Service"
    ));
}

/// Reports a path whose Service does not exist.
fn missing(
    evidence: &Evidence,
    place: &str,
    route: &IngressPath<'_>,
    name: &str,
    section: &mut Section,
) {
    let namespace = objects::namespace(route.ingress);
    if evidence.may_lack_services(namespace, route.ingress.status.is_some()) {
        let saw = format!(
            "{place} goes to Service {namespace}/{name}, and the manifests have no Service of this namespace"
        );
        section.say(FindingLevel::Skipped, checks::OUTSIDE_NOT_IN_MANIFESTS, saw);
        return;
    }
    if let Some(unread) = evidence.lacks("services", namespace) {
        let saw = format!("cannot tell whether Service {namespace}/{name} exists: {unread}");
        section.say(FindingLevel::Unknown, checks::OUTSIDE_INGRESS_UNREAD, saw);
        return;
    }
    let broken = section.broken(
        checks::OUTSIDE_INGRESS_SERVICE,
        format!("{place} goes to Service {namespace}/{name}, which does not exist"),
    );
    let here: Vec<&str> = evidence
        .objects
        .services()
        .iter()
        .filter(|it| objects::namespace(*it) == namespace)
        .map(objects::name)
        .collect();
    let elsewhere = evidence.objects.services().iter().find(|it| objects::name(*it) == name);
    match (crate::corefile::nearest(name, &here), elsewhere) {
        (Some(near), _) => broken.want(format!("did you mean {near}?")),
        (None, Some(there)) => broken.want(format!(
            "the Ingress in namespace {}, where Service {} is: an Ingress cannot use other namespaces",
            objects::namespace(there),
            name
        )),
        (None, None) => broken.want(format!(
            "a Service in namespace {namespace}: an Ingress cannot use other namespaces"
        )),
    };
    broken.advise(format!("kubectl -n {namespace} edit ingress {}", objects::name(route.ingress)));
}
