//! What DNS needs of an Ingress: its hosts, and the addresses of its load balancer.

use super::LoadBalancerPoint;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ingress {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `spec.ingressClassName`, or the annotation that came before this field; empty for none.
    pub class: Box<str>,
    /// `metadata.creationTimestamp` in seconds since 1970.
    pub created: Option<i64>,
    /// The hosts of the rules and of `tls`, lower-cased and without duplicates.
    pub hosts: Box<[Box<str>]>,
    /// `status.loadBalancer.ingress`.
    pub points: Box<[LoadBalancerPoint]>,
}

impl Ingress {
    /// An Ingress without class, hosts and addresses.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            class: Box::default(),
            created: None,
            hosts: Box::default(),
            points: Box::default(),
        }
    }
}
