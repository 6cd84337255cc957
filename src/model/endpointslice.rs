//! What DNS needs of an EndpointSlice: its ready endpoints.

use std::{net::IpAddr, sync::Arc};

use super::Protocol;

/// A slice of the endpoints of a Service, of an imported one, or of both. A slice that names
/// neither is no fact: it could only answer with an empty label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// Label `kubernetes.io/service-name`.
    pub service: Option<Box<str>>,
    pub import: Option<Box<Import>>,
    /// Only the ready ones (`conditions.ready` true or absent), one entry an address.
    pub endpoints: Box<[Endpoint]>,
    pub ports: Box<[EndpointPort]>,
}

/// Which ServiceImport a slice is of, and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Label `multicluster.kubernetes.io/service-name`.
    pub service: Box<str>,
    /// Label `multicluster.kubernetes.io/source-cluster`.
    pub cluster: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: IpAddr,
    pub hostname: Option<Box<str>>,
    /// Name of what is behind the address (`targetRef`), a Pod as a rule, for `endpoint_pod_names`.
    pub pod: Option<Box<str>>,
    /// The topology zone that it is in, for `zonal`; endpoints of a slice share a few.
    pub zone: Option<Arc<str>>,
    /// The Node that it is on, for Services that only such Nodes answer for.
    pub node: Option<Arc<str>>,
}

/// A port of the endpoints: the target port, not the Service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// Empty for an unnamed port.
    pub name: Box<str>,
    pub protocol: Protocol,
    /// `None` stands for every port, which no SRV record can say.
    pub port: Option<u16>,
}
