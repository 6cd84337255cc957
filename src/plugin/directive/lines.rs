//! The lines of one directive in one block.

use crate::{
    corefile::{Arguments, Block, Diagnostics, Line},
    wire::Name,
};

use super::Directive;

/// All lines of a directive in one block, while they are read.
pub struct DirectiveLines<'r> {
    directive: &'static Directive,
    lines: Vec<&'r Line>,
    /// The zones of the block's keys.
    pub zones: &'r [Name],
    block: &'r Block,
    diagnostics: &'r mut Diagnostics,
}

impl<'r> DirectiveLines<'r> {
    /// `None` if the block does not have the directive.
    pub(in crate::plugin) fn new(
        directive: &'static Directive,
        block: &'r Block,
        zones: &'r [Name],
        diagnostics: &'r mut Diagnostics,
    ) -> Option<Self> {
        let lines: Vec<_> =
            block.directives.iter().filter(|line| line.name.text == directive.name).collect();
        (!lines.is_empty()).then_some(Self { directive, lines, zones, block, diagnostics })
    }

    /// Reads another directive of the same block, if there is one. Its errors are dropped, because
    /// they are reported when that directive itself is read.
    pub(in crate::plugin) fn other<T>(
        &self,
        directive: &'static Directive,
        read: impl FnOnce(&mut DirectiveLines<'_>) -> T,
    ) -> Option<T> {
        let mut dropped = Diagnostics::default();
        DirectiveLines::new(directive, self.block, self.zones, &mut dropped)
            .map(|mut lines| read(&mut lines))
    }

    /// Reads every line with `read`. Arguments that it leaves unread are errors, and so are braces
    /// after a directive without options.
    pub fn each(&mut self, mut read: impl FnMut(&mut Arguments<'_>)) {
        for line in &self.lines {
            let mut arguments = Arguments::new(self.directive.name, line, self.diagnostics);
            read(&mut arguments);
            arguments.end();
            if self.directive.options.list().is_empty() {
                arguments.no_body();
            }
        }
    }

    /// Reads the line of a directive that may stand only once in a block.
    pub fn once(&mut self, mut read: impl FnMut(&mut Arguments<'_>)) {
        for extra in self.lines.iter().skip(1) {
            let message = format!(
                "plugin/{}: this plugin can only be used once per Server Block",
                self.directive.name
            );
            self.diagnostics.error(extra.name.span, message).label("the second one");
        }
        self.lines.truncate(1);
        self.each(&mut read);
    }
}
