//! Parses a file's text into objects, each with the line at which it begins. A file may have several
//! documents, and a document may be a list.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::{
    limits,
    source::kind::{ApiObject, DnsUse, NAMESPACE, SERVICE},
};

use super::{Location, ManifestError};

/// An object of a known kind in a file.
#[derive(Clone, Debug)]
pub(super) struct ListedObject {
    pub(super) location: Location,
    pub(super) object: ApiObject,
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) objects: Vec<ListedObject>,
    /// Errors in single objects. The other objects are used.
    pub(super) errors: Vec<ManifestError>,
    /// How many objects are of kinds that DNS does not need.
    pub(super) unused: usize,
    /// How many objects there are of each `apiVersion` and `kind`, also of unknown kinds.
    pub(super) kinds: BTreeMap<(String, String), usize>,
}

/// # Errors
/// If the text is not YAML or JSON.
pub(super) fn parse(path: &Path, text: &str) -> Result<Parsed, Box<ManifestError>> {
    let mut parsed = Parsed::default();
    for (value, location) in values(path, text)? {
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        *parsed.kinds.entry((text("apiVersion"), text("kind"))).or_default() += 1;
        match read_object(value) {
            Ok(None) => parsed.unused += 1,
            Ok(Some(object)) => {
                parsed.unused += usize::from(matches!(object.kind.dns, DnsUse::None));
                parsed.objects.push(ListedObject { location, object });
            }
            Err(message) => parsed.errors.push(ManifestError { location, message }),
        }
    }
    Ok(parsed)
}

/// The values of the documents, with the items of lists one by one.
fn values(path: &Path, text: &str) -> Result<Vec<(Value, Location)>, Box<ManifestError>> {
    let mut values = Vec::new();
    for (first_line, document) in documents(text) {
        let location = |line: u64, column: u64| Location {
            file: path.to_owned(),
            line: first_line + (line.max(1) as usize) - 1,
            column: column.max(1) as usize,
        };
        let root: Option<Spanned<Value>> = serde_saphyr::from_str_with_options(document, options())
            .map_err(|error| {
                let location = error
                    .location()
                    .map_or_else(|| location(1, 1), |at| location(at.line(), at.column()));
                let message = first_sentence(&error.without_snippet().to_string());
                ManifestError { location, message }
            })?;
        let Some(root) = root.filter(|root| !root.value.is_null()) else { continue };
        values.extend(
            items(root, document)
                .into_iter()
                .map(|(value, at)| (value, location(at.line(), at.column()))),
        );
    }
    Ok(values)
}

/// Only `true` and `false` are booleans, because a port may be called `y`. The parser's bounds on
/// size are off, because a dump of a large cluster has millions of nodes and the file's size is
/// bounded already. Its bound on aliases stays.
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

/// The object, or the objects of a list, each with its position.
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

/// The items of a `ServiceList` do not repeat their kind.
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

/// `None` for an object of a kind that ndots does not read.
fn read_object(value: Value) -> Result<Option<ApiObject>, String> {
    let Some(object) = ApiObject::recognize(value).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let ApiObject { kind, namespace, name, .. } = &object;
    if matches!(kind.dns, DnsUse::None) {
        return Ok(Some(object));
    }
    if name.is_empty() {
        return Err(format!("the {} has no `metadata.name`", kind.name));
    }
    // Names of these kinds are labels of DNS names.
    let is_label_name = [SERVICE.name, NAMESPACE.name].contains(&kind.name);
    let labels = [namespace].into_iter().chain(Some(name).filter(|_| is_label_name));
    let wrong = labels.into_iter().find(|label| !label.is_empty() && !is_label(label));
    if let Some(label) = wrong {
        return Err(format!(
            "{} {name}: `{label}` is not a DNS label: at most 63 of a-z, 0-9 and `-`, and no `-` at \
             either end",
            kind.name
        ));
    }
    Ok(Some(object))
}

/// A label as RFC 1123 and Kubernetes define it.
fn is_label(text: &str) -> bool {
    let fits = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    text.len() <= limits::LABEL_OCTETS
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The documents of a file, each with the number of its first line.
fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut at) = (0, 1, 0);
    // Comments and directives before a `---` belong to the document after it.
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

/// The parser's message without the position, which the error's location has.
fn first_sentence(message: &str) -> String {
    let line = message.lines().next().unwrap_or("the file is not YAML");
    line.split_once(" at line ").map_or(line, |(before, _)| before).trim_end_matches(',').to_owned()
}
