//! The report: the findings in the order of the checks, and the verdict that follows from them.

use std::fmt::Write;

use serde::Serialize;

use crate::printable::{printable, printable_lines};

/// The result of all checks. The value is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Healthy = 0,
    Broken = 1,
    /// Something that decides the verdict could not be checked.
    Unknown = 2,
}

/// What a skipped check leaves open, by the id of its finding.
const NOT_CHECKED: [(&str, &str); 14] = [
    ("dns.server", "the DNS server's replies"),
    ("dns.ingress-host", "the public DNS of the host"),
    ("dns.external-name-end", "the external name"),
    ("endpoints.template", "whether Pods are ready"),
    ("dns.template", "the Pod's name in DNS"),
    ("endpoints.not-in-manifests", "whether Pods exist"),
    ("gateway.no-status", "the Gateway's address"),
    ("gateway.not-in-manifests", "the Gateway"),
    ("gateway.other-parent", "parents that are not Gateways"),
    ("gateway.other-backend", "backends that are not Services"),
    ("outside.balancer-no-status", "the address of the LoadBalancer"),
    ("outside.ingress-no-status", "the address of the Ingress"),
    ("proxy.not-seen", "kube-proxy's rules"),
    ("policy.not-read", "network policies"),
];

/// How a finding affects the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingLevel {
    /// Not checked, or not applicable.
    Skipped,
    Note,
    Ok,
    /// It works now, but not in every case.
    Warning,
    /// It could not be checked, and the verdict depends on it.
    Unknown,
    Broken,
}

impl FindingLevel {
    fn mark(self) -> char {
        match self {
            Self::Ok => '✓',
            Self::Skipped => '–',
            Self::Note => '·',
            Self::Warning => '!',
            Self::Unknown => '?',
            Self::Broken => '✗',
        }
    }

    /// The ANSI colour codes for green, grey, yellow and red.
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "32",
            Self::Skipped | Self::Note => "90",
            Self::Warning | Self::Unknown => "33",
            Self::Broken => "31",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// It never changes between releases: `endpoints.selector`.
    pub id: &'static str,
    pub level: FindingLevel,
    pub saw: String,
    /// What was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub want: Option<String>,
    /// What to do. Most entries are shell commands.
    #[serde(rename = "do", skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
}

/// The findings of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    pub title: &'static str,
    pub findings: Vec<Finding>,
}

impl Section {
    pub fn new(title: &'static str) -> Self {
        Self { title, findings: Vec::new() }
    }

    pub fn say(
        &mut self,
        level: FindingLevel,
        id: &'static str,
        saw: impl Into<String>,
    ) -> &mut Finding {
        self.findings.push(Finding { id, level, saw: saw.into(), want: None, advice: Vec::new() });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    pub fn ok(&mut self, id: &'static str, saw: impl Into<String>) {
        self.say(FindingLevel::Ok, id, saw);
    }

    pub fn broken(&mut self, id: &'static str, saw: impl Into<String>) -> &mut Finding {
        self.say(FindingLevel::Broken, id, saw)
    }

    pub fn is_broken(&self) -> bool {
        self.worst() == FindingLevel::Broken
    }

    fn worst(&self) -> FindingLevel {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(FindingLevel::Skipped)
    }
}

impl Finding {
    pub fn want(&mut self, want: impl Into<String>) -> &mut Self {
        self.want = Some(want.into());
        self
    }

    pub fn advise(&mut self, advice: impl Into<String>) -> &mut Self {
        self.advice.push(advice.into());
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The name, and the object that it belongs to: `my-nginx is Service default/my-nginx`.
    pub subject: String,
    pub verdict: Verdict,
    /// The id of the first broken finding, or else of the first unknown one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<&'static str>,
    pub steps: Vec<Section>,
    /// The links that no check looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<&'static str>,
    /// What could not be read, with the missing permission.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

impl Report {
    pub fn new(subject: String, steps: Vec<Section>, unread: Vec<String>) -> Self {
        let first_of = |level| {
            steps
                .iter()
                .flat_map(|step| &step.findings)
                .find(|finding| finding.level == level)
                .map(|it| it.id)
        };
        let (verdict, first) =
            match (first_of(FindingLevel::Broken), first_of(FindingLevel::Unknown)) {
                (Some(id), _) => (Verdict::Broken, Some(id)),
                (None, Some(id)) => (Verdict::Unknown, Some(id)),
                (None, None) => (Verdict::Healthy, None),
            };
        let not_checked = not_checked(&steps);
        Self { subject, verdict, first, steps, not_checked, unread }
    }

    /// The report as text; `coloured` adds ANSI colours for a terminal.
    pub fn text(&self, coloured: bool) -> String {
        let mut text = String::new();
        let paint = |level: FindingLevel, mark: &str| {
            if coloured {
                format!("\x1b[{}m{mark}\x1b[0m", level.colour())
            } else {
                mark.to_owned()
            }
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}\n", printable(&self.subject));
        for (index, step) in self.steps.iter().enumerate() {
            let worst = step.worst();
            let _ = writeln!(
                text,
                "{} {:<24}{}",
                index + 1,
                step.title,
                paint(worst, &worst.mark().to_string())
            );
            for finding in &step.findings {
                let _ = writeln!(
                    text,
                    "  {} {}",
                    paint(finding.level, &finding.level.mark().to_string()),
                    printable(&finding.saw)
                );
                if let Some(want) = &finding.want {
                    let _ = writeln!(text, "      want  {}", printable(want));
                }
                for (index, advice) in finding.advice.iter().enumerate() {
                    let _ = writeln!(
                        text,
                        "      {}  {}",
                        if index == 0 { "do  " } else { "    " },
                        printable_lines(advice)
                    );
                }
            }
        }
        for unread in &self.unread {
            let _ = writeln!(text, "  {} {}", paint(FindingLevel::Unknown, "?"), printable(unread));
        }
        let _ = writeln!(text, "\n{}", self.conclusion(coloured));
        text
    }

    fn conclusion(&self, coloured: bool) -> String {
        let place = self.first.and_then(|id| {
            self.steps.iter().position(|step| {
                step.findings
                    .iter()
                    .any(|finding| finding.id == id && finding.level > FindingLevel::Warning)
            })
        });
        let at = place.map_or(String::new(), |at| {
            format!(" at step {} ({})", at + 1, self.first.unwrap_or_default())
        });
        let (colour, words) = match self.verdict {
            Verdict::Healthy if self.not_checked.is_empty() => ("32", "healthy".to_owned()),
            Verdict::Healthy => {
                ("32", format!("healthy; not checked: {}", self.not_checked.join(", ")))
            }
            Verdict::Broken => ("31", format!("broken{at}")),
            Verdict::Unknown => ("33", format!("cannot tell{at}")),
        };
        if coloured { format!("\x1b[1;{colour}m{words}\x1b[0m") } else { words }
    }
}

fn not_checked(steps: &[Section]) -> Vec<&'static str> {
    let skipped = |id: &str| {
        steps
            .iter()
            .flat_map(|step| &step.findings)
            .any(|finding| finding.level == FindingLevel::Skipped && finding.id == id)
    };
    NOT_CHECKED.iter().filter(|(id, _)| skipped(id)).map(|(_, words)| *words).collect()
}
