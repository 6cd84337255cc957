//! apps Deployment: the cluster's DNS server. Only `explain` reads it.

use k8s_openapi::api::apps::v1::Deployment;

use super::{DnsUse, KindDescriptor, Scope, Version, decode_name, object::store_as};

pub static DEPLOYMENT: KindDescriptor = KindDescriptor {
    name: "Deployment",
    plural: "deployments",
    scope: Scope::Namespaced,
    versions: &[
        Version::new("apps/v1"),
        Version::new("apps/v1beta2"),
        Version::new("apps/v1beta1"),
    ],
    dns: DnsUse::None,
    decode: decode_name,
    store: store_as::<Deployment>,
};
