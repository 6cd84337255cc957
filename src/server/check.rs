//! Checks a Corefile: every key and directive, and the blocks against each other. One run reports
//! all errors.

use crate::{
    corefile::{self, Corefile, Diagnostics, Key, Span},
    plugin::{self, Checked, LintBlock, LintStage, Need},
    wire::Name,
};

use super::lint;

/// A server block after the check. Its errors are in the diagnostics.
pub struct CheckedBlock {
    /// The keys, each with its port.
    pub keys: Vec<(Name, Key)>,
    pub checked: Checked,
}

impl CheckedBlock {
    pub fn needs(&self) -> impl Iterator<Item = Need> {
        self.checked.needs()
    }
}

/// Checks every block. `port` is the port of `dns://` keys without one. Errors and warnings go to
/// `diagnostics`.
pub fn check(corefile: &Corefile, port: u16, diagnostics: &mut Diagnostics) -> Vec<CheckedBlock> {
    let checked: Vec<_> =
        corefile.blocks.iter().map(|block| check_block(block, port, diagnostics)).collect();
    let blocks: Vec<_> = corefile
        .blocks
        .iter()
        .zip(&checked)
        .map(|(block, checked)| LintBlock::new(block, &checked.keys, checked.needs()))
        .collect();
    defined_twice(&blocks, diagnostics);
    lint::run(&blocks, LintStage::Always, diagnostics);
    if !diagnostics.has_errors() {
        lint::run(&blocks, LintStage::WithoutErrors, diagnostics);
        lint::check_roles(&blocks, diagnostics);
        lint::check_ports(&blocks, diagnostics);
    }
    checked
}

fn check_block(block: &corefile::Block, port: u16, diagnostics: &mut Diagnostics) -> CheckedBlock {
    let mut keys = Vec::new();
    for key in &block.keys {
        match key.zone.parse::<Name>() {
            Ok(zone) => keys.push((zone, Key { port: Some(key.port_or(port)), ..key.clone() })),
            Err(reason) => {
                diagnostics.error(key.span, format!("`{}` is not a zone: {reason}", key.zone));
            }
        }
    }
    let zones: Vec<_> = keys.iter().map(|(zone, _)| zone.clone()).collect();
    CheckedBlock { checked: plugin::check(block, &zones, diagnostics), keys }
}

/// Reports two keys with the same zone at the same address. If a block is bound to an interface,
/// this only shows once its addresses are known.
fn defined_twice(blocks: &[LintBlock<'_>], diagnostics: &mut Diagnostics) {
    let mut before: Vec<(&LintBlock<'_>, &Key)> = Vec::new();
    let mut reported: Vec<Span> = Vec::new();
    for block in blocks.iter().filter(|block| !block.has_view) {
        for (zone, key) in block.keys {
            let same =
                |other: &&(&LintBlock<'_>, &Key)| *other.1 == *key && other.0.shares_address(block);
            if let Some((_, first)) = before.iter().find(same)
                && !reported.contains(&key.span)
            {
                // An address block may stand for hundreds of zones.
                reported.push(key.span);
                let (scheme, port) = (key.scheme.name(), key.port.unwrap_or_default());
                let error = diagnostics.error(
                    key.span,
                    format!("cannot serve {scheme}://{zone}:{port} - it is already defined"),
                );
                error.label("the second one").related(first.span, "the first one is here");
            }
            before.push((block, key));
        }
    }
}
