//! What DNS needs of a Node: where a NodePort can be reached.

use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: Box<str>,
    /// Condition `Ready` is `True`.
    pub ready: bool,
    pub addresses: Box<[NodeAddress]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAddress {
    Internal(IpAddr),
    External(IpAddr),
}
