//! Suggests the right name for a cluster name that does not exist.

use crate::{
    corefile::nearest,
    explain::{
        Evidence, checks,
        cluster_name::{ClusterName, take_apart},
        objects,
        report::{FindingLevel, Section},
        view::{destination::Destination, names},
    },
};

pub(super) fn judge(
    evidence: &Evidence,
    wanted: &Destination,
    namespace: &str,
    service: &str,
    section: &mut Section,
) {
    let objects = &evidence.objects;
    if let Some(unread) = evidence.lacks("services", namespace) {
        let saw = format!("cannot tell whether Service {namespace}/{service} exists: {unread}");
        section.say(FindingLevel::Unknown, checks::DNS_UNREAD, saw);
        return;
    }
    if let Some(reason) = evidence.rejected("Service", namespace, service) {
        // An API server has accepted it, and only ndots cannot read it.
        if evidence.is_live {
            let saw = format!("ndots cannot read Service {namespace}/{service}: {reason}");
            section.say(FindingLevel::Unknown, checks::DNS_UNREAD, saw);
            return;
        }
        section
            .broken(
                checks::DNS_REJECTED,
                format!("Service {namespace}/{service} is in the manifests, and an API server rejects it: {reason}"),
            )
            .want("a Service that the API server accepts")
            .advise("kubectl apply --dry-run=server -f FILE");
        return;
    }
    let zone = &evidence.zone;
    // Services of a namespace that does not exist can be listed, too.
    if !objects.has_namespace(namespace) && evidence.lacks("namespaces", "").is_none() {
        let broken =
            section.broken(checks::DNS_NAMESPACE, format!("there is no namespace {namespace}"));
        let near = nearest(namespace, &names::namespaces(evidence));
        // A Service with the same name in another namespace is a better guess than a similar name.
        let elsewhere = elsewhere(evidence, service);
        match elsewhere.first().or(near.as_ref()) {
            _ if objects.service(service, namespace).is_some() => broken.want(format!(
                "did you mean {namespace}.{service}? The Service comes first, then its namespace"
            )),
            Some(near) => broken.want(format!("did you mean {service}.{near}?")),
            None => broken.want(format!("one of {}", names::namespaces(evidence).join(", "))),
        };
        broken.advise("kubectl get namespaces");
        return;
    }
    if objects.service(namespace, service).is_some() {
        // The Service exists, so the zone of the name must be wrong.
        let host = wanted.host.trim_end_matches('.');
        let in_zone = host.strip_suffix(zone.as_str()).is_some_and(|left| left.ends_with('.'));
        let broken = if in_zone {
            section
                .broken(checks::DNS_SVC_MISSING, format!("{host} has no label svc before {zone}"))
        } else {
            section
                .broken(checks::DNS_ZONE, format!("{host} is not under the cluster's zone, {zone}"))
        };
        broken
            .want(format!("{service}.{namespace}.svc.{zone}"))
            .advise(format!("use {service}.{namespace}"));
        return;
    }
    let elsewhere = elsewhere(evidence, service);
    if let Some(there) = elsewhere.first() {
        let saw = format!(
            "namespace {namespace} has no Service {service}; it is in {}",
            elsewhere.join(", ")
        );
        section
            .broken(checks::DNS_OTHER_NAMESPACE, saw)
            .want(format!("{service}.{there}"))
            .advise(format!("use {service}.{there} in namespace {}", evidence.asker.namespace));
        return;
    }
    no_service(evidence, namespace, service, section);
}

/// Reports that the namespace has no Service with this name, and which it has.
fn no_service(evidence: &Evidence, namespace: &str, service: &str, section: &mut Section) {
    let here: Vec<&str> = evidence
        .objects
        .services()
        .iter()
        .filter(|it| objects::namespace(*it) == namespace)
        .map(objects::name)
        .collect();
    let sets: Vec<&str> = evidence
        .objects
        .workloads_in(namespace)
        .filter(|it| it.spec.service_name.as_deref() == Some(service))
        .map(objects::name)
        .collect();
    let broken =
        section.broken(checks::DNS_NAME, format!("namespace {namespace} has no Service {service}"));
    match nearest(service, &here) {
        Some(near) => broken.want(format!("did you mean {near}?")),
        None if !sets.is_empty() => broken.want(format!(
            "a headless Service {service} (clusterIP: None): StatefulSet {} names it in serviceName, and its Pods get their names from it",
            sets.join(", ")
        )),
        None if here.is_empty() => broken.want("a Service: the namespace has none"),
        None => broken.want(format!(
            "one of {}",
            here.iter().take(12).copied().collect::<Vec<_>>().join(", ")
        )),
    };
    broken.advise(format!("kubectl -n {namespace} get services"));
}

/// The namespaces that have a Service with this name.
fn elsewhere<'e>(evidence: &'e Evidence, service: &str) -> Vec<&'e str> {
    evidence
        .objects
        .services()
        .iter()
        .filter(|it| objects::name(*it) == service)
        .map(objects::namespace)
        .collect()
}

/// A suggestion for a cluster name that does not exist: `did you mean database.default…?`.
pub(super) fn meant(evidence: &Evidence, name: &str) -> Option<String> {
    let Some(ClusterName::Service { namespace, service, .. }) = take_apart(name, &evidence.zone)
    else {
        return None;
    };
    let services =
        evidence.objects.services().iter().filter(|it| objects::namespace(*it) == namespace);
    let near = nearest(&service, &services.map(objects::name).collect::<Vec<_>>())
        .map(|near| format!("{near}.{namespace}"));
    let near = near.or_else(|| {
        nearest(&namespace, &names::namespaces(evidence)).map(|near| format!("{service}.{near}"))
    });
    near.map(|near| format!("did you mean {near}.svc.{}?", evidence.zone))
}
