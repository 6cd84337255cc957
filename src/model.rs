//! Facts of a cluster: the few fields that DNS needs of each object, and how they change.
//!
//! Every source (an API server, a directory of manifests) emits [`Change`], and the zone reads
//! nothing else. Facts own their strings, contain no Kubernetes type, and compare by value, so `==`
//! tells whether a fact has changed.

mod endpoints;
mod endpointslice;
mod gateway;
mod ingress;
mod namespace;
mod node;
mod octets;
mod pod;
mod selector;
mod service;

use std::time::SystemTime;

pub use endpoints::{Endpoint, EndpointDetails, EndpointFields, EndpointRef, Endpoints};
pub use endpointslice::{EndpointPort, EndpointSlice, Import};
pub use gateway::{Gateway, Route};
pub use ingress::Ingress;
pub use namespace::Namespace;
pub use node::{Node, NodeAddress};
pub use octets::pod_octets;
pub use pod::Pod;
pub use selector::Selector;
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
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
            Self::Node(_) => Kind::Node,
            Self::Ingress(_) => Kind::Ingress,
            Self::Gateway(_) => Kind::Gateway,
            Self::Route(it) => it.kind,
            Self::ServiceImport(_) => Kind::ServiceImport,
        }
    }

    /// Empty for an object of the whole cluster.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Namespace(_) | Self::Node(_) => "",
            Self::Service(it) | Self::ServiceImport(it) => &it.namespace,
            Self::EndpointSlice(it) => &it.namespace,
            Self::Pod(it) => &it.namespace,
            Self::Ingress(it) => &it.namespace,
            Self::Gateway(it) => &it.namespace,
            Self::Route(it) => &it.namespace,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Namespace(it) => &it.name,
            Self::Service(it) | Self::ServiceImport(it) => &it.name,
            Self::EndpointSlice(it) => &it.name,
            Self::Pod(it) => &it.name,
            Self::Node(it) => &it.name,
            Self::Ingress(it) => &it.name,
            Self::Gateway(it) => &it.name,
            Self::Route(it) => &it.name,
        }
    }

    pub fn key(&self) -> Key {
        Key::new(self.kind(), self.namespace(), self.name())
    }
}

/// A message of a source to the zone.
///
/// A complete list of a kind is `Relist`, an `Upsert` for each object, and `Synced`. `Synced`
/// removes the facts that had no `Upsert` since `Relist`. Until then they are served.
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
    /// The source gives up a list that is too large. If the kind was never synced, its facts are
    /// removed, because an incomplete list is of no use.
    Abandon(Kind),
    /// The last change of the Service's endpoints has a cause in the cluster that happened at this
    /// time, by the clock of the controller.
    Caused {
        namespace: Box<str>,
        service: Box<str>,
        at: SystemTime,
    },
}
