//! networking.k8s.io IngressClass. Only `explain` reads it.

use k8s_openapi::api::networking::v1::IngressClass;

use super::{DnsUse, KindDescriptor, Scope, Version, decode_name, object::store_as};

pub static INGRESS_CLASS: KindDescriptor = KindDescriptor {
    name: "IngressClass",
    plural: "ingressclasses",
    scope: Scope::Cluster,
    versions: &[Version::new("networking.k8s.io/v1"), Version::new("networking.k8s.io/v1beta1")],
    dns: DnsUse::None,
    decode: decode_name,
    store: store_as::<IngressClass>,
};
