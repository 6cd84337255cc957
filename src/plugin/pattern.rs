//! Regular expressions in the Corefile, in the syntax of Go's package `regexp`, as CoreDNS reads
//! them.

use regex::{Regex, RegexBuilder};

use crate::{
    corefile::{Arguments, Token},
    limits,
};

/// Reads a word as a pattern. An error is reported.
pub(super) fn read(arguments: &mut Arguments<'_>, token: &Token) -> Option<Regex> {
    if token.text.len() > limits::PATTERN_OCTETS {
        let (length, limit) = (token.text.len(), limits::PATTERN_OCTETS);
        arguments.error(token.span, &format!("regex pattern too long: {length} > {limit}"));
        return None;
    }
    match compile(&token.text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            // The last line has the reason; those above it point into the pattern.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("`{}` is not a regular expression: {reason}", token.text);
            arguments.error(token.span, &message);
            None
        }
    }
}

/// Compiles a pattern of Go's syntax.
pub(super) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&from_go(pattern))
}

/// The pattern, which then matches letters of either case.
pub(super) fn in_any_case(pattern: &Regex) -> Regex {
    let built = RegexBuilder::new(pattern.as_str()).case_insensitive(true).build();
    // Without the flag it is a pattern already, but with it, it can be too large.
    built.unwrap_or_else(|_| pattern.clone())
}

/// Translates a pattern from Go's syntax into that of the crate `regex`. They differ in these
/// points of Go's syntax:
/// - A `{` that begins no repetition stands for itself.
/// - In a class, `[`, `&&`, `~~` and `--` stand for themselves, and so does a `-` after `\w`.
/// - `\<` and `\>` stand for `<` and `>`, not for the start and the end of a word.
/// - `\Q` begins a quotation, which ends at `\E`.
pub(super) fn from_go(pattern: &str) -> String {
    let mut translator =
        Translator { rest: pattern, out: String::with_capacity(pattern.len()), in_class: false };
    while translator.step().is_some() {}
    translator.out
}

struct Translator<'p> {
    rest: &'p str,
    out: String,
    in_class: bool,
}

impl Translator<'_> {
    /// Translates the next part; `None` at the end.
    fn step(&mut self) -> Option<()> {
        if let Some(quoted) = self.rest.strip_prefix("\\Q").filter(|_| !self.in_class) {
            let (quoted, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            self.out.push_str(&regex::escape(quoted));
            self.rest = rest;
            return Some(());
        }
        match (self.rest.chars().next()?, self.in_class) {
            ('\\', false) => self.escape(),
            ('[', false) => self.begin_class(),
            (']', true) => {
                self.in_class = false;
                self.copy(1);
            }
            (_, true) => match posix_class(self.rest) {
                Some(length) => self.copy(length),
                None => self.range(),
            },
            ('{', false) if !is_repetition(self.rest) => self.escaped(),
            (other, _) => self.copy(other.len_utf8()),
        }
        Some(())
    }

    /// Copies octets of the pattern.
    fn copy(&mut self, length: usize) {
        let (part, rest) = self.rest.split_at(length);
        self.out.push_str(part);
        self.rest = rest;
    }

    /// Copies a character that stands for itself.
    fn escaped(&mut self) {
        self.out.push('\\');
        self.copy(1);
    }

    /// Copies `\` and what belongs to it.
    fn escape(&mut self) {
        let mut after = self.rest[1..].chars();
        let Some(what) = after.next() else { return self.copy(1) };
        if matches!(what, '<' | '>') {
            self.rest = &self.rest[1..];
            return self.copy(1);
        }
        let named = matches!(what, 'p' | 'P' | 'x') && after.next() == Some('{');
        let end = if named { self.rest.find('}').map(|at| at + 1) } else { None };
        self.copy(end.unwrap_or(1 + what.len_utf8()));
    }

    /// Translates a character of a class, or two with `-` between them.
    fn range(&mut self) {
        let class = |what| matches!(what, 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P');
        let is_class = self.rest.strip_prefix('\\').is_some_and(|rest| rest.starts_with(class));
        self.class_character();
        let is_range = self.rest.starts_with('-') && !self.rest[1..].starts_with(']');
        if is_range && !is_class {
            self.copy(1);
            self.class_character();
        }
    }

    fn class_character(&mut self) {
        match self.rest.chars().next() {
            Some('\\') => self.escape(),
            Some('[' | '&' | '~' | '-') => self.escaped(),
            Some(other) => self.copy(other.len_utf8()),
            None => {}
        }
    }

    /// A `]` at the beginning of a class stands for itself.
    fn begin_class(&mut self) {
        self.in_class = true;
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        if self.rest.starts_with(']') {
            self.escaped();
        }
    }
}

/// The length of `[:name:]` at the beginning of the text.
fn posix_class(text: &str) -> Option<usize> {
    let name = text.strip_prefix("[:")?;
    let end = name.find(":]")?;
    let plain = name[..end].bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'^');
    plain.then_some(end + 4)
}

/// Whether the text begins with `{2}`, `{2,}` or `{2,3}`.
fn is_repetition(text: &str) -> bool {
    let Some((range, _)) = text[1..].split_once('}') else { return false };
    let (low, high) = range.split_once(',').unwrap_or((range, "0"));
    let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let check = |pattern: &str, matching: &str, other: &str| {
            let compiled = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert!(compiled.is_match(matching), "{pattern} does not match {matching}");
            assert!(!compiled.is_match(other), "{pattern} matches {other}");
        };
        check("^{{ .Name }}$", "{{ .Name }}", "a");
        check(r"^a{,2}$", "a{,2}", "aa");
        check(r"^a{2}$", "aa", "a{2}");
        check(r"^a{1,}$", "aaa", "");
        check(r"^[\w-.]+$", "a-b.c", "a b");
        check(r"^[\d-]+$", "1-2", "a");
        check(r"^[[a]$", "[", "b");
        check(r"^[a&&b]+$", "a&b", "c");
        check(r"^[~~a]+$", "~a", "b");
        check(r"^[\w--/]+$", "a-./", ",");
        check(r"^[+--]+$", "+,-", ".");
        check(r"^[]a]+$", "]a", "b");
        check(r"^[^]a]+$", "b", "]");
        check(r"^[[:alpha:]-]+$", "a-b", "1");
        check(r"^\Qa.b{\E.$", "a.b{c", "axb{c");
        check(r"\<a\>", "<a>", " a ");
        check(r"^\p{Greek}{2}$", "αβ", "ab");
        check(r"^\x{61}\x62$", "ab", "x");
        check(r"^(?P<name>[a-z]+)-(?i:X)$", "a-x", "a-y");
    }

    #[test]
    fn an_unfinished_pattern_is_an_error() {
        for pattern in ["[a", "a\\", "(", r"\p{", "[[:alpha:]"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
