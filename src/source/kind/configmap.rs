//! v1 ConfigMap: the cluster's Corefile. Only `explain` reads it.

use k8s_openapi::api::core::v1::ConfigMap;

use super::{DnsUse, KindDescriptor, Scope, Version, decode_name, object::store_as};

pub static CONFIG_MAP: KindDescriptor = KindDescriptor {
    name: "ConfigMap",
    plural: "configmaps",
    scope: Scope::Namespaced,
    versions: &[Version::new("v1")],
    dns: DnsUse::None,
    decode: decode_name,
    store: store_as::<ConfigMap>,
};
