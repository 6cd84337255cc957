//! The alert rules and the dashboard of the chart: promtool checks and tests the rules, each alert
//! has a page, and every metric and label in a query is one that ndots exports.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use regex::Regex;
use serde_json::{Value, json};

use crate::support::requirements::require_programs;

const RULES: &str = "deploy/helm/ndots/rules/ndots.yaml";
const TESTS: &str = "tests/rules/alerts.yaml";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read_yaml(path: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(repository(path)).unwrap()).unwrap()
}

fn promtool(arguments: &[&str]) {
    require_programs(&["promtool"]);
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn the_rules_are_valid_and_pass_their_tests() {
    promtool(&["check", "rules", RULES]);
    promtool(&["test", "rules", TESTS]);
}

#[test]
fn every_alert_has_a_page_and_a_test_of_each_kind() {
    let rules = read_yaml(RULES);
    let tests = read_yaml(TESTS);
    let cases: Vec<&Value> =
        list(&tests, "/tests").iter().flat_map(|test| list(test, "/alert_rule_test")).collect();
    let mut faults = Vec::new();
    let mut pages = BTreeSet::new();
    for rule in list(&rules, "/groups/0/rules") {
        let name = text(rule, "/alert");
        let of_alert = || cases.iter().filter(|case| text(case, "/alertname") == name);
        if of_alert().all(|case| list(case, "/exp_alerts").is_empty()) {
            faults.push(format!("{name}: no test in which it fires"));
        }
        if of_alert().all(|case| !list(case, "/exp_alerts").is_empty()) {
            faults.push(format!("{name}: no test in which it is silent"));
        }
        let page = text(rule, "/annotations/runbook");
        pages.insert(page.to_owned());
        let content = fs::read_to_string(repository(page)).unwrap_or_default();
        if !content.starts_with(&format!("# {name}\n")) {
            faults.push(format!("{name}: its page {page} does not start with its name"));
        }
        for part in ["\n## Meaning\n", "\n## Find the cause\n", "\n## What to do\n"] {
            if !content.contains(part) {
                faults.push(format!("{page}: the part {part:?} is missing"));
            }
        }
    }
    for entry in fs::read_dir(repository("docs/alerts")).unwrap() {
        let page = format!("docs/alerts/{}", entry.unwrap().file_name().to_str().unwrap());
        if !page.ends_with("README.md") && !pages.contains(&page) {
            faults.push(format!("{page} belongs to no alert"));
        }
    }
    assert!(pages.len() > 10 && faults.is_empty(), "{}", faults.join("\n"));
}

/// A metric as the code declares it.
pub(crate) struct Exported {
    pub(crate) help: String,
    pub(crate) labels: Vec<String>,
}

/// The families that the code declares, with those of the process.
pub(crate) fn families() -> BTreeMap<String, Exported> {
    let mut sources = Vec::new();
    collect(&repository("src"), &mut sources);
    let family = Regex::new(
        r#"Family::(?:new|histogram)\(\s*"(\w+)",\s*"((?:[^"\\]|\\.)*)",\s*(\[[^\]]*\]|[A-Z_]+)"#,
    )
    .unwrap();
    let figure =
        Regex::new(r#"(?:Gauge|Counter)::new\(\s*"(\w+)",\s*"((?:[^"\\]|\\.)*)""#).unwrap();
    let word = Regex::new(r#""(\w+)""#).unwrap();
    let mut found = BTreeMap::new();
    for source in sources {
        let code = fs::read_to_string(&source).unwrap();
        let code = code.split("#[cfg(test)]").next().unwrap();
        for declared in family.captures_iter(code) {
            let labels = match &declared[3] {
                list if list.starts_with('[') => list.to_owned(),
                constant => {
                    let pattern = format!(r"const {constant}: [^=]*= (\[[^\]]*\])");
                    Regex::new(&pattern).unwrap().captures(code).unwrap()[1].to_owned()
                }
            };
            let labels = word.captures_iter(&labels).map(|label| label[1].to_owned()).collect();
            let exported = Exported { help: declared[2].to_owned(), labels };
            found.insert(format!("coredns_{}", &declared[1]), exported);
        }
        for declared in figure.captures_iter(code) {
            let exported = Exported { help: declared[2].to_owned(), labels: Vec::new() };
            found.insert(declared[1].to_owned(), exported);
        }
    }
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Labels that the scrape adds to each series.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];

/// What is wrong with the metrics and labels of a query.
fn faults(query: &str, families: &BTreeMap<String, Exported>) -> Vec<String> {
    let metric = Regex::new(r"\b((?:coredns|process|go)_\w+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r"(\w+)\s*(?:=~|!~|!=|=)").unwrap();
    let grouping = Regex::new(r"\bby \(([^)]*)\)").unwrap();
    let (mut faults, mut known) = (Vec::new(), BTreeSet::from(OF_THE_SCRAPE.map(str::to_owned)));
    for found in metric.captures_iter(query) {
        let name = &found[1];
        let parts = ["_bucket", "_sum", "_count"].into_iter();
        let family = families.get(name).or_else(|| {
            parts.filter_map(|part| name.strip_suffix(part)).find_map(|it| families.get(it))
        });
        let Some(Exported { labels, .. }) = family else {
            faults.push(format!("{name} is not exported: {query}"));
            continue;
        };
        known.extend(labels.iter().cloned());
        if name.ends_with("_bucket") {
            known.insert("le".to_owned());
        }
        for label in found.get(2).map_or("", |it| it.as_str()).split(',') {
            let Some(label) = matcher.captures(label).map(|it| it[1].to_owned()) else { continue };
            if !labels.contains(&label) && !OF_THE_SCRAPE.contains(&&*label) {
                faults.push(format!("{name} has no label {label}: {query}"));
            }
        }
    }
    for label in grouping
        .captures_iter(query)
        .flat_map(|it| it[1].split(',').map(|label| label.trim().to_owned()).collect::<Vec<_>>())
    {
        if !known.contains(&label) {
            faults.push(format!("no metric has the label {label}: {query}"));
        }
    }
    faults
}

/// The queries of the dashboard as Grafana sends them.
fn dashboard() -> Vec<String> {
    let file = fs::read_to_string(repository("deploy/helm/ndots/dashboards/ndots.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    let targets = list(&file, "/panels").iter().flat_map(|panel| list(panel, "/targets"));
    let queries: Vec<_> = targets
        .map(|target| text(target, "/expr").replace("$job", ".+").replace("$__rate_interval", "5m"))
        .collect();
    assert!(queries.len() > 20, "{} queries", queries.len());
    queries
}

#[test]
fn every_metric_of_rules_and_dashboard_is_exported() {
    let families = families();
    assert!(families.len() > 60, "only {} families were found", families.len());
    let rules = read_yaml(RULES);
    let expressions = list(&rules, "/groups/0/rules").iter().map(|rule| text(rule, "/expr"));
    let found: Vec<_> = expressions
        .map(str::to_owned)
        .chain(dashboard())
        .flat_map(|query| faults(&query, &families))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));

    // Each kind of fault is found.
    for wrong in [
        "rate(coredns_dns_request_count_total[5m])",
        "sum by (proto) (rate(coredns_dns_request_duration_seconds_count[5m]))",
        "coredns_forward_upstream_down{upstream=\"192.0.2.53:53\"}",
        "sum by (le) (coredns_cache_entries)",
    ] {
        assert_eq!(faults(wrong, &families).len(), 1, "{wrong}");
    }
}

#[test]
fn prometheus_accepts_every_query_of_the_dashboard() {
    let rules: Vec<_> = dashboard()
        .into_iter()
        .enumerate()
        .map(|(at, query)| json!({ "record": format!("panel:{at}"), "expr": query }))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(file.path(), groups.to_string()).unwrap();
    promtool(&["check", "rules", file.path().to_str().unwrap()]);
}
