//! Why a list or a watch ends, and how long to wait after each kind of failure.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::{limits, model::Change};

use super::{backoff::Backoff, status::Status};

/// Why a list or a watch ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// The receiver of the changes is gone.
    #[error("the receiver of the changes is gone")]
    Closed,
    /// The resource version is too old to go on from: only a new list helps.
    #[error("{0}")]
    Expired(String),
    /// The server does not have this version of the kind.
    #[error("{0}")]
    Unknown(String),
    /// The permission is missing.
    #[error("{0}")]
    Refused(String),
    /// The server does not accept the form of the request.
    #[error("{0}")]
    Unsupported(String),
    /// The server's reply is not what the API's protocol says.
    #[error("{0}")]
    Unreadable(String),
    /// The server replied with an error, perhaps with the time after which to try again.
    #[error("{0}")]
    Failed(String, Option<Duration>),
    /// The connection failed, or the credentials were not accepted.
    #[error("{0}")]
    Broken(String),
}

impl From<mpsc::error::SendError<Change>> for WatchError {
    fn from(_: mpsc::error::SendError<Change>) -> Self {
        Self::Closed
    }
}

impl WatchError {
    /// The error that a status stands for; `retry_after` is the reply's header.
    pub(super) fn of_status(status: Status, retry_after: Option<Duration>) -> Self {
        match status.code {
            _ if status.is_expired() => Self::Expired(status.message),
            // A token or certificate may have been replaced.
            401 => Self::Broken(status.message),
            403 => Self::Refused(status.message),
            404 => Self::Unknown(status.message),
            400 | 405 | 406 | 415 | 422 => Self::Unsupported(status.message),
            _ => Self::Failed(status.message, retry_after),
        }
    }

    /// A page or an event that is not what the API's protocol says.
    pub(super) fn unreadable(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Unreadable(format!("{what} cannot be read: {error}"))
    }
}

/// One back-off for each kind of failure: the waits after one kind do not delay the attempts after
/// another.
pub(super) struct Backoffs {
    pub(super) broken: Backoff,
    /// Reset by a watch that works, and not by a list: the version of a new list may be too old for
    /// a watch, too.
    pub(super) expired: Backoff,
    pub(super) refused: Backoff,
    pub(super) failed: Backoff,
}

impl Default for Backoffs {
    fn default() -> Self {
        let [expired, refused, failed] =
            std::array::from_fn(|_| Backoff::up_to(limits::API_RETRY_MAX));
        Self { broken: Backoff::up_to(limits::API_RECONNECT_MAX), expired, refused, failed }
    }
}

impl Backoffs {
    /// Resets all but `expired`, after a good reply.
    pub(super) fn reset(&mut self) {
        let Self { broken, refused, failed, expired: _ } = self;
        [broken, refused, failed].into_iter().for_each(Backoff::reset);
    }
}

/// An error with its causes, because kube's own message is short.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        next = cause.source();
    }
    message
}
