//! Zones from files (RFC 1035 §5) and from other servers: their records, and answers from them.
//!
//! A [`Zone`] is immutable. An answer follows RFC 1034 §4.3.2 with wildcards (RFC 4592), DNAME
//! (RFC 6672) and, for a signed zone, the proofs of RFC 4035 §3.1.

mod answer;
mod bolt;
mod build;
mod catalog;
mod distinct;
mod dynamic;
mod generate;
mod incoming;
mod key;
mod members;
mod parse;
mod slot;
mod update;
mod walk;
mod zone;

pub use answer::{Answer, End};
pub use bolt::{DatabaseError, FileWrite};
pub use build::ZoneBuilder;
pub use catalog::{Catalog, CatalogError};
pub use dynamic::{DatabaseFile, DynamicError, DynamicZone, NoDatabase, UpdateFailure};
pub use incoming::{IncomingError, IncomingZone};
pub use members::{CatalogUpdate, Changes, Member, Members};
pub use parse::{Parsed, ZoneError, included, parse};
pub use slot::ZoneSlot;
pub use update::{RecordsError, ZoneLimits, may_be_updated};
pub use zone::{Timers, Zone};

#[cfg(test)]
mod tests;
