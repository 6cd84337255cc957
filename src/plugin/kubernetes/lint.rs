//! Checks of `kubernetes` against its block and the other blocks.

use crate::{
    corefile::{Diagnostics, Key},
    wire::Name,
    zone::is_reverse,
};

use super::{
    super::{LintBlock, LintContext},
    DIRECTIVE,
};

/// Warns if another block, which has no `kubernetes`, gets the queries for names of the cluster's
/// zone.
pub(super) fn another_block_answers(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    for line in context.block.lines(DIRECTIVE.name) {
        let zones = context.block.zones_of(line);
        for (zone, span) in zones.into_iter().filter(|(zone, _)| !is_reverse(zone)) {
            let names = [Some(zone.clone()), Name::join([b"svc".as_slice()], &zone)];
            let found = names
                .into_iter()
                .flatten()
                .find_map(|name| other_block(context, &name).map(|other| (name, other)));
            let Some((name, other)) = found.filter(|(_, other)| !other.has(DIRECTIVE.name)) else {
                continue;
            };
            let Some(key) = other.block.keys.first() else { continue };
            let message = format!(
                "plugin/kubernetes: another block, without `kubernetes`, gets the queries for `{name}`"
            );
            diagnostics
                .warning(span, message)
                .label("gets no queries")
                .related(key.span, "this block has the longer zone")
                .help("a block inherits no plugin from other blocks: add `kubernetes` there");
        }
    }
}

/// The block that gets the queries for a name, if this block gets none of them.
fn other_block<'s>(context: &LintContext<'s>, name: &Name) -> Option<&'s LintBlock<'s>> {
    let block = context.block;
    let mut keys = block.keys.iter().filter(|(zone, _)| name.is_within(zone));
    let answers = |(_, key): &(Name, Key)| {
        context.block_for(name, key, |other| other.is(block) || other.shares_address(block))
    };
    let first = answers(keys.next()?)?;
    let elsewhere =
        !first.is(block) && keys.all(|key| answers(key).is_some_and(|other| !other.is(block)));
    elsewhere.then_some(first)
}
