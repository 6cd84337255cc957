//! Checks the routes of the Gateway API: their Gateways, listeners, rules, backends and
//! certificates.

mod backend;
mod status;

use k8s_openapi::api::core::v1::Secret;

use crate::{
    corefile::nearest,
    source::kind::gateway_api::{Gateway, Listener, ObjectRef, Route},
};

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    steps::ingress::certificate,
    view::{
        destination::Destination,
        routes::{self, Attachment},
    },
};

pub(in crate::explain) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    host: &str,
    routes: &[&Route],
    section: &mut Section,
) {
    for route in routes {
        section.about(&route.kind, objects::namespace(*route), objects::name(*route));
        let mut attached = Vec::new();
        for parent in &route.spec.parent_refs {
            attached.extend(parent_of(evidence, route, parent, section));
        }
        if route.spec.parent_refs.is_empty() {
            section
                .broken(
                    checks::GATEWAY_PARENT,
                    format!("{} has no parentRefs: no Gateway uses it", path(route)),
                )
                .want("spec.parentRefs with the name and namespace of a Gateway")
                .advise(edit(route));
        }
        status::of_route(route, section);
        for (gateway, listeners) in &attached {
            of_gateway(evidence, gateway, host, section);
            for listener in listeners {
                certificates(evidence, gateway, listener, section);
            }
        }
        if !attached.is_empty() {
            ports(wanted, route, &attached, section);
        }
        backend::rules(evidence, wanted, host, route, section);
    }
}

/// `HTTPRoute shop/web`.
fn path(route: &Route) -> String {
    format!("{} {}", route.kind, objects::path(route))
}

fn edit(route: &Route) -> String {
    format!(
        "kubectl -n {} edit {} {}",
        objects::namespace(route),
        route.kind.to_ascii_lowercase(),
        objects::name(route)
    )
}

/// Checks one parent reference. Returns the Gateway and the listeners that take the route.
fn parent_of<'e>(
    evidence: &'e Evidence,
    route: &Route,
    parent: &ObjectRef,
    section: &mut Section,
) -> Option<(&'e Gateway, Vec<&'e Listener>)> {
    let name = parent.name.as_deref().unwrap_or_default();
    if !routes::is_gateway(parent) {
        let kind = parent.kind.as_deref().unwrap_or_default();
        let saw = format!("{} belongs to {kind} {name}, which is not checked", path(route));
        section.say(FindingLevel::Skipped, checks::GATEWAY_OTHER_PARENT, saw);
        return None;
    }
    let Some(gateway) = routes::gateway(evidence, route, parent) else {
        missing(evidence, route, parent, section);
        return None;
    };
    let named = routes::listeners(gateway, parent);
    if named.is_empty() {
        let wanted = match (&parent.section_name, parent.port) {
            (Some(name), _) => format!("{name} (sectionName)"),
            (None, port) => format!("with port {}", port.unwrap_or_default()),
        };
        let all: Vec<String> = gateway.spec.listeners.iter().map(described).collect();
        section
            .broken(
                checks::GATEWAY_LISTENER,
                format!(
                    "{} names a listener {wanted}, and Gateway {} has no such listener",
                    path(route),
                    objects::path(gateway)
                ),
            )
            .want(format!("one of {}", all.join(", ")))
            .advise(edit(route));
        return None;
    }
    let states: Vec<(Attachment, &Listener)> = named
        .into_iter()
        .map(|listener| (routes::attach(evidence, gateway, listener, route), listener))
        .collect();
    let taking: Vec<&Listener> = states
        .iter()
        .filter(|(state, _)| *state == Attachment::Attached)
        .map(|(_, listener)| *listener)
        .collect();
    if taking.is_empty() {
        if let Some((state, listener)) = states.iter().max_by_key(|(state, _)| *state) {
            refused(gateway, listener, route, *state, section);
        }
        return None;
    }
    Some((gateway, taking))
}

/// `http (HTTP, port 80)`.
fn described(listener: &Listener) -> String {
    format!("{} ({}, port {})", listener.name, listener.protocol, listener.port)
}

