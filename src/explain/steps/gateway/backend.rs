//! Checks the rules of a route and the Services behind them.

use crate::{
    corefile::nearest,
    explain::{
        Evidence, objects,
        report::{FindingLevel, Section},
        view::{destination::Destination, routes},
    },
    source::kind::gateway_api::{ObjectRef, Route, RouteRule},
};

use super::{checks, edit, path};

pub(super) fn rules(
    evidence: &Evidence,
    wanted: &Destination,
    host: &str,
    route: &Route,
    section: &mut Section,
) {
    let meant = routes::meant(route, wanted.path.as_deref());
    if meant.is_empty() {
        let all: Vec<String> = route.spec.rules.iter().map(routes::paths).collect();
        section
            .broken(
                checks::GATEWAY_PATH,
                format!(
                    "no rule of {} matches {host}{}",
                    path(route),
                    wanted.path.as_deref().unwrap_or("/")
                ),
            )
            .want(if all.is_empty() {
                "a rule with a backend".to_owned()
            } else {
                format!("one of {}", all.join(", "))
            })
            .advise(edit(route));
    }
    let conditions: Option<Vec<Vec<&str>>> =
        meant.iter().map(|rule| routes::conditions(rule)).collect();
    let mut wants: Vec<&str> = conditions.into_iter().flatten().flatten().collect();
    wants.sort_unstable();
    wants.dedup();
    if !wants.is_empty() && !is_taken_elsewhere(evidence, wanted, host, route) {
        let saw = format!(
            "no rule of {} for {host}{} matches a plain GET request: they want {}; other requests get the status 404",
            path(route),
            wanted.path.as_deref().unwrap_or("/"),
            wants.join(" or ")
        );
        section
            .say(FindingLevel::Warning, checks::GATEWAY_MATCH, saw)
            .want("a rule without conditions for all other requests")
            .advise(edit(route));
    }
    for rule in meant {
        of_rule(evidence, host, route, rule, section);
    }
}

/// Whether another route of the host and the Gateway takes a plain GET request. The main route does
/// so beside the route of a canary.
fn is_taken_elsewhere(
    evidence: &Evidence,
    wanted: &Destination,
    host: &str,
    route: &Route,
) -> bool {
    let takes = |other: &&Route| {
        routes::meet(route, other)
            && routes::meant(other, wanted.path.as_deref())
                .iter()
                .any(|rule| routes::conditions(rule).is_none())
    };
    routes::of_host(evidence, host).iter().any(takes)
        || routes::of_every_host(evidence).iter().any(takes)
}

fn of_rule(
    evidence: &Evidence,
    host: &str,
    route: &Route,
    rule: &RouteRule,
    section: &mut Section,
) {
    let place = format!("{host}{}", routes::paths(rule));
    if rule.filters.iter().any(|filter| filter.kind == "RequestRedirect") {
        section.say(
            FindingLevel::Note,
            checks::GATEWAY_REDIRECT,
            format!("{place} is redirected, no Service is used"),
        );
        return;
    }
    if rule.backend_refs.is_empty() {
        section
            .broken(
                checks::GATEWAY_NO_BACKEND,
                format!(
                    "a rule of {} for {place} has no backendRefs: every request fails",
                    path(route)
                ),
            )
            .want("backendRefs with the name and port of a Service")
            .advise(edit(route));
        return;
    }
    if rule.backend_refs.iter().all(|backend| backend.weight == Some(0)) {
        section
            .broken(
                checks::GATEWAY_WEIGHT,
                format!(
                    "every backend of {} for {place} has weight 0: no Service gets requests",
                    path(route)
                ),
            )
            .want("at least one backendRef with a weight above 0; without the field it is 1")
            .advise(edit(route));
        return;
    }
    for backend in rule.backend_refs.iter().filter(|backend| backend.weight != Some(0)) {
        of_backend(evidence, &place, route, backend, section);
    }
}

