//! Help for plugins, from their descriptors: for `ndots plugins` and for the pages in
//! `docs/plugins`.

use std::fmt::Write;

use super::{ALL, Directive, Entry, OptionHelp, OptionStatus, available, suggestion};

/// The available plugins with a line about each, and the names of CoreDNS's plugins that are
/// missing.
pub fn list() -> String {
    let width = available().map(|directive| directive.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Directive { name, about, .. } in available() {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name:width$}  {about}");
    }
    let missing = not_yet();
    if missing.is_empty() {
        return text;
    }
    text + "\nCoreDNS has these plugins, and ndots does not have them yet:\n"
        + &wrapped(&missing.join(" "))
}

fn not_yet() -> Vec<&'static str> {
    let name = |entry: &Entry| if let Entry::NotYet(name) = entry { Some(*name) } else { None };
    ALL.iter().filter_map(name).collect()
}

/// What a plugin does, its arguments, its options and an example, for a terminal.
pub fn page(directive: &Directive) -> String {
    let mut text = format!("{}\n\n    {}\n", directive.about, usage(directive));
    let options = options(directive, OptionStatus::Available);
    let width = options.iter().map(|option| words(option).chars().count()).max().unwrap_or(0);
    if !options.is_empty() {
        text += "\nOptions:\n";
    }
    for option in &options {
        let _ = writeln!(text, "    {:width$}  {}", words(option), option.about);
    }
    let missing = options_not_yet(directive);
    if !missing.is_empty() {
        let _ = writeln!(text, "\nOptions of CoreDNS that ndots does not have yet: {missing}");
    }
    text += "\nExample:\n";
    for line in directive.example.lines() {
        let _ = writeln!(text, "    {line}");
    }
    text.trim_end().to_owned()
}

/// Why there is no help for a name.
pub fn missing(name: &str) -> String {
    if not_yet().contains(&name) {
        return format!("CoreDNS has the plugin `{name}`, and ndots does not have it yet");
    }
    let entry = ALL.iter().find(|entry| entry.name() == name);
    match entry {
        Some(Entry::Refused(_, sentence)) => return (*sentence).to_owned(),
        Some(Entry::Removed(_, instead)) => {
            return format!("CoreDNS does not have the plugin `{name}` any more: {instead}");
        }
        _ => {}
    }
    let unknown = "no plugin has this name";
    match suggestion(name) {
        Some(near) => format!("{unknown}; did you mean `{near}`?"),
        None => format!("{unknown}; `ndots plugins` lists all"),
    }
}

/// The page of a plugin in `docs/plugins`.
pub fn markdown(directive: &Directive) -> String {
    let name = directive.name;
    let mut text = format!("{GENERATED}# {name}\n\n{}\n\n", directive.about);
    for role in directive.roles {
        let _ = writeln!(text, "- {}", role.sentence());
    }
    let _ = write!(text, "\n## Syntax\n\n```\n{}\n```\n", usage(directive));
    let options = options(directive, OptionStatus::Available);
    if !options.is_empty() {
        text += "\n## Options\n\n| option | meaning |\n|---|---|\n";
    }
    for option in &options {
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {} |", cell(&words(option)), cell(option.about));
    }
    let missing = options_not_yet(directive);
    if !missing.is_empty() {
        let _ = writeln!(text, "\nOptions of CoreDNS that ndots does not have yet: {missing}.");
    }
    let example = directive.example.trim_end();
    text + "\n## Example\n\n```\n" + example + "\n```\n"
}

/// The page `docs/plugins/README.md`.
pub fn markdown_index() -> String {
    let mut text = format!(
        "{GENERATED}# Plugins\n\n\
         Plugins are called in this order, whatever the order in the Corefile is.\n\n\
         | plugin | what it does |\n|---|---|\n"
    );
    for Directive { name, about, .. } in available() {
        let _ = writeln!(text, "| [{name}]({name}.md) | {about} |");
    }
    let missing: Vec<_> = not_yet().iter().map(|name| format!("`{name}`")).collect();
    if missing.is_empty() {
        return text;
    }
    let missing = wrapped(&missing.join(", "));
    text + "\nCoreDNS has these plugins, and ndots does not have them yet:\n" + &missing + ".\n"
}

const GENERATED: &str =
    "<!-- Generated from the plugin's descriptor in src/plugin. Do not edit. -->\n\n";

/// The directive as it stands in a Corefile.
fn usage(directive: &Directive) -> String {
    let line = format!("{} {}", directive.name, directive.arguments);
    let braces =
        if options(directive, OptionStatus::Available).is_empty() { "" } else { " { … }" };
    format!("{}{braces}", line.trim_end())
}

fn words(option: &OptionHelp) -> String {
    format!("{} {}", option.name, option.arguments).trim_end().to_owned()
}

fn options(directive: &Directive, status: OptionStatus) -> Vec<OptionHelp> {
    let mut options = directive.options.list();
    options.retain(|option| option.status == status);
    options
}

fn options_not_yet(directive: &Directive) -> String {
    let names = options(directive, OptionStatus::NotYet);
    names.iter().map(|option| format!("`{}`", option.name)).collect::<Vec<_>>().join(", ")
}

/// Wraps prose at 100 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is a line");
        if !last.is_empty() && last.len() + 1 + word.len() > 100 {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join("\n")
}
