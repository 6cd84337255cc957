//! Whether the plugins of all blocks with `ready` can answer.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::chain::{Plugin, Unready};

use super::Monitor;

/// The plugins of all blocks that have `ready`.
#[derive(Default)]
pub struct Readiness {
    watched: Mutex<Vec<Watched>>,
    /// Whether the process is shutting down.
    stopping: AtomicBool,
}

struct Watched {
    plugin: Arc<dyn Plugin>,
    monitor: Monitor,
    was_ready: bool,
}

impl Readiness {
    /// Watches a block's plugins.
    pub fn watch(&self, plugins: &[Arc<dyn Plugin>], monitor: Monitor) {
        let watched = plugins.iter().map(|plugin| Watched {
            plugin: Arc::clone(plugin),
            monitor,
            was_ready: false,
        });
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).extend(watched);
    }

    /// From now on the page reports 503, so that load balancers send no new queries.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The plugins that are not ready, each once: the name that CoreDNS reports, and the reason.
    pub fn unready(&self) -> Vec<String> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unready = Vec::new();
        let asked = |it: &&mut Watched| it.monitor == Monitor::Continuously || !it.was_ready;
        for it in watched.iter_mut().filter(asked) {
            let now = it.plugin.unready();
            it.was_ready = now.is_none();
            let Some(Unready { why }) = now else { continue };
            let name = it.plugin.name();
            let text = why.map_or_else(|| name.to_owned(), |why| format!("{name} ({why})"));
            if !unready.contains(&text) {
                unready.push(text);
            }
        }
        unready
    }

    /// The texts that plugins add to the page when all plugins are ready, each text once.
    pub(super) fn notes(&self) -> Vec<String> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notes: Vec<_> = watched.iter().filter_map(|it| it.plugin.note()).collect();
        notes.sort_unstable();
        notes.dedup();
        notes
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
