//! What DNS needs of a Node: the addresses for its NodePorts.

use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub name: Box<str>,
    /// Whether the condition `Ready` is `True`.
    pub ready: bool,
    pub addresses: Box<[NodeAddress]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeAddress {
    Internal(IpAddr),
    External(IpAddr),
}
