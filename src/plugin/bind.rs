//! `bind ADDRESS|INTERFACE… { except ADDRESS|INTERFACE… }`.

use crate::corefile::Arguments;

use super::{Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginSettings, Role};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "bind",
    about: "Listens on the given addresses and interfaces instead of all addresses. A link-local IPv6 address needs its interface: `fe80::1%eth0`.",
    arguments: "ADDRESS|INTERFACE…",
    options: &OPTIONS,
    roles: &[Role::Configures],
    example: ".:53 {\n    bind 127.0.0.1 ::1\n    whoami\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<BindSettings> = OptionTable(&[OptionSpec::repeated(
    "except",
    "ADDRESS|INTERFACE…",
    "Does not listen on these addresses of the given interfaces.",
    |bind, option| bind.except.extend(hosts(option)),
)]);

#[derive(Debug, Default)]
struct BindSettings {
    only: Vec<String>,
    except: Vec<String>,
}

impl PluginSettings for BindSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Bind { only: self.only.clone(), except: self.except.clone() }]
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut bind = BindSettings::default();
    lines.each(|arguments| {
        bind.only.extend(hosts(arguments));
        OPTIONS.read(arguments, &mut bind);
    });
    Some(Box::new(bind))
}

fn hosts(arguments: &mut Arguments<'_>) -> Vec<String> {
    let first = arguments.required("an address or an interface");
    first.into_iter().chain(arguments.rest()).map(|token| token.text.clone()).collect()
}
