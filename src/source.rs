//! Where facts come from: an API server, or a directory of manifests.
//!
//! Every source emits [`crate::model::Change`] and does not know the zone.

pub mod api;
#[doc(hidden)]
pub mod fuzzing;
pub mod kind;
pub mod manifests;
pub mod snapshot;

/// What a source reports to the operator. `app` writes it to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something is wrong; logged as an error.
    Problem(String),
    /// A problem has ended, or something is worth knowing.
    Info(String),
}
