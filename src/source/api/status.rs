//! The API's description of a failure.

use serde::Deserialize;

use crate::source::kind::or_default;

/// An API server's description of a failure.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Status {
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) code: u16,
}

impl Status {
    /// Whether the server cannot continue from the resource version. The version is too old, or it
    /// is newer than the data of the server, for example after the server was restored from a
    /// backup.
    pub(super) fn is_expired(&self) -> bool {
        self.code == 410 || self.code == 504 && self.message.contains("resource version")
    }
}
