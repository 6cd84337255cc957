//! The Kubernetes kinds that ndots reads.
//!
//! Each kind has one static [`KindDescriptor`] in a file of its own and one line in [`ALL`].
//! Everything that depends on the kind comes from there: the paths that the API source asks for,
//! the objects that the manifests reader recognizes, the objects that `explain` lists, and, by a
//! test, the rules in `deploy/`.

mod clusterrole;
mod clusterrolebinding;
mod configmap;
mod endpoints;
mod endpointslice;
mod event;
mod fields;
mod gateway;
pub mod gateway_api;
mod ingress;
mod ingressclass;
mod namespace;
mod networkpolicy;
mod node;
mod object;
mod pod;
mod port;
pub(super) mod protobuf;
mod route;
mod secret;
mod service;
mod serviceimport;
mod workload;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::model::{Kind, Object};

pub use clusterrole::CLUSTER_ROLE;
pub use clusterrolebinding::CLUSTER_ROLE_BINDING;
pub use configmap::CONFIG_MAP;
pub use endpoints::{ENDPOINTS, Endpoints};
pub use endpointslice::{ENDPOINT_SLICE, EndpointSlice, SERVICE_NAME};
pub use event::EVENT;
pub use fields::{FieldError, Meta};
pub(super) use fields::{or_default, protocol};
pub use gateway::GATEWAY;
pub use gateway_api::{GATEWAY_CLASS, REFERENCE_GRANT, TCP_ROUTE, UDP_ROUTE};
pub use ingress::INGRESS;
pub use ingressclass::INGRESS_CLASS;
pub use namespace::NAMESPACE;
pub use networkpolicy::NETWORK_POLICY;
pub use node::{NODE, Node};
pub use object::{ApiObject, NotAnObjectError, ObjectStore};
pub use pod::{POD, Pod};
pub use port::PortRef;
pub use protobuf::Message;
pub use route::{GRPC_ROUTE, HTTP_ROUTE, TLS_ROUTE};
pub use secret::SECRET;
pub use service::{SERVICE, Service, ServicePort};
pub use serviceimport::SERVICE_IMPORT;
pub use workload::{
    CLONE_SET, CRON_JOB, DAEMON_SET, DEPLOYMENT, DEPLOYMENT_CONFIG, JOB, REPLICA_SET,
    REPLICATION_CONTROLLER, ROLLOUT, STATEFUL_SET, Workload,
};

/// Every kind that ndots reads.
pub static ALL: &[&KindDescriptor] = &[
    &NAMESPACE,
    &SERVICE,
    &ENDPOINT_SLICE,
    &ENDPOINTS,
    &POD,
    &NODE,
    &INGRESS,
    &GATEWAY,
    &HTTP_ROUTE,
    &TLS_ROUTE,
    &GRPC_ROUTE,
    &SERVICE_IMPORT,
    &CONFIG_MAP,
    &SECRET,
    &INGRESS_CLASS,
    &NETWORK_POLICY,
    &GATEWAY_CLASS,
    &TCP_ROUTE,
    &UDP_ROUTE,
    &REFERENCE_GRANT,
    &EVENT,
    &DEPLOYMENT,
    &STATEFUL_SET,
    &DAEMON_SET,
    &REPLICA_SET,
    &REPLICATION_CONTROLLER,
    &JOB,
    &CRON_JOB,
    &ROLLOUT,
    &DEPLOYMENT_CONFIG,
    &CLONE_SET,
    &CLUSTER_ROLE,
    &CLUSTER_ROLE_BINDING,
];

