//! The state of a Pod: whether it is ready, and if not, why.

mod containers;

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodCondition, Service};

use crate::explain::{
    Evidence, Objects,
    checks::{self, Check},
    objects,
    view::peers::on_host,
};

pub(in crate::explain) use containers::probe_without_port;

/// Why a Pod is not ready.
pub(in crate::explain) struct UnreadyReason {
    pub(in crate::explain) check: &'static Check,
    pub(in crate::explain) words: String,
    /// The log that shows more; `None` if no container is the reason, or if it has not run yet.
    pub(in crate::explain) log: Option<ContainerLog>,
}

pub(in crate::explain) struct ContainerLog {
    container: String,
    /// Whether the container waits for its next run, so that the log is that of its previous run.
    is_of_previous_run: bool,
}

impl ContainerLog {
    fn of(status: &ContainerStatus) -> Option<Self> {
        let state = status.state.as_ref()?;
        let has_ended = status.last_state.as_ref().is_some_and(|it| it.terminated.is_some());
        let has_log = state.running.is_some() || state.terminated.is_some() || has_ended;
        has_log.then(|| Self {
            container: status.name.clone(),
            is_of_previous_run: state.waiting.is_some(),
        })
    }
}

impl UnreadyReason {
    fn new(check: &'static Check, words: impl Into<String>) -> Self {
        Self { check, words: words.into(), log: None }
    }

    fn of_container(check: &'static Check, status: &ContainerStatus, words: String) -> Self {
        Self { check, words, log: ContainerLog::of(status) }
    }

    /// The command that shows more.
    pub(in crate::explain) fn look(&self, namespace: &str, pod: &str) -> String {
        match &self.log {
            Some(ContainerLog { container, is_of_previous_run }) => {
                let previous = if *is_of_previous_run { " --previous" } else { "" };
                format!("kubectl -n {namespace} logs {pod} -c {container}{previous}")
            }
            None => format!(
                "kubectl -n {namespace} get events --field-selector involvedObject.name={pod}"
            ),
        }
    }
}

pub(in crate::explain) fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
        && finished(pod).is_none()
        && condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
        && pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some())
}

pub(in crate::explain) fn ready<'e>(
    evidence: &'e Evidence,
    service: &'e Service,
) -> impl Iterator<Item = &'e Pod> {
    evidence.objects.selected(service).filter(|pod| is_ready(pod))
}

fn condition<'p>(pod: &'p Pod, kind: &str) -> Option<&'p PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// The phase of a Pod that has ended.
fn finished(pod: &Pod) -> Option<&str> {
    let phase = pod.status.as_ref()?.phase.as_deref()?;
    ["Succeeded", "Failed"].contains(&phase).then_some(phase)
}

/// Whether the Pod has ended. Its address can belong to another Pod now.
pub(in crate::explain) fn has_ended(pod: &Pod) -> bool {
    finished(pod).is_some()
}

/// The Pod that has this address, or else one that had it and has ended. The address of a Pod on
/// the host network is that of its node.
pub(in crate::explain) fn at_address(all: &Objects, address: IpAddr) -> Option<&Pod> {
    let has = |pod: &&Pod| {
        let mut own = objects::pod_addresses(pod).into_iter();
        !on_host(pod) && own.any(|text| text.parse() == Ok(address))
    };
    all.pods().iter().filter(has).min_by_key(|pod| has_ended(pod))
}

/// Why the Pod is not ready; `None` if it is ready.
pub(in crate::explain) fn unready(all: &Objects, pod: &Pod) -> Option<UnreadyReason> {
    if is_ready(pod) {
        return None;
    }
    let reason = ending(pod)
        .or_else(|| on_lost_node(all, pod))
        .or_else(|| gate(pod))
        .or_else(|| unscheduled(pod))
        .or_else(|| containers::init_container(all, pod))
        .or_else(|| containers::stopped(all, pod))
        .or_else(|| containers::probe(all, pod))
        .unwrap_or_else(|| other(all, pod));
    Some(reason)
}

/// A Pod that is being deleted, or has ended.
fn ending(pod: &Pod) -> Option<UnreadyReason> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some(UnreadyReason::new(checks::ENDPOINTS_TERMINATING, "it is terminating"));
    }
    let phase = finished(pod)?;
    let status = pod.status.as_ref();
    let why = status
        .and_then(|status| status.reason.as_deref())
        .map_or(String::new(), |reason| format!(" ({reason})"));
    Some(UnreadyReason::new(checks::ENDPOINTS_FINISHED, format!("its phase is {phase}{why}")))
}

/// The reason if the node no longer reports its state: its Pods cannot become ready.
fn on_lost_node(all: &Objects, pod: &Pod) -> Option<UnreadyReason> {
    let name = pod.spec.as_ref()?.node_name.as_deref()?;
    let node = all.node(name)?;
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    let ready = conditions.iter().find(|it| it.type_ == "Ready" && it.status != "True")?;
    let message = ready.message.as_deref().unwrap_or_default();
    Some(UnreadyReason::new(
        checks::ENDPOINTS_NODE,
        format!("its node {name} is not ready: {}", message.trim_end_matches('.')),
    ))
}

fn gate(pod: &Pod) -> Option<UnreadyReason> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_deref()?;
    let missing = gates
        .iter()
        .find(|gate| condition(pod, &gate.condition_type).is_none_or(|it| it.status != "True"))?;
    Some(UnreadyReason::new(
        checks::ENDPOINTS_READINESS_GATE,
        format!("its readiness gate {} is not True", missing.condition_type),
    ))
}

/// The condition as `PodScheduled is False: Unschedulable: …`, unless it is True.
fn unmet_condition(pod: &Pod, kind: &str) -> Option<String> {
    let condition = condition(pod, kind).filter(|condition| condition.status != "True")?;
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
}

fn unscheduled(pod: &Pod) -> Option<UnreadyReason> {
    unmet_condition(pod, "PodScheduled")
        .map(|words| UnreadyReason::new(checks::ENDPOINTS_UNSCHEDULED, words))
}

/// The latest warning about the Pod.
fn warning(all: &Objects, pod: &Pod) -> Option<String> {
    let warnings = all.events_of(pod).filter(|it: &&Event| it.type_.as_deref() == Some("Warning"));
    let latest = warnings.max_by_key(|event| {
        event.last_timestamp.as_ref().map(|it| it.0).or(event.event_time.as_ref().map(|it| it.0))
    })?;
    let message = latest.message.as_deref().unwrap_or_default();
    let line = message.lines().next().unwrap_or_default().trim();
    Some(format!("event {}: {line}", latest.reason.as_deref().unwrap_or("Warning")))
}

fn other(all: &Objects, pod: &Pod) -> UnreadyReason {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let words = unmet_condition(pod, "ContainersReady")
        .or_else(|| unmet_condition(pod, "Ready"))
        .unwrap_or_else(|| format!("its phase is {phase}, and it has no condition Ready"));
    let event = warning(all, pod).map_or(String::new(), |event| format!("; {event}"));
    UnreadyReason::new(checks::ENDPOINTS_UNREADY, format!("{words}{event}"))
}
