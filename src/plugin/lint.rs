//! Checks of a directive against its block and against the other blocks.

use std::net::IpAddr;

use crate::{
    corefile::{Block, Diagnostics, Key, Line, Span, Token, reverse_zones},
    wire::Name,
};

use super::{Need, Role, find};

/// A check that belongs to a directive. It runs for every block of a Corefile, whether or not the
/// block has the directive.
pub struct Lint {
    pub stage: LintStage,
    pub run: fn(&LintContext<'_>, &mut Diagnostics),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LintStage {
    Always,
    /// Only if the Corefile has no error: after an error, most warnings only follow from it.
    WithoutErrors,
}

impl Lint {
    pub const fn always(run: fn(&LintContext<'_>, &mut Diagnostics)) -> Self {
        Self { stage: LintStage::Always, run }
    }

    pub const fn without_errors(run: fn(&LintContext<'_>, &mut Diagnostics)) -> Self {
        Self { stage: LintStage::WithoutErrors, run }
    }
}

/// The block that a lint looks at, among all blocks.
pub struct LintContext<'s> {
    pub block: &'s LintBlock<'s>,
    pub blocks: &'s [LintBlock<'s>],
}

/// A server block with its keys and the addresses that it is bound to.
pub struct LintBlock<'c> {
    pub block: &'c Block,
    pub keys: &'c [(Name, Key)],
    /// The addresses and interfaces to listen on; empty for all.
    bound: Vec<String>,
    /// Whether a view selects the queries of the block.
    pub has_view: bool,
}

impl<'c> LintBlock<'c> {
    pub fn new(
        block: &'c Block,
        keys: &'c [(Name, Key)],
        needs: impl Iterator<Item = Need>,
    ) -> Self {
        let (mut bound, mut has_view) = (Vec::new(), false);
        for need in needs {
            match need {
                Need::Bind { only, .. } => bound.extend(only),
                Need::View(_) => has_view = true,
                _ => {}
            }
        }
        Self { block, keys, bound, has_view }
    }

    /// The lines of a directive.
    pub fn lines(&self, name: &str) -> impl Iterator<Item = &'c Line> {
        self.block.directives.iter().filter(move |line| line.name.text == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.lines(name).next().is_some()
    }

    /// Whether a directive of the block has this role.
    pub fn has_role(&self, role: Role) -> bool {
        let directives = self.block.directives.iter().filter_map(|line| find(&line.name.text));
        directives.into_iter().any(|directive| directive.has(role))
    }

    pub fn is(&self, other: &LintBlock<'_>) -> bool {
        std::ptr::eq(self.block, other.block)
    }

    /// Whether both blocks listen on a common address.
    pub fn shares_address(&self, other: &LintBlock<'_>) -> bool {
        self.bound.is_empty() && other.bound.is_empty()
            || self.bound.iter().any(|host| other.bound.contains(host))
    }

    /// Whether the block receives a query that this machine sends to `address`.
    pub fn receives(&self, address: IpAddr) -> bool {
        if self.bound.is_empty() {
            address.is_loopback() || address.is_unspecified()
        } else {
            self.bound.iter().any(|host| host.parse() == Ok(address))
        }
    }

    /// The zones that the arguments of a line name, each with its position. Without arguments they
    /// are the zones of the block.
    pub fn zones_of(&self, line: &Line) -> Vec<(Name, Span)> {
        if line.arguments.is_empty() {
            return self.keys.iter().map(|(zone, _)| (zone.clone(), line.name.span)).collect();
        }
        let zones = |token| zones(token).into_iter().map(|zone| (zone, token.span));
        line.arguments.iter().flat_map(zones).collect()
    }
}

impl<'s> LintContext<'s> {
    /// The block that answers `name` for a client at the port of `at`, among the blocks that
    /// `receives` selects.
    pub fn block_for(
        &self,
        name: &Name,
        at: &Key,
        receives: impl Fn(&LintBlock<'_>) -> bool,
    ) -> Option<&'s LintBlock<'s>> {
        let keys = self
            .blocks
            .iter()
            .filter(|block| receives(block))
            .flat_map(|block| block.keys.iter().map(move |(zone, key)| (block, zone, key)));
        let matching = keys.filter(|(_, zone, key)| {
            key.scheme == at.scheme && key.port == at.port && name.is_within(zone)
        });
        matching.max_by_key(|(_, zone, _)| zone.wire().len()).map(|(block, ..)| block)
    }
}

/// The zones that a token names; none if it is not a zone.
pub fn zones(token: &Token) -> Vec<Name> {
    match reverse_zones(&token.text) {
        Some(zones) => zones.iter().filter_map(|zone| zone.parse().ok()).collect(),
        None => token.text.parse().into_iter().collect(),
    }
}
