//! Names for clients outside of the cluster. They lead to addresses that such clients can reach.
//!
//! The facts are those of the other zones, and a lookup combines them. So a change of a load
//! balancer's address changes one entry, however many names lead to it.

mod apex;
mod external;
mod gateway;
mod service;
mod transfer;

pub use super::nodes::NodeAddressType;
pub use apex::Apex;
pub use external::{External, ExternalSettings};
pub use gateway::{
    ClaimRefusal, ClaimRules, Gateway, GatewaySettings, Protection, RefusedClaim, is_route,
};

#[cfg(test)]
mod tests;
