//! Splits text into tokens.

use super::{Diagnostics, Reader, Span};

/// A token of a Corefile.
#[derive(Clone, Debug)]
pub struct Token {
    /// The word, with quotes, escapes and environment variables resolved.
    pub text: String,
    pub span: Span,
    /// Whether it was written without quotes and variables. Only such a token can be a brace,
    /// `import` or the name of a snippet.
    pub(super) bare: bool,
    /// Whether it is the first of its line.
    pub(super) first: bool,
    /// Octets of white space at the start of its line, to guess which brace is missing.
    pub(super) indent: usize,
}

impl Token {
    /// Whether it is this punctuation or keyword.
    pub(super) fn is(&self, text: &str) -> bool {
        self.bare && self.text == text
    }

    pub(super) fn is_brace(&self) -> bool {
        self.is("{") || self.is("}")
    }
}

/// Tokens with equal text are equal, whatever their position.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Token {}

/// White space separates tokens. A `"` at the start of a token quotes up to the next unescaped `"`.
/// A `#` outside of quotes begins a comment. It ends with the line, or at the next white space if
/// the `#` touches a token.
pub(super) fn tokens(
    file: usize,
    text: &str,
    reader: &dyn Reader,
    diagnostics: &mut Diagnostics,
) -> Vec<Token> {
    let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut lexer = Lexer {
        file,
        text,
        at,
        first: true,
        line: at,
        indent: 0,
        multiline: None,
        reader,
        diagnostics,
        tokens: Vec::new(),
    };
    while let Some(ch) = lexer.peek() {
        lexer.step(ch);
    }
    lexer.tokens
}

