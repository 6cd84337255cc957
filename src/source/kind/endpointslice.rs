//! discovery.k8s.io EndpointSlice.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;

use crate::model::{self, Endpoint, EndpointPort, Import};

use super::{Meta, addresses, or_default, port::number, protocol};

/// The label that says whose a slice is.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The labels that say which imported Service a slice is of, and from which cluster it is.
const IMPORT_NAME: &str = "multicluster.kubernetes.io/service-name";
const SOURCE_CLUSTER: &str = "multicluster.kubernetes.io/source-cluster";

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    address_type: String,
    #[serde(deserialize_with = "or_default")]
    endpoints: Vec<SliceEndpoint>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<SlicePort>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct SliceEndpoint {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    conditions: Conditions,
    hostname: Option<String>,
    target_ref: Option<TargetRef>,
    zone: Option<String>,
    node_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct TargetRef {
    #[serde(deserialize_with = "or_default")]
    name: String,
}

impl TargetRef {
    pub(super) fn name(&self) -> Option<Box<str>> {
        (!self.name.is_empty()).then(|| self.name.as_str().into())
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct SlicePort {
    #[serde(deserialize_with = "or_default")]
    name: String,
    protocol: Option<String>,
    #[serde(deserialize_with = "number")]
    port: Option<u16>,
}

impl SlicePort {
    pub(super) fn fact(&self) -> Result<EndpointPort, String> {
        Ok(EndpointPort {
            name: self.name.as_str().into(),
            protocol: protocol(self.protocol.as_deref())?,
            port: self.port,
        })
    }
}

impl EndpointSlice {
    /// The Service that the slice says it is of.
    pub fn service(&self) -> Option<&str> {
        self.label(SERVICE_NAME)
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.metadata.labels.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn import(&self) -> Option<Box<Import>> {
        let cluster = self.label(SOURCE_CLUSTER).unwrap_or_default().into();
        self.label(IMPORT_NAME).map(|service| Box::new(Import { service: service.into(), cluster }))
    }

    /// `None` for a slice of no Service, or of names instead of addresses.
    ///
    /// # Errors
    /// A sentence that says which field is wrong.
    pub fn fact(&self) -> Result<Option<model::EndpointSlice>, String> {
        let (service, import) = (self.service().map(Into::into), self.import());
        if self.address_type == "FQDN" || service.is_none() && import.is_none() {
            return Ok(None);
        }
        let (mut endpoints, mut zones) = (Vec::new(), BTreeSet::new());
        for endpoint in
            self.endpoints.iter().filter(|endpoint| endpoint.conditions.ready != Some(false))
        {
            let hostname: Option<Box<str>> =
                endpoint.hostname.as_deref().filter(|name| !name.is_empty()).map(Into::into);
            let pod = endpoint.target_ref.as_ref().and_then(TargetRef::name);
            let zone = endpoint
                .zone
                .as_deref()
                .filter(|zone| !zone.is_empty())
                .map(|zone| shared(&mut zones, zone));
            let node: Option<Arc<str>> =
                endpoint.node_name.as_deref().filter(|name| !name.is_empty()).map(Into::into);
            for address in addresses(&endpoint.addresses)? {
                let (hostname, pod, zone, node) =
                    (hostname.clone(), pod.clone(), zone.clone(), node.clone());
                endpoints.push(Endpoint { address, hostname, pod, zone, node });
            }
        }
        Ok(Some(model::EndpointSlice {
            namespace: self.metadata.namespace.as_str().into(),
            name: self.metadata.name.as_str().into(),
            service,
            import,
            endpoints: endpoints.into(),
            ports: self.ports.iter().map(SlicePort::fact).collect::<Result<_, _>>()?,
        }))
    }
}

/// The same text once.
fn shared(texts: &mut BTreeSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = texts.get(text) {
        return Arc::clone(known);
    }
    let new: Arc<str> = text.into();
    texts.insert(Arc::clone(&new));
    new
}
