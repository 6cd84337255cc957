//! The report: the findings in the order of the checks, and the verdict that follows from them.

pub(super) mod html;
mod text;

use serde::Serialize;

use super::checks::{self, Check, Step};

pub use text::Style;

/// The version of the JSON form. It changes if a field is removed or changes its meaning.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// The result of all checks. The value is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Healthy = 0,
    Broken = 1,
    /// Something that decides the verdict could not be checked.
    Unknown = 2,
}

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

/// An object of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectName {
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// As JSON it is the id: `endpoints.selector`.
    #[serde(rename = "id")]
    pub check: &'static Check,
    pub level: FindingLevel,
    /// The object that was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectName>,
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
    #[serde(rename = "title")]
    pub step: Step,
    pub findings: Vec<Finding>,
    /// The object that the next findings are about.
    #[serde(skip)]
    object: Option<ObjectName>,
}

impl Section {
    pub fn new(step: Step) -> Self {
        Self { step, findings: Vec::new(), object: None }
    }

    /// The findings that follow are about this object.
    pub fn about(&mut self, kind: &str, namespace: &str, name: &str) {
        self.object = Some(ObjectName {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    }

    /// The findings that follow are about no object in particular.
    pub fn about_nothing(&mut self) {
        self.object = None;
    }

    pub fn say(
        &mut self,
        level: FindingLevel,
        check: &'static Check,
        saw: impl Into<String>,
    ) -> &mut Finding {
        let (object, saw) = (self.object.clone(), saw.into());
        self.findings.push(Finding { check, level, object, saw, want: None, advice: Vec::new() });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    pub fn ok(&mut self, check: &'static Check, saw: impl Into<String>) {
        self.say(FindingLevel::Ok, check, saw);
    }

    pub fn broken(&mut self, check: &'static Check, saw: impl Into<String>) -> &mut Finding {
        self.say(FindingLevel::Broken, check, saw)
    }

    pub fn is_broken(&self) -> bool {
        self.worst() == FindingLevel::Broken
    }

    fn worst(&self) -> FindingLevel {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(FindingLevel::Skipped)
    }

    /// Removes the findings that others explain, and repetitions.
    fn tidy(&mut self) {
        let all = std::mem::take(&mut self.findings);
        for finding in &all {
            let hides = |other: &Finding| {
                finding.check.hidden_by.contains(&other.check) && other.level >= finding.level
            };
            let is_repeated =
                finding.check.once && self.findings.iter().any(|it| it.check == finding.check);
            if !is_repeated && !all.iter().any(hides) {
                self.findings.push(finding.clone());
            }
        }
    }

    /// Whether a finding rests on evidence, or says what it leaves open. A step without such a
    /// finding was not checked.
    fn has_evidence(&self) -> bool {
        let is_evidence = |finding: &Finding| {
            finding.check.open.is_some()
                || !matches!(finding.level, FindingLevel::Note | FindingLevel::Unknown)
        };
        self.findings.iter().any(is_evidence)
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
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// The name, and the object that it belongs to: `my-nginx is Service default/my-nginx`.
    pub subject: String,
    pub verdict: Verdict,
    /// The first broken finding, or else the first unknown one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<&'static Check>,
    pub steps: Vec<Section>,
    /// What the report leaves open.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<&'static str>,
    /// What could not be read, with the missing permission.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

impl Report {
    pub fn new(subject: String, mut steps: Vec<Section>, unread: Vec<String>) -> Self {
        steps.iter_mut().for_each(Section::tidy);
        let first_of = |level| {
            let mut findings = steps.iter().flat_map(|step| &step.findings);
            findings.find(|finding| finding.level == level).map(|it| it.check)
        };
        let (verdict, first) =
            match (first_of(FindingLevel::Broken), first_of(FindingLevel::Unknown)) {
                (Some(check), _) => (Verdict::Broken, Some(check)),
                (None, Some(check)) => (Verdict::Unknown, Some(check)),
                (None, None) => (Verdict::Healthy, None),
            };
        let not_checked = not_checked(&steps);
        let schema_version = SCHEMA_VERSION;
        Self { schema_version, subject, verdict, first, steps, not_checked, unread }
    }

    /// The finding that decides the verdict, with the number of its step.
    pub fn decisive(&self) -> Option<(usize, &Finding)> {
        let level = match self.verdict {
            Verdict::Healthy => return None,
            Verdict::Broken => FindingLevel::Broken,
            Verdict::Unknown => FindingLevel::Unknown,
        };
        let findings = self
            .steps
            .iter()
            .enumerate()
            .flat_map(|(index, step)| step.findings.iter().map(move |it| (index + 1, it)));
        findings.into_iter().find(|(_, finding)| finding.level == level)
    }
}

/// What the skipped checks leave open, and the steps without evidence.
fn not_checked(steps: &[Section]) -> Vec<&'static str> {
    let findings = || steps.iter().flat_map(|step| &step.findings);
    let skipped = |check: &Check| {
        findings().any(|it| {
            it.check == check && matches!(it.level, FindingLevel::Skipped | FindingLevel::Note)
        })
    };
    let all = checks::ALL.iter().flat_map(|group| group.checks);
    let mut open: Vec<&'static str> =
        all.filter(|check| skipped(check)).filter_map(|check| check.open).collect();
    open.extend(steps.iter().filter(|it| !it.has_evidence()).map(|it| it.step.title()));
    open
}
