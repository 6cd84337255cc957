//! v1 Node.

use k8s_openapi::api::core::v1 as api;
use serde::Deserialize;

use crate::model::{self, Kind, NodeAddress, Object};

use super::{
    DnsUse, FieldError, KindDescriptor, Meta, Scope, Version, Watched, decode,
    fields::{CONDITION, META_WITHOUT_LABELS, address, or_default},
    object::store_as,
    pod::Condition,
    protobuf::{Message, Shape},
};

pub static NODE: KindDescriptor = KindDescriptor {
    name: "Node",
    plural: "nodes",
    scope: Scope::Cluster,
    versions: &[Version::new("v1")],
    dns: DnsUse::Facts(Watched::optional(Kind::Node).encoded(&MESSAGE)),
    decode: |object| {
        decode(object, |it: &Node| Ok(Some(Object::Node(it.fact()?))), |it| it.metadata)
    },
    store: store_as::<api::Node>,
};

static MESSAGE: Message = Message(&[
    (1, "metadata", Shape::Message(&META_WITHOUT_LABELS)),
    (3, "status", Shape::Message(&STATUS)),
]);
static STATUS: Message = Message(&[
    (4, "conditions", Shape::Messages(&CONDITION)),
    (5, "addresses", Shape::Messages(&ADDRESS)),
]);
static ADDRESS: Message = Message(&[(1, "type", Shape::Text), (2, "address", Shape::Text)]);

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<StatusAddress>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct StatusAddress {
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    address: String,
}

impl Node {
    fn fact(&self) -> Result<model::Node, FieldError> {
        let reachable = |it: &StatusAddress| match &*it.kind {
            "InternalIP" => Some(address(&it.address).map(NodeAddress::Internal)),
            "ExternalIP" => Some(address(&it.address).map(NodeAddress::External)),
            _ => None,
        };
        Ok(model::Node {
            name: self.metadata.name.as_str().into(),
            ready: self.status.conditions.iter().any(Condition::is_ready),
            addresses: self
                .status
                .addresses
                .iter()
                .filter_map(reachable)
                .collect::<Result<_, _>>()?,
        })
    }
}
