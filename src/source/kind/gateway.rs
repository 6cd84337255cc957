//! gateway.networking.k8s.io Gateway.

use serde::Deserialize;

use crate::model::{self, LoadBalancerPoint};

use super::{Meta, address, or_default};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Gateway {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    gateway_class_name: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<StatusAddress>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct StatusAddress {
    /// `IPAddress` where it is absent.
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(deserialize_with = "or_default")]
    value: String,
}

impl Gateway {
    /// # Errors
    /// A sentence that says which field is wrong.
    pub fn fact(&self) -> Result<model::Gateway, String> {
        let point = |it: &StatusAddress| match it.kind.as_deref() {
            None | Some("IPAddress") => Some(address(&it.value).map(LoadBalancerPoint::Ip)),
            Some("Hostname") => Some(Ok(LoadBalancerPoint::Hostname(it.value.as_str().into()))),
            // A name that means something to its controller only.
            Some(_) => None,
        };
        Ok(model::Gateway {
            namespace: self.metadata.namespace.as_str().into(),
            name: self.metadata.name.as_str().into(),
            class: self.spec.gateway_class_name.as_str().into(),
            points: self.status.addresses.iter().filter_map(point).collect::<Result<_, _>>()?,
        })
    }
}
