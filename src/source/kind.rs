//! The few fields that are read of each kind of object, whatever format they come in.
//!
//! Every field may be absent: an object that is odd in one place is still read in the others.

mod endpoints;
mod endpointslice;
mod gateway;
mod ingress;
mod namespace;
mod node;
mod pod;
mod port;
mod resource;
mod route;
mod service;
mod serviceimport;

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::model::{LoadBalancerPoint, Protocol};

pub use endpoints::Endpoints;
pub use endpointslice::{EndpointSlice, SERVICE_NAME};
pub use gateway::Gateway;
pub use ingress::Ingress;
pub use namespace::Namespace;
pub use node::Node;
pub use pod::Pod;
pub use port::PortRef;
pub use resource::{ALL, Resource, Seen};
pub use route::Route;
pub use service::{Service, ServicePort};
pub use serviceimport::ServiceImport;

/// `metadata`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub annotations: Annotations,
    #[serde(deserialize_with = "words")]
    pub labels: BTreeMap<String, String>,
    pub deletion_timestamp: Option<String>,
    /// Opaque: only the API server knows what it means.
    #[serde(deserialize_with = "or_default")]
    pub resource_version: String,
}

/// The annotations that are read; others may be long.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Annotations {
    /// When the change happened that an EndpointSlice tells of, by the controller's clock (RFC
    /// 3339).
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    pub last_change_trigger_time: Option<String>,
    /// Host names, as `k8s_gateway` and external-dns read them.
    #[serde(rename = "coredns.io/hostname")]
    pub hostname: Option<String>,
    #[serde(rename = "external-dns.alpha.kubernetes.io/hostname")]
    pub external_dns_hostname: Option<String>,
    /// The class of an Ingress before there was a field for it.
    #[serde(rename = "kubernetes.io/ingress.class")]
    pub ingress_class: Option<String>,
}

/// The label with which `k8s_gateway` passes over an object.
const IGNORE: &str = "k8s-gateway.dns/ignore";

impl Meta {
    pub(super) fn is_ignored(&self) -> bool {
        self.labels.get(IGNORE).is_some_and(|value| value == "true")
    }
}

/// The hosts that an object names, lower-cased, each once; none of an object that is to be passed
/// over.
pub(super) fn hosts<'h>(
    meta: &Meta,
    named: impl IntoIterator<Item = &'h String>,
) -> Box<[Box<str>]> {
    let mut hosts: Vec<Box<str>> = Vec::new();
    for host in named.into_iter().filter(|host| !host.is_empty() && !meta.is_ignored()) {
        let host = host.to_ascii_lowercase().into();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts.into()
}

/// An object of a kind that is read.
#[derive(Clone, Debug)]
pub enum Decoded {
    Namespace(Namespace),
    Service(Service),
    EndpointSlice(EndpointSlice),
    Endpoints(Endpoints),
    Pod(Pod),
    Node(Node),
    Ingress(Ingress),
    Gateway(Gateway),
    HttpRoute(Route),
    TlsRoute(Route),
    GrpcRoute(Route),
    ServiceImport(ServiceImport),
}

/// What a manifest says it is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default, deserialize_with = "or_default")]
    api_version: String,
    #[serde(default, deserialize_with = "or_default")]
    kind: String,
}

