//! Checks the hosts and paths of Ingresses: their Services, addresses and certificates.

mod certificate;

use k8s_openapi::api::{
    core::v1::Service,
    networking::v1::{HTTPIngressPath, Ingress, IngressBackend},
};

use super::{
    Evidence,
    names::Destination,
    objects,
    report::{FindingLevel, Section},
};

/// Whether the Ingress has a rule or a certificate for the host.
pub(super) fn has_host(ingress: &Ingress, host: &str) -> bool {
    let Some(spec) = &ingress.spec else { return false };
    let rules = spec.rules.iter().flatten().filter_map(|rule| rule.host.as_deref());
    let tls =
        spec.tls.iter().flatten().flat_map(|tls| tls.hosts.iter().flatten().map(String::as_str));
    rules.chain(tls).any(|pattern| covers(pattern, host))
}

/// Whether a pattern covers the host. The `*` of `*.example.com` stands for exactly one label.
fn covers(pattern: &str, host: &str) -> bool {
    let wild = || {
        pattern
            .strip_prefix("*.")
            .zip(host.split_once('.'))
            .is_some_and(|(domain, (_, parent))| domain.eq_ignore_ascii_case(parent))
    };
    pattern.eq_ignore_ascii_case(host) || wild()
}

/// A path of a host, and its backend.
struct Route<'e> {
    ingress: &'e Ingress,
    path: String,
    exact: bool,
    backend: &'e IngressBackend,
}

fn routes<'e>(ingresses: &[&'e Ingress], host: &str) -> Vec<Route<'e>> {
    let mut routes = Vec::new();
    for ingress in ingresses {
        let Some(spec) = &ingress.spec else { continue };
        let rules = spec.rules.iter().flatten().filter(|rule| {
            rule.host.as_deref().is_none_or(|pattern| pattern.is_empty() || covers(pattern, host))
        });
        for path in rules.filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths) {
            let HTTPIngressPath { path, path_type, backend } = path;
            routes.push(Route {
                ingress,
                path: path.clone().unwrap_or_else(|| "/".to_owned()),
                exact: path_type == "Exact",
                backend,
            });
        }
        routes.extend(spec.default_backend.iter().map(|backend| Route {
            ingress,
            path: "*".to_owned(),
            exact: false,
            backend,
        }));
    }
    routes
}

impl<'e> Route<'e> {
    /// Whether the route matches the path, segment by segment.
    fn takes(&self, path: &str) -> bool {
        let prefix = self.path.trim_end_matches('/');
        if self.exact {
            self.path == path
        } else {
            self.path == "*"
                || path == self.path
                || path
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        }
    }

    fn service(&self, evidence: &'e Evidence) -> Option<&'e Service> {
        let name = &self.backend.service.as_ref()?.name;
        evidence.objects.service(objects::namespace(self.ingress), name)
    }
}

/// The routes that the user means: the longest match of the path, or all without a path.
fn meant<'e>(ingresses: &[&'e Ingress], host: &str, path: Option<&str>) -> Vec<Route<'e>> {
    let mut routes = routes(ingresses, host);
    if let Some(path) = path.filter(|path| *path != "/") {
        routes.retain(|route| route.takes(path));
        routes.sort_by_key(|route| {
            std::cmp::Reverse(if route.path == "*" { 0 } else { route.path.len() })
        });
        routes.truncate(1);
    }
    routes
}

/// The Services behind a host, each once, with its path.
pub(super) fn backends<'e>(
    evidence: &'e Evidence,
    ingresses: &[&'e Ingress],
    host: &str,
    path: Option<&str>,
) -> Vec<(String, Option<&'e Service>)> {
    let mut backends: Vec<(String, Option<&Service>)> = Vec::new();
    for route in meant(ingresses, host, path) {
        let service = route.service(evidence);
        let known = |it: &&mut (String, Option<&Service>)| {
            service.zip(it.1).is_some_and(|(a, b)| std::ptr::eq(a, b))
        };
        match backends.iter_mut().find(known) {
            Some((paths, _)) => *paths = format!("{paths}, {}", route.path),
            None => backends.push((route.path.clone(), service)),
        }
    }
    backends
}

/// The hosts and paths that lead to a Service.
pub(super) fn leading_to(evidence: &Evidence, service: &Service) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for ingress in evidence
        .objects
        .ingresses()
        .iter()
        .filter(|it| objects::namespace(*it) == objects::namespace(service))
    {
        for rule in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()) {
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                if path.backend.service.as_ref().is_some_and(|it| it.name == objects::name(service))
                {
                    found.push((
                        rule.host.clone().unwrap_or_default(),
                        path.path.clone().unwrap_or_default(),
                    ));
                }
            }
        }
    }
    found
}

