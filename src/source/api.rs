//! An API server as a source: one task lists and watches each kind, so that a kind that is refused,
//! slow or unusual delays no other.
//!
//! The watch is our own, over kube's client; `docs/decisions/0001-own-watch.md` says why. Its
//! rules:
//! - A kind has several versions. If the server does not have one, the task asks for the next one
//!   ([`KindDescriptor::served`](super::kind::KindDescriptor::served)).
//! - Objects are decoded one by one out of a page or an event, straight from the encoded object
//!   into a small fact, and the octets are dropped. An object with an unusable field is reported by
//!   its name, and a fact that it had before is removed.
//! - The core kinds are read in protobuf, others in JSON (`encoding`). Both fill the same types.
//! - A list is a stream of events if the server supports that (`list`), and otherwise pages.
//! - A list marks and sweeps ([`Change::Relist`], [`Change::Synced`]). The old facts stay in use
//!   until the list is complete, and no second copy of them is needed.
//! - ndots asks the server to end a watch after 30 s, and the server then reports its latest
//!   resource version. A watch that has not ended after 40 s shows a dead connection or a server
//!   that hangs, so no keepalive is needed.
//! - Each kind of failure has its own back-off (`error`).

mod access;
mod admission;
mod backoff;
mod budget;
mod encoding;
mod error;
mod events;
mod follow;
mod list;
mod page;
mod protocol;
mod request;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod watch;

use std::sync::Arc;

use tokio::{sync::mpsc, task::AbortHandle, task::JoinSet};

use crate::{
    metrics::Metrics,
    model::{Change, Kind},
};

pub(super) use access::read_text as read_kubeconfig_text;
pub use access::{Access, ClusterConfig, Identity};
pub use admission::Admission;
pub use budget::Budget;
pub use encoding::decode_page;
use follow::Follower;
pub(crate) use page::Page;
pub use text::{ApiReader, ReadError, read};

use super::Notice;

/// A cluster whose API server is read.
#[derive(Clone)]
pub struct Cluster {
    pub access: Arc<Access>,
    /// A label selector for the kinds that `labels` applies to.
    pub labels: Option<Arc<str>>,
    pub metrics: Arc<Metrics>,
    pub notify: Arc<dyn Fn(Notice) + Send + Sync>,
}

impl Cluster {
    /// Follows a kind until the receiver of its changes is dropped.
    pub fn follow(
        &self,
        kind: Kind,
        changes: mpsc::Sender<Change>,
        tasks: &mut JoinSet<()>,
    ) -> AbortHandle {
        tasks.spawn(Follower::new(self.clone(), kind, changes).run())
    }
}
