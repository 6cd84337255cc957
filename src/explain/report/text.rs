//! The report as text, for a terminal of some width.

use std::fmt::Write;

use crate::printable::{printable, printable_lines};

use super::{Finding, FindingLevel, Report, Verdict};

/// The fewest columns that a wrapped line has.
const NARROWEST: usize = 40;

/// How text is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Whether ANSI colours are used.
    pub is_coloured: bool,
    /// The columns of the terminal; `None` if lines are not broken.
    pub width: Option<usize>,
}

impl Style {
    pub(crate) fn paint(self, level: FindingLevel, text: &str) -> String {
        self.colour(level.colour(), text)
    }

    fn colour(self, colour: &str, text: &str) -> String {
        if self.is_coloured { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Breaks a text between words. Every line but the first is indented by `indent` columns.
    pub(crate) fn wrap(self, text: &str, indent: usize) -> String {
        let room = match self.width {
            Some(width) => width.saturating_sub(indent).max(NARROWEST),
            None => return text.to_owned(),
        };
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let line = lines.last_mut().filter(|line| {
                line.is_empty() || line.chars().count() + 1 + word.chars().count() <= room
            });
            match line {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) => drop(write!(line, " {word}")),
                None => lines.push(word.to_owned()),
            }
        }
        lines.join(&format!("\n{}", " ".repeat(indent)))
    }
}

impl Report {
    /// The report as lines of text: the subject, the steps with their findings, what could not be
    /// read, and the verdict.
    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}\n", style.wrap(&printable(&self.subject), 0));
        for (index, step) in self.steps.iter().enumerate() {
            let worst = step.worst();
            let mark = style.paint(worst, &worst.mark().to_string());
            let _ = writeln!(text, "{} {:<24}{mark}", index + 1, step.step.title());
            for finding in &step.findings {
                write(&mut text, finding, style);
            }
        }
        for unread in &self.unread {
            let mark = style.paint(FindingLevel::Unknown, "?");
            let _ = writeln!(text, "  {mark} {}", style.wrap(&printable(unread), 4));
        }
        let _ = writeln!(text, "\n{}", self.conclusion(style));
        text
    }

    fn conclusion(&self, style: Style) -> String {
        let (colour, words) = match self.verdict {
            Verdict::Healthy if self.not_checked.is_empty() => ("1;32", "healthy".to_owned()),
            Verdict::Healthy => {
                ("1;32", format!("no fault found; not checked: {}", self.not_checked.join(", ")))
            }
            Verdict::Broken => ("1;31", "broken".to_owned()),
            Verdict::Unknown => ("1;33", "cannot tell".to_owned()),
        };
        let Some((step, finding)) = self.decisive() else {
            return style.colour(colour, &style.wrap(&words, 0));
        };
        let words = style.colour(colour, &format!("{words} at step {step} ({})", finding.check.id));
        // Repeats the finding, because the report can be longer than the screen.
        let mut text = format!("{words}\n  {}", style.wrap(&printable(&finding.saw), 2));
        if let Some(advice) = finding.advice.first() {
            let _ = write!(text, "\n  do  {}", printable_lines(advice));
        } else if let Some(want) = &finding.want {
            let _ = write!(text, "\n  want  {}", style.wrap(&printable(want), 8));
        }
        text
    }
}

fn write(text: &mut String, finding: &Finding, style: Style) {
    let mark = style.paint(finding.level, &finding.level.mark().to_string());
    let _ = writeln!(text, "  {mark} {}", style.wrap(&printable(&finding.saw), 4));
    if let Some(want) = &finding.want {
        let _ = writeln!(text, "      want  {}", style.wrap(&printable(want), 12));
    }
    // Commands are not broken, so that they can be copied.
    for (index, advice) in finding.advice.iter().enumerate() {
        let label = if index == 0 { "do  " } else { "    " };
        let _ = writeln!(text, "      {label}  {}", printable_lines(advice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        let style = Style { is_coloured: false, width: Some(44) };
        let text = "no Pod of namespace default has the labels of selector app=web";
        assert_eq!(
            style.wrap(text, 4),
            "no Pod of namespace default has the\n    labels of selector app=web"
        );
        assert_eq!(Style::default().wrap(text, 4), text);
        assert_eq!(style.wrap(&"x".repeat(90), 4), "x".repeat(90), "a word stays whole");
    }
}
