//! What DNS needs of an Ingress: which hosts it serves, and where.

use super::LoadBalancerPoint;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// Hosts of the rules and of `tls`, lower-cased, each once.
    pub hosts: Box<[Box<str>]>,
    /// `status.loadBalancer.ingress`.
    pub points: Box<[LoadBalancerPoint]>,
}
