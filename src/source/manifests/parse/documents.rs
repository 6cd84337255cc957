//! Splits a file's text into the pieces that are parsed one by one: documents, and the items of
//! long lists as kubectl prints them.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// A document of a file.
pub(super) struct Document<'t> {
    first_line: usize,
    text: &'t str,
    /// The items, if it is a list in kubectl's form.
    items: Option<(ListKind, Vec<(usize, &'t str)>)>,
}

/// A text that is parsed by itself.
pub(super) struct Piece<'t> {
    pub(super) first_line: usize,
    pub(super) text: &'t str,
    /// The list, if the piece is one of its items. The text of such an item in YAML is a sequence
    /// with one element.
    pub(super) list: Option<&'t ListKind>,
}

/// The kind and version of a list's items, which the items may leave out: those of a `ServiceList`
/// are Services.
pub(super) struct ListKind {
    item_kind: String,
    version: String,
}

impl ListKind {
    pub(super) fn new(kind: &str, version: &str) -> Self {
        let item_kind = kind.strip_suffix("List").unwrap_or_default().to_owned();
        Self { item_kind, version: version.to_owned() }
    }

    /// The item with its kind and version.
    pub(super) fn complete(&self, mut item: Value) -> Value {
        if let Value::Object(fields) = &mut item
            && !self.item_kind.is_empty()
            && !fields.contains_key("kind")
        {
            fields.insert("kind".to_owned(), self.item_kind.as_str().into());
            if !self.version.is_empty() {
                fields.entry("apiVersion").or_insert_with(|| self.version.as_str().into());
            }
        }
        item
    }
}

impl Document<'_> {
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let whole = self.items.is_none().then(|| self.whole());
        let items = self.items.iter().flat_map(|(list, items)| {
            items.iter().map(|(first_line, text)| Piece {
                first_line: *first_line,
                text,
                list: Some(list),
            })
        });
        whole.into_iter().chain(items)
    }

    pub(super) fn whole(&self) -> Piece<'_> {
        Piece { first_line: self.first_line, text: self.text, list: None }
    }
}

pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let documents = documents(text).into_iter();
    documents
        .map(|(first_line, text)| Document { first_line, text, items: items(first_line, text) })
        .collect()
}

/// The items of a list whose `items:` is at the start of a line, and whose items each have their
/// `-` in the same column, as kubectl and most programs write lists. No other text of the document
/// can have a `-` in this column, because the lines inside of an item are indented further.
fn items(first_line: usize, text: &str) -> Option<(ListKind, Vec<(usize, &str)>)> {
    if text.trim_start().starts_with('{') {
        return json_items(first_line, text);
    }
    // Most documents are not lists.
    let begin = text.find("\nitems:")?;
    let (mut kind, mut version) = ("", "");
    let mut items: Vec<(usize, usize)> = Vec::new();
    let (mut indent, mut end, mut at, mut inside) = (None, text.len(), 0, false);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let content = line.trim_start_matches(' ');
        let column = line.len() - content.len();
        let is_item = content.starts_with("- ") && *indent.get_or_insert(column) == column;
        let is_key = column == 0 && !line.starts_with(['-', '#', '\n', '\r']);
        if inside && content.trim_end() == "-" {
            // An item whose first key is on the next line.
            return None;
        }
        if at == begin + 1 {
            (inside, indent) = (true, None);
            if line.trim_end() != "items:" {
                return None;
            }
        } else if inside && is_item {
            items.push((first_line + index, at));
        } else if is_key {
            if inside {
                (inside, end) = (false, at);
            }
            let value =
                |key| line.strip_prefix(key).map(|rest: &str| rest.trim().trim_matches('"'));
            kind = value("kind:").unwrap_or(kind);
            version = value("apiVersion:").unwrap_or(version);
        }
        at += line.len();
    }
    if !kind.ends_with("List") || items.len() < 2 {
        return None;
    }
    let ends = items.iter().skip(1).map(|(_, at)| *at).chain([end]);
    let pieces = items.iter().zip(ends).map(|((line, at), end)| Some((*line, text.get(*at..end)?)));
    Some((ListKind::new(kind, version), pieces.collect::<Option<_>>()?))
}

/// The items of a list in JSON.
fn json_items(first_line: usize, text: &str) -> Option<(ListKind, Vec<(usize, &str)>)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct JsonList<'t> {
        kind: String,
        #[serde(default)]
        api_version: String,
        #[serde(borrow)]
        items: Vec<&'t RawValue>,
    }
    let list: JsonList<'_> = serde_json::from_str(text).ok()?;
    if !list.kind.ends_with("List") || list.items.len() < 2 {
        return None;
    }
    let (mut line, mut at) = (first_line, 0);
    let mut pieces = Vec::with_capacity(list.items.len());
    for item in list.items {
        let item = item.get();
        let begin = (item.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        line += text.get(at..begin)?.matches('\n').count();
        at = begin;
        pieces.push((line, item));
    }
    Some((ListKind::new(&list.kind, &list.api_version), pieces))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<(usize, String)> {
        let documents = split(text);
        let pieces = documents.iter().flat_map(Document::pieces);
        pieces.map(|it| (it.first_line, it.text.to_owned())).collect()
    }

    #[test]
    fn long_lists_are_split_into_their_items() {
        let list = "apiVersion: v1\nitems:\n- kind: A\n  data: |\n    - x\n    items:\n- kind: B\nkind: List\nmetadata:\n  x: \"\"\n";
        assert_eq!(
            pieces(list),
            [(3, "- kind: A\n  data: |\n    - x\n    items:\n".into()), (7, "- kind: B\n".into())]
        );
        let indented = "kind: List\nitems:\n  - kind: A\n    list:\n      - x\n  - kind: B\n";
        assert_eq!(
            pieces(indented),
            [(3, "  - kind: A\n    list:\n      - x\n".into()), (6, "  - kind: B\n".into())]
        );
    }

    #[test]
    fn lists_in_json_are_split_into_their_items() {
        let list = "{\n \"kind\": \"List\",\n \"items\": [\n  {\"kind\": \"A\"},\n  {\n\"kind\": \"B\"}]}\n";
        assert_eq!(
            pieces(list),
            [(4, "{\"kind\": \"A\"}".into()), (5, "{\n\"kind\": \"B\"}".into())]
        );
    }

    #[test]
    fn a_document_that_is_not_a_list_stays_whole() {
        for text in [
            "kind: ConfigMap\nitems:\n- a\n- b\n",
            "kind: List\nitems: [{kind: A}, {kind: B}]\n",
            "kind: List\nitems: []\n",
            "kind: X\nspec:\n  items:\n  - a\n",
            "kind: List\nitems:\n-\n  kind: A\n- kind: B\n- kind: C\n",
        ] {
            assert_eq!(pieces(text), [(1, text.to_owned())]);
        }
    }
}
