//! Keeps the keys of etcd up to date, for the plugin `etcd`.

use std::collections::HashMap;

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use crate::{
    limits,
    net::etcd::{BadValues, follow},
    plugin::EtcdKeys,
};

/// The tasks that follow keys, one for each cluster and path.
#[derive(Default)]
pub(super) struct Etcds {
    /// The key is a text of the cluster and the path.
    running: HashMap<String, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Etcds {
    /// Starts a task for each source. Waits until the keys of all sources are known, but at most
    /// [`limits::ETCD_START`].
    pub(super) async fn run_new(keys: Vec<EtcdKeys>) -> Self {
        let mut etcds = Self::default();
        let stores: Vec<_> = keys.iter().map(|keys| keys.store.clone()).collect();
        etcds.run(keys);
        let loaded = async {
            while !stores.iter().all(|store| store.is_loaded()) {
                sleep(limits::ETCD_START_LOOK).await;
            }
        };
        let _ = timeout(limits::ETCD_START, loaded).await;
        etcds
    }

    /// Runs a task for each of these sources, and ends all other tasks.
    pub(super) fn run(&mut self, keys: Vec<EtcdKeys>) {
        while self.tasks.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.running);
        for keys in keys {
            let identity = keys.identity();
            let task = before.remove(&identity).or_else(|| self.running.remove(&identity));
            let task = task.unwrap_or_else(|| self.tasks.spawn(keep(keys)));
            self.running.insert(identity, task);
        }
        before.into_values().for_each(|task| task.abort());
    }
}

/// Follows the keys of a server. If this fails, continues with the next server. Never ends.
async fn keep(keys: EtcdKeys) {
    let EtcdKeys { source, store } = &keys;
    let (mut back_off, mut logged) = (limits::API_RETRY_MIN, None::<Instant>);
    let mut bad_values = BadValues::default();
    for endpoint in source.endpoints.iter().cycle() {
        let started = Instant::now();
        let Err(error) = follow(source, endpoint, store, &mut bad_values).await;
        let lasted = started.elapsed();
        if lasted > limits::API_RECONNECT_MAX {
            back_off = limits::API_RETRY_MIN;
        }
        if logged.is_none_or(|logged| logged.elapsed() >= limits::API_LOG_INTERVAL) {
            logged = Some(Instant::now());
            let state = if store.is_loaded() {
                "the last known keys are served"
            } else {
                "queries get SERVFAIL"
            };
            tracing::warn!(
                plugin = "etcd",
                "the keys of {} cannot be watched: {error}; {state}",
                endpoint.url()
            );
        }
        sleep(back_off.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        back_off = (back_off * 2).min(limits::API_RECONNECT_MAX);
    }
}
