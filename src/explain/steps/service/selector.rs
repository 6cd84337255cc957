//! Compares the selector with the labels of the Pods, and reports why a selected Pod is not ready.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Pod, Service},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    corefile::nearest,
    explain::{
        Evidence, checks, objects,
        report::{FindingLevel, Section},
        steps::rejected,
        view::{
            endpoints,
            pods::{self, UnreadyReason, unready},
            workloads,
        },
        words::counted,
    },
};

/// How many Pods are listed by name. The others are only counted.
const NAMED: usize = 4;

/// Whether the Pods already explain why there are no endpoints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Explained,
    Open,
}

type Selector = BTreeMap<String, String>;

pub(super) fn judge(evidence: &Evidence, service: &Service, section: &mut Section) -> Outcome {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    if selector.is_empty() {
        return Outcome::Open;
    }
    let namespace = objects::namespace(service);
    if let Some(unread) = evidence.lacks("pods", namespace) {
        section.say(
            FindingLevel::Unknown,
            checks::ENDPOINTS_UNREAD,
            format!("cannot tell whether the selector matches Pods: {unread}"),
        );
        return Outcome::Explained;
    }
    let pods: Vec<&Pod> = evidence.objects.selected(service).collect();
    if pods.is_empty() {
        if !from_templates(evidence, service, &written(&selector), section) {
            none_selected(evidence, service, &selector, section);
        }
        return Outcome::Explained;
    }
    if !evidence.is_live && !pods.iter().any(|pod| objects::has_status(pod)) {
        let saw = format!(
            "selector {} finds {} without a status in the manifests: readiness is not known",
            written(&selector),
            counted(pods.len(), "Pod")
        );
        section.say(FindingLevel::Skipped, checks::ENDPOINTS_NO_STATUS, saw);
        for pod in &pods {
            rejected::pod(pod, section);
            probes(pod, &format!("Pod {}", objects::path(*pod)), section);
        }
        return Outcome::Explained;
    }
    let unready: Vec<(&Pod, UnreadyReason)> =
        pods.iter().filter_map(|pod| Some((*pod, unready(&evidence.objects, pod)?))).collect();
    let ready = pods.len() - unready.len();
    let saw = format!(
        "selector {} finds {}, {ready} ready",
        written(&selector),
        counted(pods.len(), "Pod")
    );
    if ready == 0 && !endpoints::publishes_unready(service) {
        none_ready(namespace, &saw, &unready, section);
        return Outcome::Explained;
    }
    section.ok(checks::ENDPOINTS_PODS, saw);
    some_unready(service, &unready, section);
    Outcome::Open
}

fn some_unready(service: &Service, unready: &[(&Pod, UnreadyReason)], section: &mut Section) {
    let (level, but) = if endpoints::publishes_unready(service) {
        (FindingLevel::Note, "an endpoint although it is not ready (publishNotReadyAddresses)")
    } else {
        (FindingLevel::Warning, "not a ready endpoint")
    };
    for (pod, why) in unready.iter().take(NAMED) {
        section.say(
            level,
            checks::ENDPOINTS_SOME_UNREADY,
            format!("Pod {} is {but}: {}", objects::name(*pod), why.words),
        );
    }
}

/// Reports a Pod template that the selector matches, if no Pod does: the workload is scaled to 0,
/// its Pods could not be created, or the manifests have no Pods. Returns whether that explains the
/// missing Pods.
fn from_templates(
    evidence: &Evidence,
    service: &Service,
    selector: &str,
    section: &mut Section,
) -> bool {
    let templates = workloads::of_service(evidence, service);
    let namespace = objects::namespace(service);
    let Some(first) = templates.first() else { return false };
    let Some(running) = templates.iter().find(|template| template.workload.replicas() > 0) else {
        let owner = first.owner();
        let kind = first.workload.kind.to_ascii_lowercase();
        section
            .broken(
                checks::ENDPOINTS_SCALED_TO_ZERO,
                format!("{owner} is scaled to 0, so selector {selector} matches no Pods"),
            )
            .want("replicas: 1 or more")
            .advise(format!(
                "kubectl -n {namespace} scale {kind}/{} --replicas=1",
                objects::name(first.workload)
            ));
        return true;
    };
    if evidence.shows_pods() {
        not_created(evidence, running, selector, section);
        return true;
    }
    let saw = format!(
        "the manifests have no Pods; selector {selector} matches the Pod template of {} (replicas: {})",
        running.owner(),
        running.workload.replicas()
    );
    section.say(FindingLevel::Skipped, checks::ENDPOINTS_TEMPLATE, saw);
    let is_old = evidence
        .kinds
        .keys()
        .any(|(version, kind)| *kind == running.workload.kind && version.contains("beta"));
    rejected::workload(running, is_old, section);
    probes(&running.pod, &format!("the Pods of {}", running.owner()), section);
    if templates.iter().all(|template| template.workload.ends()) {
        section
            .say(
                FindingLevel::Warning,
                checks::ENDPOINTS_JOB,
                format!("only {} makes Pods with these labels: when they have ended, there are no endpoints", running.owner()),
            )
            .want("a Deployment or StatefulSet, if the Service is meant to stay");
    }
    true
}

