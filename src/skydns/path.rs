//! Keys of names, and names of keys.

use crate::wire::{Name, Spelled};

/// The key of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath {
    /// The key up to the first wildcard.
    pub key: String,
    /// The parts of the whole key, if one of them is a wildcard.
    pub pattern: Option<Vec<String>>,
}

impl KeyPath {
    /// `None` if the name cannot have a key. For example, a label with a slash must not lead to a
    /// directory outside the prefix.
    pub fn new(prefix: &str, name: &Name) -> Option<Self> {
        let labels: Option<Vec<String>> = name.labels().map(text).collect();
        let labels: Vec<_> = labels?.into_iter().rev().collect();
        let parts: Vec<_> =
            parts(prefix).map(str::to_owned).chain(labels.iter().cloned()).collect();
        let wildcard = labels.iter().position(|label| is_wildcard(label));
        let fixed = wildcard.map_or(parts.len(), |at| parts.len() - labels.len() + at);
        let key = parts[..fixed].iter().fold(String::new(), |key, part| key + "/" + part);
        Some(Self { key, pattern: wildcard.map(|_| parts) })
    }

    /// Whether a key below `self.key` matches the pattern.
    pub fn matches(&self, key: &str) -> bool {
        let Some(pattern) = &self.pattern else { return true };
        let mut of_key = key.split('/').skip(1);
        pattern.iter().all(|part| {
            of_key.next().is_some_and(|of_key| is_wildcard(part) || of_key == part.as_str())
        })
    }
}

fn is_wildcard(part: &str) -> bool {
    part == "*" || part == "any"
}

fn parts(prefix: &str) -> impl Iterator<Item = &str> {
    prefix.split('/').filter(|part| !part.is_empty())
}

/// The label as a part of a key; `None` if the label needs escapes in a zone file.
fn text(label: &[u8]) -> Option<String> {
    let plain = |octet: &u8| octet.is_ascii_graphic() && !br#"/\".();@'"#.contains(octet);
    label.iter().all(plain).then(|| String::from_utf8_lossy(label).into_owned())
}

/// The name that a key stands for; `None` if it is not one.
pub fn domain(prefix: &str, key: &str) -> Option<Spelled> {
    let below = key.split('/').filter(|part| !part.is_empty()).skip(parts(prefix).count());
    let labels: Vec<_> = below.collect();
    let name = labels.into_iter().rev().fold(String::new(), |name, label| name + label + ".");
    name.parse().ok()
}
