//! `ready [ADDRESS] { monitor until-ready|continuously }`.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::chain::{Level, LogLine, Plugin, Unready};

use super::{
    BuildError, Directive, DirectiveLines, Monitor, Need, OptionSpec, OptionTable, Page, PageReply,
    PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "ready",
    about: "Serves the page /ready, which says whether every plugin can answer; the default is port 8181.",
    arguments: "[ADDRESS]",
    options: &OPTIONS,
    roles: &[Role::ServesPage],
    example: ".:53 {\n    ready :8181 {\n        monitor continuously\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<ReadySettings> = OptionTable(&[OptionSpec::new(
    "monitor",
    "until-ready|continuously",
    "Asks a plugin until it was ready once, which is the default, or always.",
    |ready, option| {
        let modes = [("until-ready", Monitor::UntilReady), ("continuously", Monitor::Continuously)];
        ready.monitor = option.one_of("monitor", &modes).unwrap_or_default();
    },
)]);

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

    /// The plugins that are not ready, each once: the name as CoreDNS has it, and the reason.
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

    fn page(&self) -> PageReply {
        if self.stopping.load(Ordering::Relaxed) {
            return PageReply::text(503, "Shutting down");
        }
        let unready = self.unready().join(",");
        if unready.is_empty() {
            return PageReply::text(200, "OK");
        }
        let line = LogLine::new(Level::Info, "ready", format!("Plugins not ready: {unready:?}"));
        PageReply { line: Some(line), ..PageReply::text(503, unready) }
    }
}

#[derive(Debug)]
struct ReadySettings {
    address: String,
    monitor: Monitor,
}

impl PluginSettings for ReadySettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Readiness(self.monitor)]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let readiness = Arc::clone(&context.outputs.readiness);
        context.outputs.pages.push(Page {
            address: self.address.clone(),
            path: "/ready",
            render: Arc::new(move || readiness.page()),
            polled: false,
        });
        Ok(Vec::new())
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut ready = ReadySettings { address: ":8181".to_owned(), monitor: Monitor::UntilReady };
    lines.once(|arguments| {
        if let Some(address) = arguments.listen(":8181") {
            ready.address = address;
        }
        OPTIONS.read(arguments, &mut ready);
    });
    Some(Box::new(ready))
}
