//! `ready [ADDRESS] { monitor until-ready|continuously }`.

use std::sync::Arc;

use crate::chain::{Level, LogLine, Plugin};

use super::{
    BuildError, Directive, DirectiveLines, Monitor, Need, OptionSpec, OptionTable, Page, PageReply,
    PluginContext, PluginSettings, Readiness, Role,
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
    "`until-ready`, the default, asks a plugin until it was ready once. `continuously` asks at each request.",
    |ready, option| {
        let modes = [("until-ready", Monitor::UntilReady), ("continuously", Monitor::Continuously)];
        ready.monitor = option.one_of("monitor", &modes).unwrap_or_default();
    },
)]);

fn page(readiness: &Readiness) -> PageReply {
    if readiness.is_stopping() {
        return PageReply::text(503, "Shutting down");
    }
    let unready = readiness.unready().join(",");
    if unready.is_empty() {
        let lines = ["OK".to_owned()].into_iter().chain(readiness.notes());
        return PageReply::text(200, lines.collect::<Vec<_>>().join("\n"));
    }
    let line = LogLine::new(Level::Info, "ready", format!("Plugins not ready: {unready:?}"));
    PageReply { line: Some(line), ..PageReply::text(503, unready) }
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
            render: Arc::new(move || page(&readiness)),
            polled: false,
            essential: false,
            tls: None,
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
