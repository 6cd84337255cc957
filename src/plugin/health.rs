//! `health [ADDRESS] { lameduck DURATION }`.

use std::{sync::Arc, time::Duration};

use crate::chain::Plugin;

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, Page, PageReply,
    PluginContext, PluginSettings, Role,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "health",
    about: "Serves the page /health, which says that the process runs; the default is port 8080.",
    arguments: "[ADDRESS]",
    options: &OPTIONS,
    roles: &[Role::ServesPage],
    example: ".:53 {\n    health :8080 {\n        lameduck 5s\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<HealthSettings> = OptionTable(&[OptionSpec::new(
    "lameduck",
    "DURATION",
    "Keeps answering queries for this long after the signal to stop.",
    |health, option| health.lameduck = option.duration("the lameduck time").unwrap_or_default(),
)]);

#[derive(Debug)]
struct HealthSettings {
    address: String,
    lameduck: Duration,
}

impl PluginSettings for HealthSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Lameduck(self.lameduck)]
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        context.outputs.pages.push(Page {
            address: self.address.clone(),
            path: "/health",
            render: Arc::new(|| PageReply::text(200, "OK")),
            polled: true,
            essential: true,
            tls: None,
        });
        Ok(Vec::new())
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut health = HealthSettings { address: ":8080".to_owned(), lameduck: Duration::ZERO };
    lines.each(|arguments| {
        if let Some(address) = arguments.listen(":8080") {
            health.address = address;
        }
        OPTIONS.read(arguments, &mut health);
    });
    Some(Box::new(health))
}
