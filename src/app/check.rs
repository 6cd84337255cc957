//! `ndots check FILE…`: Corefiles as files, on standard input, or in the YAML of ConfigMaps.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use serde::Serialize;

use crate::{
    cli::{Check, ReportFormat},
    corefile::{Diagnostic, Diagnostics, Reader, Severity},
    explain::Objects,
    source::manifests::{ManifestSource, Manifests},
};

use super::{
    FAILED,
    config::{self, Configuration, Disk, Text},
    print_line, zone_files,
};

/// The exit code if a file could not be read, or if errors depend on a file or variable that only
/// the Pod has.
const UNREADABLE: u8 = 2;
/// Where a Pod of CoreDNS has the files of its ConfigMap, and those of `coredns-custom` (AKS, k3s).
const MOUNTED: &str = "/etc/coredns/";
const MOUNTED_CUSTOM: &str = "/etc/coredns/custom/";
const CUSTOM: &str = "coredns-custom";

/// A Corefile to check.
struct Source {
    /// What messages call it.
    name: String,
    text: Text,
    /// `None` for the files of this machine.
    mounted: Option<MountedFiles>,
}

/// The files that a Pod would see.
struct MountedFiles {
    files: BTreeMap<String, String>,
    /// The files and variables that were asked for and are not known here.
    unknown: RefCell<BTreeSet<String>>,
}

