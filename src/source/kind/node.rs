//! v1 Node.

use serde::Deserialize;

use crate::model::{self, NodeAddress};

use super::{Meta, address, or_default, pod::Condition};

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
    /// # Errors
    /// A sentence that says which field is wrong.
    pub fn fact(&self) -> Result<model::Node, String> {
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