/// Reports a probe of Pods without a status that cannot succeed.
fn probes(pod: &Pod, owner: &str, section: &mut Section) {
    let Some(probe) = pods::probe_without_port(pod) else { return };
    section
        .broken(
            checks::ENDPOINTS_PROBE_PORT,
            format!(
                "{owner} never become ready: {probe}, and the container has no port of that name"
            ),
        )
        .want("the name of a port of the same container, or a number");
}

/// Reports a workload that should have Pods and has none.
fn not_created(
    evidence: &Evidence,
    template: &workloads::Template<'_>,
    selector: &str,
    section: &mut Section,
) {
    let workload = template.workload;
    let (namespace, name) = (objects::namespace(workload), objects::name(workload));
    let reason = if let Some(reason) = workload.failure() {
        format!(": {reason}")
    } else if let Some(reason) = evidence.objects.failure_of(&workload.kind, namespace, name) {
        format!(": {reason}")
    } else if workload.fits_no_node() {
        ": no node fits its nodeSelector, affinity and tolerations".to_owned()
    } else {
        String::new()
    };
    let broken = section.broken(
        checks::ENDPOINTS_NOT_CREATED,
        format!("{} makes the Pods of selector {selector}, and has none{reason}", template.owner()),
    );
    let kind = workload.kind.to_ascii_lowercase();
    broken
        .want("at least one running Pod")
        .advise(format!("kubectl -n {namespace} describe {kind} {name}"))
        .advise(format!("kubectl -n {namespace} get events --sort-by=.lastTimestamp"));
}

/// Reports that no selected Pod is ready.
fn none_ready(
    namespace: &str,
    saw: &str,
    unready: &[(&Pod, UnreadyReason)],
    section: &mut Section,
) {
    // The reasons can differ. The first one decides the id of the finding.
    let Some((pod, first)) = unready.first() else { return };
    let check = if unready.iter().all(|(_, why)| why.check == first.check) {
        first.check
    } else {
        checks::ENDPOINTS_UNREADY
    };
    let names: Vec<String> = unready
        .iter()
        .take(NAMED)
        .map(|(pod, why)| format!("{}: {}", objects::name(*pod), why.words))
        .collect();
    let more = unready.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let broken = section.broken(check, format!("{saw}: {}{more}", names.join("; ")));
    broken.want("at least one Pod with the condition Ready");
    broken.advise(format!("kubectl -n {namespace} describe pod {}", objects::name(*pod)));
    if first.check == checks::ENDPOINTS_UNREADY {
        broken.advise(format!(
            "kubectl -n {namespace} logs {}    # and the readinessProbe in its spec",
            objects::name(*pod)
        ));
    } else if first.log.is_some() {
        broken.advise(first.look(namespace, objects::name(*pod)));
    }
}

/// Reports that no Pod of the namespace has the labels, and what is closest: Pods of another
/// namespace that have them, or the Pod with the most similar labels.
fn none_selected(
    evidence: &Evidence,
    service: &Service,
    selector: &Selector,
    section: &mut Section,
) {
    let (namespace, name) = (objects::namespace(service), objects::name(service));
    if elsewhere(evidence, service, selector, section) {
        return;
    }
    let mut candidates: Vec<(String, ObjectMeta)> = evidence
        .objects
        .pods_in(namespace)
        .map(|pod| (format!("Pod {}", objects::name(pod)), pod.metadata.clone()))
        .collect();
    if candidates.is_empty() && !evidence.is_live {
        candidates = workloads::in_namespace(evidence, namespace)
            .map(|it| (format!("the Pod template of {}", it.owner()), it.pod.metadata))
            .collect();
    }
    let closest = candidates
        .iter()
        .min_by_key(|(_, metadata)| std::cmp::Reverse(nearness(metadata, selector)))
        .filter(|(_, metadata)| nearness(metadata, selector) > (0, 0));
    if evidence.is_live {
        // The API server has accepted the workload, and only ndots cannot read it. So the Pods that
        // were read are still checked.
        if let Some((path, reason)) = unread_workload(evidence, service) {
            let saw = format!("ndots cannot read {path}, which probably makes the Pods: {reason}");
            section.say(FindingLevel::Unknown, checks::ENDPOINTS_UNREAD, saw);
        }
    } else if let Some((path, reason)) = unread_workload(evidence, service) {
        section
            .broken(
                checks::ENDPOINTS_REJECTED,
                format!("the API server rejects {path}, which probably makes the Pods: {reason}"),
            )
            .want("a workload that the API server accepts")
            .advise(format!("kubectl apply --dry-run=server -n {namespace} -f FILE"));
        return;
    }
    if !evidence.shows_pods() && !closest.is_some_and(|(_, it)| is_slip(it, selector)) {
        let saw = format!(
            "the manifests have no Pods, and no workload whose Pods have the labels {}",
            written(selector)
        );
        section.say(FindingLevel::Skipped, checks::ENDPOINTS_NOT_IN_MANIFESTS, saw);
        return;
    }
    if candidates.is_empty() {
        let broken = section.broken(
            checks::ENDPOINTS_NO_PODS,
            format!("namespace {namespace} has no Pods: selector {} finds none", written(selector)),
        );
        broken.want("running Pods with these labels").advise(format!(
            "kubectl -n {namespace} get deployments,statefulsets,daemonsets,events"
        ));
        return;
    }
    let similar = if closest.is_some() { "" } else { ", or similar labels" };
    let broken = section.broken(
        checks::ENDPOINTS_SELECTOR,
        format!(
            "no Pod of namespace {namespace} has the labels of selector {}{similar}",
            written(selector)
        ),
    );
    if let Some((words, metadata)) = closest {
        let labels = metadata.labels.clone().unwrap_or_default();
        let differs = selector
            .iter()
            .filter(|(key, value)| labels.get(*key) != Some(value))
            .map(|(key, value)| difference(&labels, key, value))
            .collect::<Vec<_>>()
            .join("; ");
        broken.want(format!("closest: {words} {differs}"));
    } else {
        broken
            .want("a Pod with these labels")
            .advise(format!("kubectl -n {namespace} get deployments,statefulsets,daemonsets"));
    }
    broken.advise(format!("kubectl -n {namespace} get pods --show-labels"));
    broken.advise(format!("kubectl -n {namespace} edit service {name}    # spec.selector"));
}

