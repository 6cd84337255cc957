//! The routes of the Gateway API: the routes of a host, the listeners that take them, and the
//! Services behind them.

use k8s_openapi::api::core::v1::Service;

use crate::source::kind::gateway_api::{
    Gateway, Listener, ObjectRef, Route, RouteMatch, RouteRule,
};

use crate::explain::{
    Evidence, objects,
    view::{
        hosts::{Backend, starts_with_segments},
        labels, peers,
        truth::Truth,
    },
};

/// The routes that a host selects. A route without host names has those of its listeners.
pub(in crate::explain) fn of_host<'e>(evidence: &'e Evidence, host: &str) -> Vec<&'e Route> {
    let has = |route: &&Route| {
        if !route.spec.hostnames.is_empty() {
            return route.spec.hostnames.iter().any(|pattern| covers(pattern, host));
        }
        let parents = route.spec.parent_refs.iter().filter_map(|it| gateway(evidence, route, it));
        parents.flat_map(|gateway| &gateway.spec.listeners).any(|listener| {
            listener.hostname.as_deref().is_some_and(|pattern| covers(pattern, host))
        })
    };
    evidence.objects.routes().iter().filter(has).collect()
}

/// The routes of the client's namespace that take requests for every host.
pub(in crate::explain) fn of_every_host(evidence: &Evidence) -> Vec<&Route> {
    let routes = evidence.objects.routes().iter().filter(|route| {
        objects::namespace(*route) == evidence.asker.namespace
            && route.spec.hostnames.is_empty()
            && ["HTTPRoute", "GRPCRoute"].contains(&route.kind.as_str())
    });
    routes.collect()
}

/// Whether a pattern covers a host. Here the `*` of `*.example.com` stands for one or more labels.
pub(in crate::explain) fn covers(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    match pattern.strip_prefix('*') {
        Some(domain) => host.len() > domain.len() && host.ends_with(domain),
        None => pattern == host,
    }
}

/// Whether a listener and a route have host names in common.
pub(in crate::explain) fn intersect(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || covers(one, other) || covers(other, one)
}

/// Whether the reference is to a Gateway, and not to a Service of a mesh or something else.
pub(in crate::explain) fn is_gateway(parent: &ObjectRef) -> bool {
    parent.kind.as_deref().is_none_or(|kind| kind == "Gateway")
}

pub(in crate::explain) fn gateway<'e>(
    evidence: &'e Evidence,
    route: &Route,
    parent: &ObjectRef,
) -> Option<&'e Gateway> {
    let namespace = parent.namespace.as_deref().unwrap_or(objects::namespace(route));
    let name = parent.name.as_deref().filter(|_| is_gateway(parent))?;
    evidence.objects.gateways().iter().find(|it| objects::is(*it, namespace, name))
}

/// The addresses of the Gateways that the routes name.
pub(in crate::explain) fn addresses<'e>(evidence: &'e Evidence, routes: &[&Route]) -> Vec<&'e str> {
    let gateways = routes.iter().flat_map(|route| {
        route.spec.parent_refs.iter().filter_map(|parent| gateway(evidence, route, parent))
    });
    let mut addresses: Vec<&str> = gateways
        .filter_map(|gateway| gateway.status.as_ref())
        .flat_map(|status| &status.addresses)
        .map(|it| it.value.as_str())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Why a listener does not take a route, from the earliest to the latest check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::explain) enum Attachment {
    /// `allowedRoutes.namespaces` leaves the route's namespace out.
    Namespace,
    /// `allowedRoutes.kinds` or the protocol leaves the route's kind out.
    Kind,
    /// The host names have nothing in common.
    Hostname,
    Attached,
}

/// The listeners that the parent reference names.
pub(in crate::explain) fn listeners<'e>(
    gateway: &'e Gateway,
    parent: &ObjectRef,
) -> Vec<&'e Listener> {
    let named = |listener: &&Listener| {
        parent.section_name.as_ref().is_none_or(|name| *name == listener.name)
            && parent.port.is_none_or(|port| port == listener.port)
    };
    gateway.spec.listeners.iter().filter(named).collect()
}

