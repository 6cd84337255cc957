//! The Helm chart in `deploy/helm/ndots`.
//!
//! `tests/helm/golden/NAME` has a values file and the objects that the chart makes of it.
//! `tests/helm/field` has values files with which other charts failed. Comments in them say which
//! text must be in the objects (`# renders: …`) and which must not (`# lacks: …`).
//! `UPDATE_EXPECT=1 cargo test --test it helm::` rewrites the objects and the table of the README.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value};

use crate::support::{lab, program, requirements::require_lab_program};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// The output of helm, or its error output.
fn helm(arguments: &[&str]) -> Result<String, String> {
    require_lab_program("helm");
    let output = Command::new(lab::program("helm")).args(arguments).output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The objects for a values file in `tests/helm`.
pub(crate) fn template(values: &str, additional: &[&str]) -> Result<String, String> {
    let (chart, values) = (repository("deploy/helm/ndots"), repository(values));
    let mut arguments = vec!["template", "coredns", chart.to_str().unwrap()];
    arguments.extend(["--namespace", "kube-system", "--values", values.to_str().unwrap()]);
    arguments.extend(additional);
    helm(&arguments)
}

/// The values files of a directory, sorted.
fn values(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(repository(directory)).unwrap();
    let named = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = format!("{directory}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() { format!("{name}/values.yaml") } else { name }
    };
    let mut names: Vec<_> = entries.map(named).collect();
    names.sort();
    names
}

pub(crate) fn all_values() -> Vec<String> {
    [values("tests/helm/golden"), values("tests/helm/field")].concat()
}

pub(crate) fn objects(yaml: &str) -> Vec<Map<String, Value>> {
    let documents = yaml.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let filled = documents.filter(|text| text.lines().any(|line| line.starts_with("kind:")));
    filled.map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

#[test]
fn the_objects_are_the_expected_ones() {
    let mut faults = Vec::new();
    for values in values("tests/helm/golden") {
        let found = template(&values, &[]).unwrap();
        let path = values.replace("values.yaml", "objects.yaml");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(repository(&path), found).unwrap();
        } else if fs::read_to_string(repository(&path)).unwrap_or_default() != found {
            faults.push(format!("{path} is not:\n{found}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn values_that_fail_with_other_charts_do_what_they_say() {
    let mut faults = Vec::new();
    for values in values("tests/helm/field") {
        let found = template(&values, &[]).unwrap();
        let text = read(&values);
        let expected = |mark: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(mark));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let (renders, lacks) = (expected("# renders: "), expected("# lacks: "));
        assert!(!renders.is_empty() || !lacks.is_empty(), "{values} expects nothing");
        faults.extend(
            renders.iter().filter(|it| !found.contains(*it)).map(|it| format!("{values}: no {it}")),
        );
        faults.extend(
            lacks.iter().filter(|it| found.contains(*it)).map(|it| format!("{values}: has {it}")),
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn ndots_accepts_every_corefile() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    for values in all_values() {
        let made = objects(&template(&values, &[]).unwrap());
        let Some(corefile) = made.iter().find_map(|object| object.get("data")?.get("Corefile"))
        else {
            continue;
        };
        fs::write(&file, corefile.as_str().unwrap()).unwrap();
        let output = Command::new(program()).arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{values}: {said}");
    }
}

/// All rules of ClusterRoles as `(groups, resource, verbs)`.
fn rules(yaml: &str) -> BTreeSet<(String, String, String)> {
    let mut found = BTreeSet::new();
    for object in objects(yaml).iter().filter(|object| object["kind"] == "ClusterRole") {
        for rule in object["rules"].as_array().unwrap() {
            for resource in rule["resources"].as_array().unwrap() {
                let text = |field: &str| rule[field].to_string();
                found.insert((text("apiGroups"), resource.to_string(), text("verbs")));
            }
        }
    }
    found
}

#[test]
fn the_chart_grants_what_the_kustomizations_grant() {
    let made = |name: &str| {
        rules(&template(&format!("tests/helm/golden/{name}/values.yaml"), &[]).unwrap())
    };
    let (inside, outside) =
        (rules(&read("deploy/standalone/rbac.yaml")), rules(&read("deploy/outside/rbac.yaml")));
    assert!(!inside.is_empty() && !outside.is_empty());
    assert_eq!(made("default"), inside);
    assert_eq!(made("outside"), &inside | &outside);
    let pods = ["[\"\"]", "\"pods\"", "[\"list\",\"watch\"]"].map(str::to_owned).into();
    assert_eq!(made("daemonset"), &inside | &BTreeSet::from([pods]), "`pods verified`");
}

#[test]
fn mistakes_in_values_are_reported() {
    for (set, expected) in [
        ("hpa.enabled=true,autoscaler.enabled=true", "both would set the number of Pods"),
        ("kind=DaemonSet,hpa.enabled=true", "one Pod on each node"),
        ("deployment.dnsPolicy=None", "Set deployment.dnsConfig.nameservers"),
        ("kind=StatefulSet", "at '/kind'"),
        ("replicaCount=two", "at '/replicaCount'"),
        ("serviceType=ExternalName", "at '/serviceType'"),
        ("servers[0].port=70000", "at '/servers/0/port'"),
        (
            "servers[0].plugins[0].parameters=x",
            "at '/servers/0/plugins/0': missing property 'name'",
        ),
    ] {
        let said = template("tests/helm/golden/default/values.yaml", &["--set", set]).unwrap_err();
        assert!(said.contains(expected), "{set}: {said}");
    }
}

#[test]
fn helm_lint_finds_nothing() {
    let chart = repository("deploy/helm/ndots");
    for values in all_values() {
        let values = repository(&values);
        let arguments =
            ["lint", "--strict", chart.to_str().unwrap(), "--values", values.to_str().unwrap()];
        if let Err(said) = helm(&arguments) {
            panic!("{}: {said}", values.display());
        }
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let version = format!("\nappVersion: {}\n", env!("CARGO_PKG_VERSION"));
    assert!(read("deploy/helm/ndots/Chart.yaml").contains(&version), "appVersion of Chart.yaml");
}

/// A value of `values.yaml`: its path, its default on one line, and its description.
fn documented() -> Vec<(String, String, String)> {
    let (mut rows, mut parents) = (Vec::new(), Vec::<(usize, String)>::new());
    let mut description: Option<String> = None;
    for line in read("deploy/helm/ndots/values.yaml").lines() {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some(first) = text.strip_prefix("# -- ") {
            description = Some(first.to_owned());
        } else if let (Some(so_far), Some(more)) = (&mut description, text.strip_prefix("# ")) {
            *so_far += &format!(" {more}");
        } else if let Some((key, value)) = text.split_once(':').filter(|_| !text.starts_with('#')) {
            parents.retain(|(column, _)| *column < depth);
            parents.push((depth, key.to_owned()));
            if let Some(description) = description.take() {
                let path: Vec<_> = parents.iter().map(|(_, key)| key.as_str()).collect();
                rows.push((path.join("."), value.trim().to_owned(), description));
            }
        }
    }
    rows
}

#[test]
fn the_readme_describes_every_value() {
    let rows = documented();
    let line = |(path, default, description): &(String, String, String)| {
        let default = if default.is_empty() { "see values.yaml" } else { &format!("`{default}`") };
        format!("| `{path}` | {default} | {} |\n", description.replace('|', "\\|"))
    };
    let table: String = rows.iter().map(line).collect();
    let path = repository("deploy/helm/ndots/README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (head, rest) = readme.split_once("<!-- values -->\n").unwrap();
    let (found, tail) = rest.split_once("<!-- end of values -->").unwrap();
    let table = format!("| value | default | meaning |\n|---|---|---|\n{table}");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text = format!("{head}<!-- values -->\n{table}<!-- end of values -->{tail}");
        fs::write(&path, text).unwrap();
    } else {
        assert_eq!(found, table, "UPDATE_EXPECT=1 writes the table");
    }

    // Every value has a description, or belongs to a value that has one.
    let file: Map<String, Value> =
        serde_saphyr::from_str(&read("deploy/helm/ndots/values.yaml")).unwrap();
    let mut undescribed = Vec::new();
    for (name, value) in &file {
        find_undescribed(name, value, &rows, &mut undescribed);
    }
    assert!(undescribed.is_empty(), "no description: {}", undescribed.join(", "));
}

fn find_undescribed(
    path: &str,
    value: &Value,
    rows: &[(String, String, String)],
    found: &mut Vec<String>,
) {
    if rows.iter().any(|(described, ..)| described == path) {
        return;
    }
    match value.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => {
            for (name, value) in fields {
                find_undescribed(&format!("{path}.{name}"), value, rows, found);
            }
        }
        None => found.push(path.to_owned()),
    }
}
