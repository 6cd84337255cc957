//! v1 Service.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;
use serde::Deserialize;

use crate::model::{self, Addressing, Exposure, Kind, Object, Outside};

use super::{
    DnsUse, FieldError, KindDescriptor, Meta, PortRef, Scope, Version, Watched, decode,
    fields::{
        LOAD_BALANCER_STATUS, LoadBalancer, META, address, addresses, hosts, labels, or_default,
        protocol,
    },
    object::store_as,
    port::number,
    protobuf::{Message, Shape},
};

pub static SERVICE: KindDescriptor = KindDescriptor {
    name: "Service",
    plural: "services",
    scope: Scope::Namespaced,
    versions: &[Version::new("v1")],
    dns: DnsUse::Facts(Watched::required(Kind::Service).encoded(&MESSAGE)),
    decode: |object| {
        decode(object, |it: &Service| Ok(Some(Object::Service(it.fact()?))), |it| it.metadata)
    },
    store: store_as::<api::Service>,
};

static MESSAGE: Message = Message(&[
    (1, "metadata", Shape::Message(&META)),
    (2, "spec", Shape::Message(&SPEC)),
    (3, "status", Shape::Message(&LOAD_BALANCER_STATUS)),
]);
/// Without the selector and the target ports, which only `manifests` and `explain` need.
static SPEC: Message = Message(&[
    (1, "ports", Shape::Messages(&PORT)),
    (3, "clusterIP", Shape::Text),
    (4, "type", Shape::Text),
    (5, "externalIPs", Shape::Texts),
    (10, "externalName", Shape::Text),
    (11, "externalTrafficPolicy", Shape::Text),
    (18, "clusterIPs", Shape::Texts),
]);
static PORT: Message = Message(&[
    (1, "name", Shape::Text),
    (2, "protocol", Shape::Text),
    (3, "port", Shape::Integer),
    (5, "nodePort", Shape::Integer),
]);

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Service {
    pub metadata: Meta,
    #[serde(deserialize_with = "or_default")]
    pub spec: Spec,
    #[serde(deserialize_with = "or_default")]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub cluster_ips: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub ip_families: Vec<String>,
    pub ip_family_policy: Option<String>,
    #[serde(deserialize_with = "labels")]
    pub selector: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<ServicePort>,
    external_name: Option<String>,
    #[serde(rename = "externalIPs", deserialize_with = "or_default")]
    external_ips: Vec<String>,
    external_traffic_policy: Option<String>,
    allocate_load_balancer_node_ports: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub publish_not_ready_addresses: bool,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    pub protocol: Option<String>,
    #[serde(deserialize_with = "number")]
    pub port: Option<u16>,
    pub target_port: Option<PortRef>,
    #[serde(deserialize_with = "number")]
    pub node_port: Option<u16>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    load_balancer: LoadBalancer,
}

impl Service {
    /// The type, which is `ClusterIP` if it is absent.
    pub fn kind(&self) -> &str {
        self.spec.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("ClusterIP")
    }

    /// Whether each of its ports gets a port of every node.
    pub fn wants_node_ports(&self) -> bool {
        match self.kind() {
            "NodePort" => true,
            "LoadBalancer" => self.spec.allocate_load_balancer_node_ports != Some(false),
            _ => false,
        }
    }

    pub fn is_headless(&self) -> bool {
        self.kind() != "ExternalName" && self.given_ips().first().is_some_and(|ip| *ip == "None")
    }

    /// `clusterIPs`, or `clusterIP` without them. The text `None` makes a Service headless.
    pub fn given_ips(&self) -> Vec<&str> {
        let first = self.spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty());
        if self.spec.cluster_ips.is_empty() {
            first.into_iter().collect()
        } else {
            self.spec.cluster_ips.iter().map(String::as_str).collect()
        }
    }

    /// # Errors
    /// If a field cannot be used.
    pub fn fact(&self) -> Result<model::Service, FieldError> {
        Ok(model::Service {
            namespace: self.metadata.namespace.as_str().into(),
            name: self.metadata.name.as_str().into(),
            addressing: self.addressing()?,
            ports: self.spec.ports.iter().map(ServicePort::fact).collect::<Result<_, _>>()?,
            outside: self.outside()?,
        })
    }

    fn addressing(&self) -> Result<Addressing, FieldError> {
        if self.kind() == "ExternalName" {
            let target = self.spec.external_name.as_deref().unwrap_or_default();
            let target = target.strip_suffix('.').unwrap_or(target);
            return if target.is_empty() {
                Err(FieldError::ExternalName)
            } else {
                Ok(Addressing::ExternalName(target.into()))
            };
        }
        if !["ClusterIP", "NodePort", "LoadBalancer"].contains(&self.kind()) {
            return Err(FieldError::Type {
                value: self.kind().to_owned(),
                allowed: "ClusterIP, NodePort, LoadBalancer, ExternalName",
            });
        }
        if self.is_headless() {
            return Ok(Addressing::Headless);
        }
        let ips = self.given_ips().into_iter().map(address).collect::<Result<_, _>>()?;
        Ok(Addressing::ClusterIps(ips))
    }

    fn outside(&self) -> Result<Option<Box<Outside>>, FieldError> {
        let annotations = &self.metadata.annotations;
        let named = annotations
            .hostname
            .as_deref()
            .or(annotations.external_dns_hostname.as_deref())
            .unwrap_or_default();
        let named = named.split(',').map(|host| host.trim().trim_end_matches('.'));
        let hosts = hosts(&self.metadata, named)?;
        let outside = Outside {
            exposure: match self.kind() {
                "NodePort" => Exposure::NodePort,
                "LoadBalancer" => Exposure::LoadBalancer,
                _ => Exposure::None,
            },
            external_ips: addresses(&self.spec.external_ips)?,
            load_balancer: self.status.load_balancer.points()?,
            local_only: self.spec.external_traffic_policy.as_deref() == Some("Local"),
            created: self.metadata.creation_timestamp.filter(|_| !hosts.is_empty()),
            hosts,
            ignored: self.metadata.is_ignored(),
        };
        Ok((outside != Outside::default()).then(|| Box::new(outside)))
    }
}

impl ServicePort {
    pub(super) fn fact(&self) -> Result<model::ServicePort, FieldError> {
        let port = self.port.filter(|port| *port > 0).ok_or(FieldError::Port)?;
        let protocol = protocol(self.protocol.as_deref())?;
        Ok(model::ServicePort {
            name: self.name.as_str().into(),
            protocol,
            port,
            node_port: self.node_port.filter(|port| *port > 0),
        })
    }
}
