//! The result for all objects in the forms that other programs read: JUnit for CI, and HTML.

use std::fmt::Write;

use crate::explain::{
    Verdict,
    report::html::{document, escaped},
};

use super::{Overview, Row};

impl Overview {
    /// The result in the form of JUnit: one test case for each object. A warning is not a failure.
    pub fn junit(&self) -> String {
        let unread: Vec<&String> =
            self.unread.iter().filter(|it| !self.complaints.contains(it)).collect();
        let count = |verdict| self.objects.iter().filter(|row| row.verdict == verdict).count();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"ndots explain\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n",
            self.checked + self.complaints.len() + unread.len(),
            count(Verdict::Broken),
            count(Verdict::Unknown) + self.complaints.len(),
            unread.len()
        );
        for unread in unread {
            // Writing to a String does not fail.
            let _ = writeln!(
                xml,
                "  <testcase classname=\"objects\" name=\"not read\">\n    <skipped message=\"{}\"/>\n  </testcase>",
                escaped(unread)
            );
        }
        for unread in &self.complaints {
            let _ = writeln!(
                xml,
                "  <testcase classname=\"objects\" name=\"reading\">\n    <error type=\"unread\" message=\"{}\"/>\n  </testcase>",
                escaped(unread)
            );
        }
        for object in &self.without_findings {
            let _ = writeln!(
                xml,
                "  <testcase classname=\"{}\" name=\"{}/{}\"/>",
                escaped(&object.kind),
                escaped(&object.namespace),
                escaped(&object.name)
            );
        }
        for row in &self.objects {
            case(&mut xml, row);
        }
        xml.push_str("</testsuite>\n");
        xml
    }

    /// The result as an HTML page.
    pub fn html(&self) -> String {
        let mut body = format!(
            "<h1>ndots explain</h1>\n<p class=\"verdict\">{}</p>\n<table class=\"all\">\n<tr><th>verdict</th><th>object</th><th>check</th><th>finding</th></tr>\n",
            escaped(&self.summary())
        );
        for row in &self.objects {
            let want = row.finding.want.as_deref().unwrap_or_default();
            let want = if want.is_empty() {
                String::new()
            } else {
                format!("<br>want: {}", escaped(want))
            };
            let _ = writeln!(
                body,
                "<tr><td class=\"{}\">{}</td><td>{}</td><td class=\"id\">{}</td><td>{}{want}</td></tr>",
                row.finding.level.name(),
                row.word(),
                escaped(&row.title()),
                row.finding.check.id,
                escaped(&row.finding.saw)
            );
        }
        body.push_str("</table>\n");
        if !self.unread.is_empty() {
            body.push_str("<h2>Not read</h2>\n<ul>\n");
            for it in &self.unread {
                let _ = writeln!(body, "<li>{}</li>", escaped(it));
            }
            body.push_str("</ul>\n");
        }
        document("ndots explain -A", &body)
    }
}

fn case(xml: &mut String, row: &Row) {
    let (object, finding) = (&row.object, &row.finding);
    let _ = writeln!(
        xml,
        "  <testcase classname=\"{}\" name=\"{}/{}\">",
        escaped(&object.kind),
        escaped(&object.namespace),
        escaped(&object.name)
    );
    let saw = escaped(&finding.saw);
    let details = [finding.want.iter().map(|want| format!("want: {want}")).collect(), {
        finding.advice.clone()
    }]
    .concat()
    .join("\n");
    let details = details.lines().map(escaped).collect::<Vec<_>>().join("\n");
    let _ = match row.verdict {
        Verdict::Healthy => writeln!(
            xml,
            "    <system-out>warning: {}: {saw}\n{details}</system-out>",
            finding.check.id
        ),
        Verdict::Broken => writeln!(
            xml,
            "    <failure type=\"{}\" message=\"{saw}\">{details}</failure>",
            finding.check.id
        ),
        Verdict::Unknown => writeln!(
            xml,
            "    <error type=\"{}\" message=\"{saw}\">{details}</error>",
            finding.check.id
        ),
    };
    xml.push_str("  </testcase>\n");
}
