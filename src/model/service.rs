//! What DNS needs of a Service.

use std::{net::IpAddr, sync::Arc};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub namespace: Arc<str>,
    pub name: Box<str>,
    pub addressing: Addressing,
    /// Many Services have equal ports and can share them.
    pub ports: Arc<[ServicePort]>,
    /// How clients outside of the cluster reach it; `None` if they cannot.
    pub outside: Option<Box<Outside>>,
}

impl Service {
    /// A Service without ports, which is not reachable from outside of the cluster.
    pub fn new(namespace: &str, name: &str, addressing: Addressing) -> Self {
        let (namespace, name) = (namespace.into(), name.into());
        Self { namespace, name, addressing, ports: Arc::default(), outside: None }
    }

    /// Whether the Service matters for the answers to clients outside of the cluster.
    pub fn shows_outside(&self) -> bool {
        self.outside.is_some() || !matches!(self.addressing, Addressing::ClusterIps(_))
    }
}

/// How a client inside the cluster finds the Service's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// `spec.clusterIPs`, at most one of each IP family; empty if the API server has allocated none
    /// yet.
    ClusterIps(Box<[IpAddr]>),
    /// `spec.clusterIP: None`. Its name has the addresses of its endpoints.
    Headless,
    /// `spec.externalName`, in the spelling of the object and without a trailing dot.
    ExternalName(Box<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Empty for an unnamed port.
    pub name: Box<str>,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
}

impl ServicePort {
    /// A port without a node port. An unnamed one has an empty name.
    pub fn new(name: &str, protocol: Protocol, port: u16) -> Self {
        Self { name: name.into(), protocol, port, node_port: None }
    }
}

/// Transport protocols of ports, as Kubernetes names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As the label of an SRV name, without its underscore (RFC 2782).
    pub fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// `type`, `externalIPs`, `status.loadBalancer`, `externalTrafficPolicy`, and annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Outside {
    pub exposure: Exposure,
    pub external_ips: Box<[IpAddr]>,
    pub load_balancer: Box<[LoadBalancerPoint]>,
    /// `externalTrafficPolicy: Local`: only Nodes with a ready endpoint take its traffic.
    pub local_only: bool,
    /// Additional names, lower-cased, from the annotations that `k8s_gateway` and external-dns
    /// read.
    pub hosts: Box<[Box<str>]>,
    /// `metadata.creationTimestamp` in seconds since 1970; `None` if there are no `hosts`.
    pub created: Option<i64>,
    /// Label `k8s-gateway.dns/ignore`.
    pub ignored: bool,
}

/// How the type of a Service makes it reachable for clients outside of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Exposure {
    #[default]
    None,
    /// A port of every node.
    NodePort,
    LoadBalancer,
}

/// One entry of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoadBalancerPoint {
    Ip(IpAddr),
    Hostname(Box<str>),
}
