//! Files to objects, with the place of each.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::{limits, source::kind::Decoded};

use super::{Fault, Place};

/// An object as it stands in a file.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) place: Place,
    pub(super) object: Decoded,
}

/// The files of a directory, each with what it held when it was last without a fault.
pub(super) struct Files {
    pub(super) root: PathBuf,
    known: BTreeMap<PathBuf, Known>,
}

#[derive(Default)]
struct Known {
    text: Option<Vec<u8>>,
    objects: Vec<Written>,
    faults: Vec<Fault>,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, known: BTreeMap::new() }
    }

    /// Manifests under the root, in order. Names that begin with a dot are left out, and so are the real directories of a
    /// ConfigMap's mount: what its links show is read.
    pub(super) fn list(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        if self.root.is_dir() {
            walk(&self.root, 0, &mut files);
        } else {
            files.push(self.root.clone());
        }
        files.sort();
        files
    }

    /// All objects, and what is wrong. A file that cannot be read or parsed keeps its last good objects.
    pub(super) fn read(&mut self) -> (Vec<Written>, Vec<Fault>) {
        let files = self.list();
        self.known.retain(|path, _| files.contains(path));
        for path in &files {
            self.known.entry(path.clone()).or_default().refresh(path);
        }
        let objects = self.known.values().flat_map(|known| known.objects.iter().cloned()).collect();
        let faults = self.known.values().flat_map(|known| known.faults.iter().cloned()).collect();
        (objects, faults)
    }
}

impl Known {
    fn refresh(&mut self, path: &Path) {
        let whole_file = |sentence: String| Fault { place: Place { file: path.to_owned(), line: 1, column: 1 }, sentence };
        let bytes = match read_bounded(path) {
            Ok(bytes) => bytes,
            Err(sentence) => {
                self.text = None;
                self.faults = vec![whole_file(sentence)];
                return;
            }
        };
        if self.text.as_ref() == Some(&bytes) {
            return;
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => match parse(path, text) {
                Ok((objects, faults)) => (self.objects, self.faults) = (objects, faults),
                Err(fault) => self.faults = vec![*fault],
            },
            Err(_) => self.faults = vec![whole_file("it is not UTF-8 text".to_owned())],
        }
        self.text = Some(bytes);
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > limits::MANIFEST_OCTETS {
        return Err(format!("it is larger than {} MiB", limits::MANIFEST_OCTETS >> 20));
    }
    fs::read(path).map_err(|error| error.to_string())
}

fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let manifest = path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        if hidden {
            continue;
        }
        if path.is_dir() && depth < limits::MANIFESTS_DEPTH {
            walk(&path, depth + 1, files);
        } else if manifest && path.is_file() {
            files.push(path);
        }
    }
}

/// Objects of a file and the faults of single ones; the error is a file that is no YAML.
fn parse(path: &Path, text: &str) -> Result<(Vec<Written>, Vec<Fault>), Box<Fault>> {
    let (mut objects, mut faults) = (Vec::new(), Vec::new());
    for (first_line, document) in documents(text) {
        let place = |line: u64, column: u64| Place {
            file: path.to_owned(),
            line: first_line + (line.max(1) as usize) - 1,
            column: column.max(1) as usize,
        };
        let parsed: Result<Option<Spanned<Value>>, _> = serde_saphyr::from_str_with_options(document, options());
        let root = match parsed {
            Ok(root) => root,
            Err(error) => {
                let at = error.location();
                let at = at.map_or_else(|| place(1, 1), |at| place(at.line(), at.column()));
                return Err(Box::new(Fault { place: at, sentence: first_sentence(&error.without_snippet().to_string()) }));
            }
        };
        let Some(root) = root.filter(|root| !root.value.is_null()) else { continue };
        for (value, at) in items(root, document) {
            let at = place(at.line(), at.column());
            match read_object(&value) {
                Ok(Some(object)) => objects.push(Written { place: at, object }),
                Ok(None) => {}
                Err(sentence) => faults.push(Fault { place: at, sentence }),
            }
        }
    }
    Ok((objects, faults))
}

/// A port may be called `y`: only `true` and `false` are booleans. A dump of a large cluster has millions of nodes; its size is
/// bounded already, and what is left is the bound on aliases.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
    }
}

/// The object, or those of a list, each with where it begins.
fn items(root: Spanned<Value>, document: &str) -> Vec<(Value, serde_saphyr::Location)> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Spanned<Value>>,
    }
    let kind = root.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind.ends_with("List")
        && root.value.get("items").is_some_and(Value::is_array)
        && let Ok(list) = serde_saphyr::from_str_with_options::<List>(document, options())
    {
        let item_kind = kind.strip_suffix("List").unwrap_or_default().to_owned();
        let version = root.value.get("apiVersion").cloned();
        return list.items.into_iter().map(|item| (with_kind(item.value, &item_kind, version.as_ref()), item.referenced)).collect();
    }
    vec![(root.value, root.referenced)]
}

/// Items of a `ServiceList` do not repeat their kind.
fn with_kind(mut item: Value, kind: &str, version: Option<&Value>) -> Value {
    if let Value::Object(fields) = &mut item
        && !kind.is_empty()
        && !fields.contains_key("kind")
    {
        fields.insert("kind".to_owned(), kind.into());
        if let Some(version) = version {
            fields.entry("apiVersion").or_insert_with(|| version.clone());
        }
    }
    item
}

fn read_object(value: &Value) -> Result<Option<Decoded>, String> {
    let Some(mut object) = Decoded::read(value)? else { return Ok(None) };
    let kind = object.kind();
    if object.meta().name.is_empty() {
        return Err(format!("a {kind} without `metadata.name`"));
    }
    if object.is_namespaced() && object.meta().namespace.is_empty() {
        object.meta_mut().namespace = "default".to_owned();
    }
    let meta = object.meta();
    let labels = match kind {
        "Service" | "Namespace" => vec![&meta.name, &meta.namespace],
        _ => vec![&meta.namespace],
    };
    match labels.into_iter().find(|label| !label.is_empty() && !is_label(label)) {
        Some(label) => Err(format!("{kind} {}: `{label}` is no DNS label: up to 63 of a-z, 0-9 and `-`, no `-` at its ends", meta.name)),
        None => Ok(Some(object)),
    }
}

/// RFC 1123 label, as Kubernetes wants it.
fn is_label(text: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    text.len() <= limits::LABEL_OCTETS && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

/// The documents of a file with the number of their first lines.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut at = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = at + line.len();
        let marker = line.trim_end();
        if marker == "---" || marker == "..." || marker.starts_with("--- ") {
            documents.push((first_line, &text[start..at]));
            (start, first_line) = (end, index + 2);
        }
        at = end;
    }
    documents.push((first_line, &text[start..]));
    documents
}

/// The parser's message without the place, which is told already.
fn first_sentence(message: &str) -> String {
    let line = message.lines().next().unwrap_or("it is no YAML");
    line.rsplit_once(" at line ").map_or(line, |(before, _)| before).trim_end_matches(',').to_owned()
}
