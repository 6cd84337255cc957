//! Objects around the Deployment: the Service, disruption budgets, NodeLocal DNSCache, kubeadm.

use serde_json::Value;

use crate::explain::{checks, objects::dns_service};

use super::{
    Findings, NAMESPACE, SwitchEvidence, SwitchLevel, deployment::tag, list, name, selects, text,
    typed,
};

pub(super) fn judge(evidence: &SwitchEvidence, deployment: &Value, findings: &mut Findings) {
    service(evidence, deployment, findings);
    budgets(evidence, deployment, findings);
    kubeadm(evidence, deployment, findings);
    node_local(evidence, findings);
}

fn labels(deployment: &Value) -> Option<&Value> {
    deployment.pointer("/spec/template/metadata/labels")
}

fn service(evidence: &SwitchEvidence, deployment: &Value, findings: &mut Findings) {
    let services = typed(&evidence.services);
    let Some(service) = dns_service(&services).and_then(|at| evidence.services.get(at)) else {
        if !evidence.unread.iter().any(|unread| unread.contains("services")) {
            findings.say(
                SwitchLevel::Break,
                checks::CLUSTER_NO_SERVICE,
                "Service kube-system/kube-dns",
                "there is no Service kube-dns: Pods have no address of the server",
                "kubeadm init phase addon coredns",
            );
        }
        return;
    };
    let place = name("Service", service);
    if !selects(service.pointer("/spec/selector"), labels(deployment)) {
        findings.say(
            SwitchLevel::Break,
            checks::SWITCH_SERVICE_SELECTOR,
            &format!("{place} spec.selector"),
            "the selector does not match the labels of the Deployment's Pods: they get no query",
            "give the Pod template the labels of the selector",
        );
    }
    for protocol in ["UDP", "TCP"] {
        let of_protocol = |port: &&Value| match text(port, "/protocol") {
            "" => protocol == "TCP",
            other => other == protocol,
        };
        let found = list(service, "/spec/ports")
            .filter(of_protocol)
            .any(|port| port.get("port").and_then(Value::as_i64) == Some(53));
        if !found {
            findings.say(
                SwitchLevel::Warning,
                checks::CLUSTER_PORT,
                &format!("{place} spec.ports"),
                format!("there is no port 53/{protocol}"),
                "add the port; large replies and NodeLocal DNSCache need TCP",
            );
        }
    }
}

fn budgets(evidence: &SwitchEvidence, deployment: &Value, findings: &mut Findings) {
    let concerned: Vec<&Value> = evidence
        .budgets
        .iter()
        .filter(|it| selects(it.pointer("/spec/selector/matchLabels"), labels(deployment)))
        .collect();
    if let [_, second, ..] = *concerned {
        findings.say(
            SwitchLevel::Warning,
            checks::SWITCH_BUDGET_TWO,
            &name("PodDisruptionBudget", second),
            "two budgets select the Pods: the API server refuses every eviction",
            "delete one of them",
        );
    }
    let replicas = deployment.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    for budget in concerned {
        let amount = |field: &str| budget.pointer(field);
        let of_all = |value: &Value| match value {
            Value::String(percent) => {
                let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or_default();
                // The API server rounds up.
                replicas.saturating_mul(percent).saturating_add(99) / 100
            }
            value => value.as_i64().unwrap_or_default(),
        };
        let blocks = amount("/spec/minAvailable").is_some_and(|it| of_all(it) >= replicas)
            || amount("/spec/maxUnavailable").is_some_and(|it| of_all(it) == 0);
        if blocks {
            findings.say(
                SwitchLevel::Warning,
                checks::SWITCH_BUDGET_BLOCKS,
                &name("PodDisruptionBudget", budget),
                format!(
                    "with {replicas} replicas it allows no eviction, so a node cannot be drained"
                ),
                "set maxUnavailable: 1, or add a replica",
            );
        }
    }
}

/// `kubeadm upgrade` reads the version from the image's tag, and writes its own image.
fn kubeadm(evidence: &SwitchEvidence, deployment: &Value, findings: &mut Findings) {
    let is_config = |it: &&Value| text(it, "/metadata/name") == "kubeadm-config";
    let Some(config) = evidence.config_maps.iter().find(is_config) else { return };
    let image = list(deployment, "/spec/template/spec/containers")
        .find(|it| text(it, "/name") == "coredns")
        .map_or("", |it| text(it, "/image"));
    let tag = tag(image);
    let numbers: Vec<&str> = tag.trim_start_matches('v').split('.').collect();
    let is_version = numbers.len() == 3 && numbers.iter().all(|it| it.parse::<u32>().is_ok());
    if !is_version {
        findings.say(
            SwitchLevel::Warning,
            checks::SWITCH_IMAGE_TAG,
            &format!("Deployment {NAMESPACE}/coredns container coredns, image"),
            format!("`kubeadm upgrade` reads the version of CoreDNS from the tag, and `{tag}` is none: its preflight checks CoreDNSMigration and CoreDNSUnsupportedPlugins fail"),
            "use a tag such as v1.14.2, also for the image of ndots",
        );
    }
    let settings = text(config, "/data/ClusterConfiguration");
    let dns = settings.split("\ndns:").nth(1).unwrap_or_default();
    let own = dns.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    if !own.into_iter().any(|line| line.trim().starts_with("imageRepository:")) {
        findings.say(
            SwitchLevel::Warning,
            checks::SWITCH_KUBEADM_IMAGE,
            "ConfigMap kube-system/kubeadm-config dns",
            "no imageRepository: `kubeadm upgrade apply` writes CoreDNS's image again",
            "set dns.imageRepository and dns.imageTag (docs/install, kubeadm)",
        );
    }
}

/// NodeLocal DNSCache in front of the server.
pub(super) fn node_local(evidence: &SwitchEvidence, findings: &mut Findings) {
    let is_cache = |it: &&Value| {
        text(it, "/metadata/name").contains("node-local-dns")
            || text(it, "/metadata/labels/k8s-app") == "node-local-dns"
    };
    if let Some(cache) = evidence.daemon_sets.iter().find(is_cache) {
        findings.say(
            SwitchLevel::Note,
            checks::SWITCH_NODE_LOCAL,
            &name("DaemonSet", cache),
            "NodeLocal DNSCache stays in front: clients may see old answers for 30 s after the switch",
            "compare with the address of a Pod: ndots diff --against POD-ADDRESS",
        );
    }
}