/// A Kubernetes kind: where it is, how it is read, and what DNS needs it for.
pub struct KindDescriptor {
    /// `EndpointSlice`.
    pub name: &'static str,
    /// The resource's name in paths and in RBAC: `endpointslices`.
    pub plural: &'static str,
    pub scope: Scope,
    /// The newest version first. Manifests may have any of them. An API server is asked for those
    /// in the newest version's group, because that group is the one that RBAC grants.
    pub versions: &'static [Version],
    pub dns: DnsUse,
    /// Reads an object in the shape of the newest version, only the fields that DNS needs.
    pub(self) decode: fn(Encoded<'_>) -> Result<Decoded, FieldError>,
    /// Adds an object to those that `explain` looks at.
    pub(self) store: fn(&ApiObject, &mut ObjectStore) -> Result<(), FieldError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// A version in which a kind is, or was, served.
pub struct Version {
    /// `v1`, `networking.k8s.io/v1`.
    pub api_version: &'static str,
    /// Gives an object the newest version's shape; `None` where the fields that are read are the
    /// same.
    convert: Option<fn(&mut Map<String, Value>)>,
}

/// What DNS does with a kind.
pub enum DnsUse {
    /// Nothing: only `explain` reads the kind.
    None,
    /// It is an input of a controller. ndots simulates the controller for manifests; in a cluster
    /// it reads what the real controller makes.
    Manifests,
    /// Its objects are facts.
    Facts(Watched),
}

/// How the API source lists and watches a kind.
pub struct Watched {
    pub fact: Kind,
    pub need: Need,
    /// Whether the Corefile's `labels` selects among the kind's objects.
    pub labels: LabelSelector,
    pub field_selector: Option<&'static str>,
    /// The message of the newest version; `None` for kinds that API servers have as JSON only, such
    /// as those of CustomResourceDefinitions.
    protobuf: Option<&'static Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without the kind there are no answers, so a failure is logged again and again.
    Required,
    /// A cluster may lack the kind or its permission, so a failure is logged once.
    Optional,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelSelector {
    Applies,
    Ignored,
}

/// An object as it is read from a source.
#[derive(Clone, Copy, Debug)]
pub enum Encoded<'e> {
    Json(&'e str),
    /// The message of the kind, without the envelope that names the kind.
    Protobuf(&'static Message, &'e [u8]),
}

impl<'e> Encoded<'e> {
    fn read<T: Deserialize<'e>>(self) -> Result<T, FieldError> {
        match self {
            Self::Json(json) => Ok(serde_json::from_str(json)?),
            Self::Protobuf(message, octets) => protobuf::read(message, octets)
                .map_err(|error| FieldError::Encoding(error.to_string())),
        }
    }
}

/// What DNS reads of an object.
#[derive(Debug)]
pub struct Decoded {
    pub meta: Meta,
    /// `None` for an object that DNS does not show, such as a Pod without an address.
    pub fact: Result<Option<Object>, FieldError>,
}

impl Version {
    /// A version with the newest version's shape, as far as ndots reads it.
    const fn new(api_version: &'static str) -> Self {
        Self { api_version, convert: None }
    }

    const fn converted(api_version: &'static str, convert: fn(&mut Map<String, Value>)) -> Self {
        Self { api_version, convert: Some(convert) }
    }

    /// Empty for the core group.
    pub fn group(&self) -> &'static str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }
}

impl Watched {
    /// A kind that every cluster has, and whose objects `labels` selects.
    const fn required(fact: Kind) -> Self {
        Self {
            fact,
            need: Need::Required,
            labels: LabelSelector::Applies,
            field_selector: None,
            protobuf: None,
        }
    }

    const fn optional(fact: Kind) -> Self {
        Self { need: Need::Optional, labels: LabelSelector::Ignored, ..Self::required(fact) }
    }

    const fn encoded(self, message: &'static Message) -> Self {
        Self { protobuf: Some(message), ..self }
    }
}

impl KindDescriptor {
    pub fn newest(&self) -> &'static Version {
        &self.versions[0]
    }

    /// The group that RBAC grants; empty for the core group.
    pub fn group(&self) -> &'static str {
        self.newest().group()
    }

