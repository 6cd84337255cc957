//! Compares the selector with the labels of the Pods, and reports why a selected Pod is not ready.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};

use crate::explain::{
    Evidence, objects,
    report::{FindingLevel, Section},
};

use super::{publishes_unready, selected, templates};

/// How many Pods are listed by name. The others are only counted.
const NAMED: usize = 4;

pub(super) fn judge(evidence: &Evidence, service: &Service, section: &mut Section) {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    if selector.is_empty() {
        return;
    }
    let namespace = objects::namespace(service);
    if let Some(unread) = evidence.lacks("pods", namespace) {
        section.say(
            FindingLevel::Unknown,
            "endpoints.unread",
            format!("cannot tell whether the selector matches Pods: {unread}"),
        );
        return;
    }
    let pods: Vec<&Pod> = selected(evidence, service).collect();
    if pods.is_empty() {
        if from_templates(evidence, service, &written(&selector), section) {
            return;
        }
        return none_selected(evidence, service, &selector, section);
    }
    let unready: Vec<(&Pod, UnreadyReason)> =
        pods.iter().filter_map(|pod| Some((*pod, unready(pod)?))).collect();
    let ready = pods.len() - unready.len();
    let saw = format!(
        "selector {} finds {}, {ready} ready",
        written(&selector),
        counted(pods.len(), "Pod")
    );
    if ready == 0 && !publishes_unready(service) {
        none_ready(namespace, &saw, &unready, section);
        return;
    }
    section.ok("endpoints.pods", saw);
    if unready.is_empty() {
        return;
    }
    let level = if publishes_unready(service) { FindingLevel::Note } else { FindingLevel::Warning };
    let but = if publishes_unready(service) {
        "listed all the same: publishNotReadyAddresses"
    } else {
        "not listed"
    };
    for (pod, why) in unready.iter().take(NAMED) {
        section.say(
            level,
            "endpoints.some-unready",
            format!("Pod {} is {but}; {}", objects::name(*pod), why.words),
        );
    }
}

/// Reports a Pod template that the selector matches, if no Pod does: the workload is scaled to 0, or the
/// manifests have no Pods. Returns whether that explains the missing Pods.
fn from_templates(
    evidence: &Evidence,
    service: &Service,
    selector: &str,
    section: &mut Section,
) -> bool {
    let templates = templates::of_service(evidence, service);
    let namespace = objects::namespace(service);
    let Some(first) = templates.first() else { return false };
    if let Some(running) = templates.iter().find(|template| template.replicas > 0) {
        if !evidence.is_live {
            let saw = format!(
                "the manifests have no Pods; selector {selector} matches the Pod template of {} (replicas: {})",
                running.owner, running.replicas
            );
            section.say(FindingLevel::Skipped, "endpoints.template", saw);
            return true;
        }
        return false;
    }
    let workload = first.owner.replacen("Deployment ", "deployment/", 1);
    section
        .broken(
            "endpoints.scaled-to-zero",
            format!("{} is scaled to 0, so selector {selector} matches no Pods", first.owner),
        )
        .want("replicas: 1 or more")
        .advise(format!("kubectl -n {namespace} scale {workload} --replicas=1"));
    true
}

/// Reports that no selected Pod is ready.
fn none_ready(
    namespace: &str,
    saw: &str,
    unready: &[(&Pod, UnreadyReason)],
    section: &mut Section,
) {
    // The reasons can differ. The first one decides the id of the finding.
    let first = &unready[0].1;
    let id = if unready.iter().all(|(_, why)| why.id == first.id) {
        first.id
    } else {
        "endpoints.unready"
    };
    let names: Vec<String> = unready
        .iter()
        .take(NAMED)
        .map(|(pod, why)| format!("{}: {}", objects::name(*pod), why.words))
        .collect();
    let more = unready.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let broken = section.broken(id, format!("{saw}: {}{more}", names.join("; ")));
    broken.want("at least one Pod with the condition Ready");
    broken.advise(format!("kubectl -n {namespace} describe pod {}", objects::name(unready[0].0)));
    if first.id == "endpoints.unready" {
        broken.advise(format!(
            "kubectl -n {namespace} logs {}    # and the readinessProbe in its spec",
            objects::name(unready[0].0)
        ));
    }
}

