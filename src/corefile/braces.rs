//! Finds which `}` belongs to which `{`, and which one is missing.

use super::Token;

/// A `}` is missing.
pub(super) struct Gap {
    /// The `{`s that are most likely not closed, outermost first.
    pub(super) unclosed: Vec<usize>,
    /// A `}` that closes one of them, although its indentation is that of another `{`.
    pub(super) taken: Option<usize>,
    /// The lines before this one are reliable.
    pub(super) trusted: usize,
    /// The most likely start of the next block.
    pub(super) next: usize,
}

impl Gap {
    /// Whether the only `{` without its `}` is that of the last server block, and the file ends
    /// with the `}` of a directive. In CoreDNS that `}` closes both the directive and the block.
    pub(super) fn at_end(&self, tokens: &[Token]) -> bool {
        self.unclosed.len() == 1
            && self.taken.is_none()
            && self.next == tokens.len()
            && tokens.last().is_some_and(|last| last.is("}"))
    }
}

/// Finds the `}` of the `{` at `tokens[open]`.
pub(super) fn close(tokens: &[Token], open: usize) -> Result<usize, Gap> {
    unopened(tokens, open + 1).ok_or_else(|| gap(tokens, open))
}

/// The next `}` without a `{` from `tokens[from]` on.
pub(super) fn unopened(tokens: &[Token], from: usize) -> Option<usize> {
    let mut level = 0_usize;
    tokens.iter().enumerate().skip(from).find_map(|(at, token)| {
        if token.is("{") {
            level += 1;
        } else if token.is("}") {
            match level.checked_sub(1) {
                Some(outer) => level = outer,
                None => return Some(at),
            }
        }
        None
    })
}

/// Every `{` from `tokens[from]` on that is never closed.
pub(super) fn unclosed(tokens: &[Token], from: usize) -> Vec<usize> {
    let mut stack = Vec::new();
    for (at, token) in tokens.iter().enumerate().skip(from) {
        if token.is("{") {
            stack.push(at);
        } else if token.is("}") {
            stack.pop();
        }
    }
    stack
}

/// The start of the line of `tokens[at]`.
pub(super) fn line_start(tokens: &[Token], at: usize) -> usize {
    (0..=at).rev().find(|&at| starts_line(tokens, at)).unwrap_or(0)
}

/// Whether `tokens[at]` starts a line. Braces separate lines as line ends do.
pub(super) fn starts_line(tokens: &[Token], at: usize) -> bool {
    at == 0 || tokens[at].first || tokens[at - 1].is_brace()
}

/// Guesses by indentation which brace is missing.
fn gap(tokens: &[Token], open: usize) -> Gap {
    let next = next_block(tokens, open);
    let mut stack = vec![open];
    for (at, token) in tokens[..next].iter().enumerate().skip(open + 1) {
        if token.is("{") {
            stack.push(at);
        } else if token.is("}")
            && let Some(opened) = stack.pop()
            && token.first
            && token.indent < tokens[opened].indent
        {
            return Gap {
                unclosed: vec![opened],
                taken: Some(at),
                trusted: line_start(tokens, opened),
                next,
            };
        }
    }
    let trusted = stack.get(1).map_or(next, |inner| line_start(tokens, *inner));
    Gap { unclosed: stack, taken: None, trusted, next }
}

/// The next line that ends with `{` and is not indented deeper than the block's own line. If the
/// block's first directive is not indented deeper either, indentation says nothing, and this
/// returns the end of the tokens.
fn next_block(tokens: &[Token], open: usize) -> usize {
    let home = tokens[open].indent;
    let mut lines = (open + 1..tokens.len()).filter(|&at| tokens[at].first && !tokens[at].is("}"));
    let indented = lines.clone().next().is_some_and(|at| tokens[at].indent > home);
    let begins_block = |&at: &usize| {
        let line = 1 + tokens[at + 1..].iter().take_while(|token| !token.first).count();
        tokens[at].indent <= home && tokens[at + line - 1].is("{")
    };
    if indented { lines.find(begins_block).unwrap_or(tokens.len()) } else { tokens.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::{Diagnostics, lex, tests::Memory};

    fn check(text: &str, unclosed: &[&str], trusted: &str, next: &str) {
        let tokens = lex::tokens(0, text, &Memory::default(), &mut Diagnostics::default());
        let open = tokens.iter().position(|token| token.is("{")).unwrap();
        let Err(gap) = close(&tokens, open) else { panic!("{text}") };
        let line =
            |at: usize| tokens.get(line_start_or_end(&tokens, at)).map_or("", |token| &*token.text);
        assert_eq!(gap.unclosed.iter().map(|&at| line(at)).collect::<Vec<_>>(), unclosed, "{text}");
        assert_eq!((line(gap.trusted), line(gap.next)), (trusted, next), "{text}");
    }

    fn line_start_or_end(tokens: &[Token], at: usize) -> usize {
        if at < tokens.len() { line_start(tokens, at) } else { at }
    }

    #[test]
    fn the_forgotten_brace_is_guessed_by_indentation() {
        check("a {\n x", &["a"], "", "");
        check("a {\n x\nb {\n y\n}", &["a"], "b", "b");
        check("a {\n x {\n  y\n z\n}", &["x"], "x", "");
        check("a {\n w\n x {\n  y\n z\n}\nb {\n}", &["x"], "x", "b");
        check("a {\n x {\n  y", &["a", "x"], "x", "");
        check("a {\nx\nb {\ny\n}", &["a"], "", "");
    }
}
