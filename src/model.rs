//! Facts of a cluster: the few fields that DNS needs of each object, and how they change.
//!
//! Every source (an API server, a directory of manifests) emits [`Change`], and the zone reads nothing
//! else. Facts own their strings, contain no Kubernetes type, and compare by value, so `==` tells
//! whether a fact has changed.

mod endpointslice;
mod gateway;
mod ingress;
mod namespace;
mod node;
mod octets;
mod pod;
mod service;

use std::time::SystemTime;

pub use endpointslice::{
    Endpoint, EndpointDetails, EndpointFields, EndpointPort, EndpointSlice, Import,
};
pub use gateway::{Gateway, Route};
pub use ingress::Ingress;
pub use namespace::{Namespace, Selector};
pub use node::{Node, NodeAddress};
pub use pod::Pod;
pub use service::{
    Addressing, Exposure, LoadBalancerPoint, Outside, Protocol, Service, ServicePort,
};

/// Defines [`Kind`] from one line for each kind: its name here, and in Kubernetes.
macro_rules! kinds {
    ($($kind:ident $name:literal,)*) => {
        /// The kind of a fact. A Kubernetes kind of this name is its source.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub const ALL: [Self; [$($name,)*].len()] = [$(Self::$kind,)*];

            /// The kind as it is spelled in a manifest.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    Namespace "Namespace",
    Service "Service",
    EndpointSlice "EndpointSlice",
    Pod "Pod",
    Node "Node",
    Ingress "Ingress",
    Gateway "Gateway",
    HttpRoute "HTTPRoute",
    TlsRoute "TLSRoute",
    GrpcRoute "GRPCRoute",
    ServiceImport "ServiceImport",
}

/// Identifies an object. `namespace` is empty for cluster-scoped kinds.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    Namespace(Namespace),
    Service(Service),
    EndpointSlice(EndpointSlice),
    Pod(Pod),
    Node(Node),
    Ingress(Ingress),
    Gateway(Gateway),
    Route(Route),
    /// A ServiceImport, which has the shape of a Service.
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

/// A message of a source to the zone.
///
/// A complete list of a kind is `Relist`, an `Upsert` for each object, and `Synced`. `Synced` removes
/// the facts that had no `Upsert` since `Relist`. Until then they are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Upsert(Object),
    Remove(Key),
    Relist(Kind),
    Synced(Kind),
    /// The source is not permitted to read the kind; the text says why. Its facts stay.
    Refused(Kind, Box<str>),
    /// The source does not read the kind any more. Its facts are removed.
    Forget(Kind),
    /// The last change of the Service's endpoints has a cause in the cluster that happened at this
    /// time, by the clock of the controller.
    Caused {
        namespace: Box<str>,
        service: Box<str>,
        at: SystemTime,
    },
}