pub(in crate::explain) fn attach(
    evidence: &Evidence,
    gateway: &Gateway,
    listener: &Listener,
    route: &Route,
) -> Attachment {
    if !allows_namespace(evidence, gateway, listener, route) {
        return Attachment::Namespace;
    }
    if !allows_kind(listener, &route.kind) {
        return Attachment::Kind;
    }
    let common = listener.hostname.as_deref().filter(|it| !it.is_empty()).is_none_or(|own| {
        route.spec.hostnames.is_empty()
            || route.spec.hostnames.iter().any(|theirs| intersect(own, theirs))
    });
    if common { Attachment::Attached } else { Attachment::Hostname }
}

fn allows_namespace(
    evidence: &Evidence,
    gateway: &Gateway,
    listener: &Listener,
    route: &Route,
) -> bool {
    let namespaces = &listener.allowed_routes.namespaces;
    let own = objects::namespace(route);
    match namespaces.from.as_deref().unwrap_or("Same") {
        "All" => true,
        "Selector" => namespaces.selector.as_ref().is_some_and(|selector| {
            let labels = peers::namespace_labels(evidence, own);
            labels::matches(selector, labels.as_ref()) > Truth::No
        }),
        _ => own == objects::namespace(gateway),
    }
}

/// If the listener names no kinds, its protocol decides, as the specification says.
fn allows_kind(listener: &Listener, kind: &str) -> bool {
    let kinds = &listener.allowed_routes.kinds;
    if !kinds.is_empty() {
        return kinds.iter().any(|it| it.kind.as_deref() == Some(kind));
    }
    match listener.protocol.as_str() {
        "HTTP" | "HTTPS" => ["HTTPRoute", "GRPCRoute"].contains(&kind),
        "TLS" => ["TLSRoute", "TCPRoute"].contains(&kind),
        "TCP" => kind == "TCPRoute",
        "UDP" => kind == "UDPRoute",
        // A protocol of the controller's own.
        _ => true,
    }
}

/// The rules that may take a request for the path, the most specific first; without a path all
/// rules.
pub(in crate::explain) fn meant<'e>(route: &'e Route, path: Option<&str>) -> Vec<&'e RouteRule> {
    let Some(path) = path.filter(|path| *path != "/" && route.kind == "HTTPRoute") else {
        return route.spec.rules.iter().collect();
    };
    let path = path.split('?').next().unwrap_or(path);
    let mut rules: Vec<(usize, bool, &RouteRule)> = route
        .spec
        .rules
        .iter()
        .filter_map(|rule| {
            let best = if rule.matches.is_empty() {
                Some((0, true))
            } else {
                rule.matches.iter().filter_map(|it| takes(it, path)).max()
            };
            best.map(|(length, always)| (length, always, rule))
        })
        .collect();
    rules.sort_by_key(|(length, ..)| std::cmp::Reverse(*length));
    let end = rules.iter().position(|(_, always, _)| *always).map_or(rules.len(), |at| at + 1);
    rules.truncate(end);
    rules.into_iter().map(|(.., rule)| rule).collect()
}

/// How specific a match is that takes the path, and whether the path alone decides.
fn takes(wanted: &RouteMatch, path: &str) -> Option<(usize, bool)> {
    let always =
        wanted.headers.is_empty() && wanted.query_params.is_empty() && wanted.method.is_none();
    let own = wanted.path.as_ref().and_then(|it| it.value.as_deref()).unwrap_or("/");
    match wanted.path.as_ref().and_then(|it| it.kind.as_deref()).unwrap_or("PathPrefix") {
        // An exact match comes before every prefix.
        "Exact" => (own == path).then_some((usize::MAX, always)),
        "PathPrefix" => starts_with_segments(path, own).then_some((own.len(), always)),
        // A regular expression of the controller, which no check evaluates.
        _ => Some((own.len(), false)),
    }
}

/// What requests need beside their path, if a plain GET request does not match the rule.
pub(in crate::explain) fn conditions(rule: &RouteRule) -> Option<Vec<&'static str>> {
    let of_match = |it: &RouteMatch| {
        let is_get = |method: &serde_json::Value| !method.is_string() || method == "GET";
        if !it.headers.is_empty() {
            Some("certain headers")
        } else if !it.query_params.is_empty() {
            Some("certain query parameters")
        } else {
            it.method.as_ref().filter(|method| !is_get(method)).map(|_| "another method than GET")
        }
    };
    let conditions: Option<Vec<&str>> = rule.matches.iter().map(of_match).collect();
    conditions.filter(|all| !all.is_empty())
}

