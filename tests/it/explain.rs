//! Replays `explain/broken/*`: the healthy cluster of `explain/cluster.yaml` with one change, and
//! the output of `ndots explain` as text and as JSON.
//!
//! A case begins with a description in `#` lines and the command line behind `>`. Its parts follow,
//! the verdict last:
//! - `=== change`: objects to add, or to merge into those of the cluster (RFC 7396: `null` removes
//!   a field);
//! - `=== remove`: lines `KIND NAMESPACE/NAME`;
//! - `=== iptables`, `=== nftables`: edits of a real kube-proxy's rules on node worker-1: `- TEXT`
//!   removes every line with this text, `OLD => NEW` replaces;
//! - `=== node`: the output of other commands on the node;
//! - `=== corefile`: the Corefile of a DNS server that `explain` queries. MANIFESTS stands for the
//!   directory of the cluster's objects, with the changes in `=== server`;
//! - `=== broken at ID`, `=== unknown at ID` or `=== healthy`: the verdict, and below it the text
//!   that `explain` prints.
//!
//! `UPDATE_EXPECT=1 cargo test --test it explain::` rewrites the texts. Write verdicts by hand.

pub(crate) mod api;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use crate::support::{Ndots, program};
use serde_json::Value;

/// The least number of broken cases.
const LEAST: usize = 80;

/// The outputs of the cases, which several tests need.
static RESULTS: LazyLock<Vec<(PathBuf, Got)>> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    let mut files: Vec<PathBuf> = fs::read_dir(directory.join("broken"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let chosen = std::env::var("CASE").unwrap_or_default();
    files.retain(|file| file.to_string_lossy().contains(&chosen));
    let run = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        (file.clone(), Case::read(&text).run(&directory))
    };
    in_parallel(&files, run)
});

/// Runs a function for each item, on two threads. The results are in the order of the items.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (one, other) = items.split_at(items.len() / 2);
    let half = |items: &[T]| items.iter().map(&run).collect::<Vec<R>>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(one));
        let second = half(other);
        let mut all = first.join().unwrap();
        all.extend(second);
        all
    })
}

/// The reports of all cases.
pub(crate) fn reports() -> impl Iterator<Item = &'static Value> {
    RESULTS.iter().map(|(_, got)| &got.report)
}

#[test]
fn the_broken_link_is_named() {
    let chosen = std::env::var("CASE").unwrap_or_default();
    let (mut wrong, mut broken) = (Vec::new(), 0);
    for (file, got) in RESULTS.iter() {
        let text = fs::read_to_string(file).unwrap();
        let case = Case::read(&text);
        broken += usize::from(!case.verdict.starts_with("healthy"));
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if let Err(fault) = &got.verdict {
            wrong.push(format!("{name}: {fault}\n{}", got.text));
        } else if got.text.trim() != case.expected.trim() {
            if std::env::var_os("UPDATE_EXPECT").is_some() {
                fs::write(
                    file,
                    format!("{}=== {}\n{}\n", case.head, case.verdict, got.text.trim()),
                )
                .unwrap();
            } else {
                wrong.push(format!("{name}: expected\n{}\ngot\n{}", case.expected, got.text));
            }
        }
    }
    println!("{} cases, {broken} of them broken, in both forms", RESULTS.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n\n"));
    assert!(broken >= LEAST || !chosen.is_empty(), "there are {broken} broken cases left");
}

struct Case<'t> {
    /// The text before the verdict.
    head: &'t str,
    arguments: Vec<&'t str>,
    parts: BTreeMap<&'t str, &'t str>,
    /// `broken at endpoints.selector`.
    verdict: &'t str,
    expected: &'t str,
}

struct Got {
    text: String,
    report: Value,
    verdict: Result<(), String>,
}

impl<'t> Case<'t> {
    fn read(text: &'t str) -> Self {
        let command = text
            .lines()
            .find_map(|line| line.strip_prefix("> ndots explain"))
            .expect("a case has a command line");
        let mut parts: Vec<(&str, &str)> = text
            .split("\n=== ")
            .skip(1)
            .map(|part| part.split_once('\n').unwrap_or((part, "")))
            .collect();
        let (verdict, expected) = parts.pop().expect("a case has a verdict");
        let end = text.rfind("\n=== ").unwrap() + 1;
        Self {
            head: &text[..end],
            arguments: command.split_whitespace().collect(),
            parts: parts.into_iter().collect(),
            verdict,
            expected,
        }
    }

