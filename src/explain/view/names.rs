//! Finds the object that the user's argument belongs to.

use k8s_openapi::api::{
    core::v1::{Pod, Service},
    networking::v1::Ingress,
};

use crate::{corefile::nearest, source::kind::gateway_api::Route};

use crate::explain::{
    Evidence,
    cluster_name::{ClusterName, take_apart},
    objects,
    view::{
        destination::{Destination, NamedObject, ObjectKind},
        hosts, pods, routes,
    },
};

/// The object that the name belongs to.
pub(in crate::explain) enum Subject<'e> {
    Service {
        service: &'e Service,
        /// The fully qualified name of the Service.
        candidate: String,
        port: Option<(String, String)>,
        endpoint: Option<String>,
    },
    Ingress {
        host: String,
        ingresses: Vec<&'e Ingress>,
    },
    /// Routes of the Gateway API.
    Routes {
        host: String,
        routes: Vec<&'e Route>,
        /// The addresses of their Gateways.
        addresses: Vec<&'e str>,
    },
    Pod {
        candidate: String,
        /// The Pod, if the user named it.
        pod: Option<&'e Pod>,
    },
    /// The object that the user named does not exist, or no Service belongs to it.
    NoObject(NamedObject),
    /// It looks like a cluster name, but its Service does not exist.
    Missing {
        namespace: String,
        service: String,
    },
    /// An external name.
    Outside,
}

/// Finds the object: one that the user named, one that has the address, or the one of the first
/// name in the search list that belongs to an object.
pub(in crate::explain) fn subject<'e>(evidence: &'e Evidence, wanted: &Destination) -> Subject<'e> {
    if let Some(object) = &wanted.object
        && let Some(subject) = of_object(evidence, wanted, object)
    {
        return subject;
    }
    if let Some(ingresses) = at_address(evidence, wanted) {
        return Subject::Ingress { host: wanted.host.clone(), ingresses };
    }
    if let Some(service) = of_address(evidence, wanted) {
        let candidate = format!(
            "{}.{}.svc.{}.",
            objects::name(service),
            objects::namespace(service),
            evidence.zone
        );
        return Subject::Service { service, candidate, port: None, endpoint: None };
    }
    let address = wanted.host.parse().ok();
    if let Some(pod) = address.and_then(|it| pods::at_address(&evidence.objects, it)) {
        return of_pod(evidence, wanted, pod);
    }
    for candidate in candidates(evidence, wanted) {
        match take_apart(&candidate, &evidence.zone) {
            Some(ClusterName::Service { namespace, service, port, endpoint }) => {
                if let Some(service) = evidence.objects.service(&namespace, &service) {
                    return Subject::Service { service, candidate, port, endpoint };
                }
            }
            Some(ClusterName::Pod { namespace, address }) => {
                let is_address = address.replace('-', ".").parse::<std::net::IpAddr>().is_ok()
                    || address.replace('-', ":").parse::<std::net::IpAddr>().is_ok();
                if is_address && evidence.objects.has_namespace(&namespace) {
                    return Subject::Pod { candidate, pod: None };
                }
            }
            Some(ClusterName::Other) | None => {}
        }
    }
    let host = wanted.host.trim_end_matches('.');
    let ingresses: Vec<_> = evidence
        .objects
        .ingresses()
        .iter()
        .filter(|ingress| hosts::has_host(ingress, host))
        .collect();
    if !ingresses.is_empty() {
        return Subject::Ingress { host: host.to_owned(), ingresses };
    }
    let routes = routes::of_host(evidence, host);
    if !routes.is_empty() {
        return of_routes(evidence, host, routes);
    }
    match meant(evidence, host) {
        Some((namespace, service)) => Subject::Missing { namespace, service },
        None if wanted.path.is_some() && !with_default(evidence).is_empty() => {
            Subject::Ingress { host: host.to_owned(), ingresses: with_default(evidence) }
        }
        None if wanted.path.is_some() && !routes::of_every_host(evidence).is_empty() => {
            of_routes(evidence, host, routes::of_every_host(evidence))
        }
        None => Subject::Outside,
    }
}

fn of_routes<'e>(evidence: &'e Evidence, host: &str, routes: Vec<&'e Route>) -> Subject<'e> {
    let addresses = routes::addresses(evidence, &routes);
    Subject::Routes { host: host.to_owned(), routes, addresses }
}

/// The object that the user named; `None` for a workload, whose Service is found by its name.
fn of_object<'e>(
    evidence: &'e Evidence,
    wanted: &Destination,
    object: &NamedObject,
) -> Option<Subject<'e>> {
    let namespace = evidence.asker.namespace.as_str();
    let (objects, name) = (&evidence.objects, object.name.as_str());
    let found = match object.kind {
        ObjectKind::Ingress => {
            let ingress = objects.ingress(namespace, name);
            ingress.map(|it| Subject::Ingress { host: wanted.host.clone(), ingresses: vec![it] })
        }
        ObjectKind::Route => {
            let route = objects.route(object.resource, namespace, name);
            route.map(|it| of_routes(evidence, &wanted.host, vec![it]))
        }
        ObjectKind::Pod => objects.pod(namespace, name).map(|pod| of_pod(evidence, wanted, pod)),
        ObjectKind::Workload if !wanted.host.is_empty() => return None,
        ObjectKind::Workload => None,
    };
    Some(found.unwrap_or_else(|| Subject::NoObject(object.clone())))
}

