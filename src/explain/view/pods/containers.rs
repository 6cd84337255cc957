//! Why a container does not run, or is not ready.

use k8s_openapi::{
    api::core::v1::{Container, ContainerState, ContainerStatus, Pod, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::explain::{Objects, checks, objects};

use super::{UnreadyReason, warning};

/// An init container that has not ended with exit code 0, or a sidecar that has not started. The
/// next containers wait for it.
pub(super) fn init_container(all: &Objects, pod: &Pod) -> Option<UnreadyReason> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_deref()?;
    statuses.iter().find_map(|status| match sidecar(pod, &status.name) {
        Some(_) if status.started == Some(true) => None,
        Some(container) => Some(of_sidecar(all, pod, status, container)),
        None => {
            let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            let is_done = status.ready || ended.is_some_and(|it| it.exit_code == 0);
            (!is_done).then(|| of_init_container(status))
        }
    })
}

/// An init container that keeps running beside the other containers.
fn sidecar<'p>(pod: &'p Pod, name: &str) -> Option<&'p Container> {
    let mut all = pod.spec.as_ref()?.init_containers.iter().flatten();
    all.find(|it| it.name == name && objects::is_sidecar(it))
}

fn of_init_container(status: &ContainerStatus) -> UnreadyReason {
    let state = why_stopped(status)
        .unwrap_or_else(|| "it still runs, and the other containers wait for it".to_owned());
    UnreadyReason::of_container(
        checks::ENDPOINTS_INIT_CONTAINER,
        status,
        format!("init container {}: {state}", status.name),
    )
}

/// Why a sidecar has not started.
fn of_sidecar(
    all: &Objects,
    pod: &Pod,
    status: &ContainerStatus,
    container: &Container,
) -> UnreadyReason {
    let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
    match &container.startup_probe {
        Some(probe) if runs => of_probe(all, pod, status, (container, "startup", probe)),
        _ => of_stopped(all, pod, status).unwrap_or_else(|| of_init_container(status)),
    }
}

/// The sidecars and the other containers, with what the specification says about them.
fn containers(pod: &Pod) -> impl Iterator<Item = (&ContainerStatus, Option<&Container>)> {
    let status = pod.status.as_ref();
    let of_init = status.and_then(|it| it.init_container_statuses.as_deref()).unwrap_or_default();
    let others = status.and_then(|it| it.container_statuses.as_deref()).unwrap_or_default();
    let specified = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let sidecars = of_init.iter().filter_map(|it| Some((it, Some(sidecar(pod, &it.name)?))));
    let of_name = |name: &str| specified.iter().find(|it| it.name == name);
    sidecars.chain(others.iter().map(move |it| (it, of_name(&it.name))))
}

/// The first container that does not run, with kubelet's reason and the end of its last run.
pub(super) fn stopped(all: &Objects, pod: &Pod) -> Option<UnreadyReason> {
    containers(pod).find_map(|(status, _)| of_stopped(all, pod, status))
}

fn of_stopped(all: &Objects, pod: &Pod, status: &ContainerStatus) -> Option<UnreadyReason> {
    let state = why_stopped(status)?;
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
    Some(UnreadyReason::of_container(check, status, words))
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
pub(super) fn probe(all: &Objects, pod: &Pod) -> Option<UnreadyReason> {
    let mut failing = containers(pod).filter(|(status, _)| !status.ready);
    failing.find_map(|(status, container)| {
        let container = container?;
        let startup = container.startup_probe.as_ref().filter(|_| status.started == Some(false));
        let readiness = container.readiness_probe.as_ref().map(|it| ("readiness", it));
        let (kind, probe) = startup.map(|it| ("startup", it)).or(readiness)?;
        Some(of_probe(all, pod, status, (container, kind, probe)))
    })
}

fn of_probe(
    all: &Objects,
    pod: &Pod,
    status: &ContainerStatus,
    (container, kind, probe): (&Container, &str, &Probe),
) -> UnreadyReason {
    let request = request_of(container, probe);
    let event = warning(all, pod).map_or(String::new(), |event| format!("; {event}"));
    let undeclared = undeclared(container, probe).unwrap_or_default();
    let words = format!(
        "container {}: its {kind} probe fails, {request}{undeclared}{event}",
        container.name
    );
    UnreadyReason::of_container(checks::ENDPOINTS_PROBE, status, words)
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
