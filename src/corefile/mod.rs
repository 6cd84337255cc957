//! The Corefile: text to server blocks, and mistakes to messages that say where, what and how to mend it.
//!
//! Pure: files are read through [`Reader`], the environment comes as a function. What a directive's words mean is not
//! decided here: plugins read them with [`Words`].

mod arpa;
mod diagnostic;
mod expand;
mod key;
mod lex;
mod parse;
mod words;

use std::fmt;

pub use arpa::reverse_zones;
pub use diagnostic::{Diagnostic, Diagnostics, Files, Severity, Span};
pub use key::{Key, Scheme};
pub use lex::Token;
pub use words::{Words, nearest};

/// What a Corefile without a word in it means, as in CoreDNS.
const DEFAULT: &str = ".:53 {\n    whoami\n    log\n}\n";

/// A Corefile as it was written, imports and snippets put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corefile {
    pub blocks: Vec<Block>,
}

/// A server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub keys: Vec<Key>,
    /// In the order of the file; a directive may stand several times.
    pub directives: Vec<Line>,
}

/// A directive or an option of one: its name, its arguments, and what stands in its braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: Token,
    pub arguments: Vec<Token>,
    pub body: Vec<Self>,
}

/// How the files that a Corefile imports are read.
pub trait Reader {
    /// # Errors
    /// A sentence why it cannot be read.
    fn read(&self, path: &str) -> Result<String, String>;
    /// Files that match a pattern with one `*` or `?` in its last part, sorted.
    fn glob(&self, pattern: &str) -> Vec<String>;
    fn env(&self, name: &str) -> Option<String>;
}

/// Reads a Corefile. `path` names it in messages, and imports are relative to its directory.
///
/// All mistakes are told, in `diagnostics`; with an error among them the result is what could be made of the file.
pub fn parse(path: &str, text: &str, reader: &dyn Reader, diagnostics: &mut Diagnostics) -> Corefile {
    let mut tokens = expand::expand(path, text, reader, diagnostics);
    if tokens.is_empty() && !diagnostics.has_errors() {
        tokens = expand::expand("built-in Corefile", DEFAULT, reader, diagnostics);
    }
    Corefile { blocks: parse::blocks(&tokens, diagnostics) }
}

/// A Corefile that reads as the same blocks.
impl fmt::Display for Corefile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, block) in self.blocks.iter().enumerate() {
            let gap = if index > 0 { "\n" } else { "" };
            let keys: Vec<_> = block.keys.iter().map(|key| quoted(&key.text)).collect();
            writeln!(f, "{gap}{} {{", keys.join(" "))?;
            block.directives.iter().try_for_each(|directive| directive.write(f, 1))?;
            writeln!(f, "}}")?;
        }
        Ok(())
    }
}

impl Line {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let words = [&self.name].into_iter().chain(&self.arguments).map(|token| quoted(&token.text));
        let words = words.collect::<Vec<_>>().join(" ");
        let indent = "    ".repeat(depth);
        if self.body.is_empty() {
            return writeln!(f, "{indent}{words}");
        }
        writeln!(f, "{indent}{words} {{")?;
        self.body.iter().try_for_each(|line| line.write(f, depth + 1))?;
        writeln!(f, "{indent}}}")
    }
}

/// A word as it must be written to be read as itself.
fn quoted(text: &str) -> String {
    let bare = !text.is_empty()
        && !text.starts_with('"')
        && !text.ends_with(',')
        && !["{", "}", "import"].contains(&text)
        && !text.contains(|ch: char| ch.is_whitespace() || ch == '#');
    if bare { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests;
