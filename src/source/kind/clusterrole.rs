//! rbac.authorization.k8s.io ClusterRole: the permissions of the cluster's DNS server. Only
//! `explain` reads it.

use k8s_openapi::api::rbac::v1::ClusterRole;

use super::{DnsUse, KindDescriptor, Scope, Version, decode_name, object::store_as};

pub static CLUSTER_ROLE: KindDescriptor = KindDescriptor {
    name: "ClusterRole",
    plural: "clusterroles",
    scope: Scope::Cluster,
    versions: &[
        Version::new("rbac.authorization.k8s.io/v1"),
        Version::new("rbac.authorization.k8s.io/v1beta1"),
    ],
    dns: DnsUse::None,
    decode: decode_name,
    store: store_as::<ClusterRole>,
};
