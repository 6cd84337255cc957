//! What DNS needs of a Pod: that it exists, and its addresses.

use std::net::IpAddr;

/// A Pod that has addresses and is neither finished nor terminating.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pod {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `status.podIPs`.
    pub addresses: Box<[IpAddr]>,
    /// Its addresses are those of its node, so other Pods have them, too.
    pub host_network: bool,
}
