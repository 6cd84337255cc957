//! What the server's ServiceAccount may read.

use serde_json::Value;

use super::{Findings, NAMESPACE, SwitchEvidence, SwitchLevel, list, text};
use crate::{
    corefile::Corefile,
    explain::{checks, corefile::directives},
};

/// API group and resource that ndots lists and watches.
const NEEDED: [(&str, &str); 3] =
    [("", "services"), ("", "namespaces"), ("discovery.k8s.io", "endpointslices")];

pub(super) fn judge(
    evidence: &SwitchEvidence,
    deployment: &Value,
    parsed: Option<&Corefile>,
    findings: &mut Findings,
) {
    if evidence.unread.iter().any(|unread| unread.contains("clusterrole")) {
        return;
    }
    let account = match text(deployment, "/spec/template/spec/serviceAccountName") {
        "" => "default",
        account => account,
    };
    let is_account = |subject: &Value| {
        text(subject, "/kind") == "ServiceAccount"
            && text(subject, "/name") == account
            && text(subject, "/namespace") == NAMESPACE
    };
    let bound: Vec<&str> = evidence
        .bindings
        .iter()
        .filter(|binding| list(binding, "/subjects").any(is_account))
        .map(|binding| text(binding, "/roleRef/name"))
        .collect();
    let account = format!("ServiceAccount {NAMESPACE}/{account}");
    if bound.is_empty() {
        findings.say(
            SwitchLevel::Break,
            checks::RBAC_BINDING,
            &account,
            "no ClusterRoleBinding gives the server a role: it cannot read the cluster",
            "kubeadm init phase addon coredns, or bind the ClusterRole system:coredns to the account",
        );
        return;
    }
    let rules: Vec<&Value> = evidence
        .roles
        .iter()
        .filter(|role| bound.contains(&text(role, "/metadata/name")))
        .flat_map(|role| list(role, "/rules"))
        .collect();
    let allows = |group: &str, resource: &str, verb: &str| {
        let has = |rule: &Value, field: &str, word: &str| {
            list(rule, field).filter_map(Value::as_str).any(|it| it == word || it == "*")
        };
        rules.iter().any(|rule| {
            has(rule, "/apiGroups", group)
                && has(rule, "/resources", resource)
                && has(rule, "/verbs", verb)
        })
    };
    let needs_pods = parsed.is_some_and(|parsed| {
        let verified = directives(parsed, "kubernetes").flat_map(|line| &line.body).any(|option| {
            option.name.text == "pods" && option.arguments.iter().any(|it| it.text == "verified")
        });
        verified
            || directives(parsed, "autopath")
                .any(|line| line.arguments.iter().any(|it| it.text == "@kubernetes"))
    });
    let pods = needs_pods.then_some(("", "pods"));
    for (group, resource) in NEEDED.into_iter().chain(pods) {
        let missing: Vec<&str> =
            ["list", "watch"].into_iter().filter(|verb| !allows(group, resource, verb)).collect();
        if !missing.is_empty() {
            findings.say(
                SwitchLevel::Break,
                checks::RBAC_RULE,
                &format!("ClusterRole {}", bound.join(", ")),
                format!(
                    "the server may not {} {resource}: names that need them are SERVFAIL, and it never becomes ready",
                    missing.join(" or ")
                ),
                &format!(
                    "add the rule apiGroups: [\"{group}\"], resources: [{resource}], verbs: [list, watch]"
                ),
            );
        }
    }
}
