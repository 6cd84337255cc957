//! The Corefile: text to server blocks, and mistakes to messages that say where, what and how to
//! mend it.
//!
//! Pure: files are read through [`Reader`], the environment comes as a function. What a directive's
//! words mean is not decided here: plugins read them with [`Arguments`].

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
mod suggest;
mod value;

pub use crate::transport::Scheme;
pub use arguments::Arguments;
pub use arpa::reverse_zones;
pub use diagnostic::{Diagnostic, Diagnostics, Files, Severity, Span};
pub use key::Key;
pub use lex::Token;
pub use suggest::nearest;
pub use value::go_duration;

/// What a Corefile without a server block means, as in CoreDNS: on the port of `-dns.port`.
const DEFAULT: &str = ". {\n    whoami\n    log\n}\n";

/// A Corefile as it was written, imports and snippets put in. It prints as a Corefile that reads as
/// the same blocks, where no variable's value looks like a variable.
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

/// What a Corefile may need from outside.
pub trait Reader {
    /// # Errors
    /// A short reason: it does not exist, is a directory, or is no UTF-8.
    fn read(&self, path: &str) -> Result<String, String>;

    /// The names in a directory, in any order, those of directories with a slash behind; none where
    /// it cannot be read. The path is empty for the working directory and else ends with a slash.
    fn list(&self, directory: &str) -> Vec<String>;

    /// An environment variable; the name is not empty and has no `=` in it.
    fn env(&self, name: &str) -> Option<String>;
}

/// Reads a Corefile. `path` names it in messages, and imports are relative to its directory.
///
/// All mistakes are told, in `diagnostics`, which is fresh; with an error among them the result is
/// what could be made of the file, for plugins to find more.
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

/// For fuzzing: whatever a text says, reading it ends, and what is printed of it reads as the same.
///
/// # Panics
/// Where that is not so.
pub fn round_trip(text: &str) {
    let mut diagnostics = Diagnostics::default();
    let corefile = parse("Corefile", text, &Nowhere, &mut diagnostics);
    diagnostics.render(true);
    diagnostics.lines().for_each(drop);
    if diagnostics.has_errors() {
        return;
    }
    let printed = corefile.to_string();
    let mut diagnostics = Diagnostics::default();
    let again = parse("Corefile", &printed, &Nowhere, &mut diagnostics);
    assert!(!diagnostics.has_errors(), "{printed}\n{}", diagnostics.render(false));
    assert_eq!(corefile, again, "{printed}");
}

/// No files and no variables.
struct Nowhere;

impl Reader for Nowhere {
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
