//! An API server as a source: each kind is listed and watched by a task of its own, so that one
//! that is refused, slow or odd holds up no other.
//!
//! Pages are decoded object by object, and an object that cannot be read is told of and left out;
//! so the watch is our own, over kube's client: its connections, certificates, tokens and
//! kubeconfigs.

mod access;
mod admission;
mod backoff;
mod follow;
mod protocol;

use std::sync::Arc;

use tokio::{sync::mpsc, task::AbortHandle, task::JoinSet};

use crate::{
    metrics::Metrics,
    model::{Change, Kind},
};

pub use access::{Access, Identity, Place};
pub use admission::Admission;
use follow::Follower;

use super::kind::Resource;

/// Tells the operator: true for what is wrong, false for what is well again.
pub type Say = Arc<dyn Fn(bool, String) + Send + Sync>;

/// A cluster that is read.
#[derive(Clone)]
pub struct Cluster {
    pub access: Arc<Access>,
    /// A label selector for the kinds that `labels` applies to.
    pub labels: Option<Arc<str>>,
    pub metrics: Arc<Metrics>,
    pub say: Say,
}

impl Cluster {
    /// Follows a kind until nobody receives its changes.
    pub fn follow(
        &self,
        kind: Kind,
        changes: mpsc::Sender<Change>,
        tasks: &mut JoinSet<()>,
    ) -> AbortHandle {
        tasks.spawn(Follower::new(self.clone(), Resource::of(kind), changes).run())
    }
}
