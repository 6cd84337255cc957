//! v1 Secret: the certificates of Ingresses. Only `explain` reads it.

use k8s_openapi::api::core::v1::Secret;

use super::{DnsUse, KindDescriptor, Scope, Version, decode_name, object::store_as};

pub static SECRET: KindDescriptor = KindDescriptor {
    name: "Secret",
    plural: "secrets",
    scope: Scope::Namespaced,
    versions: &[Version::new("v1")],
    dns: DnsUse::None,
    decode: decode_name,
    store: store_as::<Secret>,
};