/// Whether a Gateway can offer a request to both routes.
pub(in crate::explain) fn meet(one: &Route, other: &Route) -> bool {
    let same = |a: &ObjectRef, b: &ObjectRef| {
        let namespace = |it: &ObjectRef, route: &Route| {
            it.namespace.clone().unwrap_or_else(|| objects::namespace(route).to_owned())
        };
        let is_same_listener = match (&a.section_name, &b.section_name) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        is_gateway(a)
            && is_gateway(b)
            && a.name == b.name
            && namespace(a, one) == namespace(b, other)
            && is_same_listener
    };
    let parents = &one.spec.parent_refs;
    parents.iter().any(|a| other.spec.parent_refs.iter().any(|b| same(a, b)))
}

/// The paths of a rule: `/tea, /coffee`.
pub(in crate::explain) fn paths(rule: &RouteRule) -> String {
    if rule.matches.is_empty() {
        return "/".to_owned();
    }
    let path = |it: &RouteMatch| {
        it.path.as_ref().and_then(|it| it.value.clone()).unwrap_or_else(|| "/".to_owned())
    };
    rule.matches.iter().map(path).collect::<Vec<_>>().join(", ")
}

/// Whether the backend is a Service.
pub(in crate::explain) fn is_service(backend: &ObjectRef) -> bool {
    backend.kind.as_deref().is_none_or(|kind| kind == "Service")
        && backend.group.as_deref().is_none_or(str::is_empty)
}

pub(in crate::explain) fn service<'e>(
    evidence: &'e Evidence,
    route: &Route,
    backend: &ObjectRef,
) -> Option<&'e Service> {
    let namespace = backend.namespace.as_deref().unwrap_or(objects::namespace(route));
    evidence.objects.service(namespace, backend.name.as_deref().filter(|_| is_service(backend))?)
}

/// The Services behind the routes, each once.
pub(in crate::explain) fn backends<'e>(
    evidence: &'e Evidence,
    routes: &[&Route],
    path: Option<&str>,
) -> Vec<Backend<'e>> {
    let mut backends: Vec<Backend<'_>> = Vec::new();
    for route in routes {
        for rule in meant(route, path) {
            for backend in rule.backend_refs.iter().filter(|it| it.weight != Some(0)) {
                let Some(service) = service(evidence, route, backend) else { continue };
                let paths = paths(rule);
                match backends.iter_mut().find(|it| std::ptr::eq(it.service, service)) {
                    Some(known) => known.paths = format!("{}, {paths}", known.paths),
                    None => backends.push(Backend { paths, service, port: backend.port }),
                }
            }
        }
    }
    backends
}

/// The hosts of the routes that lead to a Service.
pub(in crate::explain) fn leading_to(evidence: &Evidence, service: &Service) -> Vec<String> {
    let leads = |route: &&Route| {
        let mut backends = route.spec.rules.iter().flat_map(|rule| &rule.backend_refs);
        backends.any(|backend| {
            self::service(evidence, route, backend).is_some_and(|it| std::ptr::eq(it, service))
        })
    };
    let routes = evidence.objects.routes_to(service).filter(leads);
    let mut hosts: Vec<String> = routes.flat_map(|route| route.spec.hostnames.clone()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Whether a ReferenceGrant in the other namespace allows the reference.
pub(in crate::explain) fn is_granted(
    evidence: &Evidence,
    (kind, namespace): (&str, &str),
    to: (&str, &str, &str),
) -> bool {
    let (to_kind, to_namespace, to_name) = to;
    evidence
        .objects
        .reference_grants()
        .iter()
        .filter(|grant| objects::namespace(*grant) == to_namespace)
        .any(|grant| {
            let from = grant.spec.from.iter().any(|it| {
                it.kind.as_deref() == Some(kind) && it.namespace.as_deref() == Some(namespace)
            });
            let to = grant.spec.to.iter().any(|it| {
                it.kind.as_deref() == Some(to_kind)
                    && it.name.as_deref().is_none_or(|name| name.is_empty() || name == to_name)
            });
            from && to
        })
}
