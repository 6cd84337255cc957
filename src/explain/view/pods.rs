//! The state of a Pod: whether it is ready, and if not, why.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, Event, Pod, PodCondition, Probe, Service,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::explain::{
    Evidence, Objects,
    checks::{self, Check},
    objects,
    view::peers::on_host,
};

/// Why a Pod is not ready.
pub(in crate::explain) struct UnreadyReason {
    pub(in crate::explain) check: &'static Check,
    pub(in crate::explain) words: String,
    /// The container that is the reason.
    pub(in crate::explain) container: Option<String>,
}

impl UnreadyReason {
    fn new(check: &'static Check, words: impl Into<String>) -> Self {
        Self { check, words: words.into(), container: None }
    }

    fn of_container(check: &'static Check, container: &str, words: String) -> Self {
        Self { check, words, container: Some(container.to_owned()) }
    }

    /// The command that shows more.
    pub(in crate::explain) fn look(&self, namespace: &str, pod: &str) -> String {
        // The log of such a container is the log of its previous run.
        const ENDED: [&Check; 3] = [
            checks::ENDPOINTS_INIT_CONTAINER,
            checks::ENDPOINTS_OOM_KILLED,
            checks::ENDPOINTS_WAITING,
        ];
        match &self.container {
            Some(container) => {
                let previous = if ENDED.contains(&self.check) { " --previous" } else { "" };
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
        .or_else(|| init_container(pod))
        .or_else(|| stopped(all, pod))
        .or_else(|| probe(all, pod))
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

/// An init container that has not ended with exit code 0, and is not a sidecar that runs.
fn init_container(pod: &Pod) -> Option<UnreadyReason> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_deref()?;
    let unfinished = statuses.iter().find(|status| {
        let done = status
            .state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
            .is_some_and(|it| it.exit_code == 0);
        !done && !status.ready && status.started != Some(true)
    })?;
    let state = why_stopped(unfinished)
        .unwrap_or_else(|| "it still runs, and the other containers wait for it".to_owned());
    Some(UnreadyReason::of_container(
        checks::ENDPOINTS_INIT_CONTAINER,
        &unfinished.name,
        format!("init container {}: {state}", unfinished.name),
    ))
}

/// The first container that does not run, with kubelet's reason and the end of its last run.
fn stopped(all: &Objects, pod: &Pod) -> Option<UnreadyReason> {
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    let (status, state) = statuses.iter().find_map(|it| Some((it, why_stopped(it)?)))?;
    let reason = waiting_reason(status);
    let check = if was_killed_for_memory(status) {
        checks::ENDPOINTS_OOM_KILLED
    } else if ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"]
        .contains(&reason)
    {
        checks::ENDPOINTS_IMAGE
    } else {
        checks::ENDPOINTS_WAITING
    };
    let mut words = format!("container {}: {state}", status.name);
    if ["ContainerCreating", "PodInitializing"].contains(&reason)
        && let Some(event) = warning(all, pod)
    {
        words = format!("{words}; {event}");
    }
    Some(UnreadyReason::of_container(check, &status.name, words))
}

fn waiting_reason(status: &ContainerStatus) -> &str {
    let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    waiting.and_then(|it| it.reason.as_deref()).unwrap_or_default()
}

fn was_killed_for_memory(status: &ContainerStatus) -> bool {
    let ended = |state: &Option<ContainerState>| {
        let terminated = state.as_ref().and_then(|state| state.terminated.as_ref());
        terminated.is_some_and(|it| it.reason.as_deref() == Some("OOMKilled"))
    };
    ended(&status.state) || ended(&status.last_state)
}

/// Why a container does not run: `CrashLoopBackOff (back-off 5m0s); its last run ended with exit
/// code 137 (OOMKilled)`. `None` if it runs, or has ended with exit code 0.
fn why_stopped(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let end = |state: &ContainerState| {
        let it = state.terminated.as_ref().filter(|it| it.exit_code != 0)?;
        let reason = it.reason.as_deref().map_or(String::new(), |reason| format!(" ({reason})"));
        Some(format!("exit code {}{reason}", it.exit_code))
    };
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        let message =
            waiting.message.as_deref().map_or(String::new(), |message| format!(" ({message})"));
        let last = status.last_state.as_ref().and_then(end);
        let last = last.map_or(String::new(), |end| format!("; its last run ended with {end}"));
        return Some(format!("{reason}{message}{last}"));
    }
    end(state).map(|end| format!("it ended with {end}"))
}

/// A container that runs and whose probe fails.
fn probe(all: &Objects, pod: &Pod) -> Option<UnreadyReason> {
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    let containers = &pod.spec.as_ref()?.containers;
    let failing = statuses.iter().filter(|status| !status.ready);
    let (container, kind, probe) = failing
        .filter_map(|status| Some((status, containers.iter().find(|it| it.name == status.name)?)))
        .find_map(|(status, container)| {
            let startup = container.startup_probe.as_ref();
            match startup.filter(|_| status.started == Some(false)) {
                Some(probe) => Some((container, "startup", probe)),
                None => container.readiness_probe.as_ref().map(|it| (container, "readiness", it)),
            }
        })?;
    let request = request_of(container, probe);
    let event = warning(all, pod).map_or(String::new(), |event| format!("; {event}"));
    let undeclared = undeclared(container, probe).unwrap_or_default();
    let words = format!(
        "container {}: its {kind} probe fails, {request}{undeclared}{event}",
        container.name
    );
    Some(UnreadyReason::of_container(checks::ENDPOINTS_PROBE, &container.name, words))
}

/// What the probe does: `GET http://:8080/healthz`.
fn request_of(container: &Container, probe: &Probe) -> String {
    let port = |port: &IntOrString| match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|it| it.name.as_deref() == Some(name))
            .map_or_else(|| name.clone(), |it| it.container_port.to_string()),
    };
    if let Some(get) = &probe.http_get {
        let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_ascii_lowercase();
        let path = get.path.as_deref().unwrap_or("/");
        return format!("GET {scheme}://:{}{path}", port(&get.port));
    }
    if let Some(socket) = &probe.tcp_socket {
        return format!("TCP port {}", port(&socket.port));
    }
    if let Some(grpc) = &probe.grpc {
        return format!("gRPC port {}", grpc.port);
    }
    let command = probe.exec.as_ref().and_then(|it| it.command.as_ref());
    command.map_or("its command".to_owned(), |words| format!("command {}", words.join(" ")))
}

