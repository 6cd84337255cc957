//! Plain cluster facts: the few fields DNS needs of each object, and how they change.
//!
//! Every source (the API server, a directory of manifests, a snapshot) ends in [`Change`]; the zone
//! reads nothing else. Facts own their strings, hold no Kubernetes type, and compare by value, so
//! "did it change" is `==`.

mod endpointslice;
mod gateway;
mod ingress;
mod namespace;
mod node;
mod pod;
mod service;

use std::time::SystemTime;

pub use endpointslice::{Endpoint, EndpointPort, EndpointSlice, Import};
pub use gateway::{Gateway, Route};
pub use ingress::Ingress;
pub use namespace::{Namespace, Selector};
pub use node::{Node, NodeAddress};
pub use pod::Pod;
pub use service::{
    Addressing, Exposure, LoadBalancerPoint, Outside, Protocol, Service, ServicePort,
};

/// A kind of object that ndots reads, by its Kubernetes name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    Service,
    EndpointSlice,
    Pod,
    Node,
    Ingress,
    Gateway,
    HttpRoute,
    TlsRoute,
    GrpcRoute,
    ServiceImport,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Namespace,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::Node,
        Self::Ingress,
        Self::Gateway,
        Self::HttpRoute,
        Self::TlsRoute,
        Self::GrpcRoute,
        Self::ServiceImport,
    ];

    /// The kind as it stands in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::Ingress => "Ingress",
            Self::Gateway => "Gateway",
            Self::HttpRoute => "HTTPRoute",
            Self::TlsRoute => "TLSRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::ServiceImport => "ServiceImport",
        }
    }
}

/// Which object: `namespace` is empty for kinds without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Key {
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

/// `Service monitoring/prometheus`, `Node worker-1`.
impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind.name(), self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind.name(), self.name),
        }
    }
}

/// One fact of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Namespace(Namespace),
    Service(Service),
    EndpointSlice(EndpointSlice),
    Pod(Pod),
    Node(Node),
    Ingress(Ingress),
    Gateway(Gateway),
    Route(Route),
    /// What other clusters of a set offer under one name, which has a Service's shape.
    ServiceImport(Service),
}

impl Object {
    pub fn key(&self) -> Key {
        match self {
            Self::Namespace(it) => Key::new(Kind::Namespace, "", &it.name),
            Self::Service(it) => Key::new(Kind::Service, &it.namespace, &it.name),
            Self::EndpointSlice(it) => Key::new(Kind::EndpointSlice, &it.namespace, &it.name),
            Self::Pod(it) => Key::new(Kind::Pod, &it.namespace, &it.name),
            Self::Node(it) => Key::new(Kind::Node, "", &it.name),
            Self::Ingress(it) => Key::new(Kind::Ingress, &it.namespace, &it.name),
            Self::Gateway(it) => Key::new(Kind::Gateway, &it.namespace, &it.name),
            Self::Route(it) => Key::new(it.kind, &it.namespace, &it.name),
            Self::ServiceImport(it) => Key::new(Kind::ServiceImport, &it.namespace, &it.name),
        }
    }
}

/// The only way into the zone.
///
/// A full list of a kind is `Relist`, one `Upsert` an object, `Synced`: what was not seen again
/// between the two is gone, and until `Synced` what was known before is still served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Upsert(Object),
    Remove(Key),
    Relist(Kind),
    Synced(Kind),
    /// The source may not read the kind, and why: what was known of it stands.
    Refused(Kind, Box<str>),
    /// The kind is not read any more: nothing is known of it.
    Forget(Kind),
    /// What was said of a Service's endpoints just now comes from something that happened at this
    /// time.
    Caused {
        namespace: Box<str>,
        service: Box<str>,
        at: SystemTime,
    },
}
