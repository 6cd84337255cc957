//! A directory of YAML as a cluster: its files are read and watched, and the controllers that a
//! cluster has are played, so that what people write for `kubectl apply` has addresses and
//! endpoints.
#![expect(clippy::disallowed_methods, reason = "files are read here")]

mod allocate;
mod controllers;
mod files;
mod parse;
mod slices;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use anyhow::bail;
use notify::{RecursiveMode, Watcher};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{sleep, timeout},
};

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

/// Tells of events in the directory from before the first reading on, so that no edit falls between
/// the two.
struct Watching {
    woken: mpsc::Receiver<()>,
    /// Keeps the queue open where nobody sends.
    _wake: mpsc::Sender<()>,
    /// Where the system has no watch to give, looking now and then has to do.
    watcher: notify::Result<notify::RecommendedWatcher>,
}

/// What is wrong, and where: `examples/cafe/web.yaml:12:3: …`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub place: Place,
    pub sentence: String,
}

/// Lines and columns count from 1; line 0 means the whole file, or a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}:{}", self.file.display(), self.column),
        }
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
    /// Objects of kinds that DNS does not need.
    pub others: usize,
    counts: BTreeMap<Kind, usize>,
}

impl Reading {
    /// How many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }
}

impl Manifests {
    /// A directory or a single file; of Services, EndpointSlices and Pods only what `selector`
    /// selects.
    ///
    /// # Errors
    /// Where the path is not there, or holds no manifest.
    pub fn open(path: &Path, selector: Option<Selector>) -> anyhow::Result<Self> {
        if !path.exists() {
            bail!(
                "{}: no such directory; it should hold the YAML that `kubectl apply -f` takes",
                path.display()
            );
        }
        let files = Files::new(path.to_owned());
        let listing = files.list();
        if let (true, Some(fault)) = (listing.files.is_empty(), listing.unread.first()) {
            bail!("{fault}");
        }
        if listing.files.is_empty() {
            bail!(
                "{}: no .yaml, .yml or .json file in it; put there what you give to `kubectl apply -f`",
                path.display()
            );
        }
        Ok(Self {
            watching: Watching::start(path),
            files,
            selector,
            given: None,
            faults: Vec::new(),
        })
    }

    /// Reads the files again as far as they have changed.
    pub fn read(&mut self) -> Reading {
        self.files.refresh();
        self.play()
    }

    /// The objects as they are written at the last reading, of whatever kind, before any
    /// controller.
    pub fn values(&self) -> Vec<Value> {
        self.files.values()
    }

    fn play(&mut self) -> Reading {
        let mut faults = self.files.faults();
        let objects = controllers::play(self.files.objects(), self.selector.as_ref(), &mut faults);
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
        Reading {
            directory: self.files.root.clone(),
            changes,
            faults,
            examples,
            others: self.files.others(),
            counts,
        }
    }

    /// Sends what changes until nobody receives. `say` is told of each fault once, with true, and
    /// when a file is good again, with false.
    pub async fn watch(mut self, changes: mpsc::Sender<Change>, say: impl Fn(bool, String) + Send) {
        if let Err(error) = &self.watching.watcher {
            let pause = limits::MANIFESTS_POLL.as_secs();
            say(
                false,
                format!(
                    "{}: {error}; it is looked at every {pause} s instead",
                    self.files.root.display()
                ),
            );
        }
        loop {
            tokio::select! {
                () = changes.closed() => return,
                // What a watch misses is found by looking now and then.
                woken = timeout(limits::MANIFESTS_POLL, self.watching.woken.recv()) => if woken.is_ok() {
                    // An editor writes in several steps.
                    sleep(limits::MANIFESTS_SETTLE).await;
                },
            }
            let before = self.faults.clone();
            let read = spawn_blocking(move || {
                let reading = self.files.refresh().then(|| self.play());
                (self, reading)
            });
            let Ok((back, reading)) = read.await else {
                return say(true, "manifests are not read any more".to_owned());
            };
            self = back;
            let Some(reading) = reading else { continue };
            tell(&before, &reading.faults, &say);
            for change in reading.changes {
                if changes.send(change).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Faults that are new, and files that have none any more.
fn tell(before: &[Fault], now: &[Fault], say: &impl Fn(bool, String)) {
    for fault in now.iter().filter(|fault| !before.contains(fault)) {
        say(true, fault.to_string());
    }
    let files = |faults: &[Fault]| {
        faults.iter().map(|fault| fault.place.file.clone()).collect::<BTreeSet<_>>()
    };
    for good in files(before).difference(&files(now)) {
        say(false, format!("{}: it is good again", good.display()));
    }
}

impl Watching {
    fn start(root: &Path) -> Self {
        let (wake, woken) = mpsc::channel(1);
        Self { woken, watcher: watcher(root, wake.clone()), _wake: wake }
    }
}

fn watcher(root: &Path, wake: mpsc::Sender<()>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading files is no change of them; without this each look would cause the next.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = wake.try_send(());
        }
    })?;
    // A file's directory, and no more than that: editors put a new file in the place of the old
    // one.
    let (watched, mode) = match root.parent() {
        Some(parent) if !root.is_dir() => (parent, RecursiveMode::NonRecursive),
        _ => (root, RecursiveMode::Recursive),
    };
    let watched = if watched.as_os_str().is_empty() { Path::new(".") } else { watched };
    watcher.watch(watched, mode)?;
    Ok(watcher)
}

/// A full list of every kind.
fn whole(objects: &BTreeMap<Key, Object>) -> Vec<Change> {
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