    fn part(&self, name: &str) -> Option<&'t str> {
        self.parts.get(name).copied()
    }

    fn run(&self, directory: &Path) -> Got {
        let here = tempfile::tempdir().unwrap();
        let path = |name: &str| here.path().join(name);
        let cluster = path("cluster");
        let base = fs::read_to_string(directory.join("cluster.yaml")).unwrap();
        write_cluster(&cluster, &base, self.part("change"), self.part("remove"));
        let mut command = Command::new(program());
        command.arg("explain").args(&self.arguments).arg("--manifests").arg(&cluster);
        for (part, file) in [("iptables", "iptables.save"), ("nftables", "nftables.txt")] {
            if let Some(edits) = self.part(part) {
                let rules = edited(&fs::read_to_string(directory.join(file)).unwrap(), edits);
                fs::write(path(file), rules).unwrap();
                command.arg("--rules").arg(path(file));
            }
        }
        if let Some(text) = self.part("node") {
            fs::write(path("node.txt"), text).unwrap();
            command.arg("--rules").arg(path("node.txt"));
        }
        let server = self.part("corefile").map(|corefile| {
            let theirs = path("server");
            write_cluster(&theirs, &base, self.part("server"), None);
            Ndots::corefile(
                &corefile.replace("MANIFESTS", &theirs.display().to_string()),
                &["dns"],
                &[],
            )
        });
        if let Some(server) = &server {
            command.arg("--server").arg(server.address.to_string());
        }
        let shown = |text: &str| {
            let text = text.replace(&format!("{}/", here.path().display()), "");
            server
                .as_ref()
                .map_or(text.clone(), |server| text.replace(&server.address.to_string(), "SERVER"))
        };
        let (code, text) = output(&mut command);
        let (json_code, json) = output(command.args(["-o", "json"]));
        let verdict = if code == json_code {
            self.agrees(code, &text, &json)
        } else {
            Err(format!("exit codes {code} and {json_code}"))
        };
        let report = serde_json::from_str(&shown(&json)).unwrap_or_default();
        Got { text: shown(&text), report, verdict }
    }

    /// Checks the verdict in both formats.
    fn agrees(&self, code: i32, text: &str, json: &str) -> Result<(), String> {
        let json: Value =
            serde_json::from_str(json).map_err(|error| format!("no JSON: {error}"))?;
        let first = json["first"].as_str().map_or(String::new(), |id| format!(" at {id}"));
        let verdict = format!("{}{first}", json["verdict"].as_str().unwrap_or_default());
        let want = ["healthy", "broken", "unknown"]
            .into_iter()
            .position(|word| self.verdict.starts_with(word))
            .map(|at| at as i32);
        if verdict != self.verdict || Some(code) != want {
            return Err(format!(
                "verdict `{verdict}`, exit code {code}, and not `{}`",
                self.verdict
            ));
        }
        let findings = json["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|step| step["findings"].as_array().into_iter().flatten());
        for words in findings
            .flat_map(|finding| [&finding["saw"], &finding["want"]])
            .filter_map(Value::as_str)
        {
            if !text.contains(words) {
                return Err(format!("the text does not say `{words}`"));
            }
        }
        Ok(())
    }
}

