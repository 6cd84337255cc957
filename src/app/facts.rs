//! What the configuration needs of a source, and the source's notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    model::{EndpointFields, Kind},
    plugin::Source,
    source::Notice,
};

/// What each source must bring.
pub(super) type Needed = BTreeMap<Source, NeededFacts>;

#[derive(Clone, Debug, Default)]
pub(super) struct NeededFacts {
    pub(super) kinds: BTreeSet<Kind>,
    pub(super) endpoint_fields: EndpointFields,
    /// Where the facts are kept for the next start.
    pub(super) snapshot: Option<PathBuf>,
}

/// Writes a source's notice to the log.
pub(super) fn report(notice: Notice) {
    match notice {
        Notice::Problem(text) => tracing::error!(plugin = "kubernetes", "{text}"),
        Notice::Info(text) => tracing::info!(plugin = "kubernetes", "{text}"),
    }
}
