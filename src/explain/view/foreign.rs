//! Kinds of other API groups that matter for a connection, and that no check evaluates.

use crate::explain::Evidence;

/// A kind of policy of another API group, which can block a connection and is not evaluated.
pub(in crate::explain) struct ForeignPolicy {
    pub(in crate::explain) kind: &'static str,
    /// Group and version under which it is listed.
    pub(in crate::explain) version: &'static str,
    pub(in crate::explain) resource: &'static str,
}

/// The kinds that are counted, because they can block a connection.
pub(in crate::explain) const POLICIES: [ForeignPolicy; 11] = [
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
pub(in crate::explain) fn is_policy(version: &str, kind: &str) -> bool {
    POLICIES.iter().any(|it| it.kind == kind && group(it.version) == group(version))
}

/// The kinds among the manifests that give hosts to Services, and that are not read.
pub(in crate::explain) fn with_hosts(evidence: &Evidence) -> impl Iterator<Item = &str> {
    let kinds = evidence
        .kinds
        .keys()
        .filter(|(version, kind)| WITH_HOSTS.contains(&(kind.as_str(), group(version))));
    kinds.map(|(_, kind)| kind.as_str())
}

/// Whether the manifests have addresses for MetalLB but no advertisement. Then no node announces
/// the addresses.
pub(in crate::explain) fn has_pools_without_advertisement(evidence: &Evidence) -> bool {
    let has = |names: &[&str]| {
        let mut kinds = evidence.kinds.keys();
        kinds
            .any(|(version, kind)| group(version) == "metallb.io" && names.contains(&kind.as_str()))
    };
    has(&["IPAddressPool"]) && !has(&["L2Advertisement", "BGPAdvertisement"])
}
