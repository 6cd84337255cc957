//! Fields that several kinds share, and how they are deserialized.
//!
//! Every field may be absent or `null`: an object with one unusual field can still be read.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use serde::{Deserialize, Deserializer};

use crate::{
    limits,
    model::{LoadBalancerPoint, Protocol},
};

use super::protobuf::{Message, Shape};

/// A field whose value cannot be used. The object is left out of answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("`{0}` is not an IP address")]
    Address(String),
    #[error("protocol `{0}` is not one of TCP, UDP, SCTP")]
    Protocol(String),
    #[error("a port has no `port` from 1 to 65535")]
    Port,
    #[error("type `{value}` is not one of {allowed}")]
    Type { value: String, allowed: &'static str },
    #[error("a Service of type ExternalName needs `externalName`")]
    ExternalName,
    #[error("it has more than {} host names", limits::OBJECT_HOSTS)]
    Hosts,
    /// The JSON or the protobuf has another type than the API's.
    #[error("{0}")]
    Encoding(String),
}

impl From<serde_json::Error> for FieldError {
    /// Drops the position, because users do not see the JSON that it points into.
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        Self::Encoding(
            text.rsplit_once(" at line ").map_or(&*text, |(before, _)| before).to_owned(),
        )
    }
}

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
    #[serde(deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    pub deletion_timestamp: Option<String>,
    /// Seconds since 1970.
    #[serde(deserialize_with = "seconds")]
    pub creation_timestamp: Option<i64>,
    /// Opaque: only the API server knows what it means.
    #[serde(deserialize_with = "or_default")]
    pub resource_version: String,
}

/// The annotations that ndots reads.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Annotations {
    /// The time of the change that led to this EndpointSlice, by the controller's clock (RFC 3339).
    #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
    pub last_change_trigger_time: Option<String>,
    /// Host names, as `k8s_gateway` and external-dns read them.
    #[serde(rename = "coredns.io/hostname")]
    pub hostname: Option<String>,
    #[serde(rename = "external-dns.alpha.kubernetes.io/hostname")]
    pub external_dns_hostname: Option<String>,
    /// The class of an Ingress from before `spec.ingressClassName` existed.
    #[serde(rename = "kubernetes.io/ingress.class")]
    pub ingress_class: Option<String>,
    /// `true` at the bookmark that ends the objects of a list that is sent as events.
    #[serde(rename = "k8s.io/initial-events-end")]
    pub initial_events_end: Option<String>,
}

pub(super) static META: Message = Message(&[
    (1, "name", Shape::Text),
    (3, "namespace", Shape::Text),
    (6, "resourceVersion", Shape::Text),
    (8, "creationTimestamp", Shape::Time),
    (9, "deletionTimestamp", Shape::Time),
    (11, "labels", Shape::Map),
    (12, "annotations", Shape::Map),
]);
/// The metadata of kinds whose labels no fact depends on.
pub(super) static META_WITHOUT_LABELS: Message = Message(&[
    (1, "name", Shape::Text),
    (3, "namespace", Shape::Text),
    (6, "resourceVersion", Shape::Text),
    (9, "deletionTimestamp", Shape::Time),
    (12, "annotations", Shape::Map),
]);
/// An entry of `status.conditions`.
pub(super) static CONDITION: Message =
    Message(&[(1, "type", Shape::Text), (2, "status", Shape::Text)]);
/// `status` of a Service or an Ingress.
pub(super) static LOAD_BALANCER_STATUS: Message =
    Message(&[(1, "loadBalancer", Shape::Message(&LOAD_BALANCER))]);
static LOAD_BALANCER: Message = Message(&[(1, "ingress", Shape::Messages(&LOAD_BALANCER_INGRESS))]);
static LOAD_BALANCER_INGRESS: Message =
    Message(&[(1, "ip", Shape::Text), (2, "hostname", Shape::Text)]);

/// The label with which `k8s_gateway` ignores an object.
const IGNORE: &str = "k8s-gateway.dns/ignore";

