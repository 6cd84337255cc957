//! Reports what `explain` does not look at, and objects of outdated API versions.

use crate::source::kind;

use crate::explain::{
    Evidence, checks,
    report::{FindingLevel, Section},
    view::{foreign::is_policy, names::Subject},
};

/// Reports policies of other API groups, which can block a connection although the Pods are ready.
pub(in crate::explain) fn policies(evidence: &Evidence, section: &mut Section) {
    let found: Vec<String> = evidence
        .kinds
        .iter()
        .filter(|((version, kind), _)| is_policy(version, kind))
        .map(|((version, kind), count)| format!("{count} {kind} ({version})"))
        .collect();
    if found.is_empty() {
        return;
    }
    let saw = format!(
        "there are policies that are not evaluated, and they can block the connection: {}",
        found.join(", ")
    );
    section
        .say(FindingLevel::Unknown, checks::POLICY_NOT_CHECKED, saw)
        .want("rules that allow the client to reach DNS (port 53) and the targetPort of the Pods")
        .advise("kubectl get ciliumnetworkpolicies,adminnetworkpolicies -A    # or those of your plugin");
}

/// Reports kinds in the manifests that `explain` does not read, and outdated versions of Ingress.
pub(in crate::explain) fn objects(
    evidence: &Evidence,
    subject: &Subject<'_>,
    section: &mut Section,
) {
    for ((version, name), count) in &evidence.kinds {
        match kind::find(version, name) {
            None if !is_policy(version, name) => {
                section.say(
                    FindingLevel::Note,
                    checks::OBJECTS_NOT_READ,
                    format!("not checked: {count} {name} ({version})"),
                );
            }
            Some((descriptor, _))
                if matches!(subject, Subject::Ingress { .. })
                    && descriptor.name == kind::INGRESS.name
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
        .say(FindingLevel::Warning, checks::OUTSIDE_INGRESS_VERSION, saw)
        .want("apiVersion: networking.k8s.io/v1, with pathType and backend.service")
        .advise("kubectl convert -f FILE --output-version networking.k8s.io/v1");
}
