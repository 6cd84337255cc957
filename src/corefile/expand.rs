//! Expands snippets and imports into one list of tokens.

use std::{collections::BTreeMap, rc::Rc};

use crate::limits;

use super::{Diagnostics, Reader, Span, Token, braces, glob, lex, nearest};

/// The tokens of a Corefile with its imports expanded. There are none if a limit is exceeded.
pub(super) fn expand(
    path: &str,
    text: &str,
    reader: &dyn Reader,
    diagnostics: &mut Diagnostics,
) -> Vec<Token> {
    let mut expansion = Expansion {
        reader,
        diagnostics,
        snippets: BTreeMap::new(),
        files: BTreeMap::new(),
        open: Vec::new(),
        out: Vec::new(),
        octets: 0,
        words: 0,
        imports: 0,
        stopped: false,
    };
    if let Some(tokens) = expansion.lex(path, text, Span::default()) {
        expansion.nested(path.to_owned(), &tokens, Span::default());
    }
    if expansion.stopped { Vec::new() } else { expansion.out }
}

struct Snippet {
    name: Span,
    tokens: Rc<[Token]>,
}

struct Expansion<'x> {
    reader: &'x dyn Reader,
    diagnostics: &'x mut Diagnostics,
    snippets: BTreeMap<String, Snippet>,
    /// The files by path. Each is read once.
    files: BTreeMap<String, Rc<[Token]>>,
    /// The files and snippets that are being expanded, the Corefile first. None may import itself.
    open: Vec<String>,
    out: Vec<Token>,
    /// The amount read and expanded so far, for the limits.
    octets: usize,
    words: usize,
    imports: usize,
    /// Whether a limit was exceeded, which is reported once.
    stopped: bool,
}

