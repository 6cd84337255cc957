//! A directory of YAML as a cluster: its files are read and watched, and the controllers that a cluster has are played, so
//! that what people write for `kubectl apply` has addresses and endpoints.
#![expect(clippy::disallowed_methods, reason = "files are read here")]

mod controllers;
mod files;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::bail;
use notify::{RecursiveMode, Watcher};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    limits,
    model::{Change, Key, Kind, Object, Selector},
};

use files::Files;

/// A directory, and what was said of it last.
pub struct Manifests {
    files: Files,
    selector: Option<Selector>,
    /// `None` before the first reading.
    given: Option<BTreeMap<Key, Object>>,
    faults: Vec<Fault>,
    watching: Watching,
}

/// Tells of events in the directory from before the first reading on, so that no edit falls between the two.
struct Watching {
    woken: mpsc::Receiver<()>,
    /// Keeps the queue open where nobody sends.
    _wake: mpsc::Sender<()>,
    /// `None` where the system has no watch to give: then looking now and then has to do.
    _watcher: Option<notify::RecommendedWatcher>,
}

/// What is wrong, and where: `examples/cafe/web.yaml:12:3: …`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub place: Place,
    pub sentence: String,
}

/// Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.sentence)
    }
}

/// What a reading brought.
#[derive(Debug)]
pub struct Reading {
    pub directory: PathBuf,
    /// All objects the first time, later what is different.
    pub changes: Vec<Change>,
    pub faults: Vec<Fault>,
    /// Names to try, without the zone: the API server, a Service with an address, an alias.
    pub examples: Vec<String>,
    counts: BTreeMap<Kind, usize>,
}

impl Reading {
    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }
}

impl Manifests {
    /// A directory or a single file; of Services, EndpointSlices and Pods only what `selector` selects.
    ///
    /// # Errors
    /// Where the path is not there, or holds no manifest.
    pub fn open(path: &Path, selector: Option<Selector>) -> anyhow::Result<Self> {
        if !path.exists() {
            bail!("{}: no such directory; it should hold the YAML that `kubectl apply -f` takes", path.display());
        }
        let files = Files::new(path.to_owned());
        if files.list().is_empty() {
            bail!("{}: no .yaml, .yml or .json file in it", path.display());
        }
        Ok(Self { watching: Watching::start(path), files, selector, given: None, faults: Vec::new() })
    }

    /// Reads the files again as far as they have changed.
    pub fn read(&mut self) -> Reading {
        let (written, mut faults) = self.files.read();
        let objects = controllers::play(written, self.selector.as_ref(), &mut faults);
        let mut counts = BTreeMap::new();
        for key in objects.keys() {
            *counts.entry(key.kind).or_default() += 1;
        }
        let changes = match self.given.take() {
            None => whole(&objects),
            Some(before) => difference(&before, &objects),
        };
        let examples = controllers::examples(&objects);
        self.given = Some(objects);
        faults.sort();
        faults.dedup();
        self.faults.clone_from(&faults);
        Reading { directory: self.files.root.clone(), changes, faults, examples, counts }
    }

    /// Sends what changes until nobody receives. `say` is told of each fault once, with true, and of its end, with false.
    pub async fn watch(mut self, changes: mpsc::Sender<Change>, say: impl Fn(bool, String) + Send) {
        while !changes.is_closed() {
            // What a watch misses is made up for by looking now and then.
            if let Ok(Some(())) = timeout(limits::MANIFESTS_POLL, self.watching.woken.recv()).await {
                // An editor writes in several steps.
                tokio::time::sleep(limits::MANIFESTS_SETTLE).await;
                let _ = self.watching.woken.try_recv();
            }
            let before = self.faults.clone();
            let read = tokio::task::spawn_blocking(move || {
                let reading = self.read();
                (self, reading)
            });
            let Ok((back, reading)) = read.await else { return };
            self = back;
            for fault in reading.faults.iter().filter(|fault| !before.contains(fault)) {
                say(true, fault.to_string());
            }
            for mended in before.iter().filter(|fault| !reading.faults.contains(fault)) {
                say(false, format!("{}: mended", mended.place));
            }
            for change in reading.changes {
                if changes.send(change).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Watching {
    fn start(root: &Path) -> Self {
        let (wake, woken) = mpsc::channel(1);
        Self { woken, _watcher: watcher(root, wake.clone()).ok(), _wake: wake }
    }
}

fn watcher(root: &Path, wake: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading files is no change of them; without this each look would cause the next.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = wake.try_send(());
        }
    })?;
    // A file's directory: editors put a new file in the place of the old one.
    let watched = if root.is_dir() { root } else { root.parent().unwrap_or(root) };
    let watched = if watched.as_os_str().is_empty() { Path::new(".") } else { watched };
    watcher.watch(watched, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// A full list of every kind.
fn whole(objects: &BTreeMap<Key, Object>) -> Vec<Change> {
    let list = |kind: Kind| {
        let of_kind = objects.values().filter(move |object| object.key().kind == kind).cloned();
        [Change::Relist(kind)].into_iter().chain(of_kind.map(Change::Upsert)).chain([Change::Synced(kind)])
    };
    Kind::ALL.into_iter().flat_map(list).collect()
}

fn difference(before: &BTreeMap<Key, Object>, after: &BTreeMap<Key, Object>) -> Vec<Change> {
    let new = after.iter().filter(|(key, object)| before.get(key) != Some(object)).map(|(_, object)| Change::Upsert(object.clone()));
    let gone = before.keys().filter(|key| !after.contains_key(key)).cloned().map(Change::Remove);
    new.chain(gone).collect()
}

#[cfg(test)]
mod tests;
