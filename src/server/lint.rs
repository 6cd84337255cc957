//! Warnings about a Corefile that is valid but probably wrong: the lints of the plugins, and those
//! that follow from the roles of directives.

use crate::{
    corefile::{Diagnostics, Key, Line},
    plugin::{self, LintBlock, LintContext, LintStage, Role, ZoneArguments},
    wire::Name,
};

/// Runs the lints of all directives on all blocks.
pub(super) fn run(blocks: &[LintBlock<'_>], stage: LintStage, diagnostics: &mut Diagnostics) {
    let lints: Vec<_> = plugin::available()
        .flat_map(|directive| directive.lints)
        .filter(|lint| lint.stage == stage)
        .collect();
    for block in blocks {
        for lint in &lints {
            (lint.run)(&LintContext { block, blocks }, diagnostics);
        }
    }
}

/// Runs the lints that need only the roles of directives.
pub(super) fn check_roles(blocks: &[LintBlock<'_>], diagnostics: &mut Diagnostics) {
    for block in blocks {
        answers_nothing(block, diagnostics);
        for line in &block.block.directives {
            gets_no_queries(block, line, diagnostics);
        }
    }
}

/// Warns about two schemes at the same port. CoreDNS opens both sockets, too.
pub(super) fn check_ports(blocks: &[LintBlock<'_>], diagnostics: &mut Diagnostics) {
    let mut before: Vec<(&LintBlock<'_>, &Key)> = Vec::new();
    for block in blocks {
        for (_, key) in block.keys {
            // For port 0, the system chooses another port for each scheme.
            let meet = |(block_before, other): &&(&LintBlock<'_>, &Key)| {
                other.scheme != key.scheme
                    && (other.port, key.port.is_some_and(|port| port > 0)) == (key.port, true)
                    && other.scheme.sockets().meet(key.scheme.sockets())
                    && block_before.shares_address(block)
            };
            if let Some((_, other)) = before.iter().find(meet) {
                let (one, two) = (other.scheme.name(), key.scheme.name());
                let port = key.port.unwrap_or_default();
                let message = format!(
                    "{one}:// and {two}:// share port {port}: the system gives each client to one of them by chance, so some connections fail"
                );
                let warning = diagnostics.warning(key.span, message);
                warning.related(other.span, "the other scheme is here").help(format!(
                    "give {two}:// another port, or an address of its own with `bind`"
                ));
                break;
            }
            before.push((block, key));
        }
    }
}

fn answers_nothing(block: &LintBlock<'_>, diagnostics: &mut Diagnostics) {
    if block.has_role(Role::Answers) {
        return;
    }
    if let Some(key) = block.block.keys.first() {
        let names: Vec<_> = plugin::available()
            .filter(|directive| directive.has(Role::Answers))
            .map(|directive| format!("`{}`", directive.name))
            .collect();
        let message = "no plugin of this block answers queries: every query fails";
        diagnostics.warning(key.span, message).help(format!(
            "plugins that answer are {}; a block inherits no plugin from other blocks",
            names.join(", ")
        ));
    }
}

/// Warns about an argument that names a zone outside of all keys of the block.
fn gets_no_queries(block: &LintBlock<'_>, line: &Line, diagnostics: &mut Diagnostics) {
    let Some(directive) = plugin::find(&line.name.text) else { return };
    let count = if directive.has(Role::TakesZones(ZoneArguments::All)) {
        line.arguments.len()
    } else if directive.has(Role::TakesZones(ZoneArguments::First)) {
        1
    } else {
        0
    };
    for token in line.arguments.iter().take(count) {
        let overlaps = |wanted: &Name| {
            block.keys.iter().any(|(zone, _)| wanted.is_within(zone) || zone.is_within(wanted))
        };
        let wanted = plugin::zones(token);
        if !wanted.is_empty() && !wanted.iter().any(overlaps) && !block.keys.is_empty() {
            let message = format!(
                "plugin/{}: this block gets no queries for names in `{}`",
                directive.name, token.text
            );
            diagnostics
                .warning(token.span, message)
                .help("the keys of the block name the zones that it gets queries for");
        }
    }
}
