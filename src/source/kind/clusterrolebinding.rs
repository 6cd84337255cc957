//! rbac.authorization.k8s.io ClusterRoleBinding. Only `explain` reads it.

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;

use super::{DnsUse, KindDescriptor, Scope, Version, decode_name, object::store_as};

pub static CLUSTER_ROLE_BINDING: KindDescriptor = KindDescriptor {
    name: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    scope: Scope::Cluster,
    versions: &[
        Version::new("rbac.authorization.k8s.io/v1"),
        Version::new("rbac.authorization.k8s.io/v1beta1"),
    ],
    dns: DnsUse::None,
    decode: decode_name,
    store: store_as::<ClusterRoleBinding>,
};
