//! Errors and warnings about a Corefile.

use std::{borrow::Cow, sync::Arc};

use crate::{limits, printable::printable};

use super::{Span, variables::Variables};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One error or warning.
///
/// Each text is a literal or a `String`. Only a `String` may quote a file. A `String` about a file
/// outside of the Corefile's directory is dropped, so that `import /etc/shadow` does not reveal its
/// content. The values of environment variables are masked.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    pub span: Span,
    pub message: Cow<'static, str>,
    pub label: Cow<'static, str>,
    pub help: Option<Cow<'static, str>>,
    /// Other positions that matter.
    pub related: Vec<(Span, Cow<'static, str>)>,
    /// Whether the text of the file is not shown.
    pub(super) hidden: bool,
    variables: Arc<Variables>,
}

impl Diagnostic {
    /// Sets the text at the marked position.
    pub fn label(&mut self, label: impl Into<Cow<'static, str>>) -> &mut Self {
        self.label = self.shown(label.into()).unwrap_or_default();
        self
    }

    /// Sets the text that says what to do.
    pub fn help(&mut self, help: impl Into<Cow<'static, str>>) -> &mut Self {
        self.help = self.shown(help.into());
        self
    }

    /// Shows the position without the line, because it holds a secret.
    pub fn hide(&mut self) -> &mut Self {
        self.hidden = true;
        self
    }

    /// Adds another position. The text must not quote the file.
    pub fn related(&mut self, span: Span, text: impl Into<Cow<'static, str>>) -> &mut Self {
        if let Some(text) = self.shown(text.into()) {
            self.related.push((span, text));
        }
        self
    }

    /// The text, cut to the longest length of a message; `None` if it may not be shown.
    fn shown(&self, text: Cow<'static, str>) -> Option<Cow<'static, str>> {
        match text {
            Cow::Borrowed(_) => Some(text),
            Cow::Owned(_) if self.hidden => None,
            Cow::Owned(text) => Some(shortened(self.variables.mask(self.span, &text)?.into())),
        }
    }
}

/// A token can be as long as a file, so messages that quote one are cut.
fn shortened(text: Cow<'static, str>) -> Cow<'static, str> {
    match text.char_indices().nth(limits::DIAGNOSTIC_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text,
    }
}

/// The texts that spans point into; the first is the Corefile.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<File>);

#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
    /// It is a symbolic link to a file outside of the Corefile's directory.
    linked_away: bool,
}

impl Files {
    pub(super) fn get(&self, file: usize) -> Option<&File> {
        self.0.get(file)
    }

    /// `path:line:column`, counted from one, columns in characters.
    pub fn place(&self, span: Span) -> String {
        let Some(File { path, text, .. }) = self.0.get(span.file) else { return String::new() };
        let (line, column) = position(text, span.start);
        format!("{path}:{line}:{column}")
    }

    /// The directory of a file with its final slash, empty for a bare name.
    pub(super) fn directory(&self, file: usize) -> &str {
        self.0.get(file).map_or("", |file| directory(&file.path))
    }

    /// Whether a file's text may be shown.
    pub(super) fn may_quote(&self, file: usize) -> bool {
        let home = self.directory(0);
        let within = |path: &str| match path.strip_prefix(home) {
            Some(rest) => !rest.starts_with('/') && rest.split('/').all(|part| part != ".."),
            None => false,
        };
        file == 0 || self.0.get(file).is_some_and(|file| within(&file.path) && !file.linked_away)
    }
}

fn directory(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..=slash])
}

/// Line and column, from one.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[begin..].chars().count() + 1)
}

/// All errors and warnings about a Corefile, with the files to show them in.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    pub files: Files,
    list: Vec<Diagnostic>,
    errors: usize,
    /// The last diagnostic that is not shown, because it is beyond the limit or a repetition.
    spare: Option<Diagnostic>,
    variables: Arc<Variables>,
    /// The number of diagnostics beyond the limit.
    beyond: usize,
}

impl Diagnostics {
    pub(super) fn add_file(&mut self, path: &str, text: &str) -> usize {
        self.files.0.push(File {
            path: path.to_owned(),
            text: text.to_owned(),
            linked_away: false,
        });
        self.files.0.len() - 1
    }

    /// Notes that the file is a symbolic link to a file outside of the Corefile's directory.
    pub(super) fn set_linked_away(&mut self, file: usize) {
        if let Some(file) = self.files.0.get_mut(file) {
            file.linked_away = true;
        }
    }

    /// Notes that a word contains variables with these names and values. `texts` are the word with
    /// the values, and the word as it is written.
    pub(super) fn add_variables(
        &mut self,
        span: Span,
        texts: (&str, &str),
        values: Vec<(String, String)>,
    ) {
        if !values.is_empty() {
            Arc::make_mut(&mut self.variables).add(span, texts, values);
        }
    }

    pub fn error(&mut self, span: Span, message: impl Into<Cow<'static, str>>) -> &mut Diagnostic {
        self.errors += 1;
        self.add(Severity::Error, span, message.into())
    }

    pub fn warning(
        &mut self,
        span: Span,
        message: impl Into<Cow<'static, str>>,
    ) -> &mut Diagnostic {
        self.add(Severity::Warning, span, message.into())
    }

