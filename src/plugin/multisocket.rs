//! `multisocket [COUNT]`: the sockets, each with its thread, that receive UDP at an address.

use super::{Directive, DirectiveLines, NO_OPTIONS, Need, PluginSettings, Role};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "multisocket",
    about: "Sets how many sockets and threads receive UDP at each address; the default, also without this line, is one for each processor, but at most 16.",
    arguments: "[COUNT]",
    options: &NO_OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    multisocket 4\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

/// `None` for the default.
#[derive(Debug)]
struct Multisocket(Option<usize>);

impl PluginSettings for Multisocket {
    fn needs(&self) -> Vec<Need> {
        self.0.map(Need::Sockets).into_iter().collect()
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    const MOST: usize = 1024;
    let mut count = None;
    lines.once(|arguments| {
        if !arguments.is_empty() {
            count = arguments.number("the number of sockets", 1, MOST);
        }
    });
    Some(Box::new(Multisocket(count)))
}