/// A port of the probe that the container does not declare, although it declares others.
fn undeclared(container: &Container, probe: &Probe) -> Option<String> {
    let port = port_of(probe)?;
    let ports = container.ports.as_deref().filter(|ports| !ports.is_empty())?;
    let has = ports.iter().any(|it| match port {
        IntOrString::Int(number) => it.container_port == *number,
        IntOrString::String(name) => it.name.as_deref() == Some(name),
    });
    let all = ports.iter().map(|it| it.container_port.to_string()).collect::<Vec<_>>().join(", ");
    (!has).then(|| format!(", and the container declares port {all}"))
}

/// A probe whose port is a name that its container does not have: `readiness probe of container
/// main names port web`. kubelet takes digits in quotes for a number.
pub(in crate::explain) fn probe_without_port(pod: &Pod) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    containers.iter().find_map(|container| {
        let probes = [
            ("startup", &container.startup_probe),
            ("readiness", &container.readiness_probe),
            ("liveness", &container.liveness_probe),
        ];
        probes.iter().find_map(|(kind, probe)| {
            let IntOrString::String(port) = port_of(probe.as_ref()?)? else { return None };
            let mut ports = container.ports.iter().flatten();
            let is_known = port.parse::<u16>().is_ok()
                || ports.any(|it| it.name.as_deref() == Some(port.as_str()));
            (!is_known).then(|| {
                format!("the {kind} probe of container {} names port {port}", container.name)
            })
        })
    })
}

/// The port of a probe over HTTP or TCP.
fn port_of(probe: &Probe) -> Option<&IntOrString> {
    let of_http = probe.http_get.as_ref().map(|it| &it.port);
    of_http.or(probe.tcp_socket.as_ref().map(|it| &it.port))
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
