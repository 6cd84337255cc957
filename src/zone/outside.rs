//! Names for clients outside of the cluster: which addresses of it they can reach, instead of those
//! inside.
//!
//! Facts are the same as inside, and are joined when a question comes: a load balancer's address
//! that changes touches one entry, however many names lead to it.

mod apex;
mod external;
mod facts;
mod gateway;
mod names;
mod service;
mod transfer;

pub use apex::Apex;
pub use external::{External, ExternalSettings};
pub(super) use facts::Objects;
pub use facts::{Facts, NodeAddressType};
pub use gateway::{Gateway, GatewaySettings, is_route};

#[cfg(test)]
mod tests;