fn of_pod<'e>(evidence: &Evidence, wanted: &Destination, pod: &'e Pod) -> Subject<'e> {
    let address = wanted.host.replace(['.', ':'], "-");
    let candidate = format!("{address}.{}.pod.{}.", objects::namespace(pod), evidence.zone);
    Subject::Pod { candidate, pod: Some(pod) }
}

/// The Ingresses of the client's namespace that take requests for hosts without a rule.
fn with_default(evidence: &Evidence) -> Vec<&Ingress> {
    let of_namespace = |it: &&Ingress| objects::namespace(*it) == evidence.asker.namespace;
    let ingresses = evidence.objects.ingresses().iter();
    ingresses.filter(of_namespace).filter(|it| hosts::has_default(it)).collect()
}

/// The names that the resolver queries, and then the names that a Pod of the namespace would query
/// by default. So `svc/NAME`, or a Pod with wrong resolver settings, still leads to the right
/// Service.
fn candidates(evidence: &Evidence, wanted: &Destination) -> Vec<String> {
    let mut names = evidence.asker.resolv.candidates(&wanted.host);
    if !wanted.host.ends_with('.') {
        names.extend(
            crate::explain::ResolvConf::of_namespace(
                &evidence.asker.namespace,
                &evidence.zone,
                None,
            )
            .candidates(&wanted.host),
        );
    }
    names
}

/// The Ingresses that take requests of a URL whose host is their address; `None` if there are none.
fn at_address<'e>(evidence: &'e Evidence, wanted: &Destination) -> Option<Vec<&'e Ingress>> {
    wanted.host.parse::<std::net::IpAddr>().ok().and(wanted.path.as_ref())?;
    let takes = |it: &&Ingress| {
        hosts::addresses(it).contains(&wanted.host.as_str()) && hosts::has_every_host(it)
    };
    let ingresses: Vec<&Ingress> = evidence.objects.ingresses().iter().filter(takes).collect();
    (!ingresses.is_empty()).then_some(ingresses)
}

/// The Service that has this address as a cluster IP or as an external address, or whose node port
/// is meant.
fn of_address<'e>(evidence: &'e Evidence, wanted: &Destination) -> Option<&'e Service> {
    let host = wanted.host.as_str();
    host.parse::<std::net::IpAddr>().ok()?;
    let all = &evidence.objects;
    let outside = |service: &&Service| {
        objects::outside_addresses(service).iter().any(|(address, _)| *address == host)
    };
    let has_node_port = |service: &&Service| {
        let number = wanted.port.map(i32::from);
        objects::ports(service).iter().any(|it| it.node_port.is_some() && it.node_port == number)
    };
    let own = all.at_cluster_ip(host).next();
    own.or_else(|| all.services().iter().find(outside)).or_else(|| {
        all.node_at(host)?;
        all.services().iter().find(has_node_port)
    })
}

/// Whether a Pod or a StatefulSet of the namespace gets its names in DNS from this Service
/// (`subdomain`, `serviceName`).
fn has_subdomain(evidence: &Evidence, namespace: &str, service: &str) -> bool {
    let of_pod = |pod: &Pod| {
        pod.spec.as_ref().is_some_and(|spec| spec.subdomain.as_deref() == Some(service))
    };
    evidence.objects.pods_in(namespace).any(of_pod)
        || evidence
            .objects
            .workloads_in(namespace)
            .any(|it| it.spec.service_name.as_deref() == Some(service))
}

/// The namespace and Service that a name without an object was probably meant for; `None` if it
/// looks like an external name.
fn meant(evidence: &Evidence, host: &str) -> Option<(String, String)> {
    let zone = &evidence.zone;
    let own = &evidence.asker.namespace;
    let left = host.strip_suffix(zone.as_str()).filter(|it| it.is_empty() || it.ends_with('.'));
    let in_zone = left.is_some();
    let bare = left.map_or(host, |left| left.trim_end_matches('.'));
    let labels: Vec<&str> =
        bare.split('.').filter(|label| !label.is_empty() && !label.starts_with('_')).collect();
    let pair = |service: &str, namespace: &str| Some((namespace.to_owned(), service.to_owned()));
    match labels[..] {
        [service] if !in_zone => pair(service, own),
        [.., service, namespace, "svc"] => pair(service, namespace),
        [.., service, namespace, "svc", _] | [.., service, namespace, "svc", _, _] => {
            pair(service, namespace)
        }
        // The name of a Pod under a headless Service of the client's namespace.
        [_, service] if has_subdomain(evidence, own, service) => pair(service, own),
        [service, namespace] | [_, service, namespace] => {
            let close = |name: &str, names: &[&str]| {
                names.contains(&name) || nearest(name, names).is_some()
            };
            let services: Vec<&str> =
                evidence.objects.services().iter().map(objects::name).collect();
            let known = evidence.objects.has_namespace(namespace)
                || in_zone
                || close(service, &services) && close(namespace, &namespaces(evidence));
            // Namespace and Service may be in the wrong order.
            let swapped = evidence.objects.service(service, namespace).is_some();
            if known || swapped || services.contains(&service) {
                pair(service, namespace)
            } else {
                None
            }
        }
        _ if in_zone => pair(labels.first().copied().unwrap_or_default(), own),
        _ => None,
    }
}

pub(in crate::explain) fn namespaces(evidence: &Evidence) -> Vec<&str> {
    evidence.objects.namespaces().iter().map(objects::name).collect()
}