    fn add(
        &mut self,
        severity: Severity,
        span: Span,
        message: Cow<'static, str>,
    ) -> &mut Diagnostic {
        let hidden = !self.files.may_quote(span.file);
        let empty = Cow::Borrowed("");
        let mut diagnostic = Diagnostic {
            severity,
            span,
            message: empty.clone(),
            label: empty,
            help: None,
            related: Vec::new(),
            hidden,
            variables: Arc::clone(&self.variables),
        };
        let instead = Cow::Borrowed(if hidden { HIDDEN } else { MASKED });
        diagnostic.message = diagnostic.shown(message).unwrap_or(instead);
        // A snippet is read once for each block that imports it, and each time has the same
        // mistakes.
        let shown_before = |other: &Diagnostic| {
            (other.severity, other.span, &other.message) == (severity, span, &diagnostic.message)
        };
        if self.list.iter().any(shown_before) {
            return self.spare.insert(diagnostic);
        }
        if self.list.len() >= limits::DIAGNOSTICS {
            self.beyond += 1;
            return self.spare.insert(diagnostic);
        }
        self.list.push(diagnostic);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// Whether there are errors, also beyond the limit.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether there are as many errors as are shown.
    pub fn is_full(&self) -> bool {
        self.errors >= limits::DIAGNOSTICS
    }

    /// The number of diagnostics that are not shown.
    pub fn beyond(&self) -> usize {
        self.beyond
    }

    /// In the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// In the order of their positions.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by_key(|diagnostic| diagnostic.span);
        list
    }

    /// One line for each, as CoreDNS logs it: `Corefile:2 - Error during parsing: …`.
    pub fn lines(&self) -> impl Iterator<Item = (Severity, String)> {
        self.sorted().into_iter().map(|it| {
            let place = self.files.get(it.span.file).map_or_else(String::new, |file| {
                let (line, _) = position(&file.text, it.span.start);
                format!("{}:{line} - ", file.path)
            });
            let during = if it.severity == Severity::Error { "Error during parsing: " } else { "" };
            (it.severity, printable(&format!("{place}{during}{}", it.message)).into_owned())
        })
    }
}

/// Replaces a message that would quote a file that is not shown.
const HIDDEN: &str =
    "an error in a file outside of the Corefile's directory, whose text is not shown";
/// Replaces a message that may quote a part of a variable's value.
const MASKED: &str = "the value of the environment variable is not valid here; it is not shown, as it may be a secret";

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostics(main: &str, other: &str) -> (Diagnostics, Span) {
        let mut diagnostics = Diagnostics::default();
        diagnostics.add_file(main, "a\n");
        let file = diagnostics.add_file(other, "x\nsecret\n");
        (diagnostics, Span { file, start: 2, end: 8 })
    }

    #[test]
    fn files_outside_of_the_directory_are_not_quoted() {
        let check = |main: &str, other: &str, expected: bool| {
            let (mut diagnostics, span) = diagnostics(main, other);
            let said = "secret".to_owned();
            diagnostics
                .error(span, format!("bad: {said}"))
                .label(said.clone())
                .help(said.clone())
                .related(span, said);
            let line = diagnostics.lines().next().unwrap().1;
            assert_eq!(line.contains("secret"), expected, "{main} {other}: {line}");
            assert!(line.starts_with(&format!("{other}:2 - ")), "{line}");
            assert_eq!(diagnostics.render(false).contains("secret"), expected, "{main} {other}");
        };
        check("/etc/coredns/Corefile", "/etc/coredns/custom/a", true);
        check("Corefile", "custom/a", true);
        check("Corefile", "/etc/shadow", false);
        check("Corefile", "../shadow", false);
        check("/etc/coredns/Corefile", "/etc/coredns/x/../../shadow", false);
        check("/etc/coredns/Corefile", "/etc/coredns2/a", false);
        check("/etc/coredns/Corefile", "/etc/shadow", false);
    }

    #[test]
    fn literals_are_shown_for_every_file() {
        let (mut diagnostics, span) = diagnostics("/c/Corefile", "/etc/shadow");
        diagnostics.error(span, "too many words");
        assert_eq!(diagnostics.render(false), "error: too many words\n--> /etc/shadow:2:1\n\n");
    }

    #[test]
    fn an_error_beyond_the_limit_counts() {
        let (mut diagnostics, span) = diagnostics("/c/Corefile", "/c/a");
        for count in 0..limits::DIAGNOSTICS {
            diagnostics.warning(span, format!("odd {count}"));
            diagnostics.warning(span, format!("odd {count}"));
        }
        assert!(!diagnostics.has_errors());
        diagnostics.error(span, "wrong");
        assert!(diagnostics.has_errors() && !diagnostics.is_full());
        assert_eq!((diagnostics.iter().count(), diagnostics.beyond()), (limits::DIAGNOSTICS, 1));
    }

    #[test]
    fn a_log_line_is_escaped_and_cut() {
        let (mut diagnostics, span) = diagnostics("/c/Corefile", "/c/a");
        diagnostics.error(span, format!("a\nb\u{1b}[2J{}", "x".repeat(100_000)));
        let line = diagnostics.lines().next().unwrap().1;
        assert!(line.starts_with("/c/a:2 - Error during parsing: a\\nb\\u{1b}[2Jxxx"), "{line}");
        assert!(line.len() < 1000);
    }
}