impl Meta {
    pub(super) fn is_ignored(&self) -> bool {
        self.labels.get(IGNORE).is_some_and(|value| value == "true")
    }
}

/// The host names of an object, lower-cased and without duplicates; empty for an ignored object.
///
/// # Errors
/// If there are more than [`limits::OBJECT_HOSTS`].
pub(super) fn hosts<'h>(
    meta: &Meta,
    names: impl IntoIterator<Item = &'h str>,
) -> Result<Box<[Box<str>]>, FieldError> {
    let (mut hosts, mut seen) = (Vec::new(), HashSet::new());
    for host in names.into_iter().filter(|host| !host.is_empty() && !meta.is_ignored()) {
        let host: Box<str> = host.to_ascii_lowercase().into();
        if seen.insert(host.clone()) {
            if hosts.len() == limits::OBJECT_HOSTS {
                return Err(FieldError::Hosts);
            }
            hosts.push(host);
        }
    }
    Ok(hosts.into())
}

/// Reads `null` as absent, because `kubectl` prints `null` for empty fields.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A time (RFC 3339). A time that cannot be read counts as absent; the API server never writes one.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_second))
}

/// Labels and selectors. A value of `null` is an empty value, as for the API server.
pub(super) fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let given: Option<BTreeMap<String, Option<String>>> = Option::deserialize(deserializer)?;
    Ok(given.into_iter().flatten().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// `protocol`, which is TCP if it is absent.
pub(crate) fn protocol(text: Option<&str>) -> Result<Protocol, FieldError> {
    match text.unwrap_or("TCP") {
        "" | "TCP" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(FieldError::Protocol(other.to_owned())),
    }
}

pub(super) fn address(text: &str) -> Result<IpAddr, FieldError> {
    text.parse()
        .ok()
        .or_else(|| with_leading_zeros(text))
        .ok_or_else(|| FieldError::Address(text.to_owned()))
}

/// `192.168.001.010`, which old API servers accepted. Kubernetes reads the numbers as decimal.
fn with_leading_zeros(text: &str) -> Option<IpAddr> {
    let octet =
        |part: &str| part.bytes().all(|it| it.is_ascii_digit()).then(|| part.parse::<u8>().ok())?;
    let octets: Vec<u8> = text.split('.').map(octet).collect::<Option<_>>()?;
    <[u8; 4]>::try_from(octets).ok().map(IpAddr::from)
}

pub(super) fn addresses<'t>(
    texts: impl IntoIterator<Item = &'t String>,
) -> Result<Box<[IpAddr]>, FieldError> {
    texts.into_iter().map(|text| address(text)).collect()
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct LoadBalancer {
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
    pub(super) fn points(&self) -> Result<Box<[LoadBalancerPoint]>, FieldError> {
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
    fn a_host_counts_once_and_the_hosts_are_bounded() {
        let meta = Meta::default();
        let names = |count: usize| (0..count).map(|it| format!("h{it}")).collect::<Vec<_>>();
        let found = |names: &[String]| hosts(&meta, names.iter().map(String::as_str));
        let some = ["B", "", "a", "b", "A"].map(str::to_owned);
        assert_eq!(found(&some).unwrap().iter().map(|it| &**it).collect::<Vec<_>>(), ["b", "a"]);
        let most = names(limits::OBJECT_HOSTS);
        assert_eq!(found(&[&most[..], &most[..]].concat()).unwrap().len(), most.len());
        assert_eq!(found(&names(limits::OBJECT_HOSTS + 1)), Err(FieldError::Hosts));
    }

    #[test]
    fn addresses_may_have_leading_zeros() {
        let check = |text: &str, expected: Option<[u8; 4]>| {
            assert_eq!(address(text).ok(), expected.map(IpAddr::from), "{text}");
        };
        check("192.168.1.10", Some([192, 168, 1, 10]));
        check("192.168.001.010", Some([192, 168, 1, 10]));
        for wrong in ["", "1.2.3", "1..2.3", "1.2.3.256", "1.2.3.4.5", "+1.2.3.4", "1.2.3.x"] {
            check(wrong, None);
        }
    }
}
