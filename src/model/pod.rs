//! What DNS needs of a Pod: that it is there, and at which addresses.

use std::net::IpAddr;

/// A Pod that has addresses and is neither finished nor terminating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// `status.podIPs`.
    pub addresses: Box<[IpAddr]>,
    /// Its addresses are its node's, which others have, too.
    pub host_network: bool,
}
