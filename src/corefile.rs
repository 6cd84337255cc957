//! The Corefile: parses text into server blocks and reports errors with position, reason and
//! remedy.
//!
//! Pure: files and environment variables are read through [`Reader`]. This module does not know
//! what a directive means: plugins read its arguments with [`Arguments`].

mod arguments;
mod arpa;
mod braces;
mod diagnostic;
mod expand;
mod glob;
mod key;
mod lex;
mod parse;
mod print;
mod render;
mod span;
mod suggest;
mod value;
mod variables;

pub use crate::transport::Scheme;
pub use arguments::Arguments;
pub use arpa::reverse_zones;
pub use diagnostic::{Diagnostic, Diagnostics, Files, Severity};
pub use key::Key;
pub use lex::Token;
pub use print::quoted;
pub use span::Span;
pub use suggest::{is_slip, nearest};
pub use value::{duration, go_duration};

/// As in CoreDNS, a Corefile without a server block means this block, at the port of `-dns.port`.
const DEFAULT: &str = ". {\n    whoami\n    log\n}\n";

/// A Corefile with its imports and snippets expanded. It prints as a Corefile that parses to the
/// same blocks, unless the value of a variable looks like a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corefile {
    pub blocks: Vec<Block>,
}

/// A server block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub keys: Vec<Key>,
    /// In the order of the file. A directive may occur several times.
    pub directives: Vec<Line>,
}

/// A directive or an option: its name, its arguments, and the lines in its braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: Token,
    pub arguments: Vec<Token>,
    pub body: Vec<Self>,
}

/// Access to files and environment variables.
pub trait Reader {
    /// # Errors
    /// A short reason: the file does not exist, is a directory, or is not UTF-8.
    fn read(&self, path: &str) -> Result<String, String>;

    /// The names in a directory, in any order; names of directories end with a slash. The list is
    /// empty if the directory cannot be read. The path ends with a slash, or is empty for the
    /// working directory.
    fn list(&self, directory: &str) -> Vec<String>;

    /// Whether a file is within a directory when all symbolic links are followed. The directory is
    /// given as for [`Reader::list`].
    fn is_within(&self, _directory: &str, _path: &str) -> bool {
        true
    }

    /// An environment variable; the name is not empty and has no `=` in it.
    fn env(&self, name: &str) -> Option<String>;
}

/// Parses a Corefile. `path` names it in messages, and imports are relative to its directory.
///
/// All errors go to `diagnostics`, which must be empty. After an error the result holds the valid
/// parts of the file, so that plugins can report more errors.
pub fn parse(
    path: &str,
    text: &str,
    reader: &dyn Reader,
    diagnostics: &mut Diagnostics,
) -> Corefile {
    let tokens = expand::expand(path, text, reader, diagnostics);
    let mut blocks = parse::blocks(&tokens, diagnostics);
    if blocks.is_empty() && !diagnostics.has_errors() {
        let tokens = expand::expand("built-in Corefile", DEFAULT, reader, diagnostics);
        blocks = parse::blocks(&tokens, diagnostics);
    }
    Corefile { blocks }
}

/// Parses any text, and parses the printed result again. The fuzz target `corefile` calls it.
///
/// # Panics
/// If the two results differ.
pub fn round_trip(text: &str) {
    let mut diagnostics = Diagnostics::default();
    let corefile = parse("Corefile", text, &EmptyReader, &mut diagnostics);
    diagnostics.render(true);
    diagnostics.lines().for_each(drop);
    if diagnostics.has_errors() {
        return;
    }
    let printed = corefile.to_string();
    let mut diagnostics = Diagnostics::default();
    let again = parse("Corefile", &printed, &EmptyReader, &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{printed}\n{}", diagnostics.render(false));
    assert_eq!(corefile, again, "{printed}");
}

/// No files and no variables.
struct EmptyReader;

impl Reader for EmptyReader {
    fn read(&self, _: &str) -> Result<String, String> {
        Err("there are no files here".to_owned())
    }

    fn list(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;
