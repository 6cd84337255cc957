//! What DNS needs of the Gateway API: the hosts of a route, and the addresses of its Gateways.

use super::{Kind, LoadBalancerPoint};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gateway {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `spec.gatewayClassName`.
    pub class: Box<str>,
    /// `status.addresses`.
    pub points: Box<[LoadBalancerPoint]>,
}

/// An HTTPRoute, TLSRoute or GRPCRoute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    pub kind: Kind,
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `metadata.creationTimestamp` in seconds since 1970.
    pub created: Option<i64>,
    /// `spec.hostnames`, lower-cased and without duplicates.
    pub hosts: Box<[Box<str>]>,
    /// The namespaces and names of the Gateways in `spec.parentRefs`.
    pub gateways: Box<[(Box<str>, Box<str>)]>,
}
