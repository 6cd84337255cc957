//! gateway.networking.k8s.io HTTPRoute, TLSRoute and GRPCRoute: what is read stands in all of them
//! alike.

use serde::Deserialize;

use crate::model::{self, Kind};

use super::{Meta, hosts, or_default};

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Route {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    hostnames: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    parent_refs: Vec<ParentRef>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct ParentRef {
    /// `Gateway` where it is absent.
    kind: Option<String>,
    namespace: Option<String>,
    #[serde(deserialize_with = "or_default")]
    name: String,
}

impl Route {
    pub fn fact(&self, kind: Kind) -> model::Route {
        let own = self.metadata.namespace.as_str();
        let is_gateway = |it: &&ParentRef| it.kind.as_deref().is_none_or(|kind| kind == "Gateway");
        let gateway = |it: &ParentRef| {
            (it.namespace.as_deref().unwrap_or(own).into(), it.name.as_str().into())
        };
        model::Route {
            kind,
            namespace: own.into(),
            name: self.metadata.name.as_str().into(),
            hosts: hosts(&self.metadata, &self.spec.hostnames),
            gateways: self.spec.parent_refs.iter().filter(is_gateway).map(gateway).collect(),
        }
    }
}
