//! v1 Pod.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;
use serde::Deserialize;

use crate::model::{self, Kind, Object, Protocol};

use super::{
    DnsUse, FieldError, KindDescriptor, Meta, PortRef, Scope, Version, Watched, decode,
    fields::{META_WITHOUT_LABELS, addresses, or_default, protocol},
    object::store_as,
    port::number,
    protobuf::{Message, Shape},
};

pub static POD: KindDescriptor = KindDescriptor {
    name: "Pod",
    plural: "pods",
    scope: Scope::Namespaced,
    versions: &[Version::new("v1")],
    dns: DnsUse::Facts(Watched {
        // A finished Pod has given its address back.
        field_selector: Some("status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown"),
        ..Watched::required(Kind::Pod).encoded(&MESSAGE)
    }),
    decode: |object| decode(object, |it: &Pod| Ok(it.fact()?.map(Object::Pod)), |it| it.metadata),
    store: store_as::<api::Pod>,
};

/// Without the containers, which only `manifests` and `explain` need.
static MESSAGE: Message = Message(&[
    (1, "metadata", Shape::Message(&META_WITHOUT_LABELS)),
    (2, "spec", Shape::Message(&SPEC)),
    (3, "status", Shape::Message(&STATUS)),
]);
static SPEC: Message = Message(&[(11, "hostNetwork", Shape::Bool)]);
static STATUS: Message = Message(&[
    (1, "phase", Shape::Text),
    (6, "podIP", Shape::Text),
    (12, "podIPs", Shape::Messages(&POD_IP)),
]);
static POD_IP: Message = Message(&[(1, "ip", Shape::Text)]);

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub hostname: Option<String>,
    pub subdomain: Option<String>,
    pub node_name: Option<String>,
    #[serde(deserialize_with = "or_default")]
    host_network: bool,
    #[serde(deserialize_with = "or_default")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_policy: Option<String>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "number")]
    container_port: Option<u16>,
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pod_ips: Vec<PodIp>,
    #[serde(deserialize_with = "or_default")]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct PodIp {
    #[serde(deserialize_with = "or_default")]
    ip: String,
}

/// An entry of `status.conditions`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type", deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    status: String,
}

impl Condition {
    pub(super) fn is_ready(&self) -> bool {
        self.kind == "Ready" && self.status == "True"
    }
}

impl Pod {
    /// `None` for a Pod that is finished, terminating or has no address yet.
    ///
    /// # Errors
    /// If a field cannot be used.
    pub fn fact(&self) -> Result<Option<model::Pod>, FieldError> {
        let addresses = self.addresses()?;
        let gone = self.metadata.deletion_timestamp.is_some()
            || ["Succeeded", "Failed"].contains(&&*self.status.phase);
        if gone || addresses.is_empty() {
            return Ok(None);
        }
        Ok(Some(model::Pod {
            namespace: self.metadata.namespace.as_str().into(),
            name: self.metadata.name.as_str().into(),
            addresses,
            host_network: self.spec.host_network,
        }))
    }

    fn addresses(&self) -> Result<Box<[IpAddr]>, FieldError> {
        let several = self.status.pod_ips.iter().map(|it| &it.ip);
        let given = if self.status.pod_ips.is_empty() {
            several.chain(self.status.pod_ip.as_ref())
        } else {
            several.chain(None)
        };
        addresses(given.filter(|ip| !ip.is_empty()))
    }

    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(Condition::is_ready)
    }

    /// The number of a `targetPort` at this Pod; `None` if no container has a port of this name.
    pub fn port(&self, wanted: &PortRef, over: Protocol) -> Option<u16> {
        match wanted {
            PortRef::Number(number) => Some(*number),
            PortRef::Name(name) => {
                // An init container with `restartPolicy: Always` is a sidecar: it runs as long as
                // the other containers.
                let sidecars = self
                    .spec
                    .init_containers
                    .iter()
                    .filter(|it| it.restart_policy.as_deref() == Some("Always"));
                let ports = self
                    .spec
                    .containers
                    .iter()
                    .chain(sidecars)
                    .flat_map(|container| &container.ports);
                let mut named = ports.filter(|port| {
                    port.name == *name && protocol(port.protocol.as_deref()) == Ok(over)
                });
                named.next()?.container_port
            }
        }
    }
}
