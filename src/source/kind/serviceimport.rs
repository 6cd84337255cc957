//! multicluster.x-k8s.io ServiceImport (KEP-1645): a Service that several clusters of a
//! cluster set export.

use serde::Deserialize;

use crate::model::{self, Addressing, Kind, Object};

use super::{
    DnsUse, FieldError, KindDescriptor, Meta, Scope, ServicePort, Version, Watched, decode,
    fields::{addresses, or_default},
    object::store_untyped,
};

pub static SERVICE_IMPORT: KindDescriptor = KindDescriptor {
    name: "ServiceImport",
    plural: "serviceimports",
    scope: Scope::Namespaced,
    versions: &[Version::new("multicluster.x-k8s.io/v1alpha1")],
    dns: DnsUse::Facts(Watched::optional(Kind::ServiceImport)),
    decode: |object| {
        decode(
            object,
            |it: &ServiceImport| Ok(Some(Object::ServiceImport(it.fact()?))),
            |it| it.metadata,
        )
    },
    store: store_untyped,
};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct ServiceImport {
    metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Spec {
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    ips: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<ServicePort>,
}

impl ServiceImport {
    fn fact(&self) -> Result<model::Service, FieldError> {
        let addressing = match &*self.spec.kind {
            "" | "ClusterSetIP" => Addressing::ClusterIps(addresses(&self.spec.ips)?),
            "Headless" => Addressing::Headless,
            other => {
                return Err(FieldError::Type {
                    value: other.to_owned(),
                    allowed: "ClusterSetIP, Headless",
                });
            }
        };
        Ok(model::Service {
            namespace: self.metadata.namespace.as_str().into(),
            name: self.metadata.name.as_str().into(),
            addressing,
            ports: self.spec.ports.iter().map(ServicePort::fact).collect::<Result<_, _>>()?,
            outside: None,
        })
    }
}
