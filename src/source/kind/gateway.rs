//! gateway.networking.k8s.io Gateway.

use serde::Deserialize;

use crate::model::{self, Kind, LoadBalancerPoint, Object};

use super::{
    DnsUse, FieldError, KindDescriptor, Meta, Scope, Version, Watched, decode,
    fields::{address, or_default},
    gateway_api,
    object::store_as,
};

pub static GATEWAY: KindDescriptor = KindDescriptor {
    name: "Gateway",
    plural: "gateways",
    scope: Scope::Namespaced,
    versions: &[
        Version::new("gateway.networking.k8s.io/v1"),
        Version::new("gateway.networking.k8s.io/v1beta1"),
        Version::new("gateway.networking.k8s.io/v1alpha2"),
    ],
    dns: DnsUse::Facts(Watched::optional(Kind::Gateway)),
    decode: |object| {
        decode(object, |it: &Gateway| Ok(Some(Object::Gateway(it.fact()?))), |it| it.metadata)
    },
    store: store_as::<gateway_api::Gateway>,
};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Gateway {
    metadata: Meta,
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
    /// `IPAddress` if it is absent.
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(deserialize_with = "or_default")]
    value: String,
}

impl Gateway {
    fn fact(&self) -> Result<model::Gateway, FieldError> {
        let point = |it: &StatusAddress| match it.kind.as_deref() {
            None | Some("IPAddress") => Some(address(&it.value).map(LoadBalancerPoint::Ip)),
            Some("Hostname") => Some(Ok(LoadBalancerPoint::Hostname(it.value.as_str().into()))),
            // A name that only the Gateway's controller understands.
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
