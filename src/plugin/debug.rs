//! `debug`.

use super::{Directive, DirectiveLines, NO_OPTIONS, Need, PluginSettings, Role};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "debug",
    about: "Writes log lines of the level DEBUG, and lets a panic end the process.",
    arguments: "",
    options: &NO_OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    debug\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

#[derive(Debug)]
struct DebugSettings;

impl PluginSettings for DebugSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Debug]
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    lines.each(|_| {});
    Some(Box::new(DebugSettings))
}
