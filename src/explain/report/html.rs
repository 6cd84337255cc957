//! The report as one HTML page without any other file: the chain as a picture, and the findings.

use std::fmt::Write;

use crate::{explain::checks, printable::printable};

use super::{Finding, FindingLevel, Report, Verdict};

/// The width and height of a box in the picture, and the distance between two boxes.
const BOX: (usize, usize) = (190, 92);
const GAP: usize = 46;
/// How many characters of a text fit into a line of a box, and how many lines.
const LINE: usize = 28;
const LINES: usize = 3;

const STYLE: &str = "\
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1c2530;background:#fff}
h1{font-size:1.25rem}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}
svg{max-width:100%;height:auto}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #dde3ea}
code{font:13px ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.ok{color:#1a7f37}.broken{color:#c62828}.warning,.unknown{color:#9a6700}.skipped,.note{color:#66717e}
.verdict{font-weight:600;font-size:1.1rem}.id{white-space:nowrap}.steps{table-layout:fixed}.steps td:first-child{width:1.4rem}.steps .id{width:15rem;overflow-wrap:anywhere}
.all td:first-child{white-space:nowrap}
";

/// Replaces the characters that have a meaning in HTML and XML.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A page with a title and a body.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escaped(title)
    )
}

impl FindingLevel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Note => "note",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Broken => "broken",
        }
    }

    /// The colour of a box.
    fn fill(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("#e6f4ea", "#1a7f37"),
            Self::Warning | Self::Unknown => ("#fff6dc", "#9a6700"),
            Self::Broken => ("#fde8e8", "#c62828"),
            Self::Skipped | Self::Note => ("#f2f4f7", "#8a95a3"),
        }
    }
}

/// A link of the chain: the worst finding of a group of checks.
struct Link<'r> {
    title: &'static str,
    finding: &'r Finding,
}

fn links(report: &Report) -> Vec<Link<'_>> {
    let findings = || report.steps.iter().flat_map(|step| &step.findings);
    checks::ALL
        .iter()
        .filter_map(|group| {
            let own = findings().filter(|finding| group.checks.contains(&finding.check));
            // If several are equally bad, the first one counts, as in the verdict.
            let worst = own.reduce(|one, other| if other.level > one.level { other } else { one });
            worst.map(|finding| Link { title: group.title, finding })
        })
        .collect()
}

/// The chain as an SVG picture.
fn picture(report: &Report) -> String {
    let links = links(report);
    let (width, height) = BOX;
    let mut svg = format!(
        "<svg role=\"img\" aria-label=\"the chain\" viewBox=\"0 0 {} {}\">\n",
        links.len() * (width + GAP),
        height + 10
    );
    for (index, Link { title, finding }) in links.iter().enumerate() {
        let (fill, stroke) = finding.level.fill();
        let left = index * (width + GAP) + 5;
        if index > 0 {
            let (from, to) = (left - GAP + 4, left - 6);
            let middle = height / 2 + 5;
            // Writing to a String does not fail.
            let _ = writeln!(
                svg,
                "<path d=\"M{from} {middle}H{to}m-7 -5l7 5l-7 5\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"2\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"5\" width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{fill}\" stroke=\"{stroke}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"27\" font-size=\"14\" font-weight=\"600\" fill=\"{stroke}\">{} {title}</text>",
            left + 10,
            finding.level.mark()
        );
        for (line, text) in lines(&finding.saw).iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" font-size=\"11.5\" fill=\"#1c2530\">{}</text>",
                left + 10,
                46 + line * 16,
                escaped(text)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The beginning of a text in lines that fit into a box.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ').flat_map(pieces) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LINE => {
                let _ = write!(line, " {word}");
            }
            _ => lines.push(word),
        }
    }
    if lines.len() > LINES {
        lines.truncate(LINES);
        if let Some(last) = lines.last_mut() {
            last.push('…');
        }
    }
    lines
}

/// A word that is longer than a line, in pieces.
fn pieces(word: &str) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(LINE).map(|chunk| chunk.iter().collect()).collect()
}

impl Report {
    /// The report as an HTML page.
    pub fn html(&self) -> String {
        let words = match self.verdict {
            Verdict::Healthy => "no fault found",
            Verdict::Broken => "broken",
            Verdict::Unknown => "cannot tell",
        };
        let class = match self.verdict {
            Verdict::Healthy => "ok",
            Verdict::Broken => "broken",
            Verdict::Unknown => "unknown",
        };
        let at = match self.decisive() {
            Some((_, finding)) => format!(": {}", escaped(&finding.saw)),
            None if self.not_checked.is_empty() => String::new(),
            None => format!("; not checked: {}", escaped(&self.not_checked.join(", "))),
        };
        let mut body = format!(
            "<h1>{}</h1>\n<p class=\"verdict {class}\">{words}{at}</p>\n{}",
            escaped(&self.subject),
            picture(self)
        );
        for (index, step) in self.steps.iter().enumerate() {
            let _ = writeln!(
                body,
                "<h2>{} {}</h2>\n<table class=\"steps\">",
                index + 1,
                step.step.title()
            );
            step.findings.iter().for_each(|finding| row(&mut body, finding));
            body.push_str("</table>\n");
        }
        let open = self.not_checked.iter().map(|it| (*it).to_owned());
        let open: Vec<String> = open.chain(self.unread.iter().cloned()).collect();
        if !open.is_empty() {
            body.push_str("<h2>Not checked</h2>\n<ul>\n");
            for it in open {
                let _ = writeln!(body, "<li>{}</li>", escaped(&it));
            }
            body.push_str("</ul>\n");
        }
        document(&format!("ndots explain: {}", self.subject), &body)
    }
}

fn row(body: &mut String, finding: &Finding) {
    let mut words = escaped(&finding.saw);
    if let Some(want) = &finding.want {
        let _ = write!(words, "<br>want: {}", escaped(want));
    }
    for advice in &finding.advice {
        let _ = write!(words, "<br><code>{}</code>", escaped(advice));
    }
    let _ = writeln!(
        body,
        "<tr class=\"{}\"><td>{}</td><td class=\"id\">{}</td><td>{words}</td></tr>",
        finding.level.name(),
        finding.level.mark(),
        finding.check.id
    );
}
