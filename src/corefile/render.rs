//! Prints diagnostics in the style of rustc.

use std::fmt::Write;

use annotate_snippets::{
    AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle,
};

use crate::limits;

use super::{Diagnostic, Diagnostics, Severity, Span, diagnostic::position};

impl Diagnostics {
    /// All diagnostics in the order of their positions, each followed by an empty line.
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut out = String::new();
        // Writing to a String does not fail.
        for diagnostic in self.sorted() {
            let _ = writeln!(out, "{}\n", renderer.render(&[self.group(diagnostic)]));
        }
        if self.beyond() > 0 {
            let _ = writeln!(out, "and {} more\n", self.beyond());
        }
        out
    }

    fn group<'d>(&'d self, diagnostic: &'d Diagnostic) -> Group<'d> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let place = self.element(
            diagnostic.span,
            AnnotationKind::Primary,
            &diagnostic.label,
            diagnostic.hidden,
        );
        let related = diagnostic.related.iter().flat_map(|(span, text)| {
            let hidden = !self.files.may_quote(span.file);
            [
                Level::NOTE.message(&**text).into(),
                self.element(*span, AnnotationKind::Context, "", hidden),
            ]
        });
        let help = diagnostic.help.as_deref().map(|help| Level::HELP.message(help));
        level.primary_title(&*diagnostic.message).element(place).elements(related).elements(help)
    }

    /// The marked line, or only the position if the line is hidden or too long.
    fn element<'d>(
        &'d self,
        span: Span,
        kind: AnnotationKind,
        label: &'d str,
        hidden: bool,
    ) -> Element<'d> {
        let Some(file) = self.files.get(span.file) else { return Origin::path("").into() };
        let (number, column) = position(&file.text, span.start);
        let begin = file.text[..span.start].rfind('\n').map_or(0, |end| end + 1);
        let line = file.text[begin..].lines().next().unwrap_or_default();
        if hidden || line.len() > limits::DIAGNOSTIC_LINE_OCTETS {
            return Origin::path(&*file.path).line(number).char_column(column).into();
        }
        let start = (span.start - begin).min(line.len());
        let mark = kind.span(start..(span.end - begin).clamp(start, line.len()));
        let mark = if label.is_empty() { mark } else { mark.label(label) };
        Snippet::source(line).line_start(number).path(&*file.path).annotation(mark).into()
    }
}