fn missing(evidence: &Evidence, route: &Route, parent: &ObjectRef, section: &mut Section) {
    let name = parent.name.as_deref().unwrap_or_default();
    let namespace = parent.namespace.as_deref().unwrap_or(objects::namespace(route));
    if let Some(unread) = evidence.lacks("gateways", namespace) {
        let saw = format!("cannot tell whether Gateway {namespace}/{name} exists: {unread}");
        section.say(FindingLevel::Unknown, checks::GATEWAY_UNREAD, saw);
        return;
    }
    let all = evidence.objects.gateways();
    let elsewhere = all.iter().find(|it| objects::name(*it) == name);
    let paths: Vec<String> = all.iter().map(objects::path).collect();
    let near = nearest(
        &format!("{namespace}/{name}"),
        &paths.iter().map(String::as_str).collect::<Vec<_>>(),
    )
    .map(str::to_owned);
    if !evidence.is_live && elsewhere.is_none() && near.is_none() {
        let saw = format!("the manifests do not have Gateway {namespace}/{name}");
        section.say(FindingLevel::Skipped, checks::GATEWAY_NOT_IN_MANIFESTS, saw);
        return;
    }
    let broken = section.broken(
        checks::GATEWAY_PARENT,
        format!("{} belongs to Gateway {namespace}/{name}, which does not exist", path(route)),
    );
    match (elsewhere, near) {
        (Some(it), _) => broken.want(format!(
            "parentRefs with namespace: {}; without it the route's own namespace is meant",
            objects::namespace(it)
        )),
        (None, Some(near)) => broken.want(format!("did you mean {near}?")),
        (None, None) => broken.want(format!("one of {}", paths.join(", "))),
    };
    broken.advise("kubectl get gateways -A");
}

/// Reports that no listener of the Gateway takes the route.
fn refused(
    gateway: &Gateway,
    listener: &Listener,
    route: &Route,
    state: Attachment,
    section: &mut Section,
) {
    let place = format!("listener {} of Gateway {}", listener.name, objects::path(gateway));
    let own = objects::namespace(route);
    let (id, saw, want) = match state {
        Attachment::Namespace => {
            let from = listener.allowed_routes.namespaces.from.as_deref().unwrap_or("Same");
            (
                checks::GATEWAY_NAMESPACE,
                format!(
                    "{place} does not take routes of namespace {own}: allowedRoutes.namespaces.from is {from}"
                ),
                format!(
                    "from: All, or from: Selector with labels of namespace {own}; without the field only namespace {} is allowed",
                    objects::namespace(gateway)
                ),
            )
        }
        Attachment::Kind => (
            checks::GATEWAY_KIND,
            format!("{place}, protocol {}, does not take {}s", listener.protocol, route.kind),
            format!("a listener for {}, or another kind of route", route.kind),
        ),
        Attachment::Hostname | Attachment::Attached => (
            checks::GATEWAY_HOSTNAME,
            format!(
                "{place} has hostname {}, and {} has {}: they have nothing in common",
                listener.hostname.as_deref().unwrap_or("*"),
                path(route),
                route.spec.hostnames.join(", ")
            ),
            "a hostname of the route that the listener's covers".to_owned(),
        ),
    };
    section.broken(id, saw).want(want).advise(format!(
        "kubectl -n {} edit gateway {}",
        objects::namespace(gateway),
        objects::name(gateway)
    ));
}

/// Checks class, conditions and addresses of a Gateway.
fn of_gateway(evidence: &Evidence, gateway: &Gateway, host: &str, section: &mut Section) {
    let path = objects::path(gateway);
    let describe = format!(
        "kubectl -n {} describe gateway {}",
        objects::namespace(gateway),
        objects::name(gateway)
    );
    let classes: Vec<&str> = evidence.objects.gateway_classes().iter().map(objects::name).collect();
    let class = gateway.spec.gateway_class_name.as_str();
    if !classes.is_empty() && !classes.contains(&class) {
        // The manifests of a Gateway are often in another repository than those of its controller.
        let is_known_wrong = evidence.is_live || nearest(class, &classes).is_some();
        let level = if is_known_wrong { FindingLevel::Broken } else { FindingLevel::Unknown };
        section
            .say(
                level,
                checks::GATEWAY_CLASS,
                format!("Gateway {path}: GatewayClass {class} does not exist"),
            )
            .want(format!("one of {}", classes.join(", ")))
            .advise("kubectl get gatewayclasses");
        return;
    }
    if let Some(class) =
        evidence.objects.gateway_classes().iter().find(|it| objects::name(*it) == class)
    {
        status::of_class(class, section);
    }
    status::of_gateway(gateway, section);
    let addresses: Vec<&str> = gateway
        .status
        .iter()
        .flat_map(|status| &status.addresses)
        .map(|it| it.value.as_str())
        .collect();
    if !addresses.is_empty() {
        section.ok(
            checks::GATEWAY_ADDRESS,
            format!(
                "public DNS for {host} must point to {}, the address of Gateway {path}",
                addresses.join(", ")
            ),
        );
    } else if evidence.shows_status(gateway.status.is_some()) {
        section
            .broken(
                checks::GATEWAY_ADDRESS,
                format!("Gateway {path} has no address: no controller has set it up"),
            )
            .want(format!("status.addresses, which the controller of GatewayClass {class} writes"))
            .advise(describe);
    } else {
        section.say(
            FindingLevel::Skipped,
            checks::GATEWAY_NO_STATUS,
            format!("the manifest of Gateway {path} has no status, so its address is not known"),
        );
    }
}

