//! Keeps the facts of an API server in a file, and starts from that file.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{
    limits,
    metrics::{CounterFamily, Family, GaugeFamily, Metrics},
    model::{Change, EndpointFields},
    net::unix_time,
    source::{
        Notice,
        api::Access,
        snapshot::{self, ClusterIdentity, Header, Reader, SnapshotError, Writer},
    },
    zone::{Index, Store},
};

use super::{
    facts::{NeededFacts, report},
    replace_file::replace,
};

/// Only the owner may read a snapshot.
const MODE: u32 = 0o600;

static WRITTEN: GaugeFamily<1> = Family::new(
    "kubernetes_snapshot_written_timestamp_seconds",
    "When the snapshot was last written.",
    ["host"],
);
static FAILURES: CounterFamily<1> = Family::new(
    "kubernetes_snapshot_failures_total",
    "Snapshots that could not be written.",
    ["host"],
);
static AGE: GaugeFamily<1> = Family::new(
    "kubernetes_snapshot_served_age_seconds",
    "The age of the snapshot that answers are from; 0 if they are up to date.",
    ["host"],
);

/// Writes the snapshot of one source when its facts have changed.
pub(super) struct Keeper {
    access: Arc<Access>,
    labels: Option<Arc<str>>,
    needed: watch::Receiver<NeededFacts>,
    metrics: Arc<Metrics>,
    ticks: Interval,
    /// Whether facts have changed since the last snapshot began.
    has_changes: bool,
    /// When the last snapshot began.
    begun: Option<Instant>,
    writing: Option<JoinHandle<io::Result<()>>>,
    /// Whether the last write failed, which is reported once.
    is_failing: bool,
    /// When the facts that are served now were written, in seconds since 1970.
    restored: Option<u64>,
}