    /// `pods`, `endpointslices.discovery.k8s.io`: as RBAC and `kubectl` name the resource.
    pub fn resource(&self) -> String {
        match self.group() {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The versions that an API server is asked for, the newest first.
    pub fn served(&self) -> Vec<&'static Version> {
        let group = self.group();
        self.versions.iter().filter(|version| version.group() == group).collect()
    }

    /// The path of the kind's objects in an API server; `namespace` is empty for all namespaces.
    pub fn path(&self, version: &Version, namespace: &str) -> String {
        let root = if version.group().is_empty() { "api" } else { "apis" };
        let within =
            if namespace.is_empty() { String::new() } else { format!("namespaces/{namespace}/") };
        format!("/{root}/{}/{within}{}", version.api_version, self.plural)
    }

    /// How DNS watches the kind, if it does.
    pub fn watched(&self) -> Option<&Watched> {
        match &self.dns {
            DnsUse::Facts(watched) => Some(watched),
            DnsUse::None | DnsUse::Manifests => None,
        }
    }

    /// The protobuf message of the kind in `version`; `None` if the kind is read as JSON only.
    pub fn message(&self, version: &Version) -> Option<&'static Message> {
        self.watched()?.protobuf.filter(|_| version.convert.is_none())
    }

    /// Reads an object in `version`. An object with a wrong field still has its name.
    ///
    /// # Errors
    /// If its `metadata` cannot be read.
    pub fn decode(&self, version: &Version, object: Encoded<'_>) -> Result<Decoded, FieldError> {
        let converted;
        let object = match (version.convert, object) {
            (Some(convert), Encoded::Json(json)) => {
                let mut fields = serde_json::from_str(json)?;
                convert(&mut fields);
                converted = Value::Object(fields).to_string();
                Encoded::Json(&converted)
            }
            (_, object) => object,
        };
        (self.decode)(object).or_else(|error| {
            let Named { metadata } = object.read()?;
            Ok(Decoded { meta: metadata, fact: Err(error) })
        })
    }
}

/// The error messages of tests and the `Debug` of [`ApiObject`] need this.
impl std::fmt::Debug for KindDescriptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The kind whose objects become facts of `kind`, and how it is watched.
pub fn of_fact(kind: Kind) -> (&'static KindDescriptor, &'static Watched) {
    let watched = ALL.iter().filter_map(|it| Some((*it, it.watched()?)));
    watched
        .into_iter()
        .find(|(_, watched)| watched.fact == kind)
        .expect("every fact's kind has its line in the table")
}

/// The kind and version of a manifest's object. A version that is not in the table is read like the
/// newest one of its group; an absent `apiVersion` stands for the core group.
pub fn find(api_version: &str, kind: &str) -> Option<(&'static KindDescriptor, &'static Version)> {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let named = ALL.iter().filter(|it| it.name == kind);
    let versions = named.flat_map(|it| it.versions.iter().map(move |version| (*it, version)));
    let mut of_group: Vec<_> = versions.filter(|(_, version)| version.group() == group).collect();
    // A stable sort: the exact version first, else the newest.
    of_group.sort_by_key(|(_, version)| version.api_version != api_version);
    of_group.into_iter().next()
}

#[derive(Deserialize)]
struct Named {
    #[serde(default, deserialize_with = "or_default")]
    metadata: Meta,
}

/// The `decode` function of a kind that DNS has no facts about.
fn decode_name(object: Encoded<'_>) -> Result<Decoded, FieldError> {
    let Named { metadata } = object.read()?;
    Ok(Decoded { meta: metadata, fact: Ok(None) })
}

/// Deserializes `T`, and takes the fact and the metadata from it.
fn decode<T: DeserializeOwned>(
    object: Encoded<'_>,
    fact: impl FnOnce(&T) -> Result<Option<Object>, FieldError>,
    meta: impl FnOnce(T) -> Meta,
) -> Result<Decoded, FieldError> {
    let object: T = object.read()?;
    Ok(Decoded { fact: fact(&object), meta: meta(object) })
}

#[cfg(test)]
mod tests;
