//! The tasks that send what plugins have queued: messages of `dnstap`, spans of `trace`.

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use tokio::{task::JoinSet, time::timeout};

use crate::{limits, send_queue::SendQueue};

/// One task for each receiver.
pub(super) struct Senders<T> {
    /// The key is the receiver with its queue.
    running: HashMap<String, Arc<SendQueue<T>>>,
    tasks: JoinSet<()>,
}

impl<T> Default for Senders<T> {
    fn default() -> Self {
        Self { running: HashMap::new(), tasks: JoinSet::new() }
    }
}

impl<T> Senders<T> {
    pub(super) fn run_new<S: Debug, F: Future<Output = ()> + Send + 'static>(
        sinks: Vec<(S, Arc<SendQueue<T>>)>,
        task: impl Fn(S, Arc<SendQueue<T>>) -> F,
    ) -> Self {
        let mut senders = Self::default();
        senders.run(sinks, task);
        senders
    }

    /// Starts a task for each of these receivers that has none yet. All other tasks send what is
    /// queued, and then end.
    pub(super) fn run<S: Debug, F: Future<Output = ()> + Send + 'static>(
        &mut self,
        sinks: Vec<(S, Arc<SendQueue<T>>)>,
        task: impl Fn(S, Arc<SendQueue<T>>) -> F,
    ) {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for (sink, queue) in sinks {
            let identity = format!("{sink:?} {:p}", Arc::as_ptr(&queue));
            if before.remove(&identity).is_none() {
                self.tasks.spawn(task(sink, Arc::clone(&queue)));
            }
            self.running.insert(identity, queue);
        }
        before.values().for_each(|queue| queue.close());
    }

    /// Sends what is queued, for a limited time.
    pub(super) async fn finish(mut self) {
        self.running.values().for_each(|queue| queue.close());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(limits::DNSTAP_FINISH, all).await;
    }
}
