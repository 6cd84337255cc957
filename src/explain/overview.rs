//! Checks every Service, Ingress and route, and prints one line for each that has a finding.

mod formats;

use std::fmt::Write;

use k8s_openapi::api::core::v1::Service;
use serde::Serialize;

use crate::printable::printable;

use super::{
    Evidence, Report, ResolvConf, Verdict,
    evidence::Asker,
    explain,
    report::{Finding, FindingLevel, ObjectName, SCHEMA_VERSION, Style},
};
use crate::explain::objects;

/// The result for all objects, worst first.
#[derive(Debug, Serialize)]
pub struct Overview {
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    pub verdict: Verdict,
    /// How many objects were checked.
    pub checked: usize,
    /// The objects with a finding.
    pub objects: Vec<Row>,
    /// What could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
    #[serde(skip)]
    without_findings: Vec<ObjectName>,
    /// Errors in the manifests, which are also in `unread`.
    #[serde(skip)]
    complaints: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub object: ObjectName,
    /// What `ndots explain` takes for it: `svc/web`.
    pub argument: String,
    pub verdict: Verdict,
    /// The finding that decides the verdict, or else the first warning.
    pub finding: Finding,
}

/// One object to check, and what `ndots explain` takes for it.
struct Item {
    object: ObjectName,
    argument: String,
}

/// Checks all objects, or those of one namespace.
pub fn overview(evidence: &mut Evidence, namespace: Option<&str>) -> Overview {
    evidence.is_overview = true;
    let mut items = items(evidence);
    items.retain(|item| namespace.is_none_or(|wanted| item.object.namespace == wanted));
    let server = evidence.dns_address().map(str::to_owned);
    let (mut rows, mut without_findings) = (Vec::new(), Vec::new());
    let checked = items.len();
    let complaints = evidence.complaints.clone();
    let mut unread: Vec<String> = evidence.unread.iter().map(ToString::to_string).collect();
    unread.extend(complaints.iter().cloned());
    for Item { object, argument } in items {
        let namespace = &object.namespace;
        let resolv = ResolvConf::of_namespace(namespace, &evidence.zone, server.as_deref());
        evidence.asker = Asker {
            from: format!("a Pod of namespace {namespace}"),
            namespace: namespace.clone(),
            pod: None,
            resolv,
        };
        evidence.name.clone_from(&argument);
        let report = explain(evidence);
        match decisive(&report) {
            Some(finding) => rows.push(Row { object, argument, verdict: report.verdict, finding }),
            None => without_findings.push(object),
        }
    }
    rows.sort_by_cached_key(|row| (rank(row.verdict), row.title()));
    let verdict = match rows.first().map_or(Verdict::Healthy, |row| row.verdict) {
        // The content of a file that does not parse is unknown, and so are objects of these kinds
        // that could not be read.
        Verdict::Healthy if !complaints.is_empty() || lacks_items(evidence, namespace) => {
            Verdict::Unknown
        }
        verdict => verdict,
    };
    let schema_version = SCHEMA_VERSION;
    Overview {
        schema_version,
        verdict,
        checked,
        objects: rows,
        unread,
        without_findings,
        complaints,
    }
}

/// Whether objects that are checked one by one may be missing, because they could not be read.
fn lacks_items(evidence: &Evidence, namespace: Option<&str>) -> bool {
    const CHECKED: [&str; 7] = [
        "services",
        "ingresses",
        "httproutes",
        "grpcroutes",
        "tlsroutes",
        "tcproutes",
        "udproutes",
    ];
    CHECKED.iter().any(|resource| match namespace {
        Some(namespace) => evidence.lacks(resource, namespace).is_some(),
        None => evidence.unread.iter().any(|it| it.is_of(resource)),
    })
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
        object: ObjectName {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
        argument: format!("{argument}/{name}"),
    };
    // In manifests this Service is simulated.
    let is_own = |it: &&Service| evidence.is_live || !objects::is(*it, "default", "kubernetes");
    let services = objects
        .services()
        .iter()
        .filter(is_own)
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

/// The finding that decides the verdict, or else the first warning; `None` if every finding is
/// fine.
fn decisive(report: &Report) -> Option<Finding> {
    let mut findings = report.steps.iter().flat_map(|step| &step.findings);
    let decisive = report.decisive().map(|(_, finding)| finding);
    decisive.or_else(|| findings.find(|it| it.level == FindingLevel::Warning)).cloned()
}

impl Row {
    /// `Service shop/web`.
    fn title(&self) -> String {
        let ObjectName { kind, namespace, name } = &self.object;
        format!("{kind} {namespace}/{name}")
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Broken => "broken",
            Verdict::Unknown => "cannot tell",
            Verdict::Healthy => "warning",
        }
    }
}

impl Overview {
    /// The table as text.
    pub fn text(&self, style: Style) -> String {
        // Writing to a String does not fail.
        let mut text = String::new();
        for row in &self.objects {
            let word = style.paint(row.finding.level, &format!("{:<11}", row.word()));
            let _ = writeln!(text, "{word}  {}  {}", printable(&row.title()), row.finding.check.id);
            let _ = writeln!(text, "             {}", style.wrap(&printable(&row.finding.saw), 13));
        }
        for unread in &self.unread {
            let _ = writeln!(text, "cannot tell  {}", style.wrap(&printable(unread), 13));
        }
        let _ = writeln!(text, "{}", style.wrap(&self.summary(), 0));
        if let Some(row) = self.objects.first() {
            let ObjectName { namespace, .. } = &row.object;
            let _ = writeln!(text, "all findings: ndots explain {} -n {namespace}", row.argument);
        }
        text
    }

    /// `3 objects: 1 broken, …`.
    fn summary(&self) -> String {
        let count = |verdict| self.objects.iter().filter(|row| row.verdict == verdict).count();
        format!(
            "{} objects: {} broken, {} cannot tell, {} with warnings, {} without findings",
            self.checked,
            count(Verdict::Broken),
            count(Verdict::Unknown),
            count(Verdict::Healthy),
            self.without_findings.len()
        )
    }
}
