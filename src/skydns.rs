//! Records in the form of SkyDNS, as etcd stores them. A key has the labels of a name from the
//! right to the left, such as `/skydns/org/example/www`. Its value is a [`Service`]. A name has the
//! records of all keys below its key, or those of its own key if there are none below.

mod path;
mod store;

pub use path::{KeyPath, Match, domain};
pub use store::{Entry, Found, LeaseBounds, LookupError, Scope, SkydnsStore};

/// The value of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// An address or a name.
    pub host: String,
    /// -1 if the service has no port.
    pub port: i64,
    pub priority: i64,
    pub weight: i64,
    pub text: String,
    /// Whether the service is a mail server, too.
    pub mail: bool,
    /// The TTL in seconds.
    pub ttl: u32,
    /// How many labels are removed from the left of a record's target.
    pub target_strip: usize,
    /// An answer has services of only one group, and those without a group.
    pub group: String,
}

#[cfg(test)]
mod tests;
