//! Reports what `explain` does not look at, and objects of outdated API versions.

use crate::source::kind;

use super::{
    Evidence, checks,
    names::Subject,
    report::{FindingLevel, Section},
};

/// A kind of policy of another API group, which can block a connection and is not evaluated.
pub(super) struct ForeignPolicy {
    pub(super) kind: &'static str,
    /// Group and version under which it is listed.
    pub(super) version: &'static str,
    pub(super) resource: &'static str,
}

/// All of them.
pub(super) const POLICIES: [ForeignPolicy; 11] = [
    policy("CiliumNetworkPolicy", "cilium.io/v2", "ciliumnetworkpolicies"),
    policy("CiliumClusterwideNetworkPolicy", "cilium.io/v2", "ciliumclusterwidenetworkpolicies"),
    policy("AdminNetworkPolicy", "policy.networking.k8s.io/v1alpha1", "adminnetworkpolicies"),
    policy(
        "BaselineAdminNetworkPolicy",
        "policy.networking.k8s.io/v1alpha1",
        "baselineadminnetworkpolicies",
    ),
    policy("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2", "clusternetworkpolicies"),
    policy("NetworkPolicy", "crd.projectcalico.org/v1", "networkpolicies"),
    policy("GlobalNetworkPolicy", "crd.projectcalico.org/v1", "globalnetworkpolicies"),
    policy("NetworkPolicy", "projectcalico.org/v3", "networkpolicies"),
    policy("GlobalNetworkPolicy", "projectcalico.org/v3", "globalnetworkpolicies"),
    policy("AuthorizationPolicy", "security.istio.io/v1", "authorizationpolicies"),
    policy("PeerAuthentication", "security.istio.io/v1", "peerauthentications"),
];
/// Kinds of other API groups that give a host to a Service.
const WITH_HOSTS: [(&str, &str); 8] = [
    ("Route", "route.openshift.io"),
    ("IngressRoute", "traefik.io"),
    ("IngressRoute", "traefik.containo.us"),
    ("VirtualService", "networking.istio.io"),
    ("HTTPProxy", "projectcontour.io"),
    ("VirtualServer", "k8s.nginx.org"),
    ("Mapping", "getambassador.io"),
    ("DomainMapping", "serving.knative.dev"),
];

const fn policy(
    kind: &'static str,
    version: &'static str,
    resource: &'static str,
) -> ForeignPolicy {
    ForeignPolicy { kind, version, resource }
}

fn group(version: &str) -> &str {
    version.split('/').next().unwrap_or(version)
}

/// Whether a kind is a policy that is not evaluated.
fn is_policy(version: &str, kind: &str) -> bool {
    POLICIES.iter().any(|it| it.kind == kind && group(it.version) == group(version))
}

/// The kinds among the manifests that give hosts to Services, and that are not read.
pub(super) fn with_hosts(evidence: &Evidence) -> impl Iterator<Item = &str> {
    let kinds = evidence
        .kinds
        .keys()
        .filter(|(version, kind)| WITH_HOSTS.contains(&(kind.as_str(), group(version))));
    kinds.map(|(_, kind)| kind.as_str())
}

/// Policies of other API groups can block a connection to Pods that are ready.
pub(super) fn policies(evidence: &Evidence, section: &mut Section) {
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
pub(super) fn objects(evidence: &Evidence, subject: &Subject<'_>, section: &mut Section) {
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