pub(super) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    host: &str,
    ingresses: &[&Ingress],
    section: &mut Section,
) {
    for ingress in ingresses {
        class(evidence, ingress, section);
        address(ingress, host, section);
    }
    let routes = meant(ingresses, host, wanted.path.as_deref());
    if routes.is_empty() {
        let path = wanted.path.as_deref().unwrap_or("/");
        let all = self::routes(ingresses, host)
            .iter()
            .map(|route| route.path.clone())
            .collect::<Vec<_>>()
            .join(", ");
        let broken = section.broken(
            "outside.ingress-path",
            format!("no path of Ingress {} matches {host}{path}", objects::path(ingresses[0])),
        );
        broken.want(if all.is_empty() {
            "a rule with a path".to_owned()
        } else {
            format!("one of {all}")
        });
        broken.advise(format!(
            "kubectl -n {} edit ingress {}",
            objects::namespace(ingresses[0]),
            objects::name(ingresses[0])
        ));
    }
    for route in &routes {
        backend(evidence, host, route, section);
    }
    for ingress in ingresses {
        certificate::judge(evidence, ingress, host, section);
    }
}

/// Checks the IngressClass, which decides the controller that implements the Ingress.
fn class(evidence: &Evidence, ingress: &Ingress, section: &mut Section) {
    let annotation =
        ingress.metadata.annotations.as_ref().and_then(|it| it.get("kubernetes.io/ingress.class"));
    let named =
        ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_ref()).or(annotation);
    let classes: Vec<&str> = evidence.objects.ingress_classes().iter().map(objects::name).collect();
    let Some(class) = named else { return };
    let by_annotation = annotation.is_some_and(|it| it == class);
    // Controllers such as GKE's take an annotation without an IngressClass object.
    if by_annotation && !addresses(ingress).is_empty() {
        return;
    }
    if !classes.is_empty() && !classes.contains(&class.as_str()) {
        let broken = section.broken(
            "outside.ingress-class",
            format!("Ingress {}: IngressClass {class} does not exist", objects::path(ingress)),
        );
        broken.want(format!("one of {}", classes.join(", "))).advise("kubectl get ingressclasses");
    }
}

/// The addresses that the controller has written.
fn addresses(ingress: &Ingress) -> Vec<&str> {
    let points = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref())
        .unwrap_or_default();
    points.iter().filter_map(|it| it.ip.as_deref().or(it.hostname.as_deref())).collect()
}

/// Whether the Ingress has a backend for hosts without a rule.
pub(super) fn has_default(ingress: &Ingress) -> bool {
    ingress.spec.as_ref().is_some_and(|spec| spec.default_backend.is_some())
}

/// Checks the address that clients connect to.
fn address(ingress: &Ingress, host: &str, section: &mut Section) {
    let addresses = addresses(ingress);
    let path = objects::path(ingress);
    if addresses.is_empty() {
        let broken = section.broken(
            "outside.ingress-address",
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
        "outside.ingress-address",
        format!(
            "public DNS for {host} must point to {}, the address of Ingress {path}",
            addresses.join(", ")
        ),
    );
}

/// Checks the Service behind a path, and its port.
fn backend(evidence: &Evidence, host: &str, route: &Route<'_>, section: &mut Section) {
    let Some(wanted) = &route.backend.service else {
        section.say(
            FindingLevel::Note,
            "outside.ingress-resource",
            format!("{host}{} goes to a resource that is not a Service", route.path),
        );
        return;
    };
    let namespace = objects::namespace(route.ingress);
    let edit = format!("kubectl -n {namespace} edit ingress {}", objects::name(route.ingress));
    let Some(service) = route.service(evidence) else {
        let broken = section.broken(
            "outside.ingress-service",
            format!(
                "{host}{} goes to Service {namespace}/{}, which does not exist",
                route.path, wanted.name
            ),
        );
        let here: Vec<&str> = evidence
            .objects
            .services()
            .iter()
            .filter(|it| objects::namespace(*it) == namespace)
            .map(objects::name)
            .collect();
        match crate::corefile::nearest(&wanted.name, &here) {
            Some(near) => broken.want(format!("did you mean {near}?")),
            None => broken.want(format!(
                "a Service in namespace {namespace}: an Ingress cannot use other namespaces"
            )),
        };
        broken.advise(edit);
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
            "outside.ingress-port",
            format!(
                "{host}{} goes to port {written} of Service {}, which has no such port",
                route.path,
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
    section.ok(
        "outside.ingress-route",
        format!("{host}{} goes to Service {}, port {written}", route.path, objects::path(service)),
    );
}
