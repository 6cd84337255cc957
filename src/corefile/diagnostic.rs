//! Mistakes: where, what, and how to mend it.

use std::fmt::Write;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};

use crate::limits;

/// Octets of one of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub file: usize,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Clone, Debug)]
pub struct Diagnostic {
    pub severity: Severity,
    pub span: Span,
    pub message: String,
    label: String,
    help: Option<String>,
}

impl Diagnostic {
    /// Says more at the place itself.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// Says how to mend it.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }
}

/// The texts that spans point into; the first is the Corefile.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<(String, String)>);

impl Files {
    /// `path:line:column`.
    pub fn place(&self, span: Span) -> String {
        let Some((path, text)) = self.0.get(span.file) else { return String::new() };
        let before = &text[..span.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{path}:{line}:{column}")
    }

    /// `path:line`, as CoreDNS says it.
    fn line(&self, span: Span) -> String {
        self.place(span).rsplit_once(':').map_or_else(String::new, |(place, _)| place.to_owned())
    }

    /// Text of files outside of the Corefile's directory is never shown: `import /etc/shadow` is no way to read it.
    fn may_quote(&self, file: usize) -> bool {
        let home = |path: &str| path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("{directory}/"));
        let (Some((main, _)), Some((path, _))) = (self.0.first(), self.0.get(file)) else { return false };
        let home = home(main);
        file == 0 || path.strip_prefix(&*home).is_some_and(|rest| !rest.starts_with('/') && !rest.split('/').any(|part| part == ".."))
    }
}

/// What is wrong with a Corefile, and the texts to show it in.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    pub files: Files,
    list: Vec<Diagnostic>,
    spare: Option<Diagnostic>,
}

impl Diagnostics {
    pub(super) fn add_file(&mut self, path: &str, text: &str) -> usize {
        self.files.0.push((path.to_owned(), text.to_owned()));
        self.files.0.len() - 1
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, span, message.into())
    }

    pub fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, span, message.into())
    }

    /// Past the bound a message goes nowhere: who has made so many mistakes has one.
    fn add(&mut self, severity: Severity, span: Span, message: String) -> &mut Diagnostic {
        let diagnostic = Diagnostic { severity, span, message, label: String::new(), help: None };
        if self.list.len() >= limits::DIAGNOSTICS {
            return self.spare.insert(diagnostic);
        }
        self.list.push(diagnostic);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// One line a mistake, as CoreDNS logs it: `Corefile:2 - Error during parsing: …`.
    pub fn lines(&self) -> impl Iterator<Item = (Severity, String)> {
        self.list.iter().map(|it| (it.severity, format!("{} - Error during parsing: {}", self.files.line(it.span), it.message)))
    }

    /// All of them with the lines they are in, as rustc shows errors.
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut out = String::new();
        for diagnostic in &self.list {
            self.render_one(diagnostic, &renderer, &mut out);
        }
        out
    }

    fn render_one(&self, diagnostic: &Diagnostic, renderer: &Renderer, out: &mut String) {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let Span { file, start, end } = diagnostic.span;
        let help = diagnostic.help.as_deref();
        // Writing to a String does not fail.
        let _ = match self.files.0.get(file).filter(|_| self.files.may_quote(file)) {
            Some((path, text)) => {
                let annotation = AnnotationKind::Primary.span(start..end.max(start));
                let annotation = if diagnostic.label.is_empty() { annotation } else { annotation.label(&*diagnostic.label) };
                let group =
                    level.primary_title(&*diagnostic.message).element(Snippet::source(&**text).path(&**path).annotation(annotation));
                let group = if let Some(help) = help { group.element(Level::HELP.message(help)) } else { group };
                writeln!(out, "{}\n", renderer.render(&[group]))
            }
            None => writeln!(out, "error: a mistake in an imported file\n --> {}\n", self.files.place(diagnostic.span)),
        };
    }
}
