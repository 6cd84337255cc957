//! What the server's ServiceAccount may read.

use serde_json::Value;

use super::{Findings, NAMESPACE, SwitchEvidence, SwitchLevel, text, typed};
use crate::{
    corefile::Corefile,
    explain::{
        checks,
        permissions::{Account, MissingRule, Permissions, needed},
    },
};

pub(super) fn judge(
    evidence: &SwitchEvidence,
    deployment: &Value,
    parsed: Option<&Corefile>,
    findings: &mut Findings,
) {
    if evidence.unread.iter().any(|unread| unread.contains("clusterrole")) {
        return;
    }
    let name = match text(deployment, "/spec/template/spec/serviceAccountName") {
        "" => "default",
        name => name,
    };
    let (roles, bindings) = (typed(&evidence.roles), typed(&evidence.bindings));
    let account = Account { namespace: NAMESPACE, name };
    let permissions = Permissions::new(&account, &roles, &bindings);
    let missing = permissions.missing(&needed(parsed));
    if permissions.bound.is_empty() && !missing.is_empty() {
        findings.say(
            SwitchLevel::Break,
            checks::RBAC_BINDING,
            &format!("ServiceAccount {NAMESPACE}/{name}"),
            "no ClusterRoleBinding gives the server a role: it cannot read the cluster",
            "kubeadm init phase addon coredns, or bind the ClusterRole system:coredns to the account",
        );
        return;
    }
    let place = format!("ClusterRole {}", permissions.bound.join(", "));
    for MissingRule { group, resource, verbs } in missing {
        findings.say(
            SwitchLevel::Break,
            checks::RBAC_RULE,
            &place,
            format!(
                "the server may not {} {resource}: names that need them are SERVFAIL, and it never becomes ready",
                verbs.join(" or ")
            ),
            &format!(
                "add the rule apiGroups: [\"{group}\"], resources: [{resource}], verbs: [list, watch]"
            ),
        );
    }
}