/// Checks the certificates of a listener that terminates TLS.
fn certificates(
    evidence: &Evidence,
    gateway: &Gateway,
    listener: &Listener,
    section: &mut Section,
) {
    let Some(tls) = &listener.tls else {
        // The load balancers of some clouds find a certificate by themselves.
        if listener.protocol == "HTTPS" {
            let saw = format!(
                "listener {} of Gateway {} has protocol HTTPS and no tls: it has no certificate, unless its controller finds one",
                listener.name,
                objects::path(gateway)
            );
            section
                .say(FindingLevel::Warning, checks::GATEWAY_CERTIFICATE, saw)
                .want("tls.certificateRefs with a Secret");
        }
        return;
    };
    if tls.mode.as_deref() == Some("Passthrough") {
        return;
    }
    let own = objects::namespace(gateway);
    for certificate in &tls.certificate_refs {
        let name = certificate.name.as_deref().unwrap_or_default();
        let namespace = certificate.namespace.as_deref().unwrap_or(own);
        let place = format!("listener {} of Gateway {}", listener.name, objects::path(gateway));
        let is_granted = namespace == own
            || routes::is_granted(evidence, ("Gateway", own), ("Secret", namespace, name));
        if let Some(unread) = evidence.lacks("referencegrants", namespace).filter(|_| !is_granted) {
            let saw = format!(
                "cannot tell whether a ReferenceGrant lets {place} use Secret {namespace}/{name}: {unread}"
            );
            section.say(FindingLevel::Unknown, checks::GATEWAY_UNREAD, saw);
            continue;
        }
        if !is_granted {
            section
                .broken(
                    checks::GATEWAY_CERTIFICATE,
                    format!("{place} uses Secret {namespace}/{name} without a ReferenceGrant"),
                )
                .want(format!(
                    "a ReferenceGrant in namespace {namespace}, from Gateway of {own} to Secret"
                ))
                .advise(format!("kubectl -n {namespace} get referencegrants"));
            continue;
        }
        let secret = evidence
            .objects
            .secrets()
            .iter()
            .find(|it: &&Secret| objects::is(*it, namespace, name));
        match (secret, evidence.lacks("secrets", namespace)) {
            (Some(secret), _) => certificate::in_time(evidence.now, secret, section),
            (None, Some(unread)) => {
                let saw = format!("cannot tell whether Secret {namespace}/{name} exists: {unread}");
                section.say(FindingLevel::Unknown, checks::GATEWAY_UNREAD, saw);
            }
            (None, None) if evidence.is_live => {
                section
                    .broken(
                        checks::GATEWAY_CERTIFICATE,
                        format!("{place} uses Secret {namespace}/{name}, which does not exist"),
                    )
                    .want("a Secret of type kubernetes.io/tls")
                    .advise(format!("kubectl -n {namespace} get secrets"));
            }
            // cert-manager and others make Secrets that are in no manifest.
            (None, None) => {}
        }
    }
}

/// Compares the scheme and the port of the URL with the listeners that take the route.
fn ports(
    wanted: &Destination,
    route: &Route,
    attached: &[(&Gateway, Vec<&Listener>)],
    section: &mut Section,
) {
    let Some(port) = wanted.port else { return };
    let listeners = || attached.iter().flat_map(|(_, listeners)| listeners);
    let all: Vec<String> = listeners().map(|listener| described(listener)).collect();
    let is_tls = |listener: &&&Listener| ["HTTPS", "TLS"].contains(&listener.protocol.as_str());
    let https = wanted.scheme.as_deref() == Some("https");
    if https && !listeners().any(|it| is_tls(&it)) {
        section
            .broken(
                checks::GATEWAY_PORT,
                format!("the URL uses https, and no listener for {} has TLS", path(route)),
            )
            .want(format!("a listener with protocol HTTPS; there is {}", all.join(", ")))
            .advise("kubectl get gateways -A -o yaml");
    } else if !listeners().any(|listener| listener.port == i32::from(port)) {
        let saw = format!("no listener for {} has port {port}", path(route));
        section.say(FindingLevel::Warning, checks::GATEWAY_PORT, saw).want(format!(
            "the Service of the controller must lead port {port} to one of {}",
            all.join(", ")
        ));
    }
}
