//! Signatures over records (RFC 4034): the keys of a zone, RRSIG records and NSEC records.
//!
//! This module is pure. A private key signs behind [`Signer`], because an ECDSA signature needs
//! random numbers.

mod key;
mod nsec;
mod private_key;
mod set;

pub use key::{KeyError, MakeSigner, Signer, ZoneKey, sha256};
pub use nsec::{nsec, successor, successor_of_subtree};
pub use private_key::{PrivateKey, PrivateKeyError, RsaNumbers, Secret};
pub use set::{CanonicalSet, Validity};

/// Algorithms of keys (IANA "DNS Security Algorithm Numbers").
pub mod algorithm {
    pub const RSASHA256: u8 = 8;
    pub const RSASHA512: u8 = 10;
    pub const ECDSAP256SHA256: u8 = 13;
    pub const ECDSAP384SHA384: u8 = 14;
    pub const ED25519: u8 = 15;
}
