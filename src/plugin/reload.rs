//! `reload [INTERVAL] [JITTER]`.

use std::time::Duration;

use super::{Directive, DirectiveLines, NO_OPTIONS, Need, PluginSettings, Role};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "reload",
    about: "Reloads the Corefile within two seconds after it changed; the times have no effect.",
    arguments: "[INTERVAL] [JITTER]",
    options: &NO_OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    reload\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

/// CoreDNS needs the times to spread the cost of reading the file. Here this cost is not
/// noticeable, so the times are checked and have no effect.
#[derive(Debug)]
struct ReloadSettings;

impl PluginSettings for ReloadSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Reload]
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    const SHORTEST: Duration = Duration::from_secs(2);
    lines.each(|arguments| {
        if !arguments.is_empty() {
            arguments.duration_between("the interval", SHORTEST, Duration::MAX);
        }
        if !arguments.is_empty() {
            let span = arguments.span();
            if arguments
                .duration("the jitter")
                .is_some_and(|jitter| !jitter.is_zero() && jitter < Duration::from_secs(1))
            {
                arguments.error(span, "jitter value must be 0 or greater or equal to 1s");
            }
        }
    });
    Some(Box::new(ReloadSettings))
}
