//! Messages that are signed with a shared secret (RFC 8945).

mod chain;
mod key;
mod record;

pub use chain::{TsigChain, TsigError};
pub use key::{TsigAlgorithm, TsigKey};
pub use record::SignedMessage;
use record::Tsig;

#[cfg(test)]
mod tests;
