//! `file DBFILE [ZONE…] { … }`: zones from files (RFC 1035 §5).

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{chain::Plugin, corefile::Arguments, wire::Name, zonefile::ZoneSlot};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role,
    authoritative::Authoritative,
    names,
    root::Root,
    zone_file::{ZoneFile, ZoneReload},
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "file",
    about: "Answers from a zone file in the form of RFC 1035.",
    arguments: "DBFILE [ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::ReadsFiles, Role::HasZones],
    example: "example.org:53 {\n    file /etc/coredns/db.example.org {\n        reload 30s\n    }\n    transfer {\n        to 192.0.2.10\n    }\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<FileOptions> = OptionTable(&[
    OptionSpec::new(
        "reload",
        "DURATION",
        "Uses a changed file as soon as its serial changes; 0 turns that off.",
        // All other durations have the same effect: a change shows within two seconds.
        |options, option| {
            if let Some(interval) = option.duration("the interval") {
                options.watched = interval != Duration::ZERO;
            }
            option.ignore_rest();
        },
    ),
    OptionSpec::new(
        "reload_by_mtime",
        "",
        "Uses a changed file at once, also if its serial is the same.",
        |options, _| options.any_change = true,
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes names that do not exist to the next plugin.",
        |options, option| options.fallthrough = Fallthrough::read(option),
    ),
    OptionSpec::new(
        "upstream",
        "[…]",
        "Has no effect: aliases are always followed through this server.",
        |_, option| option.skip(),
    ),
]);

/// The options. As in CoreDNS, the options of a line also apply to the lines after it.
struct FileOptions {
    watched: bool,
    any_change: bool,
    fallthrough: Fallthrough,
}

#[derive(Debug)]
struct FileSettings {
    files: Vec<(ZoneFile, Vec<Name>)>,
    fallthrough: Fallthrough,
}

impl PluginSettings for FileSettings {
    fn needs(&self) -> Vec<Need> {
        self.files.iter().flat_map(|(file, origins)| file.needs(origins)).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let mut zones = HashMap::new();
        for (file, origins) in &self.files {
            for origin in origins {
                let zone = file.load(origin, DIRECTIVE.name, context)?;
                zones.insert(origin.clone(), Arc::new(ZoneSlot::new(zone)));
            }
        }
        let (within, fallthrough) = (vec![Name::root()], self.fallthrough.clone());
        Ok(vec![Arc::new(Authoritative {
            name: DIRECTIVE.name,
            zones,
            primaries: HashMap::new(),
            members: None,
            within,
            fallthrough,
        })])
    }
}

impl FileOptions {
    fn reload(&self) -> ZoneReload {
        match (self.watched, self.any_change) {
            (false, _) => ZoneReload::Never,
            (true, false) => ZoneReload::NewSerial,
            (true, true) => ZoneReload::AnyChange,
        }
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (root, block) = (Root::of(lines), lines.zones.to_vec());
    let mut options =
        FileOptions { watched: true, any_change: false, fallthrough: Fallthrough::default() };
    let mut files = Vec::new();
    lines.each(|arguments| {
        let path = arguments.required("a zone file").map(|token| root.path(&token.text));
        let zones = read_zones(arguments, &block);
        OPTIONS.read(arguments, &mut options);
        files.extend(path.map(|path| (ZoneFile { path, reload: options.reload() }, zones)));
    });
    Some(Box::new(FileSettings { files, fallthrough: options.fallthrough }))
}

/// The zones of the line, or those of the block.
fn read_zones(arguments: &mut Arguments<'_>, block: &[Name]) -> Vec<Name> {
    if arguments.is_empty() { block.to_vec() } else { names(&arguments.zones()) }
}
