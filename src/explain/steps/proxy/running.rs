//! Checks whether kube-proxy runs, by its Pods, its health page and its log.

use k8s_openapi::api::core::v1::Pod;

use crate::explain::{
    Evidence, checks, objects,
    report::{FindingLevel, Section},
    view::pods,
};

/// How many error lines of the log are shown.
const SHOWN: usize = 2;

/// Adds what is wrong with kube-proxy itself to step 3 of the report.
pub(super) fn judge(evidence: &Evidence, section: &mut Section) {
    pods(evidence, section);
    let rules = &evidence.rules;
    if let Some(error) = &rules.silent {
        let saw = format!("kube-proxy's health port on this node does not answer: {error}");
        section
            .broken(checks::PROXY_STOPPED, saw)
            .want("a kube-proxy that answers there; if it has stopped, the rules on this node no longer change")
            .advise("kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide");
    }
    if let Some(health) = rules.health.as_ref().filter(|health| health.healthy == Some(false)) {
        let saw = format!(
            "kube-proxy's /healthz reports that it is not healthy: its last update of the rules was at {}, and now it is {}",
            health.last_updated, health.current_time
        );
        section
            .broken(checks::PROXY_UNHEALTHY, saw)
            .want("an update of the rules after each change in the API")
            .advise("kubectl -n kube-system logs -l k8s-app=kube-proxy --tail=50");
    }
    for error in rules.errors.iter().rev().take(SHOWN) {
        section.say(FindingLevel::Warning, checks::PROXY_LOG, format!("kube-proxy's log: {error}"));
    }
}

/// The program that does the work of kube-proxy on this node, if kube-proxy does not run: it has no
/// Pods, and either no rules, or old ones and no health page.
pub(super) fn replacement(evidence: &Evidence) -> Option<&'static str> {
    let rules = &evidence.rules;
    if evidence.objects.proxy_pods().next().is_some() {
        return None;
    }
    let are_pods_known = evidence.lacks("pods", "kube-system").is_none();
    let is_old = rules.silent.is_some() && are_pods_known;
    rules.replacement.filter(|_| rules.proxies.is_empty() || is_old)
}

fn pods(evidence: &Evidence, section: &mut Section) {
    let pods: Vec<&Pod> = evidence.objects.proxy_pods().collect();
    if pods.is_empty() {
        return;
    }
    let node_of =
        |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let down: Vec<_> = pods.iter().filter(|pod| !pods::is_ready(pod)).collect();
    if let Some(node) = evidence.node.as_deref() {
        let here = pods.iter().find(|pod| node_of(pod) == node);
        let down_here = down.iter().find(|pod| node_of(pod) == node);
        let known = evidence.objects.node(node).is_some();
        let saw = match (here, down_here) {
            (_, Some(pod)) => {
                format!(
                    "Pod {} is not ready: the rules on node {node} may be out of date",
                    objects::name(**pod)
                )
            }
            (None, None) if known => {
                format!("no kube-proxy runs on node {node}, but other nodes have one")
            }
            _ => return,
        };
        let broken = section.broken(checks::PROXY_STOPPED, saw);
        broken.want("a kube-proxy that is ready on every node");
        broken.advise(format!("kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide --field-selector spec.nodeName={node}"));
    } else if !down.is_empty() {
        let nodes = down.iter().map(|pod| node_of(pod)).collect::<Vec<_>>().join(", ");
        let level =
            if down.len() == pods.len() { FindingLevel::Broken } else { FindingLevel::Warning };
        let finding = section.say(
            level,
            checks::PROXY_STOPPED,
            format!("kube-proxy is not ready on {nodes}: the rules there may be out of date"),
        );
        finding
            .want("a kube-proxy that is ready on every node")
            .advise("kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide");
    }
}
