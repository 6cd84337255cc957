//! Runs the sources that configurations need: each has one task that owns its index.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use tokio::{
    sync::mpsc::channel,
    task::{AbortHandle, JoinSet},
};

use crate::{
    limits,
    net::log::Log,
    plugin::{Origin, Source},
    source::manifests::{Manifests, Reading},
    zone::{Index, Store},
};

/// The sources that run, with the facts they published.
pub(super) struct Sources {
    running: HashMap<Source, (Arc<Store>, AbortHandle)>,
    tasks: JoinSet<()>,
    log: Log,
}

impl Sources {
    pub(super) fn new(log: Log) -> Self {
        Self { running: HashMap::new(), tasks: JoinSet::new(), log }
    }

    /// Starts what is needed and does not run yet; what runs keeps its facts.
    pub(super) fn start(&mut self, needed: &[Source]) -> anyhow::Result<Vec<Reading>> {
        let mut readings = Vec::new();
        for source in needed {
            if self.running.contains_key(source) {
                continue;
            }
            match &source.origin {
                Origin::Manifests(directory) => readings.push(self.start_manifests(source, Path::new(directory))?),
                Origin::InCluster | Origin::Kubeconfig { .. } => {
                    bail!("plugin/kubernetes: an API server is not read here yet; `manifests DIR` reads a directory of YAML")
                }
            }
        }
        Ok(readings)
    }

    /// Ends what is not needed any more.
    pub(super) fn keep(&mut self, needed: &[Source]) {
        self.running.retain(|source, (_, task)| {
            let keep = needed.contains(source);
            if !keep {
                task.abort();
            }
            keep
        });
    }

    pub(super) fn stores(&self) -> HashMap<Source, Arc<Store>> {
        self.running.iter().map(|(source, (store, _))| (source.clone(), Arc::clone(store))).collect()
    }

    /// A directory is read before anything is answered: that takes less time than a first question.
    fn start_manifests(&mut self, source: &Source, directory: &Path) -> anyhow::Result<Reading> {
        let selector = source.labels.as_deref().map(crate::model::Selector::parse).transpose().map_err(anyhow::Error::msg)?;
        let mut manifests = Manifests::open(directory, selector)?;
        let mut reading = manifests.read();
        let mut index = Index::default();
        let store = index.store();
        for change in std::mem::take(&mut reading.changes) {
            index.apply(change, unix_seconds());
        }
        for fault in &reading.faults {
            self.log.say(crate::chain::Level::Error, format!("plugin/kubernetes: {fault}"));
        }
        let (sender, mut receiver) = channel(limits::CHANGES);
        let log = self.log.clone();
        let say = move |level, text| log.say(level_of(level), format!("plugin/kubernetes: {text}"));
        self.tasks.spawn(manifests.watch(sender, say));
        let task = self.tasks.spawn(async move {
            while let Some(change) = receiver.recv().await {
                index.apply(change, unix_seconds());
            }
        });
        self.running.insert(source.clone(), (store, task));
        Ok(reading)
    }
}

fn level_of(broken: bool) -> crate::chain::Level {
    if broken { crate::chain::Level::Error } else { crate::chain::Level::Info }
}

/// The zone's serial.
fn unix_seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
