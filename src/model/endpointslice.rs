//! What DNS needs of an EndpointSlice: its ready endpoints.

use std::{net::IpAddr, ops::BitOr, sync::Arc};

use super::Protocol;

/// A slice of the endpoints of a Service, of a ServiceImport, or of both. A slice without either is
/// not a fact, because its endpoints would have no name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSlice {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// Label `kubernetes.io/service-name`.
    pub service: Option<Box<str>>,
    pub import: Option<Box<Import>>,
    /// Only the ready ones (`conditions.ready` is true or absent), with one entry for each address.
    pub endpoints: Box<[Endpoint]>,
    pub ports: Box<[EndpointPort]>,
}

impl EndpointSlice {
    /// A slice that belongs to no Service yet, without endpoints.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            service: None,
            import: None,
            endpoints: Box::default(),
            ports: Box::default(),
        }
    }
}

/// The ServiceImport that a slice belongs to, and the cluster that exports it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Import {
    /// Label `multicluster.kubernetes.io/service-name`.
    pub service: Box<str>,
    /// Label `multicluster.kubernetes.io/source-cluster`.
    pub cluster: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: IpAddr,
    /// Apart from the address, because most Corefiles need nothing else of an endpoint.
    pub details: Option<Box<EndpointDetails>>,
}

/// What is known of an endpoint beside its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EndpointDetails {
    pub hostname: Option<Box<str>>,
    /// The name in `targetRef`, usually a Pod's.
    pub pod: Option<Box<str>>,
    /// The topology zone. The endpoints of a slice share the text.
    pub zone: Option<Arc<str>>,
    /// The Node that the endpoint is on.
    pub node: Option<Arc<str>>,
}

/// The details of endpoints that a configuration needs. Host names are always needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointFields {
    /// The option `endpoint_pod_names` needs the names of Pods.
    pub pods: bool,
    /// The option `zonal` needs topology zones.
    pub zones: bool,
    /// `k8s_gateway` needs Nodes for Services with `externalTrafficPolicy: Local`.
    pub nodes: bool,
}

impl EndpointFields {
    /// Whether these are all that `needed` has.
    pub fn include(self, needed: Self) -> bool {
        self | needed == self
    }
}

impl BitOr for EndpointFields {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            pods: self.pods || other.pods,
            zones: self.zones || other.zones,
            nodes: self.nodes || other.nodes,
        }
    }
}

impl Endpoint {
    /// An endpoint of which nothing but the address is known.
    pub fn new(address: IpAddr) -> Self {
        Self { address, details: None }
    }

    pub fn with(address: IpAddr, details: EndpointDetails) -> Self {
        let details = (details != EndpointDetails::default()).then(|| Box::new(details));
        Self { address, details }
    }

    pub fn hostname(&self) -> Option<&str> {
        self.details.as_ref()?.hostname.as_deref()
    }

    pub fn pod(&self) -> Option<&str> {
        self.details.as_ref()?.pod.as_deref()
    }

    pub fn zone(&self) -> Option<&str> {
        self.details.as_ref()?.zone.as_deref()
    }

    pub fn node(&self) -> Option<&Arc<str>> {
        self.details.as_ref()?.node.as_ref()
    }

    /// Drops the details that are not needed.
    pub fn reduce(&mut self, needed: EndpointFields) {
        let Some(details) = &mut self.details else { return };
        details.pod.take_if(|_| !needed.pods);
        details.zone.take_if(|_| !needed.zones);
        details.node.take_if(|_| !needed.nodes);
        self.details.take_if(|details| **details == EndpointDetails::default());
    }
}

/// A port of the endpoints: the target port, not the Service's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointPort {
    /// Empty for an unnamed port.
    pub name: Box<str>,
    pub protocol: Protocol,
    /// `None` stands for all ports. There is no SRV record for it.
    pub port: Option<u16>,
}
