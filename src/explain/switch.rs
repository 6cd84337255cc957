//! `ndots check --cluster`: what would break if the image of the DNS server were replaced by ndots.
//!
//! The objects are JSON, because most of their fields are read for this purpose only.

mod corefile;
mod deployment;
mod permissions;
mod surroundings;

use std::fmt::Write;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Verdict, checks::Check};
use crate::printable::{printable, printable_lines};

/// The namespace of the cluster's DNS.
pub(super) const NAMESPACE: &str = "kube-system";

/// The objects of a cluster, as the API server returns them.
#[derive(Default)]
pub struct SwitchEvidence {
    /// The objects up to `budgets` are those of `kube-system`.
    pub deployments: Vec<Value>,
    pub daemon_sets: Vec<Value>,
    pub config_maps: Vec<Value>,
    pub services: Vec<Value>,
    pub budgets: Vec<Value>,
    pub roles: Vec<Value>,
    pub bindings: Vec<Value>,
    /// What could not be read.
    pub unread: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SwitchLevel {
    /// The switch fails, or breaks something.
    Break,
    /// The switch works, but not for long or not in every case.
    Warning,
    Note,
}

/// One result. Ids never change.
#[derive(Debug, Serialize)]
pub struct SwitchFinding {
    #[serde(rename = "id")]
    pub check: &'static Check,
    pub level: SwitchLevel,
    /// The object and the field: `Deployment kube-system/coredns spec.replicas`.
    pub place: String,
    pub saw: String,
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// The result of all checks.
#[derive(Debug, Serialize)]
pub struct Switch {
    pub verdict: Verdict,
    pub findings: Vec<SwitchFinding>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

/// The findings so far.
#[derive(Default)]
struct Findings(Vec<SwitchFinding>);

impl Findings {
    fn say(
        &mut self,
        level: SwitchLevel,
        check: &'static Check,
        place: &str,
        saw: impl Into<String>,
        cure: &str,
    ) {
        let cure = Some(cure.to_owned()).filter(|cure| !cure.is_empty());
        self.0.push(SwitchFinding { check, level, place: place.to_owned(), saw: saw.into(), cure });
    }
}

/// Judges the objects. It does no I/O.
pub fn switch(evidence: SwitchEvidence) -> Switch {
    let mut findings = Findings::default();
    match deployment::find(&evidence, &mut findings) {
        Some(deployment) => {
            let container = deployment::judge(deployment, &mut findings);
            let text = corefile::of(&evidence, deployment, container, &mut findings);
            let parsed = text.map(|text| corefile::judge(text, container, &mut findings));
            if let (Some(parsed), Some(container)) = (&parsed, container) {
                corefile::probes(parsed, container, &mut findings);
                corefile::low_port(parsed, deployment, container, &mut findings);
            }
            permissions::judge(&evidence, deployment, parsed.as_ref(), &mut findings);
            surroundings::judge(&evidence, deployment, &mut findings);
        }
        None => surroundings::node_local(&evidence, &mut findings),
    }
    let Findings(mut findings) = findings;
    findings.sort_by_key(|finding| finding.level);
    let breaks = findings.iter().any(|finding| finding.level == SwitchLevel::Break);
    let verdict = match (breaks, evidence.unread.is_empty()) {
        (true, _) => Verdict::Broken,
        (false, false) => Verdict::Unknown,
        (false, true) => Verdict::Healthy,
    };
    Switch { verdict, findings, unread: evidence.unread }
}

impl Switch {
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        for SwitchFinding { check, level, place, saw, cure } in &self.findings {
            let mark = match level {
                SwitchLevel::Break => '✗',
                SwitchLevel::Warning => '!',
                SwitchLevel::Note => '·',
            };
            let _ = writeln!(text, "{mark} {}  {}", check.id, printable(place));
            let _ = writeln!(text, "    {}", printable(saw));
            if let Some(cure) = cure {
                let _ = writeln!(text, "    do  {}", printable_lines(cure));
            }
        }
        for unread in &self.unread {
            let _ = writeln!(text, "? {}", printable(unread));
        }
        let count = |wanted| self.findings.iter().filter(|it| it.level == wanted).count();
        let (breaks, warnings) = (count(SwitchLevel::Break), count(SwitchLevel::Warning));
        let _ = match self.verdict {
            Verdict::Broken => {
                writeln!(text, "the switch would fail: {breaks} to repair, {warnings} warnings")
            }
            Verdict::Unknown => writeln!(text, "cannot tell: some objects could not be read"),
            Verdict::Healthy => {
                writeln!(text, "the image can be replaced; {warnings} warnings")
            }
        };
        text
    }
}

/// A text in an object; empty if it is missing.
fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list in an object; none if it is missing.
fn list<'v>(object: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The objects in their types of the API, at the same places. An object that does not fit is empty.
fn typed<T: DeserializeOwned + Default>(objects: &[Value]) -> Vec<T> {
    objects.iter().map(|it| serde_json::from_value(it.clone()).unwrap_or_default()).collect()
}

/// `Deployment kube-system/coredns`.
fn name(kind: &str, object: &Value) -> String {
    format!("{kind} {NAMESPACE}/{}", text(object, "/metadata/name"))
}

/// Whether the selector's labels are all among the labels.
fn selects(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let Some(wanted) = selector.and_then(Value::as_object).filter(|it| !it.is_empty()) else {
        return false;
    };
    wanted.iter().all(|(key, value)| labels.and_then(|it| it.get(key)) == Some(value))
}