fn of_backend(
    evidence: &Evidence,
    place: &str,
    route: &Route,
    backend: &ObjectRef,
    section: &mut Section,
) {
    let own = objects::namespace(route);
    let namespace = backend.namespace.as_deref().unwrap_or(own);
    let name = backend.name.as_deref().unwrap_or_default();
    if !routes::is_service(backend) {
        let kind = backend.kind.as_deref().unwrap_or_default();
        let saw = format!("{place} goes to {kind} {namespace}/{name}, which is not checked");
        section.say(FindingLevel::Skipped, checks::GATEWAY_OTHER_BACKEND, saw);
        return;
    }
    if namespace != own
        && !routes::is_granted(evidence, (&route.kind, own), ("Service", namespace, name))
    {
        no_grant(evidence, (place, name, namespace), route, section);
        return;
    }
    let Some(service) = routes::service(evidence, route, backend) else {
        if let Some(unread) = evidence.lacks("services", namespace) {
            let saw = format!("cannot tell whether Service {namespace}/{name} exists: {unread}");
            section.say(FindingLevel::Unknown, checks::GATEWAY_UNREAD, saw);
            return;
        }
        if evidence.may_lack_services(namespace, !route.status.parents.is_empty()) {
            let saw = format!(
                "{place} goes to Service {namespace}/{name}, and the manifests have no Service of this namespace"
            );
            section.say(FindingLevel::Skipped, checks::GATEWAY_NOT_IN_MANIFESTS, saw);
            return;
        }
        let broken = section.broken(
            checks::GATEWAY_SERVICE,
            format!("{place} goes to Service {namespace}/{name}, which does not exist"),
        );
        let services = evidence.objects.services().iter();
        let here: Vec<&str> =
            services.filter(|it| objects::namespace(*it) == namespace).map(objects::name).collect();
        match nearest(name, &here) {
            Some(near) => broken.want(format!("did you mean {near}?")),
            None => broken.want(format!("a Service in namespace {namespace}")),
        };
        broken.advise(edit(route));
        return;
    };
    let ports = objects::ports(service);
    let all = ports.iter().map(objects::port_name).collect::<Vec<_>>().join(", ");
    let Some(port) = backend.port else {
        section
            .broken(
                checks::GATEWAY_SERVICE_PORT,
                format!("{place} goes to Service {namespace}/{name} without a port"),
            )
            .want(format!("port: one of {all}; a Service needs it"))
            .advise(edit(route));
        return;
    };
    if objects::kind(service) != "ExternalName" && !ports.iter().any(|it| it.port == port) {
        let broken = section.broken(
            checks::GATEWAY_SERVICE_PORT,
            format!(
                "{place} goes to port {port} of Service {namespace}/{name}, which has no such port"
            ),
        );
        match ports.iter().find(|it| objects::target(it) == port.to_string()) {
            Some(it) => broken.want(format!(
                "{}: {port} is the port at the Pods, behind it",
                objects::port_name(it)
            )),
            None => broken.want(format!("one of {all}")),
        };
        broken.advise(edit(route));
        return;
    }
    section.ok(
        checks::GATEWAY_ROUTE,
        format!("{place} goes to Service {namespace}/{name}, port {port}"),
    );
}

fn no_grant(
    evidence: &Evidence,
    (place, name, namespace): (&str, &str, &str),
    route: &Route,
    section: &mut Section,
) {
    if let Some(unread) = evidence.lacks("referencegrants", namespace) {
        let saw = format!("cannot tell whether a ReferenceGrant allows the backend: {unread}");
        section.say(FindingLevel::Unknown, checks::GATEWAY_UNREAD, saw);
        return;
    }
    let own = objects::namespace(route);
    section
        .broken(
            checks::GATEWAY_GRANT,
            format!("{place} goes to Service {namespace}/{name} of another namespace without a ReferenceGrant: the Gateway answers 500"),
        )
        .want(format!(
            "a ReferenceGrant in namespace {namespace}, from {} of namespace {own} to Service",
            route.kind
        ))
        .advise(format!("kubectl -n {namespace} get referencegrants -o yaml"));
}
