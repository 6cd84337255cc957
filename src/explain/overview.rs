//! Checks every Service, Ingress and route, and prints one line for each that has a finding.

use std::fmt::Write;

use serde::Serialize;

use super::{
    Evidence, Report, ResolvConf, Verdict,
    evidence::Asker,
    explain, objects,
    report::{Finding, FindingLevel},
};

/// The result for all objects, worst first.
#[derive(Debug, Serialize)]
pub struct Overview {
    pub verdict: Verdict,
    /// How many objects were checked.
    pub checked: usize,
    /// The objects with a finding.
    pub objects: Vec<Row>,
    /// What could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    /// `Service shop/web`.
    pub object: String,
    pub verdict: Verdict,
    /// The finding that decides the verdict, or else the first warning.
    pub finding: Finding,
}

/// One object to check: its kind, what `ndots explain` takes for it, and its namespace.
struct Item {
    kind: String,
    argument: String,
    name: String,
    namespace: String,
}

/// Checks all objects, or those of one namespace.
pub fn overview(mut evidence: Evidence, namespace: Option<&str>) -> Overview {
    evidence.is_overview = true;
    let mut items = items(&evidence);
    items.retain(|item| namespace.is_none_or(|wanted| item.namespace == wanted));
    let server = evidence.dns_address().map(str::to_owned);
    let (mut rows, mut unread) = (Vec::new(), Vec::new());
    for item in &items {
        let resolv = ResolvConf::of_namespace(&item.namespace, &evidence.zone, server.as_deref());
        evidence.asker = Asker {
            from: format!("a Pod of namespace {}", item.namespace),
            namespace: item.namespace.clone(),
            pod: None,
            resolv,
        };
        evidence.name.clone_from(&item.argument);
        let report = explain(&evidence);
        rows.extend(row(item, &report));
        unread = report.unread;
    }
    rows.sort_by_key(|row| (rank(row.verdict), row.object.clone()));
    let verdict = rows.first().map_or(Verdict::Healthy, |row| row.verdict);
    Overview { verdict, checked: items.len(), objects: rows, unread }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Broken => 0,
        Verdict::Unknown => 1,
        Verdict::Healthy => 2,
    }
}

fn items(evidence: &Evidence) -> Vec<Item> {
    let objects = &evidence.objects;
    let item = |kind: &str, argument: &str, namespace: &str, name: &str| Item {
        kind: kind.to_owned(),
        argument: format!("{argument}/{name}"),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    };
    let services = objects
        .services()
        .iter()
        .map(|it| item("Service", "svc", objects::namespace(it), objects::name(it)));
    let ingresses = objects
        .ingresses()
        .iter()
        .map(|it| item("Ingress", "ingress", objects::namespace(it), objects::name(it)));
    let routes = objects.routes().iter().map(|it| {
        let argument = it.kind.to_ascii_lowercase();
        item(&it.kind, &argument, objects::namespace(it), objects::name(it))
    });
    services.chain(ingresses).chain(routes).collect()
}

/// `None` if every finding is fine.
fn row(item: &Item, report: &Report) -> Option<Row> {
    let findings = || report.steps.iter().flat_map(|step| &step.findings);
    let level = match report.verdict {
        Verdict::Broken => FindingLevel::Broken,
        Verdict::Unknown => FindingLevel::Unknown,
        Verdict::Healthy => FindingLevel::Warning,
    };
    let finding = findings().find(|finding| finding.level == level)?.clone();
    let object = format!("{} {}/{}", item.kind, item.namespace, item.name);
    Some(Row { object, verdict: report.verdict, finding })
}

impl Overview {
    /// The table as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Row { object, verdict, finding } in &self.objects {
            let word = match verdict {
                Verdict::Broken => "broken",
                Verdict::Unknown => "cannot tell",
                Verdict::Healthy => "warning",
            };
            let _ = writeln!(text, "{word:<11}  {object}  {}", finding.id);
            let _ = writeln!(text, "             {}", finding.saw);
        }
        for unread in &self.unread {
            let _ = writeln!(text, "cannot tell  {unread}");
        }
        let count = |verdict| self.objects.iter().filter(|row| row.verdict == verdict).count();
        let warnings = count(Verdict::Healthy);
        let _ = writeln!(
            text,
            "{} objects: {} broken, {} cannot tell, {warnings} with warnings, {} without findings",
            self.checked,
            count(Verdict::Broken),
            count(Verdict::Unknown),
            self.checked - self.objects.len()
        );
        text
    }
}
