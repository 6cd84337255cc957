//! A directory of YAML as a cluster.
//!
//! The files are read and watched. ndots simulates a cluster's controllers, so that the objects
//! that people write for `kubectl apply` have addresses and endpoints. A file that does not parse
//! keeps its last valid objects.
#![expect(clippy::disallowed_methods, reason = "files are read here")]

mod allocate;
mod controllers;
mod fields;
mod files;
pub mod parallel;
mod parse;
mod slices;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use anyhow::bail;
use notify::{RecursiveMode, Watcher};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    limits,
    model::{Change, Key, Kind, Object, Selector},
};

use super::{Notice, kind::ApiObject};
use controllers::Simulated;
use files::Files;
use parse::ListedObject;

/// A directory of manifests, and the facts that were emitted last.
pub struct Manifests {
    files: Files,
    selector: Option<Selector>,
    /// `None` before the first reading.
    emitted: Option<BTreeMap<Key, Object>>,
    errors: Vec<ManifestError>,
    watch: DirectoryWatch,
}

/// Reports events in the directory. It starts before the first reading, so that no edit is missed.
struct DirectoryWatch {
    events: mpsc::Receiver<()>,
    /// Keeps the queue open if there is no watcher.
    _wake: mpsc::Sender<()>,
    /// An error if the system has no watch left. Then the directory is read at intervals only.
    watcher: notify::Result<notify::RecommendedWatcher>,
}

/// An error in a manifest: `examples/cafe/web.yaml:12:3: …`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{location}: {message}")]
pub struct ManifestError {
    pub location: Location,
    pub message: String,
}

/// Lines and columns count from 1. Line 0 stands for the whole file, or for a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}:{}", self.file.display(), self.column),
        }
    }
}

/// The result of reading the directory.
#[derive(Debug)]
pub struct ManifestsUpdate {
    pub directory: PathBuf,
    /// All facts the first time, later only the differences.
    pub changes: Vec<Change>,
    /// All objects of the simulated cluster: those of the files, and those that controllers would
    /// make. The facts are those of these objects.
    pub objects: Vec<ApiObject>,
    pub errors: Vec<ManifestError>,
    /// Names to try, without the zone: the API server, a Service with a cluster IP, an alias.
    pub examples: Vec<String>,
    /// How many objects are of kinds that DNS does not need.
    pub unused: usize,
    /// How many objects the files have of each `apiVersion` and `kind`, also of unknown kinds.
    pub kinds: BTreeMap<(String, String), usize>,
    counts: BTreeMap<Kind, usize>,
}

/// Something that holds manifests.
pub enum ManifestSource {
    /// A file or a directory.
    Path(PathBuf),
    /// Text from elsewhere, for example from standard input. The name is for messages.
    Text { name: PathBuf, bytes: Vec<u8> },
}

impl ManifestsUpdate {
    /// Simulates the cluster of the files, and returns its facts, too.
    fn new(
        files: &Files,
        objects: Vec<ListedObject>,
        selector: Option<&Selector>,
        before: Option<&BTreeMap<Key, Object>>,
    ) -> (Self, BTreeMap<Key, Object>) {
        let mut errors = files.errors();
        let Simulated { objects, facts } = controllers::simulate(objects, selector, &mut errors);
        let mut counts = BTreeMap::new();
        for key in facts.keys() {
            *counts.entry(key.kind).or_default() += 1;
        }
        let changes = match before {
            None => full_list(&facts),
            Some(before) => difference(before, &facts),
        };
        errors.sort();
        errors.dedup();
        let update = Self {
            directory: files.root.clone(),
            changes,
            objects,
            errors,
            examples: controllers::examples(&facts),
            unused: files.unused(),
            kinds: files.kinds(),
            counts,
        };
        (update, facts)
    }

    /// How many facts there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }
}

impl Manifests {
    /// `path` is a directory or a single file. Of Services, EndpointSlices and Pods only those that
    /// `selector` matches are used.
    ///
    /// # Errors
    /// If the path does not exist, or if it holds no manifest.
    pub fn open(path: &Path, selector: Option<Selector>) -> anyhow::Result<Self> {
        Ok(Self {
            watch: DirectoryWatch::start(path),
            files: Self::files(path)?,
            selector,
            emitted: None,
            errors: Vec::new(),
        })
    }

    fn files(path: &Path) -> anyhow::Result<Files> {
        if !path.exists() {
            bail!(
                "{}: no such directory; it should hold the YAML that `kubectl apply -f` takes",
                path.display()
            );
        }
        let files = Files::new(path.to_owned());
        let listing = files.list();
        if let (true, Some(error)) = (listing.files.is_empty(), listing.unreadable.first()) {
            bail!("{error}");
        }
        if listing.files.is_empty() {
            bail!(
                "{}: no .yaml, .yml or .json file in it; put there what you give to `kubectl apply -f`",
                path.display()
            );
        }
        Ok(files)
    }

