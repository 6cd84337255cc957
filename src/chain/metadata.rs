//! Metadata: facts about a query that plugins collect for `log`, `template`, `view` and `rewrite`.

use std::borrow::Cow;

/// The labels of one query with their values. It stays empty unless the block of the query has the
/// plugin `metadata`.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    collects: bool,
    labels: Vec<(Cow<'static, str>, String)>,
}

impl Metadata {
    /// Empty metadata that keeps the labels that are set later.
    pub fn collecting() -> Self {
        Self { collects: true, labels: Vec::new() }
    }

    /// Whether labels are kept. Otherwise their values need not be made.
    pub fn collects(&self) -> bool {
        self.collects
    }

    /// Sets a label. The value is made only if labels are kept.
    pub fn set_with(&mut self, label: &'static str, value: impl FnOnce() -> String) {
        if self.collects {
            self.set(label, value());
        }
    }

    /// Sets a label, such as `geoip/country/code`.
    pub fn set(&mut self, label: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        if !self.collects {
            return;
        }
        let (label, value) = (label.into(), value.into());
        match self.labels.iter_mut().find(|(known, _)| *known == label) {
            Some((_, old)) => *old = value,
            None => self.labels.push((label, value)),
        }
    }

    pub fn get(&self, label: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == label).map(|(_, value)| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_label_counts() {
        let mut metadata = Metadata::collecting();
        metadata.set("view/name", "inside");
        metadata.set("view/name", "outside");
        assert_eq!(metadata.get("view/name"), Some("outside"));
        assert_eq!(metadata.get("view/other"), None);
        let mut nothing = Metadata::default();
        nothing.set("view/name", "inside");
        assert_eq!(nothing.get("view/name"), None);
    }
}
