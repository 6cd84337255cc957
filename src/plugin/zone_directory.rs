//! A directory whose files are found by their names.

use std::path::Path;

use regex::Regex;

use crate::wire::Name;

/// The zone files of a directory: those whose name matches the pattern.
#[derive(Clone, Debug)]
pub struct ZoneDirectory {
    pub path: String,
    pub(super) pattern: Regex,
    /// The zone's name, with `${1}` for the first group of the pattern.
    pub(super) template: String,
}

/// Compares patterns by their texts.
impl PartialEq for ZoneDirectory {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.pattern.as_str(), &self.template)
            == (&other.path, other.pattern.as_str(), &other.template)
    }
}

impl Eq for ZoneDirectory {}

impl ZoneDirectory {
    /// The zone of a file; `None` if the file's name does not match, or gives no valid zone name.
    pub fn origin(&self, path: &str) -> Option<Name> {
        let file = Path::new(path).file_name()?.to_str()?;
        let mut origin = String::new();
        self.pattern.captures(file)?.expand(&self.template, &mut origin);
        origin.parse().ok()
    }

    /// Whether the path is below the directory.
    pub(super) fn contains(&self, path: &str) -> bool {
        Path::new(path).starts_with(&self.path)
    }
}
