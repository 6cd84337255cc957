//! `metadata [ZONE…]`: lets plugins collect facts about queries.

use crate::{
    corefile::{Diagnostics, Line, Token},
    wire::Name,
};

use super::{
    Directive, DirectiveLines, Lint, LintContext, NO_OPTIONS, Need, PluginSettings, Role, names,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "metadata",
    about: "Lets the plugins of the block collect facts about each query. `log` prints them as `{/LABEL}`, `template` has them as `.Meta \"LABEL\"`, `view` and `template` as `metadata('LABEL')`, and `rewrite` as `{LABEL}`. Labels are `geoip/…` of `geoip`, `kubernetes/…` of `kubernetes`, `forward/upstream` of `forward`, `proxyproto/tlv` of `proxyproto`, `zone/wildcard` of `file`, `auto` and `secondary`, `trace/traceid` of `trace`, `view/name` of `view`, and `log/class` and `log/type` of `log`.",
    arguments: "[ZONE…]",
    options: &NO_OPTIONS,
    roles: &[Role::Informs],
    example: ".:53 {\n    metadata\n    log . \"{remote} {name} {type} {/kubernetes/namespace}\"\n    kubernetes cluster.local\n    forward . 192.0.2.53\n}\n",
    lints: &[Lint::without_errors(used_without_metadata)],
    read,
};

/// Facts are collected about queries in these zones.
#[derive(Debug)]
struct MetadataSettings(Vec<Name>);

impl PluginSettings for MetadataSettings {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Metadata(self.0.clone())]
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let (of_block, mut zones) = (lines.zones.to_vec(), Vec::new());
    lines.each(|arguments| {
        let named = names(&arguments.zones());
        zones.extend(if named.is_empty() { of_block.clone() } else { named });
    });
    Some(Box::new(MetadataSettings(zones)))
}

/// Whether the text has the form of a label: `PLUGIN/NAME`.
pub(super) fn is_label(text: &str) -> bool {
    text.split_once('/').is_some_and(|(plugin, name)| !plugin.is_empty() && !name.is_empty())
}

/// Warns of labels in a block without `metadata`.
fn used_without_metadata(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    let block = context.block;
    if block.has(DIRECTIVE.name) {
        return;
    }
    for name in ["log", "template", "view", "rewrite"] {
        let used = block.lines(name).find_map(|line| words(line).into_iter().find(|it| uses(it)));
        if let Some(token) = used {
            diagnostics
                .warning(token.span, "metadata is always empty in this block")
                .help("add the line `metadata` to the block");
        }
    }
}

/// The words of a line and of its options.
fn words(line: &Line) -> Vec<&Token> {
    let body = line.body.iter().flat_map(words);
    line.arguments.iter().chain(body).collect()
}

fn uses(token: &Token) -> bool {
    let text = &token.text;
    let mut variables = text.split('{').filter_map(|part| Some(part.split_once('}')?.0));
    text.contains("{/")
        || text.contains("metadata(")
        || text.contains(".Meta ")
        || variables.any(|text| is_label(text) && !text.contains(char::is_whitespace))
}
