//! What DNS needs of the Gateway API: which hosts a route serves, and where its Gateways are.

use super::{Kind, LoadBalancerPoint};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `spec.gatewayClassName`.
    pub class: Box<str>,
    /// `status.addresses`.
    pub points: Box<[LoadBalancerPoint]>,
}

/// An HTTPRoute, TLSRoute or GRPCRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub kind: Kind,
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `spec.hostnames`, lower-cased, each once.
    pub hosts: Box<[Box<str>]>,
    /// Namespaces and names of the Gateways that it belongs to.
    pub gateways: Box<[(Box<str>, Box<str>)]>,
}
