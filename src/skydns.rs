//! Records in the form of SkyDNS, as etcd holds them. A key is the path of a name's labels from the
//! right, such as `/skydns/org/example/www`, and its value is a [`Service`]. A name has the records
//! of its own key, or of all keys below it.

mod path;
mod store;

pub use path::{KeyPath, domain};
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
    /// In seconds.
    pub ttl: u32,
    /// The labels that the target of a record has less than the key.
    pub target_strip: usize,
    /// Keys of different groups below one name are not in one answer.
    pub group: String,
}

#[cfg(test)]
mod tests;
