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

    /// Compares a key below `self.key`, or this key itself, with the pattern.
    pub fn compare(&self, key: &str) -> Match {
        let Some(pattern) = &self.pattern else { return Match::Yes };
        // The octets of the parts that match, each with its slash.
        let mut octets = 0;
        let mut of_key = key.split('/').skip(1);
        for part in pattern {
            let Some(found) = of_key.next() else { return Match::No };
            if !is_wildcard(part) && found != part.as_str() {
                return after(&key[..octets], part, key);
            }
            octets += 1 + found.len();
        }
        Match::Yes
    }
}

/// Whether a key matches a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    Yes,
    No,
    /// The key does not match, and no key before this one matches.
    NotBefore(String),
}

/// The next key that may match if keys below `directory` need this part, and `key` has another one.
fn after(directory: &str, part: &str, key: &str) -> Match {
    let own = format!("{directory}/{part}");
    if key < own.as_str() {
        return Match::NotBefore(own);
    }
    // In between are keys such as `part-x`, because `-` comes before the slash.
    let below = own + "/";
    if key < below.as_str() {
        return Match::NotBefore(below);
    }
    // `0` is the character after the slash.
    Match::NotBefore(format!("{directory}0"))
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

/// The name that a key stands for; `None` if the key is not the path of a name.
pub fn domain(prefix: &str, key: &str) -> Option<Spelled> {
    let below = key.split('/').filter(|part| !part.is_empty()).skip(parts(prefix).count());
    let labels: Vec<_> = below.collect();
    let name = labels.into_iter().rev().fold(String::new(), |name, label| name + label + ".");
    name.parse().ok()
}
