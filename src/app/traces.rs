//! Sends the spans of the plugin `trace` to their collectors.

use std::{collections::HashMap, sync::Arc};

use tokio::{task::JoinSet, time::timeout};

use crate::{limits, net::otlp, plugin::TraceSink, trace::SpanQueue};

/// The tasks that send spans, one for each collector.
#[derive(Default)]
pub(super) struct Traces {
    /// By collector.
    running: HashMap<String, Arc<SpanQueue>>,
    tasks: JoinSet<()>,
}

impl Traces {
    pub(super) fn run_new(sinks: Vec<(TraceSink, Arc<SpanQueue>)>) -> Self {
        let mut traces = Self::default();
        traces.run(sinks);
        traces
    }

    /// Runs a task for each of these. The others end after the spans that wait.
    pub(super) fn run(&mut self, sinks: Vec<(TraceSink, Arc<SpanQueue>)>) {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for (sink, queue) in sinks {
            let identity = format!("{sink:?} {:p}", Arc::as_ptr(&queue));
            if before.remove(&identity).is_none() {
                self.tasks.spawn(otlp::run(sink, Arc::clone(&queue)));
            }
            self.running.insert(identity, queue);
        }
        before.values().for_each(|queue| queue.close());
    }

    /// Sends the spans that wait.
    pub(super) async fn finish(mut self) {
        self.running.values().for_each(|queue| queue.close());
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(limits::DNSTAP_FINISH, all).await;
    }
}