impl Decoded {
    /// Decodes an object; `None` for a kind that is not read.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(value: &Value) -> Result<Option<Self>, String> {
        if !value.is_object() {
            return Err("it is no object with `apiVersion`, `kind` and `metadata`".to_owned());
        }
        let head: Head = typed(value)?;
        let name = value.pointer("/metadata/name").and_then(Value::as_str);
        let of_object = |sentence| {
            format!(
                "{}{}: {sentence}",
                head.kind,
                name.map(|name| format!(" {name}")).unwrap_or_default()
            )
        };
        Self::read_kind(&head, value)
            .map_err(|sentence| if head.kind.is_empty() { sentence } else { of_object(sentence) })
    }

    fn read_kind(head: &Head, value: &Value) -> Result<Option<Self>, String> {
        let group = head.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let decoded = match (group, &*head.kind) {
            (_, "") => return Err("it has no `kind`".to_owned()),
            ("", "Namespace") => Self::Namespace(typed(value)?),
            ("", "Service") => Self::Service(typed(value)?),
            ("discovery.k8s.io", "EndpointSlice") => Self::EndpointSlice(typed(value)?),
            ("", "Endpoints") => Self::Endpoints(typed(value)?),
            ("", "Pod") => Self::Pod(typed(value)?),
            ("", "Node") => Self::Node(typed(value)?),
            ("networking.k8s.io" | "extensions", "Ingress") => Self::Ingress(typed(value)?),
            ("gateway.networking.k8s.io", "Gateway") => Self::Gateway(typed(value)?),
            ("gateway.networking.k8s.io", "HTTPRoute") => Self::HttpRoute(typed(value)?),
            ("gateway.networking.k8s.io", "TLSRoute") => Self::TlsRoute(typed(value)?),
            ("gateway.networking.k8s.io", "GRPCRoute") => Self::GrpcRoute(typed(value)?),
            ("multicluster.x-k8s.io", "ServiceImport") => Self::ServiceImport(typed(value)?),
            _ => return Ok(None),
        };
        Ok(Some(decoded))
    }

    pub fn meta(&self) -> &Meta {
        match self {
            Self::Namespace(it) => &it.metadata,
            Self::Service(it) => &it.metadata,
            Self::EndpointSlice(it) => &it.metadata,
            Self::Endpoints(it) => &it.metadata,
            Self::Pod(it) => &it.metadata,
            Self::Node(it) => &it.metadata,
            Self::Ingress(it) => &it.metadata,
            Self::Gateway(it) => &it.metadata,
            Self::HttpRoute(it) | Self::TlsRoute(it) | Self::GrpcRoute(it) => &it.metadata,
            Self::ServiceImport(it) => &it.metadata,
        }
    }

    pub fn meta_mut(&mut self) -> &mut Meta {
        match self {
            Self::Namespace(it) => &mut it.metadata,
            Self::Service(it) => &mut it.metadata,
            Self::EndpointSlice(it) => &mut it.metadata,
            Self::Endpoints(it) => &mut it.metadata,
            Self::Pod(it) => &mut it.metadata,
            Self::Node(it) => &mut it.metadata,
            Self::Ingress(it) => &mut it.metadata,
            Self::Gateway(it) => &mut it.metadata,
            Self::HttpRoute(it) | Self::TlsRoute(it) | Self::GrpcRoute(it) => &mut it.metadata,
            Self::ServiceImport(it) => &mut it.metadata,
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Self::Namespace(_) => "Namespace",
            Self::Service(_) => "Service",
            Self::EndpointSlice(_) => "EndpointSlice",
            Self::Endpoints(_) => "Endpoints",
            Self::Pod(_) => "Pod",
            Self::Node(_) => "Node",
            Self::Ingress(_) => "Ingress",
            Self::Gateway(_) => "Gateway",
            Self::HttpRoute(_) => "HTTPRoute",
            Self::TlsRoute(_) => "TLSRoute",
            Self::GrpcRoute(_) => "GRPCRoute",
            Self::ServiceImport(_) => "ServiceImport",
        }
    }

    /// Whether objects of the kind lie in a namespace.
    pub fn is_namespaced(&self) -> bool {
        !matches!(self, Self::Namespace(_) | Self::Node(_))
    }
}

fn typed<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|error| error.to_string())
}

/// `null` is as good as absent: `kubectl` prints it so.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Labels and selectors: `null` for a value is the empty one, as the API server takes it.
pub(super) fn words<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let given: Option<BTreeMap<String, Option<String>>> = Option::deserialize(deserializer)?;
    Ok(given.into_iter().flatten().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// `protocol`, TCP where it is absent.
pub(super) fn protocol(text: Option<&str>) -> Result<Protocol, String> {
    match text.unwrap_or("TCP") {
        "" | "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(format!("protocol `{other}` is none of TCP, UDP, SCTP")),
    }
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .ok()
        .or_else(|| with_zeros(text))
        .ok_or_else(|| format!("`{text}` is no IP address"))
}

/// `192.168.001.010`, as objects of old API servers may still have it: decimal numbers.
fn with_zeros(text: &str) -> Option<IpAddr> {
    let octet =
        |part: &str| part.bytes().all(|it| it.is_ascii_digit()).then(|| part.parse::<u8>().ok())?;
    let octets: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(IpAddr::from)
}

pub(super) fn addresses<'t>(
    texts: impl IntoIterator<Item = &'t String>,
) -> Result<Box<[IpAddr]>, String> {
    texts.into_iter().map(|text| address(text)).collect()
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct LoadBalancer {
    #[serde(deserialize_with = "or_default")]
    ingress: Vec<LoadBalancerIngress>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct LoadBalancerIngress {
    #[serde(deserialize_with = "or_default")]
    ip: String,
    #[serde(deserialize_with = "or_default")]
    hostname: String,
}

impl LoadBalancer {
    pub(super) fn points(&self) -> Result<Box<[LoadBalancerPoint]>, String> {
        let point = |it: &LoadBalancerIngress| match (&*it.ip, &*it.hostname) {
            ("", "") => None,
            ("", hostname) => Some(Ok(LoadBalancerPoint::Hostname(hostname.into()))),
            (ip, _) => Some(address(ip).map(LoadBalancerPoint::Ip)),
        };
        self.ingress.iter().filter_map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_have_zeros_in_front() {
        let check = |text: &str, expected: Option<[u8; 4]>| {
            assert_eq!(address(text).ok(), expected.map(IpAddr::from), "{text}")
        };
        check("192.168.1.10", Some([192, 168, 1, 10]));
        check("192.168.001.010", Some([192, 168, 1, 10]));
        for wrong in ["", "1.2.3", "1..2.3", "1.2.3.256", "1.2.3.4.5", "+1.2.3.4", "1.2.3.x"] {
            check(wrong, None);
        }
    }
}
