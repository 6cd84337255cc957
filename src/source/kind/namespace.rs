//! v1 Namespace.

use serde::Deserialize;

use crate::model;

use super::Meta;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Namespace {
    pub metadata: Meta,
}

impl Namespace {
    pub fn fact(&self) -> model::Namespace {
        let labels = self
            .metadata
            .labels
            .iter()
            .map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        model::Namespace { name: self.metadata.name.as_str().into(), labels: labels.collect() }
    }
}