/// The report with `-o json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    schema_version: u32,
    files: Vec<FileReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileReport {
    name: String,
    server_blocks: usize,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    severity: &'static str,
    /// `FILE:LINE:COLUMN`, from one; empty for a finding about another file, which the message
    /// names.
    place: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

pub(super) fn check(flags: &Check) -> anyhow::Result<ExitCode> {
    let (mut report, mut code) = (Report { schema_version: 1, files: Vec::new() }, 0);
    for file in &flags.files {
        let sources = match sources(file) {
            Ok(sources) => sources,
            Err(error) => {
                let reason = format!("{error:#}");
                eprintln!("ndots: {reason}");
                report.files.push(FileReport::unreadable(file, reason));
                code = UNREADABLE;
                continue;
            }
        };
        for source in sources {
            let reader: &dyn Reader = source.mounted.as_ref().map_or(&Disk, |files| files);
            let configuration = config::diagnose(&source.text, 53, reader);
            let has_errors = configuration.diagnostics.has_errors();
            let problems = match &source.mounted {
                // The zone files of this Corefile are on volumes of the Pod.
                Some(files) => files.problems(),
                None if has_errors => Vec::new(),
                None => zone_files::problems(&configuration),
            };
            if has_errors {
                // With these problems, the errors may not be errors in the Pod.
                code = code.max(if problems.is_empty() { FAILED } else { UNREADABLE });
            }
            match flags.output {
                ReportFormat::Text => print(&source, &configuration, &problems),
                ReportFormat::Json => {
                    report.files.push(FileReport::new(source.name, &configuration, problems));
                }
            }
        }
    }
    if flags.output == ReportFormat::Json {
        print_line!("{}", super::json(&report)?);
    }
    Ok(ExitCode::from(code))
}

fn print(source: &Source, configuration: &Configuration, problems: &[String]) {
    let name = &source.name;
    if configuration.diagnostics.has_errors() {
        eprintln!("ndots: {name}: the Corefile has mistakes:\n");
    } else if source.mounted.is_some() && configuration.diagnostics.iter().next().is_some() {
        eprintln!("ndots: {name}:\n");
    }
    configuration.print_diagnostics();
    for problem in problems {
        eprintln!("warning: {problem}");
    }
    if !configuration.diagnostics.has_errors() {
        let blocks = configuration.blocks.len();
        let plural = if blocks == 1 { "" } else { "s" };
        print_line!("{name}: {blocks} server block{plural}, no mistakes");
    }
}

impl FileReport {
    fn new(name: String, configuration: &Configuration, problems: Vec<String>) -> Self {
        let Configuration { blocks, diagnostics } = configuration;
        let mut findings = findings(diagnostics);
        findings.extend(problems.into_iter().map(|message| Finding {
            severity: "warning",
            place: String::new(),
            message,
            help: None,
        }));
        Self { name, server_blocks: blocks.len(), findings }
    }

    fn unreadable(file: &str, message: String) -> Self {
        let finding = Finding { severity: "error", place: String::new(), message, help: None };
        Self { name: file.to_owned(), server_blocks: 0, findings: vec![finding] }
    }
}

fn findings(diagnostics: &Diagnostics) -> Vec<Finding> {
    let finding = |it: &Diagnostic| Finding {
        severity: match it.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        place: diagnostics.files.place(it.span),
        message: it.message.to_string(),
        help: it.help.as_ref().map(ToString::to_string),
    };
    diagnostics.sorted().into_iter().map(finding).collect()
}

/// The Corefiles of a file: the file itself, or those of the ConfigMaps in it.
fn sources(file: &str) -> anyhow::Result<Vec<Source>> {
    let text =
        if file == "-" { Text::of_input("standard input")? } else { Text::of_file(Some(file))? };
    if file == "-" && text.text.trim().is_empty() {
        return Err(anyhow!("standard input is empty"));
    }
    if !has_objects(&text.text) {
        return Ok(vec![Source { name: text.path.clone(), text, mounted: None }]);
    }
    config_maps(&text).with_context(|| text.path.clone())
}

/// Whether the text is YAML or JSON of the Kubernetes API. `kind:` can also be the key of a server
/// block in a Corefile, but then a port or a brace follows it.
fn has_objects(text: &str) -> bool {
    let text = text.trim_start();
    let is_kind = |line: &str| {
        let value = line.trim_start_matches(['-', ' ']).strip_prefix("kind:");
        value.is_some_and(|value| value.starts_with(' ') && !value.contains('{'))
    };
    text.lines().any(is_kind) || text.starts_with('{') && text.contains("\"kind\"")
}

fn config_maps(text: &Text) -> anyhow::Result<Vec<Source>> {
    let source =
        ManifestSource::Text { name: PathBuf::from(&text.path), bytes: text.text.clone().into() };
    let update = Manifests::read_once(vec![source])?;
    let mut objects = Objects::default();
    let mut errors = objects.add_all(&update.objects);
    errors.extend(update.errors.iter().map(ToString::to_string));
    let mut found = Vec::new();
    for (namespace, name, texts) in objects.texts() {
        let Some(corefile) = texts.get("Corefile") else { continue };
        let custom = objects.texts().filter(|it| (it.0, it.1) == (namespace, CUSTOM));
        let custom = custom.flat_map(|(_, _, texts)| mounted(MOUNTED_CUSTOM, texts));
        let files = mounted(MOUNTED, texts).chain(custom).collect();
        found.push(Source {
            name: format!("{}, ConfigMap {namespace}/{name}", text.path),
            text: Text::of_command(&format!("{MOUNTED}Corefile"), corefile.clone()),
            mounted: Some(MountedFiles { files, unknown: RefCell::default() }),
        });
    }
    if found.is_empty() {
        let missing = "no ConfigMap in it has the key `Corefile`".to_owned();
        // An object that cannot be read may be the ConfigMap.
        return Err(anyhow!("{}", errors.into_iter().next().unwrap_or(missing)));
    }
    Ok(found)
}

fn mounted(
    directory: &str,
    texts: &BTreeMap<String, String>,
) -> impl Iterator<Item = (String, String)> {
    texts.iter().map(move |(key, text)| (format!("{directory}{key}"), text.clone()))
}

impl MountedFiles {
    fn problems(&self) -> Vec<String> {
        let unknown = self.unknown.borrow();
        let problem = |it: &String| {
            format!("{it} of the Pod is not known here, so errors that come from it may be wrong")
        };
        unknown.iter().map(problem).collect()
    }
}

impl Reader for MountedFiles {
    fn read(&self, path: &str) -> Result<String, String> {
        self.files.get(path).cloned().ok_or_else(|| {
            self.unknown.borrow_mut().insert(format!("the file {path}"));
            "no ConfigMap here has this file".to_owned()
        })
    }

    fn list(&self, directory: &str) -> Vec<String> {
        let below = self.files.keys().filter_map(|path| path.strip_prefix(directory));
        let first = |rest: &str| match rest.split_once('/') {
            Some((directory, _)) => format!("{directory}/"),
            None => rest.to_owned(),
        };
        let mut names: Vec<_> = below.map(first).collect();
        names.dedup();
        names
    }

    fn env(&self, name: &str) -> Option<String> {
        self.unknown.borrow_mut().insert(format!("the variable {name}"));
        None
    }
}