struct Lexer<'x> {
    file: usize,
    text: &'x str,
    at: usize,
    /// Whether no token of this line was read yet.
    first: bool,
    /// Where this line begins.
    line: usize,
    indent: usize,
    /// The first quoted token that continues on the next line. If a quote is missing, it is most
    /// likely the one of this token.
    multiline: Option<Span>,
    reader: &'x dyn Reader,
    diagnostics: &'x mut Diagnostics,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn step(&mut self, ch: char) {
        match ch {
            '\n' => {
                self.at += 1;
                (self.first, self.line) = (true, self.at);
            }
            '#' => self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at),
            ch if ch.is_whitespace() => self.at += ch.len_utf8(),
            '"' => self.quoted_word(),
            _ => self.bare_word(),
        }
    }

    /// Reads up to and including the closing quote. The only escape is `\"`; after two backslashes
    /// a quote is not escaped.
    fn quoted_word(&mut self) {
        let start = self.at;
        let mut word = String::new();
        let mut escaped = false;
        for (at, ch) in self.text[start + 1..].char_indices() {
            match ch {
                '"' if !escaped => {
                    self.at = start + 1 + at + 1;
                    self.glued_quote(start);
                    return self.push(start, &word, false);
                }
                '\\' if !escaped => escaped = true,
                ch => {
                    if escaped && ch != '"' {
                        word.push('\\');
                    }
                    word.push(ch);
                    escaped = false;
                }
            }
        }
        self.unclosed_quote(start);
    }

    /// Warns if a closing quote touches the next word. Probably an earlier quote is missing, and
    /// this quote was meant to open a token.
    fn glued_quote(&mut self, start: usize) {
        let glued = self.peek().is_some_and(|ch| !ch.is_whitespace() && ch != '#');
        if !glued {
            return;
        }
        let closing = Span { file: self.file, start: self.at - 1, end: self.at };
        let warning = self
            .diagnostics
            .warning(closing, "a quoted word ends here and another one begins without a space");
        warning
            .label("closes the quoted word")
            .related(Span { start, end: start + 1, ..closing }, "the quoted word begins here");
    }

    /// Reports the open quote once and continues after the end of the line, because the next line
    /// is most likely not part of the token.
    fn unclosed_quote(&mut self, start: usize) {
        let rest = &self.text[start..];
        self.at = start + rest.find('\n').unwrap_or(rest.len());
        let span = Span {
            file: self.file,
            start,
            end: start + rest.lines().next().unwrap_or_default().trim_end().len(),
        };
        let error = self
            .diagnostics
            .error(span, "this `\"` is never closed")
            .label("the quoted word begins here");
        if let Some(suspect) = self.multiline {
            error.related(
                suspect,
                "this quoted word spans several lines: is its closing quote missing?",
            );
        }
        let word = self.text[start + 1..span.end].to_owned();
        self.push(start, &word, false);
    }

    fn bare_word(&mut self) {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest
            .find(|ch: char| ch == '#' || ch.is_whitespace() && ch != '\r')
            .unwrap_or(rest.len());
        let written = rest[..length].trim_end_matches('\r');
        self.at = start + length;
        let word = written.replace('\r', "");
        self.touching_comment();
        match word
            .strip_suffix('{')
            .filter(|name| !name.is_empty() && !name.contains(['{', '}']) && self.ends_line())
        {
            Some(name) => self.glued_brace(start, start + written.len(), name),
            None => self.push_until(start, start + written.len(), &word, true),
        }
    }

    /// In `word#comment more` CoreDNS continues at `more`.
    fn touching_comment(&mut self) {
        let rest = &self.text[self.at..];
        let length = rest.find(|ch: char| ch.is_whitespace() && ch != '\r').unwrap_or(rest.len());
        let comment = Span {
            file: self.file,
            start: self.at,
            end: self.at + rest[..length].trim_end_matches('\r').len(),
        };
        self.at += length;
        if length > 0 && !self.ends_line() {
            let warning = self
                .diagnostics
                .warning(comment, "this comment ends at the next space, because it touches a word");
            warning
                .label("the comment")
                .help("put a space before the `#` to make a comment of the whole rest of the line");
        }
    }

    /// Whether the rest of the line has only white space and a comment.
    fn ends_line(&self) -> bool {
        let rest =
            self.text[self.at..].trim_start_matches(|ch: char| ch != '\n' && ch.is_whitespace());
        rest.is_empty() || rest.starts_with(['\n', '#'])
    }

    /// Reports `health{`, which CoreDNS reads as a name.
    fn glued_brace(&mut self, start: usize, end: usize, name: &str) {
        let span = Span { file: self.file, start: end - 1, end };
        self.diagnostics
            .error(span, "a `{` needs a space before it")
            .label("part of the word before it");
        self.push_until(start, end - 1, name, true);
        self.push_until(end - 1, end, "{", true);
    }

    fn push(&mut self, start: usize, word: &str, bare: bool) {
        self.push_until(start, self.at, word, bare);
    }

    fn push_until(&mut self, start: usize, end: usize, word: &str, bare: bool) {
        let span = Span { file: self.file, start, end };
        if self.first {
            self.indent = start - self.line;
        }
        let (mut unset, mut values) = (Vec::new(), Vec::new());
        let text = substituted(word, |name| {
            let value = if name.contains(['=', '\0']) { None } else { self.reader.env(name) };
            let Some(value) = value else {
                unset.push(name.to_owned());
                return String::new();
            };
            values.push((name.to_owned(), value.clone()));
            value
        });
        let changed = text.is_some();
        for name in unset {
            self.unset(span, &name);
        }
        if let Some(lines) = self.text[start..end].rfind('\n') {
            self.multiline.get_or_insert(span);
            self.line = start + lines + 1;
        }
        let text = text.unwrap_or_else(|| word.to_owned());
        self.diagnostics.add_variables(span, (&text, word), values);
        self.tokens.push(Token {
            text,
            span,
            bare: bare && !changed,
            first: self.first,
            indent: self.indent,
        });
        self.first = false;
    }

    fn unset(&mut self, word: Span, name: &str) {
        let written = &self.text[word.start..word.end];
        let found = ["{$", "{%"].iter().find_map(|open| written.find(&format!("{open}{name}")));
        let start = word.start + found.unwrap_or(0);
        let end = found.map_or(word.end, |_| start + 2 + name.len());
        let go_template = self.text[..start].ends_with('{') && found.is_some();
        let help = if go_template {
            "in a Go template write a space: `{{ $name }}`"
        } else {
            "it is replaced by nothing, as in CoreDNS"
        };
        let span = Span { start, end, ..word };
        self.diagnostics
            .warning(span, format!("the environment variable `{name}` is not set"))
            .help(help);
    }
}

