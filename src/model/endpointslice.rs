//! What DNS needs of an EndpointSlice: its ready endpoints.

use std::sync::Arc;

use super::{Endpoints, Protocol};

/// A slice of the endpoints of a Service, of a ServiceImport, or of both. A slice without either is
/// not a fact, because its endpoints would have no name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointSlice {
    pub namespace: Arc<str>,
    pub name: Box<str>,
    /// Label `kubernetes.io/service-name`.
    pub service: Option<Box<str>>,
    pub import: Option<Box<Import>>,
    /// Only the ready ones (`conditions.ready` is true or absent), with one entry for each address.
    pub endpoints: Endpoints,
    /// Slices of many Services have equal ports and can share them.
    pub ports: Arc<[EndpointPort]>,
}

impl EndpointSlice {
    /// A slice that belongs to no Service yet, without endpoints.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            service: None,
            import: None,
            endpoints: Endpoints::default(),
            ports: Arc::default(),
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

/// A port of the endpoints: the target port, not the Service's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointPort {
    /// Empty for an unnamed port.
    pub name: Box<str>,
    pub protocol: Protocol,
    /// `None` stands for all ports. There is no SRV record for it.
    pub port: Option<u16>,
}