/// Reports which label differs at the Pods with the most similar labels.
fn none_selected(
    evidence: &Evidence,
    service: &Service,
    selector: &BTreeMap<String, String>,
    section: &mut Section,
) {
    let (namespace, name) = (objects::namespace(service), objects::name(service));
    let in_namespace =
        || evidence.objects.pods().iter().filter(|pod| objects::namespace(*pod) == namespace);
    if in_namespace().next().is_none() {
        let broken = section.broken(
            "endpoints.no-pods",
            format!("namespace {namespace} has no Pods: selector {} finds none", written(selector)),
        );
        broken.want("running Pods with these labels").advise(format!(
            "kubectl -n {namespace} get deployments,statefulsets,daemonsets,events"
        ));
        return;
    }
    let labels = |pod: &Pod| pod.metadata.labels.clone().unwrap_or_default();
    let matching = |pod: &&Pod| {
        selector.iter().filter(|(key, value)| labels(pod).get(*key) == Some(value)).count()
    };
    let alike = |pod: &&Pod| {
        selector.iter().map(|(key, value)| likeness(&labels(pod), key, value)).sum::<usize>()
    };
    let broken = section.broken(
        "endpoints.selector",
        format!("no Pod of namespace {namespace} has the labels of selector {}", written(selector)),
    );
    let nearest = in_namespace().min_by_key(|pod| std::cmp::Reverse((matching(pod), alike(pod))));
    if let Some(pod) = nearest.filter(|pod| matching(pod) > 0 || alike(pod) > 0) {
        let differs = selector.iter().filter(|(key, value)| labels(pod).get(*key) != Some(value));
        let differs = differs
            .map(|(key, value)| difference(&labels(pod), key, value))
            .collect::<Vec<_>>()
            .join("; ");
        broken.want(format!("closest: Pod {} {differs}", objects::name(pod)));
    } else {
        broken
            .want("Pods with these labels: no Pod in the namespace has similar labels")
            .advise(format!("kubectl -n {namespace} get deployments,statefulsets,daemonsets"));
    }
    broken.advise(format!("kubectl -n {namespace} get pods --show-labels"));
    broken.advise(format!("kubectl -n {namespace} edit service {name}    # spec.selector"));
}

/// How similar a Pod's labels are to one label of the selector.
fn likeness(labels: &BTreeMap<String, String>, key: &str, value: &str) -> usize {
    let near =
        |word: &str, other: &str| usize::from(crate::corefile::nearest(word, &[other]).is_some());
    match labels.get(key) {
        Some(other) => near(value, other),
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

/// Why a Pod is not ready.
pub(super) struct UnreadyReason {
    id: &'static str,
    words: String,
}

/// Why the Pod is not ready; `None` if it is ready.
pub(super) fn unready(pod: &Pod) -> Option<UnreadyReason> {
    let why = |id: &'static str, words: String| Some(UnreadyReason { id, words });
    if pod.metadata.deletion_timestamp.is_some() {
        return why("endpoints.terminating", "it is terminating".to_owned());
    }
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    if ["Succeeded", "Failed"].contains(&phase) {
        return why("endpoints.finished", format!("its phase is {phase}"));
    }
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let of = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    if of("Ready").is_some_and(|ready| ready.status == "True")
        && status.is_some_and(|status| status.pod_ip.is_some())
    {
        return None;
    }
    let said = |kind: &str| {
        let condition = of(kind).filter(|condition| condition.status != "True")?;
        let words: Vec<&str> = [condition.reason.as_deref(), condition.message.as_deref()]
            .into_iter()
            .flatten()
            .filter(|text| !text.is_empty())
            .collect();
        Some(if words.is_empty() {
            format!("its condition {kind} is {}", condition.status)
        } else {
            format!("{kind} is {}: {}", condition.status, words.join(": "))
        })
    };
    let gates =
        pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    if let Some(gate) =
        gates.iter().find(|gate| of(&gate.condition_type).is_none_or(|it| it.status != "True"))
    {
        return why(
            "endpoints.readiness-gate",
            format!("its readiness gate {} is not True", gate.condition_type),
        );
    }
    if let Some(words) = said("PodScheduled") {
        return why("endpoints.unscheduled", words);
    }
    if let Some(words) = waiting(pod) {
        return why("endpoints.waiting", words);
    }
    let words = said("ContainersReady")
        .or_else(|| said("Ready"))
        .unwrap_or_else(|| format!("its phase is {phase}, and it has no condition Ready"));
    why("endpoints.unready", words)
}

/// The first container that does not run, with kubelet's reason.
fn waiting(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    statuses.iter().find_map(|status| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message =
            waiting.message.as_deref().map_or(String::new(), |message| format!(" ({message})"));
        Some(format!("container {}: {reason}{message}", status.name))
    })
}

fn written(selector: &BTreeMap<String, String>) -> String {
    selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