impl Keeper {
    /// Reads the snapshot, if there is a usable one, into an index.
    pub(super) async fn open(
        access: Arc<Access>,
        labels: Option<Arc<str>>,
        needed: watch::Receiver<NeededFacts>,
        metrics: &Arc<Metrics>,
    ) -> (Self, Index) {
        let mut ticks = interval(limits::RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut keeper = Self {
            access,
            labels,
            needed,
            metrics: Arc::clone(metrics),
            ticks,
            has_changes: true,
            begun: None,
            writing: None,
            is_failing: false,
            restored: None,
        };
        let index = keeper.restore().await;
        (keeper, index)
    }

    async fn restore(&mut self) -> Index {
        let Some(path) = self.path() else { return Index::default() };
        let identity = self.identity().await;
        let host = &identity.host;
        let restored = match read(&path, &identity, self.endpoint_fields()) {
            Ok(restored) => restored,
            Err(error) => {
                let path = path.display();
                report(Notice::Problem(format!("the snapshot {path} is not used: {error}")));
                None
            }
        };
        AGE.with(&self.metrics, [host]).set(0);
        FAILURES.with(&self.metrics, [host]);
        let Some((index, written)) = restored else { return Index::default() };
        self.restored = Some(written);
        let age = self.show_age(&index.store());
        report(Notice::Info(format!(
            "answering from the snapshot {}, which is {age} s old, until the API server replies",
            path.display()
        )));
        index
    }

    /// Waits until [`Self::keep`] should be called.
    pub(super) async fn due(&mut self) {
        self.ticks.tick().await;
    }

    pub(super) fn changed(&mut self) {
        self.has_changes = true;
    }

    /// Shows the age of a snapshot that is served, and writes another one if it is time.
    pub(super) async fn keep(&mut self, index: &Index) {
        let store = index.store();
        if self.restored.is_some() {
            self.show_age(&store);
            self.restored = self.restored.filter(|_| store.stale_age().is_some());
        }
        if let Some(writing) = self.writing.take_if(|writing| writing.is_finished()) {
            self.written(writing.await.unwrap_or_else(|error| Err(io::Error::other(error))));
        }
        let since = self.begun.map(|begun| begun.elapsed());
        let is_due = since.is_none_or(|since| {
            since >= limits::SNAPSHOT_REFRESH
                || since >= limits::SNAPSHOT_INTERVAL && self.has_changes
        });
        let Some(path) = self.path().filter(|_| is_due && self.writing.is_none()) else { return };
        let Some(content) = self.content(index).await else { return };
        (self.begun, self.has_changes) = (Some(Instant::now()), false);
        self.writing = Some(spawn_blocking(move || replace(&path, &content, MODE)));
    }

    /// The snapshot of the facts; `None` while a kind is not up to date.
    async fn content(&self, index: &Index) -> Option<Vec<u8>> {
        let store = index.store();
        let mut kinds = self.needed.borrow().kinds.clone();
        kinds.retain(|kind| store.refusal(*kind).is_none());
        if kinds.is_empty() || kinds.iter().any(|it| !store.is_synced(*it) || store.is_stale(*it)) {
            return None;
        }
        let mut writer = Writer::new(&Header {
            cluster: self.identity().await,
            written: unix_time(),
            serials: index.serials(),
            kinds: kinds.iter().copied().collect(),
            endpoint_fields: self.endpoint_fields(),
        });
        kinds.iter().for_each(|kind| index.each_object(*kind, |object| writer.add(object)));
        Some(writer.finish())
    }

    fn written(&mut self, result: io::Result<()>) {
        let Some(path) = self.path() else { return };
        let (host, path) = (self.access.host(), path.display());
        match result {
            Ok(()) => {
                WRITTEN.with(&self.metrics, [host]).set(unix_time() as i64);
                if std::mem::take(&mut self.is_failing) {
                    report(Notice::Info(format!("the snapshot {path} is written again")));
                }
            }
            Err(error) => {
                FAILURES.with(&self.metrics, [host]).inc();
                self.has_changes = true;
                if !std::mem::replace(&mut self.is_failing, true) {
                    report(Notice::Problem(format!(
                        "the snapshot {path} cannot be written: {error}; a start without the API server uses the last file, if it is less than a day old"
                    )));
                }
            }
        }
    }

    /// Returns the age of the facts that are served.
    fn show_age(&self, store: &Store) -> u32 {
        let written = self.restored.unwrap_or_default();
        let age = u32::try_from(unix_time().saturating_sub(written)).unwrap_or(u32::MAX);
        store.set_stale_age(age);
        let shown = if store.stale_age().is_some() { age } else { 0 };
        AGE.with(&self.metrics, [self.access.host()]).set(shown.into());
        age
    }

    /// The details of endpoints that the configuration needs.
    pub(super) fn endpoint_fields(&self) -> EndpointFields {
        self.needed.borrow().endpoint_fields
    }

    fn path(&self) -> Option<PathBuf> {
        self.needed.borrow().snapshot.clone()
    }

    async fn identity(&self) -> ClusterIdentity {
        self.access.identity(self.labels.as_deref()).await
    }
}

/// The facts of a snapshot, and when it was written. `None` if the file does not exist.
fn read(
    path: &Path,
    identity: &ClusterIdentity,
    endpoint_fields: EndpointFields,
) -> Result<Option<(Index, u64)>, SnapshotError> {
    let Some(content) = snapshot::read(path)? else { return Ok(None) };
    let mut reader = Reader::new(&content, identity, unix_time())?;
    if !reader.header.endpoint_fields.include(endpoint_fields) {
        return Err(SnapshotError::OtherFields);
    }
    let mut index = Index::default();
    index.keep_endpoint_fields(endpoint_fields);
    while let Some(object) = reader.next_object()? {
        // The serials are those of the snapshot.
        index.apply(Change::Upsert(object), 0);
    }
    let Header { written, serials, kinds, .. } = &reader.header;
    index.restored(kinds, *serials);
    Ok(Some((index, *written)))
}