/// A workload that has the name of the Service, or a value of its selector, and that cannot be
/// read.
fn unread_workload<'e>(evidence: &'e Evidence, service: &Service) -> Option<(String, &'e str)> {
    const KINDS: [&str; 4] = ["Deployment", "StatefulSet", "DaemonSet", "Pod"];
    let namespace = objects::namespace(service);
    let values = service.spec.iter().filter_map(|spec| spec.selector.as_ref());
    let values = values.flat_map(|selector| selector.values().map(String::as_str));
    let mut names = [objects::name(service)].into_iter().chain(values);
    names.find_map(|name| {
        KINDS.iter().find_map(|kind| {
            let reason = evidence.rejected(kind, namespace, name)?;
            Some((format!("{kind} {namespace}/{name}"), reason))
        })
    })
}

/// Reports Pods or workloads of another namespace that have the labels.
fn elsewhere(
    evidence: &Evidence,
    service: &Service,
    selector: &Selector,
    section: &mut Section,
) -> bool {
    let namespace = objects::namespace(service);
    let find = |there: &str| {
        let mut moved = service.clone();
        moved.metadata.namespace = Some(there.to_owned());
        let pod = evidence.objects.selected(&moved).next();
        let pod = pod.map(|pod| format!("Pod {}", objects::path(pod)));
        let words = pod.or_else(|| {
            let template = workloads::of_service(evidence, &moved).into_iter().next()?;
            Some(format!("{} of namespace {there}", template.owner()))
        })?;
        Some((words, there.to_owned()))
    };
    let near = evidence.objects.near_namespaces(service);
    let Some((words, there)) = near.into_iter().find_map(find) else { return false };
    let broken = section.broken(
        checks::ENDPOINTS_OTHER_NAMESPACE,
        format!(
            "namespace {namespace} has no Pod with the labels {}, and {words} has them: a selector finds only Pods of the Service's own namespace",
            written(selector)
        ),
    );
    broken
        .want(format!("Service and Pods in one namespace: {there}"))
        .advise(format!("kubectl -n {there} get pods -l {}", written(selector)));
    true
}

/// How many labels match, and how many are similar.
fn nearness(metadata: &ObjectMeta, selector: &Selector) -> (usize, usize) {
    let none = BTreeMap::new();
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    let matching = selector.iter().filter(|(key, value)| labels.get(*key) == Some(value)).count();
    let alike = selector.iter().map(|(key, value)| likeness(labels, key, value)).sum();
    (matching, alike)
}

/// Whether the labels are probably those that were meant: every label matches or has a similar
/// value.
fn is_slip(metadata: &ObjectMeta, selector: &Selector) -> bool {
    let none = BTreeMap::new();
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value) || likeness(labels, key, value) > 0)
}

/// How similar the labels are to one label of the selector.
fn likeness(labels: &BTreeMap<String, String>, key: &str, value: &str) -> usize {
    match labels.get(key) {
        Some(other) => usize::from(nearest(value, &[other.as_str()]).is_some()),
        None => labels.values().map(|theirs| usize::from(theirs == value)).max().unwrap_or(0),
    }
}

fn difference(labels: &BTreeMap<String, String>, key: &str, value: &str) -> String {
    match labels.get(key) {
        Some(other) => format!("has {key}={other}, the selector wants {key}={value}"),
        None => match labels.iter().find(|(_, theirs)| *theirs == value) {
            Some((other, theirs)) => {
                format!("has {other}={theirs}, the selector wants {key}={value}")
            }
            None => format!("has no label {key}"),
        },
    }
}

fn written(selector: &Selector) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}
