//! v1 Endpoints, the predecessor of EndpointSlice. Kubernetes mirrors Endpoints as EndpointSlices,
//! so ndots does not read them from an API server. For manifests ndots mirrors them itself.

use k8s_openapi::api::core::v1 as api;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    DnsUse, KindDescriptor, Meta, Scope, Version, decode_name, endpointslice::SERVICE_NAME,
    fields::or_default, object::store_as,
};

pub static ENDPOINTS: KindDescriptor = KindDescriptor {
    name: "Endpoints",
    plural: "endpoints",
    scope: Scope::Namespaced,
    versions: &[Version::new("v1")],
    dns: DnsUse::Manifests,
    decode: decode_name,
    store: store_as::<api::Endpoints>,
};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    subsets: Vec<Subset>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Subset {
    /// The ready ones. `notReadyAddresses` are left out of answers.
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<SubsetAddress>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SubsetAddress {
    #[serde(deserialize_with = "or_default")]
    ip: String,
    hostname: Value,
    node_name: Value,
    target_ref: Value,
}

impl Endpoints {
    /// The EndpointSlices that Kubernetes' mirroring controller would make: one for each subset.
    pub fn slices(&self) -> Vec<Value> {
        self.subsets.iter().enumerate().map(|(index, subset)| self.slice(index, subset)).collect()
    }

    fn slice(&self, index: usize, subset: &Subset) -> Value {
        let Meta { name, namespace, labels, .. } = &self.metadata;
        let mut labels = labels.clone();
        labels.insert(SERVICE_NAME.to_owned(), name.clone());
        let is_v6 = subset.addresses.first().is_some_and(|it| it.ip.contains(':'));
        let endpoint = |it: &SubsetAddress| {
            json!({
                "addresses": [it.ip],
                "conditions": { "ready": true },
                "hostname": it.hostname,
                "nodeName": it.node_name,
                "targetRef": it.target_ref,
            })
        };
        json!({
            "metadata": { "name": format!("{name}-mirrored-{index}"), "namespace": namespace, "labels": labels },
            "addressType": if is_v6 { "IPv6" } else { "IPv4" },
            "endpoints": subset.addresses.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": subset.ports,
        })
    }
}
