//! What DNS needs of an EndpointSlice: its ready endpoints.

use std::{net::IpAddr, sync::Arc};

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
    pub hostname: Option<Box<str>>,
    /// The name in `targetRef`, usually a Pod's, for `endpoint_pod_names`.
    pub pod: Option<Box<str>>,
    /// The topology zone, for `zonal`. The endpoints of a slice share the text.
    pub zone: Option<Arc<str>>,
    /// The Node that the endpoint is on, for `externalTrafficPolicy: Local`.
    pub node: Option<Arc<str>>,
}

impl Endpoint {
    /// An endpoint without a host name, Pod, zone and Node.
    pub fn new(address: IpAddr) -> Self {
        Self { address, hostname: None, pod: None, zone: None, node: None }
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
