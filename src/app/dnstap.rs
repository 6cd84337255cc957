//! Sends the messages of the plugin `dnstap` to their receivers.

use std::{collections::HashMap, sync::Arc};

use tokio::{task::JoinSet, time::timeout};

use crate::{dnstap::TapQueue, limits, net::dnstap, plugin::DnstapSink};

/// The tasks that send messages, one for each receiver.
#[derive(Default)]
pub(super) struct Dnstaps {
    /// The key is the receiver.
    running: HashMap<String, Arc<TapQueue>>,
    tasks: JoinSet<()>,
}

impl Dnstaps {
    pub(super) fn run_new(sinks: Vec<(DnstapSink, Arc<TapQueue>)>) -> Self {
        let mut dnstaps = Self::default();
        dnstaps.run(sinks);
        dnstaps
    }

    /// Runs a task for each of these. The others end after the messages that wait.
    pub(super) fn run(&mut self, sinks: Vec<(DnstapSink, Arc<TapQueue>)>) {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for (sink, queue) in sinks {
            let identity = format!("{sink:?} {:p}", Arc::as_ptr(&queue));
            if before.remove(&identity).is_none() {
                self.tasks.spawn(dnstap::run(sink, Arc::clone(&queue)));
            }
            self.running.insert(identity, queue);
        }
        before.values().for_each(|queue| queue.close());
    }

    /// Sends the messages that wait, and closes the connections.
    pub(super) async fn finish(mut self) {
        self.running.values().for_each(|queue| queue.close());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(limits::DNSTAP_FINISH, all).await;
    }
}