fn output(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

/// Writes the changed cluster, one document for each object.
fn write_cluster(directory: &Path, base: &str, change: Option<&str>, remove: Option<&str>) {
    let mut objects: Vec<Value> = documents(base);
    for change in change.map(documents).unwrap_or_default() {
        match objects.iter_mut().find(|it| key(it) == key(&change)) {
            Some(object) => merge(object, &change),
            None => objects.push(change),
        }
    }
    for line in remove.unwrap_or_default().lines().filter(|line| !line.trim().is_empty()) {
        let before = objects.len();
        objects.retain(|object| key(object) != line.trim());
        assert!(objects.len() < before, "there is no {line}");
    }
    fs::create_dir(directory).unwrap();
    let text = objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n");
    fs::write(directory.join("cluster.yaml"), text).unwrap();
}

fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

fn key(object: &Value) -> String {
    let text = |pointer: &str| {
        object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let namespace = object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or("default")
        .to_owned();
    format!("{} {namespace}/{}", text("/kind"), text("/metadata/name"))
}

/// A merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return target.clone_from(patch) };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn edited(rules: &str, edits: &str) -> String {
    let mut rules = rules.to_owned();
    for edit in edits.lines().filter(|line| !line.trim().is_empty()) {
        let before = rules.len();
        rules = match (edit.strip_prefix("- "), edit.split_once(" => ")) {
            (Some(words), _) => rules
                .lines()
                .filter(|line| !line.contains(words))
                .map(|line| format!("{line}\n"))
                .collect(),
            (None, Some((old, new))) => {
                assert!(rules.contains(old), "no rule has `{old}`");
                rules.replacen(old, new, 1)
            }
            (None, None) => panic!("`{edit}` is no edit"),
        };
        assert!(edit.contains(" => ") || rules.len() < before, "no rule has `{edit}`");
    }
    rules
}

/// Runs each command of README's guide, and compares its output with the lines below it; `…` stands
/// for any lines.
#[test]
fn the_guide_in_readme_shows_the_real_output() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, guide) = readme.split_once("## Why does my Service not answer?").unwrap();
    let guide = guide.split("\n## ").next().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let place =
        |line: &str| line.replace("/tmp/cafe", &copy.path().join("cafe").display().to_string());
    let mut steps = 0;
    for step in guide
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix("console\n"))
        .flat_map(|block| block.split("$ ").skip(1))
    {
        let (line, expected) = step.split_once('\n').unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(place(line).replacen(
            "ndots",
            &program().display().to_string(),
            usize::from(line.starts_with("ndots")),
        ));
        let (_, text) = output(shell.current_dir(env!("CARGO_MANIFEST_DIR")));
        let mut rest = text.as_str();
        for part in expected.split("…\n").filter(|part| !part.is_empty()) {
            let at = rest
                .find(part)
                .unwrap_or_else(|| panic!("{line} does not say\n{part}\nbut\n{text}"));
            rest = &rest[at + part.len()..];
        }
        steps += 1;
    }
    assert!(steps >= 8, "the guide has {steps} steps");
}

/// The binary works as the kubectl plugin `kubectl-ndots`, and exits with 2 if it cannot read its
/// input.
#[test]
fn it_works_as_a_kubectl_plugin() {
    let here = tempfile::tempdir().unwrap();
    let plugin = here.path().join("kubectl-ndots");
    std::os::unix::fs::symlink(program(), &plugin).unwrap();
    let run = |arguments: &[&str]| {
        output(
            Command::new(&plugin).args(arguments).env("HOME", here.path()).env_remove("KUBECONFIG"),
        )
    };
    let cafe = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe");
    let (code, text) = run(&["explain", "prometheus.monitoring", "--manifests", cafe]);
    assert!(code == 0 && text.contains("\nno fault found; not checked: "), "{text}");
    assert!(run(&["explain", "--help"]).1.contains("Usage: kubectl ndots explain"));
    // As a plugin it does not serve DNS.
    assert!(run(&[]).1.contains("Usage: kubectl ndots"));
    for (arguments, words) in [
        (&["explain", "x"][..], "no kubeconfig was found, and this is not a Pod"),
        (&["explain", "x", "--kubeconfig", "/nonexistent"], "kubeconfig /nonexistent"),
        (&["explain", "x", "--manifests", "/nonexistent"], "no such directory"),
        (
            &["explain", "x", "--manifests", cafe, "--pod", "default/nobody"],
            "there is no Pod default/nobody",
        ),
        (&["explain", "x", "--manifests", cafe, "--rules", cafe], "Is a directory"),
    ] {
        let (code, text) = run(arguments);
        assert!(code == 2 && text.contains(words), "{arguments:?}: {code} {text}");
    }
}
