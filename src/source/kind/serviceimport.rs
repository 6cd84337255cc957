//! multicluster.x-k8s.io ServiceImport (KEP-1645): what clusters of a set offer under one name.

use serde::Deserialize;

use crate::model::{self, Addressing};

use super::{Meta, ServicePort, addresses, or_default};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct ServiceImport {
    pub metadata: Meta,
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
    /// # Errors
    /// A sentence that says which field is wrong.
    pub fn fact(&self) -> Result<model::Service, String> {
        let addressing = match &*self.spec.kind {
            "" | "ClusterSetIP" => Addressing::ClusterIps(addresses(&self.spec.ips)?),
            "Headless" => Addressing::Headless,
            other => return Err(format!("type `{other}` is none of ClusterSetIP, Headless")),
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
