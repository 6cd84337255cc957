//! Changes that clients ask for.

use crate::wire::Response;

use super::LogLine;

/// A change that may block its thread, such as a write to a disk. It is made once, and to its end.
pub trait Commit: Send + Sync {
    fn commit(&self) -> Committed;
}

/// The outcome of a change.
pub struct Committed {
    pub response: Response,
    /// Lines for the log.
    pub lines: Vec<LogLine>,
}
