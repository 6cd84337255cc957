//! Snippets and imports: one list of words from many files.

use std::collections::HashMap;

use crate::limits;

use super::{Diagnostics, Reader, Token, lex};

pub(super) fn expand(path: &str, text: &str, reader: &dyn Reader, diagnostics: &mut Diagnostics) -> Vec<Token> {
    let file = diagnostics.add_file(path, text);
    let mut expansion = Expansion { reader, diagnostics, snippets: HashMap::new(), open: vec![path.to_owned()], out: Vec::new(), level: 0 };
    let tokens = lex::tokens(file, text, reader);
    expansion.put(&tokens, directory(path));
    expansion.out
}

struct Expansion<'x> {
    reader: &'x dyn Reader,
    diagnostics: &'x mut Diagnostics,
    snippets: HashMap<String, Vec<Token>>,
    /// Files and snippets that are being put in, the Corefile first: none may be put into itself.
    open: Vec<String>,
    out: Vec<Token>,
    /// Braces open in `out`: snippets are defined outside of all.
    level: usize,
}

impl Expansion<'_> {
    /// Appends words; those of a file in `directory` name their imports relative to it.
    fn put(&mut self, tokens: &[Token], directory: &str) {
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            if self.out.len() >= limits::COREFILE_WORDS {
                self.diagnostics.error(token.span, "imports make this Corefile too long").label("stopped here");
                return;
            }
            let line = line_length(&tokens[at..]);
            if token.first && token.is("import") {
                self.import(&tokens[at], &tokens[at + 1..at + line], directory);
                at += line;
            } else if let Some(name) = snippet_name(&tokens[at..]).filter(|_| self.level == 0) {
                at += self.define(name, &tokens[at..]);
            } else {
                self.level = if token.is("{") { self.level + 1 } else { self.level.saturating_sub(usize::from(token.is("}"))) };
                self.out.push(token.clone());
                at += 1;
            }
        }
    }

    /// Keeps a snippet; returns how many words its definition has.
    fn define(&mut self, name: &str, tokens: &[Token]) -> usize {
        let mut level = 0;
        let close = tokens.iter().position(|token| {
            level += isize::from(token.is("{")) - isize::from(token.is("}"));
            token.is("}") && level == 0
        });
        let Some(close) = close else {
            self.diagnostics.error(tokens[1].span, "this `{` is never closed").label(format!("the snippet `{name}` begins here"));
            return tokens.len();
        };
        if self.snippets.insert(name.to_owned(), tokens[2..close].to_vec()).is_some() {
            self.diagnostics.error(tokens[0].span, format!("the snippet `{name}` is defined twice")).label("defined again here");
        }
        close + 1
    }

    fn import(&mut self, keyword: &Token, arguments: &[Token], directory: &str) {
        let [what] = arguments else {
            let found = arguments.len();
            self.diagnostics
                .error(keyword.span, format!("`import` takes one argument, not {found}"))
                .help("write `import NAME` for a snippet, or `import FILE` or `import DIR/*.conf` for files");
            return;
        };
        if self.open.len() > limits::COREFILE_DEPTH {
            self.diagnostics.error(what.span, "imports lie too deep in each other");
            return;
        }
        if let Some(snippet) = self.snippets.get(&what.text).cloned() {
            self.nested(what, &format!("({})", what.text), &snippet, directory);
            return;
        }
        for path in self.files(what, directory) {
            match self.reader.read(&path) {
                Ok(text) => {
                    let file = self.diagnostics.add_file(&path, &text);
                    let tokens = lex::tokens(file, &text, self.reader);
                    self.nested(what, &path, &tokens, super::expand::directory(&path));
                }
                Err(reason) => {
                    let known: Vec<_> = self.snippets.keys().map(String::as_str).collect();
                    let near = super::nearest(&what.text, &known).map(|name| format!("the snippet `{name}` has a similar name"));
                    let help = near.unwrap_or_else(|| "a snippet must stand above the `import` that uses it".to_owned());
                    self.diagnostics.error(what.span, format!("file to import not found: {}", what.text)).label(reason).help(help);
                }
            }
        }
    }

    fn nested(&mut self, what: &Token, name: &str, tokens: &[Token], directory: &str) {
        if self.open.iter().any(|open| open == name) {
            self.diagnostics.error(what.span, format!("`{}` imports itself", what.text)).label("it is being put in already");
            return;
        }
        self.open.push(name.to_owned());
        self.put(tokens, directory);
        self.open.pop();
    }

    /// The files that a path or pattern means. A pattern that matches none is no mistake.
    fn files(&mut self, what: &Token, directory: &str) -> Vec<String> {
        let path =
            if what.text.starts_with('/') || directory.is_empty() { what.text.clone() } else { format!("{directory}/{}", what.text) };
        let count = |ch| what.text.matches(ch).count();
        if count('*') > 1 || count('?') > 1 || what.text.contains(['[', ']']) {
            self.diagnostics
                .error(what.span, "this pattern has more wildcards than `import` takes")
                .help("at most one `*` and one `?`, and no `[...]`");
            return Vec::new();
        }
        if count('*') + count('?') == 0 {
            return vec![path];
        }
        let files = self.reader.glob(&path);
        if files.is_empty() {
            self.diagnostics.warning(what.span, format!("no files match the import pattern: {}", what.text));
        }
        files
    }
}

/// `(name) {` begins a snippet.
fn snippet_name(tokens: &[Token]) -> Option<&str> {
    let [name, brace, ..] = tokens else { return None };
    let inner = name.text.strip_prefix('(')?.strip_suffix(')')?;
    (name.first && !name.quoted && brace.is("{") && !brace.first).then_some(inner)
}

fn line_length(tokens: &[Token]) -> usize {
    1 + tokens.iter().skip(1).take_while(|token| !token.first && !token.is("}")).count()
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}
