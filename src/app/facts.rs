//! What the configuration needs of a source, and the source's notices.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    metrics::{Family, GaugeFamily, IntGauge, Metrics},
    model::{EndpointFields, Kind},
    plugin::Source,
    source::Notice,
};

/// What the configuration needs of each source.
pub(super) type Needed = BTreeMap<Source, NeededFacts>;

#[derive(Clone, Debug, Default)]
pub(super) struct NeededFacts {
    pub(super) kinds: BTreeSet<Kind>,
    pub(super) endpoint_fields: EndpointFields,
    /// Where the facts are kept for the next start.
    pub(super) snapshot: Option<PathBuf>,
}

impl NeededFacts {
    /// What is enough for both.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            kinds: self.kinds.union(&other.kinds).copied().collect(),
            endpoint_fields: self.endpoint_fields | other.endpoint_fields,
            snapshot: self.snapshot.clone().or_else(|| other.snapshot.clone()),
        }
    }
}

static FACTS_HASH: GaugeFamily<1> = Family::new(
    "kubernetes_facts_hash",
    "A hash of all known objects, which is equal in replicas that know the same.",
    ["host"],
);

/// The bits of a digest that are shown. Prometheus keeps 53 bits of a number, and the digests of up
/// to eight sources of one API server are added.
const SHOWN: u64 = (1 << 50) - 1;

/// The part of one source in the hash of its API server's facts. It is subtracted when the source
/// ends.
pub(super) struct FactsHash {
    sum: IntGauge,
    shown: i64,
}

impl FactsHash {
    pub(super) fn new(metrics: &Metrics, host: &str) -> Self {
        Self { sum: FACTS_HASH.with(metrics, [host]), shown: 0 }
    }

    pub(super) fn show(&mut self, digest: u64) {
        let new = (digest & SHOWN).cast_signed();
        self.sum.add(new - self.shown);
        self.shown = new;
    }
}

impl Drop for FactsHash {
    fn drop(&mut self) {
        self.sum.sub(self.shown);
    }
}

/// Writes a source's notice to the log.
pub(super) fn report(notice: Notice) {
    match notice {
        Notice::Problem(text) => tracing::error!(plugin = "kubernetes", "{text}"),
        Notice::Info(text) => tracing::info!(plugin = "kubernetes", "{text}"),
    }
}
