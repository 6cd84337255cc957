//! discovery.k8s.io EndpointSlice.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::discovery::v1 as api;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::{self, Endpoint, EndpointDetails, EndpointPort, Import, Kind, Object};

use super::{
    DnsUse, FieldError, KindDescriptor, Meta, Scope, Version, Watched, decode,
    fields::{META, addresses, or_default, protocol},
    object::store_as,
    port::number,
    protobuf::{Message, Shape},
};

/// The label with the name of a slice's Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The labels with the name of the imported Service, and with the cluster that exports it.
const IMPORT_NAME: &str = "multicluster.kubernetes.io/service-name";
const SOURCE_CLUSTER: &str = "multicluster.kubernetes.io/source-cluster";

pub static ENDPOINT_SLICE: KindDescriptor = KindDescriptor {
    name: "EndpointSlice",
    plural: "endpointslices",
    scope: Scope::Namespaced,
    versions: &[
        Version::new("discovery.k8s.io/v1"),
        Version::converted("discovery.k8s.io/v1beta1", from_v1beta1),
    ],
    dns: DnsUse::Facts(Watched::required(Kind::EndpointSlice).encoded(&MESSAGE)),
    decode: |object| {
        decode(
            object,
            |it: &EndpointSlice| Ok(it.fact()?.map(Object::EndpointSlice)),
            |it| it.metadata,
        )
    },
    store: store_as::<api::EndpointSlice>,
};

static MESSAGE: Message = Message(&[
    (1, "metadata", Shape::Message(&META)),
    (2, "endpoints", Shape::Messages(&ENDPOINT)),
    (3, "ports", Shape::Messages(&PORT)),
    (4, "addressType", Shape::Text),
]);
static ENDPOINT: Message = Message(&[
    (1, "addresses", Shape::Texts),
    (2, "conditions", Shape::Message(&CONDITIONS)),
    (3, "hostname", Shape::Text),
    (4, "targetRef", Shape::Message(&TARGET_REF)),
    (6, "nodeName", Shape::Text),
    (7, "zone", Shape::Text),
]);
static CONDITIONS: Message = Message(&[(1, "ready", Shape::Bool)]);
static TARGET_REF: Message = Message(&[(3, "name", Shape::Text)]);
static PORT: Message =
    Message(&[(1, "name", Shape::Text), (2, "protocol", Shape::Text), (3, "port", Shape::Integer)]);

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
struct TargetRef {
    #[serde(deserialize_with = "or_default")]
    name: String,
}

impl TargetRef {
    fn name(&self) -> Option<Box<str>> {
        (!self.name.is_empty()).then(|| self.name.as_str().into())
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct SlicePort {
    #[serde(deserialize_with = "or_default")]
    name: String,
    protocol: Option<String>,
    #[serde(deserialize_with = "number")]
    port: Option<u16>,
}

impl SlicePort {
    fn fact(&self) -> Result<EndpointPort, FieldError> {
        Ok(EndpointPort {
            name: self.name.as_str().into(),
            protocol: protocol(self.protocol.as_deref())?,
            port: self.port,
        })
    }
}

impl EndpointSlice {
    /// The name of the Service that the slice belongs to.
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

    /// `None` for a slice that belongs to no Service, or that has names instead of addresses.
    fn fact(&self) -> Result<Option<model::EndpointSlice>, FieldError> {
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
            let details = EndpointDetails { hostname, pod, zone, node };
            let addresses = addresses(&endpoint.addresses)?;
            let each = addresses.iter().map(|address| Endpoint::with(*address, details.clone()));
            endpoints.extend(each);
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

/// The one copy of the text in `texts`, which endpoints share. The text is added if it is missing.
fn shared(texts: &mut BTreeSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = texts.get(text) {
        return Arc::clone(known);
    }
    let new: Arc<str> = text.into();
    texts.insert(Arc::clone(&new));
    new
}

/// v1beta1 has the topology zone and the node's name in labels.
fn from_v1beta1(fields: &mut Map<String, Value>) {
    let endpoints = fields.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(Value::Object(mut topology)) = endpoint.remove("topology") else { continue };
        for (field, label) in
            [("zone", "topology.kubernetes.io/zone"), ("nodeName", "kubernetes.io/hostname")]
        {
            if let Some(value) = topology.remove(label) {
                endpoint.entry(field).or_insert(value);
            }
        }
    }
}