/// Replaces `{$NAME}` and `{%NAME%}`; `None` if the text has neither. Values are not expanded
/// again.
///
/// No variable has a name with `=`, so `{$=}` is always empty. The printer uses it.
pub(super) fn substituted(word: &str, mut env: impl FnMut(&str) -> String) -> Option<String> {
    if !word.contains("{$") && !word.contains("{%") {
        return None;
    }
    let mut out = String::with_capacity(word.len());
    // The position in `out` of the leftmost open reference of each kind. One pass is enough,
    // although references can be nested.
    let (mut dollar, mut percent) = (None::<usize>, None::<usize>);
    let mut changed = false;
    for ch in word.chars() {
        let from = out.len();
        out.push(ch);
        match ch {
            '$' if out.ends_with("{$") => dollar = dollar.or(Some(from - 1)),
            '%' if out.ends_with("{%") => percent = percent.or(Some(from - 1)),
            '}' => {
                let windows = percent
                    .filter(|open| out[..from].ends_with('%') && *open + 2 < from)
                    .map(|open| (open, from - 1));
                let Some((open, end)) = windows.or(dollar.map(|open| (open, from))) else {
                    continue;
                };
                (dollar, percent) =
                    (dollar.filter(|at| *at < open), percent.filter(|at| *at < open));
                let name = out[open + 2..end].to_owned();
                if !name.is_empty() {
                    out.truncate(open);
                    changed = true;
                }
                if !name.is_empty() && name != "=" {
                    out.push_str(&env(&name));
                }
            }
            _ => {}
        }
    }
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::tests::Memory;

    fn read(text: &str) -> (Vec<Token>, Diagnostics) {
        let mut diagnostics = Diagnostics::default();
        let file = diagnostics.add_file("Corefile", text);
        let reader =
            Memory::with(&[], &[("A", "a b"), ("BRACE", "{"), ("SELF", "{$SELF}"), ("END", "x{")]);
        (tokens(file, text, &reader, &mut diagnostics), diagnostics)
    }

    #[test]
    fn words_are_cut_as_coredns_cuts_them() {
        let check = |text: &str, expected: &[&str]| {
            let (tokens, _) = read(text);
            let words: Vec<_> = tokens.iter().map(|token| token.text.as_str()).collect();
            assert_eq!(words, expected, "{text:?}");
        };
        check("", &[]);
        check("\u{feff}a b", &["a", "b"]);
        check("a\u{feff}b", &["a\u{feff}b"]);
        check("a\tb\u{a0}c\u{2003}d\u{b}e", &["a", "b", "c", "d", "e"]);
        check("a\r\nb\rc\r\n", &["a", "bc"]);
        check("foo#bar\nbaz # x", &["foo", "baz"]);
        check("foo#bar x\nbaz", &["foo", "x", "baz"]);
        check("foo##\r\nbaz", &["foo", "baz"]);
        check("foo#\"a b\" #c d", &["foo", "b\""]);
        check("{#foo\n# a b", &["{"]);
        check("\"a # b\"#c", &["a # b"]);
        check("\"a b\"c", &["a b", "c"]);
        check("a\"b c\"", &["a\"b", "c\""]);
        check(r#""\d+" "\"x\"" "a\\" b"#, &[r"\d+", "\"x\"", r"a\\", "b"]);
        check("\"a\r\n b\"", &["a\r\n b"]);
        check("\"\" x", &["", "x"]);
        check("`a b`", &["`a", "b`"]);
        check("\\a \\\"", &["\\a", "\\\""]);
        check("{remote} {{ .Name }} }x", &["{remote}", "{{", ".Name", "}}", "}x"]);
        check("a\\\nb", &["a\\", "b"]);
    }

    #[test]
    fn variables_are_put_in_once_and_stay_one_word() {
        let check =
            |text: &str, expected: &str| assert_eq!(read(text).0[0].text, expected, "{text:?}");
        check("{$A}", "a b");
        check("x{$A}y{%A%}z", "xa bya bz");
        check("\"{$A} {%A%}\"", "a b a b");
        check("{$NONE}", "");
        check("{$}", "{$}");
        check("{%%}", "{%%}");
        check("{%}", "{%}");
        check("{$}{$A}", "{$}a b");
        check("{$A", "{$A");
        check("{%A}", "{%A}");
        check("{%A{$A}%}", "");
        check("{{$x}}", "{}");
        check("{$SELF}", "{$SELF}");
        check("{$=}x", "x");
        check("{{$NONE}$A}", "a b");
        check("{{$NONE}%A%}", "a b");
    }

    #[test]
    fn neither_quotes_nor_variables_make_punctuation() {
        let check =
            |text: &str, expected: bool| assert_eq!(read(text).0[0].is("{"), expected, "{text}");
        check("{", true);
        check("\"{\"", false);
        check("{$BRACE}", false);
    }

    #[test]
    fn mistakes_are_reported_with_their_position() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let (_, diagnostics) = read(text);
            let found: Vec<_> = diagnostics
                .iter()
                .map(|it| (&text[it.span.start..it.span.end], &*it.message))
                .collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check("a \"b c\nd", &[("\"b c", "this `\"` is never closed")]);
        check("x{$NOPE}", &[("{$NOPE", "the environment variable `NOPE` is not set")]);
        check("health{ # x\n}", &[("{", "a `{` needs a space before it")]);
        check("health{ x", &[]);
        check("{{\n", &[]);
    }
}