impl Expansion<'_> {
    fn lex(&mut self, path: &str, text: &str, import: Span) -> Option<Rc<[Token]>> {
        self.octets += text.len();
        if self.octets > limits::COREFILE_OCTETS {
            self.stop(import, "the Corefile and its imports are too long");
            return None;
        }
        let file = self.diagnostics.add_file(path, text);
        if file > 0 && !self.reader.is_within(self.diagnostics.files.directory(0), path) {
            self.diagnostics.set_linked_away(file);
        }
        Some(lex::tokens(file, text, self.reader, self.diagnostics).into())
    }

    fn stop(&mut self, at: Span, message: &'static str) {
        if !self.stopped {
            self.diagnostics.error(at, message).label("stopped here");
        }
        self.stopped = true;
    }

    /// Appends the tokens of a file or snippet.
    fn nested(&mut self, name: String, tokens: &[Token], import: Span) {
        if self.open.contains(&name) {
            self.diagnostics
                .error(import, "this imports itself")
                .label("it is being imported already");
            return;
        }
        self.words += tokens.len();
        if self.words > limits::COREFILE_WORDS {
            return self.stop(import, "the Corefile and its imports have too many words");
        }
        self.open.push(name);
        let mut at = 0;
        while at < tokens.len() && !self.stopped && !self.diagnostics.is_full() {
            at = self.put(tokens, at);
        }
        self.open.pop();
    }

    /// Expands the construct at `tokens[at]` and returns the index after it.
    fn put(&mut self, tokens: &[Token], at: usize) -> usize {
        let token = &tokens[at];
        if braces::starts_line(tokens, at) && token.is("import") {
            let end = line_end(tokens, at);
            self.import(token, &tokens[at + 1..end]);
            return end;
        }
        if braces::starts_line(tokens, at)
            && let Some(name) = snippet_name(&tokens[at..])
        {
            return self.define(name, tokens, at);
        }
        // An import has its own line, so the imported tokens have their own lines, too.
        self.out.push(Token { first: token.first || at == 0, ..token.clone() });
        at + 1
    }

    /// Stores a snippet.
    fn define(&mut self, name: &str, tokens: &[Token], at: usize) -> usize {
        let (end, next) = match braces::close(tokens, at + 1) {
            Ok(close) => (close, close + 1),
            Err(gap) => {
                let error = self.diagnostics.error(tokens[at + 1].span, "this `{` is never closed");
                error
                    .label("the snippet begins here")
                    .help("put its `}` at the start of a line of its own");
                (gap.trusted.max(at + 2), gap.next)
            }
        };
        let span = tokens[at].span;
        let snippet = Snippet { name: span, tokens: tokens[at + 2..end].into() };
        if let Some(earlier) = self.snippets.insert(name.to_owned(), snippet) {
            let error = self
                .diagnostics
                .error(span, format!("redeclaration of previously declared snippet {name}"));
            error.label("declared again here").related(earlier.name, "declared here first");
        }
        next
    }

    fn import(&mut self, keyword: &Token, arguments: &[Token]) {
        let [what] = arguments else { return self.wrong_arguments(keyword, arguments) };
        self.imports += 1;
        if self.imports > limits::COREFILE_IMPORTS {
            return self.stop(what.span, "too many imports");
        }
        if self.open.len() > limits::COREFILE_DEPTH {
            self.diagnostics.error(what.span, "imports are nested too deeply");
            return;
        }
        match self.snippets.get(&what.text).map(|snippet| Rc::clone(&snippet.tokens)) {
            Some(tokens) => self.nested(format!("({})", what.text), &tokens, what.span),
            None => self.import_files(what),
        }
    }

    fn wrong_arguments(&mut self, keyword: &Token, arguments: &[Token]) {
        let span = arguments.get(1).map_or(keyword.span, |extra| extra.span);
        let error = self
            .diagnostics
            .error(span, "`import` takes one argument: a snippet, a file or a pattern");
        error.label(if arguments.is_empty() { "none is here" } else { "one too many" });
    }

    /// Paths are relative to the file that contains the `import`, also within a snippet.
    fn import_files(&mut self, what: &Token) {
        if what.text.is_empty() {
            self.diagnostics.error(what.span, "`import` needs a name").label("this is empty");
            return;
        }
        let path = glob::join(self.diagnostics.files.directory(what.span.file), &what.text);
        match glob::expand(&path, self.reader) {
            Err(glob::TooWild) => {
                let error = self.diagnostics.error(
                    what.span,
                    "an import pattern has at most one `*` and one `?`, and no `[...]`",
                );
                error.label("more wildcards than that");
            }
            Ok(Some(files)) if files.is_empty() => {
                let message = format!("No files matching import glob pattern: {}", what.text);
                self.diagnostics.warning(what.span, message).label("nothing is imported here");
            }
            Ok(Some(files)) => files.into_iter().for_each(|file| self.import_file(what, file)),
            Ok(None) => self.import_file(what, path),
        }
    }

    fn import_file(&mut self, what: &Token, path: String) {
        if let Some(tokens) = self.files.get(&path).cloned() {
            return self.nested(path, &tokens, what.span);
        }
        match self.reader.read(&path) {
            Ok(text) => {
                let Some(tokens) = self.lex(&path, &text, what.span) else { return };
                self.files.insert(path.clone(), Rc::clone(&tokens));
                self.nested(path, &tokens, what.span);
            }
            Err(reason) => self.unreadable(what, &path, &reason),
        }
    }

    fn unreadable(&mut self, what: &Token, path: &str, reason: &str) {
        let names: Vec<_> =
            self.snippets.keys().map(String::as_str).take(limits::DIAGNOSTICS).collect();
        let near = nearest(&what.text, &names).map(ToOwned::to_owned);
        let error =
            self.diagnostics.error(what.span, format!("File to import not found: {}", what.text));
        error.label(format!("{path}: {reason}"));
        match near {
            Some(near) => drop(error.help(format!("there is a snippet `{near}`"))),
            None if what.text.contains('/') => {}
            None => drop(error.help("a snippet must be declared above the `import` that uses it")),
        }
    }
}

/// The name, if the tokens begin a snippet: `(name) {`.
fn snippet_name(tokens: &[Token]) -> Option<&str> {
    let [name, brace, ..] = tokens else { return None };
    let inner = name.text.strip_prefix('(')?.strip_suffix(')')?;
    (name.bare && brace.is("{")).then_some(inner)
}

fn line_end(tokens: &[Token], at: usize) -> usize {
    at + 1 + tokens[at + 1..].iter().take_while(|token| !token.first && !token.is("}")).count()
}
