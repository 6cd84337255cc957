//! `auto [ZONE…] { directory DIR [REGEXP TEMPLATE]; … }`: the zone files of a directory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use regex::Regex;

use crate::{
    chain::{Level, LogLine, Plugin},
    corefile::Arguments,
    limits,
    wire::Name,
    zonefile::ZoneSlot,
};

use super::{
    BuildError, Directive, DirectiveLines, Fallthrough, Need, OptionSpec, OptionTable,
    PluginContext, PluginSettings, Role,
    authoritative::Authoritative,
    names, pattern,
    root::Root,
    zone_directory::ZoneDirectory,
    zone_file::{ZoneFile, ZoneReload},
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "auto",
    about: "Answers from the zone files of a directory, also from files that are added later.",
    arguments: "[ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::ReadsFiles, Role::HasZones],
    example: ".:53 {\n    auto example.org {\n        directory /etc/coredns/zones ^db\\.(.*)$ {1}\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<AutoOptions> = OptionTable(&[
    OptionSpec::new(
        "directory",
        "DIR [REGEXP TEMPLATE]",
        "Takes the files of DIR whose names match REGEXP; TEMPLATE gives the zone, and `{1}` is the first group. The default is `db\\.(.*) {1}`.",
        read_directory,
    ),
    OptionSpec::new(
        "reload",
        "DURATION",
        "Uses added files, and changed files as soon as their serial changes; 0 turns that off.",
        // All other durations have the same effect: a change shows within two seconds.
        |options, option| {
            if let Some(interval) = option.duration("the interval") {
                options.watched = interval != Duration::ZERO;
            }
            option.ignore_rest();
        },
    ),
    OptionSpec::new(
        "upstream",
        "[…]",
        "Has no effect: aliases are always followed through this server.",
        |_, option| option.skip(),
    ),
]);

struct AutoOptions {
    root: Root,
    directory: Option<ZoneDirectory>,
    watched: bool,
}

#[derive(Debug)]
struct AutoSettings(Vec<AutoLine>);

#[derive(Debug)]
struct AutoLine {
    /// Names outside of these zones go to the next plugin.
    zones: Vec<Name>,
    directory: ZoneDirectory,
    watched: bool,
}

impl PluginSettings for AutoSettings {
    fn needs(&self) -> Vec<Need> {
        let of_line = |line: &AutoLine| {
            let directory = Need::ZoneDirectory(line.directory.clone());
            [Some(directory), line.watched.then_some(Need::WatchFiles)].into_iter().flatten()
        };
        self.0.iter().flat_map(of_line).collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(self.0.iter().map(|line| line.build(context)).collect())
    }
}

impl AutoLine {
    fn build(&self, context: &mut PluginContext<'_>) -> Arc<dyn Plugin> {
        let reload = if self.watched { ZoneReload::NewSerial } else { ZoneReload::Never };
        let mut zones = HashMap::new();
        for (origin, path) in self.files(context) {
            let file = ZoneFile { path, reload };
            let zone = file.load(&origin, DIRECTIVE.name, context).unwrap_or_else(|error| {
                // Other zones must not wait until somebody corrects this file.
                let text = format!("{error}; queries for {origin} get SERVFAIL");
                context.outputs.warnings.push(LogLine::new(Level::Error, DIRECTIVE.name, text));
                None
            });
            zones.insert(origin, Arc::new(ZoneSlot::new(zone)));
        }
        let (within, fallthrough) = (self.zones.clone(), Fallthrough::default());
        Arc::new(Authoritative {
            name: DIRECTIVE.name,
            zones,
            primaries: HashMap::new(),
            members: None,
            within,
            fallthrough,
        })
    }

    /// The file of each zone. The first path counts.
    fn files(&self, context: &mut PluginContext<'_>) -> BTreeMap<Name, String> {
        let mut paths: Vec<_> = context.build.files.keys().cloned().collect();
        paths.retain(|path| self.directory.contains(path));
        paths.sort_unstable();
        let mut files = BTreeMap::<Name, String>::new();
        for path in paths {
            let Some(origin) = self.directory.origin(&path) else { continue };
            match files.get(&origin) {
                Some(first) => {
                    let text = format!(
                        "the zone {origin} has two files, and {path} is not used: {first} comes first; write a pattern that matches one of them only, such as `^db\\.(.*)$`"
                    );
                    context.warn(DIRECTIVE.name, text);
                }
                None => drop(files.insert(origin, path)),
            }
        }
        if files.is_empty() {
            let directory = &self.directory;
            let text = format!(
                "the directory {} has no file whose name matches `{}`, so `auto` answers nothing yet",
                directory.path, directory.pattern
            );
            context.warn(DIRECTIVE.name, text);
        }
        files
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (root, block) = (Root::of(lines), lines.zones.to_vec());
    let mut autos = Vec::new();
    lines.each(|arguments| {
        let zones = if arguments.is_empty() { block.clone() } else { names(&arguments.zones()) };
        let mut options = AutoOptions { root: root.clone(), directory: None, watched: true };
        let span = arguments.span();
        OPTIONS.read(arguments, &mut options);
        match options.directory {
            Some(directory) => autos.push(AutoLine { zones, directory, watched: options.watched }),
            None => drop(
                arguments
                    .warning(span, "this `auto` answers nothing: it has no directory")
                    .help("add `directory DIR`, with the directory of the zone files"),
            ),
        }
    });
    Some(Box::new(AutoSettings(autos)))
}

fn read_directory(options: &mut AutoOptions, option: &mut Arguments<'_>) {
    let Some(path) = option.required("a directory") else { return };
    let path = options.root.path(&path.text).trim_end_matches('/').to_owned();
    let Some((pattern, template)) = read_pattern(option) else { return };
    options.directory = Some(ZoneDirectory { path, pattern, template });
}

/// The pattern of the files' names and the template of the zone's name. `None` after an error.
fn read_pattern(option: &mut Arguments<'_>) -> Option<(Regex, String)> {
    let Some(token) = option.optional() else {
        return Some((Regex::new(r"db\.(.*)").ok()?, "${1}".to_owned()));
    };
    if token.text.len() > limits::PATTERN_OCTETS {
        option.error(token.span, "regexp too large");
        option.rest();
        return None;
    }
    let pattern = match pattern::compile(&token.text) {
        Ok(pattern) if pattern.captures_len() > 1 => pattern,
        Ok(_) => {
            option
                .error(token.span, "Need at least one sub expression")
                .help("such as `db\\.(.*)`: the group in parentheses is the zone's name");
            option.rest();
            return None;
        }
        Err(error) => {
            option.error(token.span, &format!("`{}` is not a pattern: {error}", token.text));
            option.rest();
            return None;
        }
    };
    let template = option.required("a template of the zone's name, such as `{1}`")?;
    Some((pattern, template.text.replace('{', "${")))
}
