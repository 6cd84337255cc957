//! Reports what `explain` does not look at, and objects of outdated API versions.

use crate::source::kind;

use super::{
    Evidence,
    report::{FindingLevel, Section},
};

/// The kinds that can block a connection, and that are not evaluated.
const POLICIES: [&str; 8] = [
    "NetworkPolicy",
    "GlobalNetworkPolicy",
    "CiliumNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
    "AdminNetworkPolicy",
    "BaselineAdminNetworkPolicy",
    "ClusterNetworkPolicy",
    "AuthorizationPolicy",
];

/// Network policies can block a connection to Pods that are ready, so the verdict depends on them.
pub(super) fn policies(evidence: &Evidence, section: &mut Section) {
    let found: Vec<String> = evidence
        .kinds
        .iter()
        .filter(|((_, kind), _)| POLICIES.contains(&kind.as_str()))
        .map(|((_, kind), count)| format!("{count} {kind}"))
        .collect();
    if !found.is_empty() {
        let saw = format!(
            "the manifests have {}: network policies are not evaluated, and they can block the connection",
            found.join(", ")
        );
        let unknown = section.say(FindingLevel::Unknown, "policy.not-checked", saw);
        unknown.want(
            "rules that allow the client to reach DNS (port 53) and the targetPort of the Pods",
        );
        unknown.advise("kubectl get networkpolicies -A");
    } else if evidence.is_live {
        section.say(FindingLevel::Skipped, "policy.not-read", "network policies were not read");
    }
}

/// Reports kinds in the manifests that `explain` does not read, and outdated versions of Ingress.
pub(super) fn objects(evidence: &Evidence, section: &mut Section) {
    for ((version, name), count) in &evidence.kinds {
        match kind::find(version, name) {
            None if !POLICIES.contains(&name.as_str()) => {
                section.say(
                    FindingLevel::Note,
                    "objects.not-read",
                    format!("not checked: {count} {name} ({version})"),
                );
            }
            Some((descriptor, _))
                if descriptor.name == kind::INGRESS.name
                    && descriptor.newest().api_version != version =>
            {
                outdated(version, *count, section);
            }
            _ => {}
        }
    }
}

fn outdated(version: &str, count: usize, section: &mut Section) {
    let saw = format!(
        "{count} Ingress has apiVersion {version}: Kubernetes 1.22 and later reject it, here it is read as networking.k8s.io/v1"
    );
    section
        .say(FindingLevel::Warning, "outside.ingress-version", saw)
        .want("apiVersion: networking.k8s.io/v1, with pathType and backend.service")
        .advise("kubectl convert -f FILE --output-version networking.k8s.io/v1");
}
