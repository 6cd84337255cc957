//! What DNS needs of an Ingress: which hosts it serves, and where.

use super::LoadBalancerPoint;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `spec.ingressClassName`, or the annotation before there was such a field; empty for none.
    pub class: Box<str>,
    /// Hosts of the rules and of `tls`, lower-cased, each once.
    pub hosts: Box<[Box<str>]>,
    /// `status.loadBalancer.ingress`.
    pub points: Box<[LoadBalancerPoint]>,
}
