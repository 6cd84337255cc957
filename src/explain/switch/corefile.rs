//! The Corefile that the Deployment mounts, and what the Deployment expects of it.

use serde_json::Value;

use super::{Findings, NAMESPACE, SwitchEvidence, SwitchLevel, list, text};
use crate::{
    corefile::{Corefile, Line, Severity},
    explain::{
        checks,
        corefile::{CorefileFault, directives, faults, read, variables},
    },
    server,
};

const EDIT: &str = "kubectl -n kube-system edit configmap coredns";

/// The text of the Corefile, from the ConfigMap that the container mounts.
pub(super) fn of<'e>(
    evidence: &'e SwitchEvidence,
    deployment: &'e Value,
    container: Option<&Value>,
    findings: &mut Findings,
) -> Option<&'e str> {
    let volumes = || list(deployment, "/spec/template/spec/volumes");
    let mounted = |volume: &&Value| {
        container.is_none_or(|it| {
            list(it, "/volumeMounts").any(|mount| text(mount, "/name") == text(volume, "/name"))
        })
    };
    let mut maps = volumes()
        .filter(mounted)
        .map(|volume| text(volume, "/configMap/name"))
        .filter(|name| !name.is_empty());
    let of_map = |name: &str| {
        let map = evidence.config_maps.iter().find(|it| text(it, "/metadata/name") == name)?;
        Some(text(map, "/data/Corefile")).filter(|text| !text.is_empty())
    };
    let found = maps.find_map(of_map);
    if found.is_none() && !evidence.unread.iter().any(|unread| unread.contains("configmaps")) {
        findings.say(
            SwitchLevel::Break,
            checks::COREFILE_NONE,
            &format!("ConfigMap {NAMESPACE}/coredns"),
            "the container mounts no ConfigMap with a key Corefile",
            "mount the ConfigMap, and name the file with -conf",
        );
    }
    found
}

/// Checks the Corefile.
pub(super) fn judge(text: &str, container: Option<&Value>, findings: &mut Findings) -> Corefile {
    let container = container.and_then(|it| serde_json::from_value(it.clone()).ok());
    let environment = container.as_ref().map(variables).unwrap_or_default();
    let (parsed, mut diagnostics) = read(text, &environment);
    server::check(&parsed, 53, &mut diagnostics);
    for CorefileFault { severity, line, is_sure } in faults(&diagnostics) {
        let (level, check) = match severity {
            Severity::Error if is_sure => (SwitchLevel::Break, checks::COREFILE_MISTAKE),
            Severity::Error => (SwitchLevel::Warning, checks::COREFILE_MISTAKE),
            Severity::Warning => (SwitchLevel::Warning, checks::COREFILE_WARNING),
        };
        let line = if is_sure {
            line
        } else {
            format!("{line}; the value of a variable in the Corefile is not known here")
        };
        findings.say(level, check, &format!("ConfigMap {NAMESPACE}/coredns"), line, EDIT);
    }
    parsed
}

/// The port of the page of a plugin; `None` without the plugin.
fn page_port(parsed: &Corefile, plugin: &str, usual: i64) -> Option<i64> {
    let line: &Line = directives(parsed, plugin).next()?;
    let address = line.arguments.first().map(|token| token.text.as_str());
    Some(address.and_then(|it| it.rsplit(':').next()?.parse().ok()).unwrap_or(usual))
}

/// Probes that ask for a page which no plugin serves keep the Pods from becoming ready, or restart
/// them again and again.
pub(super) fn probes(parsed: &Corefile, container: &Value, findings: &mut Findings) {
    for (probe, effect) in [
        ("readinessProbe", "the new Pods never become ready, and the rollout stops"),
        ("livenessProbe", "kubelet restarts the container again and again"),
        ("startupProbe", "kubelet restarts the container again and again"),
    ] {
        let Some(request) = container.pointer(&format!("/{probe}/httpGet")) else { continue };
        let place = format!("Deployment {NAMESPACE}/coredns {probe}");
        let port = match request.get("port") {
            Some(Value::String(named)) => {
                let declared = list(container, "/ports").find(|it| text(it, "/name") == named);
                match declared.and_then(|it| it.get("containerPort")?.as_i64()) {
                    Some(port) => port,
                    None => {
                        findings.say(
                            SwitchLevel::Break,
                            checks::SWITCH_PROBE_PORT,
                            &place,
                            format!("the container has no port named {named}: {effect}"),
                            "name a port of the container, or write its number",
                        );
                        continue;
                    }
                }
            }
            port => port.and_then(Value::as_i64).unwrap_or_default(),
        };
        let path = text(request, "/path");
        let served = [("health", "/health", 8080), ("ready", "/ready", 8181)]
            .into_iter()
            .filter_map(|(plugin, page, usual)| Some((page, page_port(parsed, plugin, usual)?)))
            .any(|page| page == (path, port));
        if !served {
            findings.say(
                SwitchLevel::Break,
                checks::SWITCH_PROBE_PAGE,
                &place,
                format!("nothing in the Corefile serves port {port}, {path}: {effect}"),
                "add the plugin `ready` (port 8181) or `health` (port 8080) to the Corefile",
            );
        }
    }
}

/// Without the capability, a server that is not root cannot listen on a low port, unless the Pod's
/// network allows it.
pub(super) fn low_port(
    parsed: &Corefile,
    deployment: &Value,
    container: &Value,
    findings: &mut Findings,
) {
    let ports = parsed.blocks.iter().flat_map(|block| &block.keys).map(|key| key.port_or(53));
    let Some(low) = ports.filter(|port| *port < 1024).min() else { return };
    let capabilities = |field: &str| {
        list(container, &format!("/securityContext/capabilities/{field}"))
            .filter_map(Value::as_str)
            .map(|word| word.trim_start_matches("CAP_").to_owned())
            .collect::<Vec<_>>()
    };
    let has =
        |field, words: [&str; 2]| capabilities(field).iter().any(|it| words.contains(&it.as_str()));
    let allowed = list(deployment, "/spec/template/spec/securityContext/sysctls")
        .any(|it| text(it, "/name") == "net.ipv4.ip_unprivileged_port_start");
    if has("drop", ["ALL", "NET_BIND_SERVICE"])
        && !has("add", ["ALL", "NET_BIND_SERVICE"])
        && !allowed
    {
        findings.say(
            SwitchLevel::Break,
            checks::SWITCH_CAPABILITY_PORT,
            &format!("Deployment {NAMESPACE}/coredns container coredns, securityContext"),
            format!("all capabilities are dropped, and the server listens on port {low}"),
            "add: [NET_BIND_SERVICE], or listen on a port above 1023",
        );
    }
}
