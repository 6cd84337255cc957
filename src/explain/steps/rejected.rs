//! Mistakes for which the API server rejects an object. They are found in manifests only: an object
//! of a cluster has passed the API server.
//!
//! The rules are those of the API's validation.

mod workload;

use k8s_openapi::{
    api::{
        core::v1::{Service, ServicePort},
        networking::v1::{Ingress, IngressBackend},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::explain::{
    checks::{self, Check},
    objects,
    report::Section,
};

pub(in crate::explain) use workload::{pod, workload};

/// What is wrong, and what the API server accepts.
struct Mistake {
    saw: String,
    want: String,
}

fn mistake(saw: impl Into<String>, want: impl Into<String>) -> Mistake {
    Mistake { saw: saw.into(), want: want.into() }
}

/// Reports the first mistake of a Service.
pub(in crate::explain) fn service(service: &Service, section: &mut Section) {
    if let Some(mistake) = of_service(service) {
        let command = format!("kubectl apply --dry-run=server -n {}", objects::namespace(service));
        say(
            checks::SERVICE_REJECTED,
            "Service",
            &objects::path(service),
            &mistake,
            &command,
            section,
        );
    }
}

/// Reports the first mistake of an Ingress.
pub(in crate::explain) fn ingress(ingress: &Ingress, section: &mut Section) {
    if let Some(mistake) = of_ingress(ingress) {
        let command = format!("kubectl apply --dry-run=server -n {}", objects::namespace(ingress));
        let check = checks::OUTSIDE_INGRESS_REJECTED;
        say(check, "Ingress", &objects::path(ingress), &mistake, &command, section);
    }
}

fn say(
    check: &'static Check,
    kind: &str,
    path: &str,
    mistake: &Mistake,
    command: &str,
    section: &mut Section,
) {
    section
        .broken(check, format!("the API server rejects {kind} {path}: {}", mistake.saw))
        .want(mistake.want.as_str())
        .advise(format!("{command} -f FILE"));
}

fn of_service(service: &Service) -> Option<Mistake> {
    let ports = objects::ports(service);
    let kind = objects::kind(service);
    let spec = service.spec.as_ref()?;
    let values = [
        ("sessionAffinity", &spec.session_affinity, ["ClientIP", "None"]),
        ("externalTrafficPolicy", &spec.external_traffic_policy, ["Cluster", "Local"]),
        ("internalTrafficPolicy", &spec.internal_traffic_policy, ["Cluster", "Local"]),
    ];
    for (field, value, allowed) in values {
        let value = value.as_deref().filter(|it| !it.is_empty() && !allowed.contains(it));
        if let Some(value) = value {
            return Some(mistake(format!("{field} is {value}"), allowed.join(" or ")));
        }
    }
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(value) = spec.traffic_distribution.as_deref()
        && !distributions.contains(&value)
    {
        let saw = format!("trafficDistribution is {value}");
        return Some(mistake(saw, distributions.join(" or ")));
    }
    if objects::is_headless(service) && kind != "ClusterIP" {
        return Some(mistake(
            format!("clusterIP is None, and its type is {kind}"),
            "type: ClusterIP for a headless Service, or no clusterIP",
        ));
    }
    if spec.external_traffic_policy.as_deref().is_some_and(|policy| !policy.is_empty())
        && kind == "ClusterIP"
        && objects::external_ips(service).is_empty()
    {
        return Some(mistake(
            "it has an externalTrafficPolicy, and no client outside can reach it",
            "type: NodePort or LoadBalancer, or no externalTrafficPolicy",
        ));
    }
    if let Some((key, value)) =
        spec.selector.iter().flatten().find(|(_, value)| !workload::is_label_value(value))
    {
        return Some(mistake(
            format!("{value:?} in its selector for {key} cannot be the value of a label"),
            "the value of a label of the Pods",
        ));
    }
    if ports.is_empty() && kind != "ExternalName" && !objects::is_headless(service) {
        return Some(mistake("it has no ports", "at least one entry in spec.ports"));
    }
    let name = |port: &ServicePort| port.name.clone().unwrap_or_default();
    if ports.len() > 1 && ports.iter().any(|port| name(port).is_empty()) {
        return Some(mistake(
            "it has several ports, and one of them has no name",
            "a name for each port",
        ));
    }
    for (index, port) in ports.iter().enumerate() {
        let same = |other: &&ServicePort| {
            objects::protocol(other.protocol.as_ref()) == objects::protocol(port.protocol.as_ref())
                && other.port == port.port
        };
        let before = &ports[..index];
        if before.iter().any(|other| name(other) == name(port)) {
            return Some(mistake(
                format!("two ports have the name {:?}", name(port)),
                "a different name for each port",
            ));
        }
        if before.iter().any(|other| same(&other)) {
            return Some(mistake(
                format!("port {} is there twice", objects::port_name(port)),
                "each number once for each protocol",
            ));
        }
        if let Some(mistake) = of_port(port, kind) {
            return Some(mistake);
        }
    }
    None
}

fn of_port(port: &ServicePort, kind: &str) -> Option<Mistake> {
    let is_port = |number: i32| (1..=65_535).contains(&number);
    if !is_port(port.port) {
        return Some(mistake(format!("port {} is not a port number", port.port), "1 to 65535"));
    }
    if kind == "ClusterIP" && port.node_port.is_some_and(|it| it > 0) {
        return Some(mistake(
            "it has a nodePort, and its type is ClusterIP",
            "type: NodePort, or no nodePort",
        ));
    }
    match &port.target_port {
        Some(IntOrString::Int(number)) if *number != 0 && !is_port(*number) => {
            Some(mistake(format!("targetPort {number} is not a port number"), "1 to 65535"))
        }
        Some(IntOrString::String(name)) if !is_service_name(name) => Some(mistake(
            format!("targetPort {name:?} is not the name of a port"),
            "at most 15 of a-z, 0-9 and `-`, with at least one letter",
        )),
        _ => None,
    }
}

/// Whether the text is a name of a port (RFC 6335 §5.1). Digits in quotes are accepted here,
/// because users mean a number. Another check reports them.
fn is_service_name(name: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    name.bytes().all(|octet| octet.is_ascii_digit()) || name.len() <= 15 && name.bytes().all(fits)
}

fn of_ingress(ingress: &Ingress) -> Option<Mistake> {
    let spec = ingress.spec.as_ref()?;
    let annotations = ingress.metadata.annotations.as_ref();
    let by_annotation = annotations.and_then(|it| it.get("kubernetes.io/ingress.class"));
    if let (Some(class), Some(other)) = (&spec.ingress_class_name, by_annotation)
        && class != other
    {
        return Some(mistake(
            format!("it has ingressClassName {class} and the annotation of class {other}"),
            "ingressClassName without the annotation kubernetes.io/ingress.class",
        ));
    }
    let rules = spec.rules.iter().flatten();
    for rule in rules.clone() {
        let host = rule.host.as_deref().unwrap_or_default();
        if host.bytes().any(|octet| octet.is_ascii_uppercase()) {
            return Some(mistake(
                format!("host {host} has capital letters"),
                "a host in lower case",
            ));
        }
    }
    for path in rules.filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths) {
        let text = path.path.as_deref().unwrap_or_default();
        let kind = path.path_type.as_str();
        if kind.is_empty() {
            return Some(mistake(
                format!("path {text:?} has no pathType"),
                "pathType: Prefix, Exact or ImplementationSpecific",
            ));
        }
        if ["Prefix", "Exact"].contains(&kind) && !text.starts_with('/') {
            return Some(mistake(
                format!("path {text:?} with pathType {kind} does not begin with /"),
                "an absolute path such as /",
            ));
        }
        if let Some(mistake) = of_backend(text, &path.backend) {
            return Some(mistake);
        }
    }
    spec.default_backend.as_ref().and_then(|backend| of_backend("*", backend))
}

fn of_backend(path: &str, backend: &IngressBackend) -> Option<Mistake> {
    const BACKEND: &str = "backend: { service: { name: NAME, port: { number: N } } }; serviceName and servicePort are from before networking.k8s.io/v1";
    match (&backend.service, &backend.resource) {
        (None, None) => Some(mistake(format!("path {path:?} has no backend.service"), BACKEND)),
        (Some(service), _) => match service.port.as_ref().map(|port| (&port.name, port.number)) {
            None | Some((None, None)) => {
                Some(mistake(format!("path {path:?} has no port of its Service"), BACKEND))
            }
            Some((Some(_), Some(number))) if number != 0 => Some(mistake(
                format!("path {path:?} has a name and a number for the port"),
                "the name or the number",
            )),
            Some(_) => None,
        },
        (None, Some(_)) => None,
    }
}