    /// Reads files, directories and texts once, as the manifests of one cluster.
    ///
    /// # Errors
    /// If a path does not exist, or if it holds no manifest.
    pub fn read_once(sources: Vec<ManifestSource>) -> anyhow::Result<ManifestsUpdate> {
        let mut files = Files::new(PathBuf::new());
        for source in sources {
            match source {
                ManifestSource::Path(path) => {
                    let mut own = Self::files(&path)?;
                    own.refresh();
                    files.merge(own);
                }
                ManifestSource::Text { name, bytes } => files.add_text(name, bytes),
            }
        }
        let objects = files.take_objects();
        Ok(ManifestsUpdate::new(&files, objects, None, None).0)
    }

    /// Reads the files that have changed.
    pub fn read(&mut self) -> ManifestsUpdate {
        self.files.refresh();
        self.update()
    }

    fn update(&mut self) -> ManifestsUpdate {
        let before = self.emitted.take();
        let (update, facts) = ManifestsUpdate::new(
            &self.files,
            self.files.objects(),
            self.selector.as_ref(),
            before.as_ref(),
        );
        self.emitted = Some(facts);
        self.errors.clone_from(&update.errors);
        update
    }

    /// Sends changes until the receiver is dropped. `notify` gets each error once, and a notice
    /// when a file has no errors any more.
    pub async fn watch(mut self, changes: mpsc::Sender<Change>, notify: impl Fn(Notice) + Send) {
        if let Err(error) = &self.watch.watcher {
            let (directory, pause) = (self.files.root.display(), limits::MANIFESTS_POLL.as_secs());
            notify(Notice::Info(format!(
                "{directory}: cannot watch for changes ({error}); the files are read every {pause} s \
                 instead"
            )));
        }
        loop {
            tokio::select! {
                () = changes.closed() => return,
                // The poll finds changes that the watch missed.
                woken = timeout(limits::MANIFESTS_POLL, self.watch.events.recv()) => if woken.is_ok() {
                    // An editor writes in several steps.
                    sleep(limits::MANIFESTS_SETTLE).await;
                },
            }
            let before = self.errors.clone();
            let read = spawn_blocking(move || {
                let update = self.files.refresh().then(|| self.update());
                (self, update)
            });
            let Ok((back, update)) = read.await else {
                return notify(Notice::Problem(
                    "reading the manifests has failed; changes of files are not seen any more, \
                     restart ndots"
                        .to_owned(),
                ));
            };
            self = back;
            let Some(update) = update else { continue };
            report(&before, &update.errors, &notify);
            for change in update.changes {
                if changes.send(change).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reports errors that are new, and files that have none any more.
fn report(before: &[ManifestError], now: &[ManifestError], notify: &impl Fn(Notice)) {
    for error in now.iter().filter(|error| !before.contains(error)) {
        notify(Notice::Problem(error.to_string()));
    }
    let files = |errors: &[ManifestError]| {
        errors.iter().map(|error| error.location.file.clone()).collect::<BTreeSet<_>>()
    };
    for file in files(before).difference(&files(now)) {
        notify(Notice::Info(format!("{}: the file is valid again", file.display())));
    }
}

impl DirectoryWatch {
    fn start(root: &Path) -> Self {
        let (wake, events) = mpsc::channel(1);
        Self { events, watcher: watcher(root, wake.clone()), _wake: wake }
    }
}

fn watcher(root: &Path, wake: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading a file is not a change. Without this check each reading would cause the next.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = wake.try_send(());
        }
    })?;
    // For a single file its directory is watched, because editors replace files.
    let (watched, mode) = match root.parent() {
        Some(parent) if !root.is_dir() => (parent, RecursiveMode::NonRecursive),
        _ => (root, RecursiveMode::Recursive),
    };
    let watched = if watched.as_os_str().is_empty() { Path::new(".") } else { watched };
    watcher.watch(watched, mode)?;
    Ok(watcher)
}

/// A full list of every kind.
fn full_list(objects: &BTreeMap<Key, Object>) -> Vec<Change> {
    let list = |kind: Kind| {
        let of_kind = objects.values().filter(move |object| object.key().kind == kind).cloned();
        [Change::Relist(kind)]
            .into_iter()
            .chain(of_kind.map(Change::Upsert))
            .chain([Change::Synced(kind)])
    };
    Kind::ALL.into_iter().flat_map(list).collect()
}

fn difference(before: &BTreeMap<Key, Object>, after: &BTreeMap<Key, Object>) -> Vec<Change> {
    let new = after
        .iter()
        .filter(|(key, object)| before.get(key) != Some(object))
        .map(|(_, object)| Change::Upsert(object.clone()));
    let gone = before.keys().filter(|key| !after.contains_key(key)).cloned().map(Change::Remove);
    new.chain(gone).collect()
}

#[cfg(test)]
mod tests;
