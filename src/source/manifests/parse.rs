//! The text of a file to objects: documents, lists, and the line at which each object begins.

use std::path::Path;

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

/// What a file holds.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) objects: Vec<Written>,
    /// Of single objects: the others count.
    pub(super) faults: Vec<Fault>,
    /// Objects of kinds that are not read.
    pub(super) others: usize,
}

/// The error is a file that is no YAML.
pub(super) fn parse(path: &Path, text: &str) -> Result<Parsed, Box<Fault>> {
    let mut parsed = Parsed::default();
    for (value, place) in values(path, text)? {
        match read_object(&value) {
            Ok(Some(object)) => parsed.objects.push(Written { place, object }),
            Ok(None) => parsed.others += 1,
            Err(sentence) => parsed.faults.push(Fault { place, sentence }),
        }
    }
    Ok(parsed)
}

/// What the documents hold, with the items of lists one by one.
pub(super) fn values(path: &Path, text: &str) -> Result<Vec<(Value, Place)>, Box<Fault>> {
    let mut values = Vec::new();
    for (first_line, document) in documents(text) {
        let place = |line: u64, column: u64| Place {
            file: path.to_owned(),
            line: first_line + (line.max(1) as usize) - 1,
            column: column.max(1) as usize,
        };
        let root: Option<Spanned<Value>> = serde_saphyr::from_str_with_options(document, options())
            .map_err(|error| {
                let place = error
                    .location()
                    .map_or_else(|| place(1, 1), |at| place(at.line(), at.column()));
                Fault { place, sentence: first_sentence(&error.without_snippet().to_string()) }
            })?;
        let Some(root) = root.filter(|root| !root.value.is_null()) else { continue };
        values.extend(
            items(root, document)
                .into_iter()
                .map(|(value, at)| (value, place(at.line(), at.column()))),
        );
    }
    Ok(values)
}

/// A port may be called `y`: only `true` and `false` are booleans. A dump of a large cluster has
/// millions of nodes; its size is bounded already, and what is left is the bound on aliases.
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
        return list
            .items
            .into_iter()
            .map(|item| (with_kind(item.value, &item_kind, version.as_ref()), item.referenced))
            .collect();
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
    if !object.is_namespaced() {
        object.meta_mut().namespace.clear();
    } else if object.meta().namespace.is_empty() {
        object.meta_mut().namespace = "default".to_owned();
    }
    let meta = object.meta();
    let labels = match kind {
        "Service" | "Namespace" => vec![&meta.name, &meta.namespace],
        _ => vec![&meta.namespace],
    };
    match labels.into_iter().find(|label| !label.is_empty() && !is_label(label)) {
        Some(label) => Err(format!(
            "{kind} {}: `{label}` is no DNS label: up to 63 of a-z, 0-9 and `-`, no `-` at its ends",
            meta.name
        )),
        None => Ok(Some(object)),
    }
}

/// RFC 1123 label, as Kubernetes wants it.
fn is_label(text: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    text.len() <= limits::LABEL_OCTETS
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The documents of a file with the number of their first lines.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    // Comments and directives before a marker belong to the document that it begins.
    let mut before_marker = true;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let end = at + line.len();
        let begins = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if line.trim_end() == "..." {
            documents.push((first_line, &text[start..at]));
            (start, first_line, before_marker) = (end, index + 2, true);
        } else if begins && !before_marker {
            documents.push((first_line, &text[start..at]));
            (start, first_line) = (at, index + 1);
        } else if !line.trim().is_empty() && !line.starts_with(['#', '%']) {
            before_marker = false;
        }
        at = end;
    }
    documents.push((first_line, &text[start..]));
    documents
}

/// The parser's message without the place, which is told already.
fn first_sentence(message: &str) -> String {
    let line = message.lines().next().unwrap_or("it is no YAML");
    line.split_once(" at line ").map_or(line, |(before, _)| before).trim_end_matches(',').to_owned()
}
