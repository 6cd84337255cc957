//! Parses a file's text into objects, each with the line at which it begins. A file may have
//! several documents, and a document may be a list.

mod documents;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use crate::{
    limits,
    source::kind::{ApiObject, DnsUse, NAMESPACE, SERVICE},
};

use super::{Location, ManifestError, parallel};
use documents::{Document, ListKind, Piece};

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

/// Parses the texts of files, on all cores if they are large. A result is an error if the text is
/// not YAML or JSON.
pub(super) fn parse_all(files: &[(&Path, &str)]) -> Vec<Result<Parsed, Box<ManifestError>>> {
    let documents: Vec<Vec<(&Path, Document<'_>)>> = files
        .iter()
        .map(|&(path, text)| documents::split(text).into_iter().map(|it| (path, it)).collect())
        .collect();
    let pieces: Vec<(&Path, Piece<'_>)> = documents
        .iter()
        .flatten()
        .flat_map(|(path, document)| document.pieces().map(|it| (*path, it)))
        .collect();
    let read = |(path, piece): &(&Path, Piece<'_>)| read_piece(path, piece);
    let mut results = parallel::map(&pieces, read).into_iter();
    documents
        .iter()
        .map(|of_file| {
            let mut parsed = Parsed::default();
            for (path, document) in of_file {
                let count = document.pieces().count();
                let own: Result<Vec<_>, _> =
                    results.by_ref().take(count).collect::<Vec<_>>().into_iter().collect();
                // An item can refer to an anchor of another item.
                let own = if count > 1 && own.is_err() {
                    read_piece(path, &document.whole()).map(|it| vec![it])
                } else {
                    own
                };
                own?.into_iter().flatten().for_each(|it| parsed.add(it));
            }
            Ok(parsed)
        })
        .collect()
}

/// The result of reading one object of a file.
struct ReadObject {
    location: Location,
    /// `apiVersion` and `kind`.
    kind: (String, String),
    object: Result<Option<ApiObject>, String>,
}

impl ReadObject {
    fn new(value: Value, location: Location) -> Self {
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = (text("apiVersion"), text("kind"));
        Self { location, kind, object: read_object(value) }
    }
}

impl Parsed {
    fn add(&mut self, read: ReadObject) {
        let ReadObject { location, kind, object } = read;
        *self.kinds.entry(kind).or_default() += 1;
        match object {
            Ok(None) => self.unused += 1,
            Ok(Some(object)) => {
                self.unused += usize::from(matches!(object.kind.dns, DnsUse::None));
                self.objects.push(ListedObject { location, object });
            }
            Err(message) => self.errors.push(ManifestError { location, message }),
        }
    }
}

/// The objects of a piece, with the items of lists one by one.
fn read_piece(path: &Path, piece: &Piece<'_>) -> Result<Vec<ReadObject>, Box<ManifestError>> {
    let location = |line: u64, column: u64| Location {
        file: path.to_owned(),
        line: piece.first_line + (line.max(1) as usize) - 1,
        column: column.max(1) as usize,
    };
    if let Some(value) = json(piece) {
        let blank = piece.text.len() - piece.text.trim_start().len();
        let line = 1 + piece.text[..blank].matches('\n').count() as u64;
        return Ok(vec![ReadObject::new(value, location(line, 1))]);
    }
    let object = |(value, at): (Value, serde_saphyr::Location)| {
        ReadObject::new(value, location(at.line(), at.column()))
    };
    let failed = |error: serde_saphyr::Error| {
        let location =
            error.location().map_or_else(|| location(1, 1), |at| location(at.line(), at.column()));
        let message = first_sentence(&error.without_snippet().to_string());
        Box::new(ManifestError { location, message })
    };
    if let Some(list) = piece.list {
        let items: Vec<Spanned<Value>> =
            serde_saphyr::from_str_with_options(piece.text, options()).map_err(failed)?;
        let items = items.into_iter().map(|it| (list.complete(it.value), it.referenced));
        return Ok(items.map(object).collect());
    }
    let root: Option<Spanned<Value>> =
        serde_saphyr::from_str_with_options(piece.text, options()).map_err(failed)?;
    let Some(root) = root.filter(|root| !root.value.is_null()) else { return Ok(Vec::new()) };
    Ok(items(root, piece.text).into_iter().map(object).collect())
}

/// An object that is written in JSON. It is read as JSON because that takes less time than YAML. A
/// list that could not be split is left to the YAML parser, which reports where each item begins.
fn json(piece: &Piece<'_>) -> Option<Value> {
    let text = piece.text.trim_start();
    let value: Value = text.starts_with('{').then(|| serde_json::from_str(text).ok())??;
    match piece.list {
        Some(list) => Some(list.complete(value)),
        None => value.get("items").is_none().then_some(value),
    }
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
    let text = |key| root.value.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("kind").ends_with("List")
        && root.value.get("items").is_some_and(Value::is_array)
        && let Ok(list) = serde_saphyr::from_str_with_options::<List>(document, options())
    {
        let own = ListKind::new(text("kind"), text("apiVersion"));
        let items = list.items.into_iter();
        return items.map(|item| (own.complete(item.value), item.referenced)).collect();
    }
    vec![(root.value, root.referenced)]
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

/// The parser's message without the position, which the error's location has.
fn first_sentence(message: &str) -> String {
    let line = message.lines().next().unwrap_or("the file is not YAML");
    line.split_once(" at line ").map_or(line, |(before, _)| before).trim_end_matches(',').to_owned()
}
