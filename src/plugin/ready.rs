//! `ready [ADDR] { monitor until-ready|continuously }`: a page that says whether every plugin can
//! answer.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::chain::{Level, Line, Plugin, Unready};

use super::{Page, PageReply, PluginContext, Reading, Settings};

/// The plugins of all blocks that have `ready`.
#[derive(Default)]
pub struct Readiness {
    watched: Mutex<Vec<Watched>>,
    /// The process is about to stop.
    stopping: AtomicBool,
}

struct Watched {
    plugin: Arc<dyn Plugin>,
    /// Ask again even after it was ready once.
    continuously: bool,
    was_ready: bool,
}

impl Readiness {
    /// Watches a block's plugins.
    pub fn watch(&self, plugins: &[Arc<dyn Plugin>], continuously: bool) {
        let watched = plugins.iter().map(|plugin| Watched {
            plugin: Arc::clone(plugin),
            continuously,
            was_ready: false,
        });
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).extend(watched);
    }

    /// From now on the page says no, so that no new questions come.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The plugins that are not ready, each once: their names as CoreDNS has them, and what holds
    /// them up.
    pub fn unready(&self) -> Vec<String> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unready = Vec::new();
        for it in watched.iter_mut().filter(|it| it.continuously || !it.was_ready) {
            let now = it.plugin.unready();
            it.was_ready = now.is_none();
            let Some(Unready { why }) = now else { continue };
            let name = it.plugin.name();
            let said = why.map_or_else(|| name.to_owned(), |why| format!("{name} ({why})"));
            if !unready.contains(&said) {
                unready.push(said);
            }
        }
        unready
    }

    fn page(&self) -> PageReply {
        if self.stopping.load(Ordering::Relaxed) {
            return PageReply::text(503, "Shutting down");
        }
        let unready = self.unready().join(",");
        if unready.is_empty() {
            return PageReply::text(200, "OK");
        }
        let line = Line::new(Level::Info, format!("plugin/ready: Plugins not ready: {unready:?}"));
        PageReply { line: Some(line), ..PageReply::text(503, unready) }
    }
}

#[derive(Debug)]
struct Ready {
    address: String,
    continuously: bool,
}

impl Settings for Ready {
    fn needs(&self) -> Vec<super::Need> {
        vec![super::Need::Readiness { continuously: self.continuously }]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let readiness = Arc::clone(context.readiness);
        context.pages.push(Page {
            address: self.address.clone(),
            path: "/ready",
            render: Arc::new(move || readiness.page()),
            polled: false,
        });
        Ok(Vec::new())
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut ready = Ready { address: ":8181".to_owned(), continuously: false };
    reading.once(|arguments| {
        if let Some(address) = arguments.listen(":8181") {
            ready.address = address;
        }
        arguments.end();
        arguments.options(|option| match option.name() {
            "monitor" => {
                ready.continuously = option
                    .one_of("monitor", &[("until-ready", false), ("continuously", true)])
                    .unwrap_or(false)
            }
            _ => option.unknown(&["monitor"]),
        });
    });
    Some(Box::new(ready))
}
