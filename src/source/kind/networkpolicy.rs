//! networking.k8s.io NetworkPolicy. Only `explain` reads it.

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{DnsUse, KindDescriptor, Scope, Version, decode_name, object::store_as};

pub static NETWORK_POLICY: KindDescriptor = KindDescriptor {
    name: "NetworkPolicy",
    plural: "networkpolicies",
    scope: Scope::Namespaced,
    versions: &[Version::new("networking.k8s.io/v1"), Version::new("extensions/v1beta1")],
    dns: DnsUse::None,
    decode: decode_name,
    store: store_as::<NetworkPolicy>,
};
