//! Watches the Corefile and the files that its plugins read. Sends the queries by which `loop`
//! detects a loop.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use sha2::{Digest, Sha512};

use crate::{
    limits,
    net::client::{self, RetryPolicy},
    plugin::{FileVersion, ZoneDirectory, numbered_probe},
    wire::Question,
};

use super::{
    compose,
    config::{self, Configuration, Text},
    octets, zone_files,
};

/// The state of the watched files at the last look.
pub(super) struct Watched {
    /// The Corefile with its imports and errors; `None` if it is not watched.
    corefile: Option<String>,
    /// The files of the plugins; `None` for a file that cannot be read.
    files: BTreeMap<String, Option<FileState>>,
    /// Files may be added to these directories.
    directories: Vec<ZoneDirectory>,
}

/// What has changed since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The Corefile, and perhaps other files.
    Corefile,
    /// Files of the plugins only.
    Files,
}

/// A file at one moment.
#[derive(PartialEq, Eq)]
enum FileState {
    Content(Vec<u8>),
    /// A large file, such as a zone file, is compared by its metadata, and not read at each look.
    Large(FileVersion),
}

impl FileState {
    fn of(path: &str) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        if data.len() <= limits::WATCHED_OCTETS {
            return std::fs::read(path).ok().map(Self::Content);
        }
        Some(Self::Large(octets::version(&data)))
    }
}

impl Watched {
    /// The current content of the files. `corefile` is the result of [`config::print`] from before
    /// the configuration was read, so that a change after it is noticed.
    pub(super) fn new(corefile: String, configuration: &Configuration) -> Self {
        let files = states(compose::files(configuration));
        let directories = compose::directories(configuration);
        Self { corefile: Some(corefile), files, directories }
    }

    /// The Corefile with its imports and errors; empty if it is not watched.
    pub(super) fn corefile(&self) -> &str {
        self.corefile.as_deref().unwrap_or_default()
    }

    /// Keeps only the files that the configuration asks to watch; `None` if there are none.
    pub(super) fn only(self, corefile: bool, files: bool) -> Option<Self> {
        let watched = Self {
            corefile: self.corefile.filter(|_| corefile),
            files: if files { self.files } else { BTreeMap::new() },
            directories: if files { self.directories } else { Vec::new() },
        };
        (corefile || files).then_some(watched)
    }

    /// Looks again, and returns what has changed since the last look.
    pub(super) fn look(&mut self, text: &Text) -> Option<Change> {
        let corefile = self
            .corefile
            .as_ref()
            .map(|_| text.again().map(|text| config::print(&text)).unwrap_or_default());
        let listed = self.directories.iter().flat_map(zone_files::list);
        let files = states(self.files.keys().cloned().chain(listed));
        let now = Self { corefile, files, directories: std::mem::take(&mut self.directories) };
        let change = if now.corefile != self.corefile {
            Some(Change::Corefile)
        } else {
            (now.files != self.files).then_some(Change::Files)
        };
        *self = now;
        change
    }

    /// The Corefile's hash as CoreDNS logs it, if the Corefile is watched.
    pub(super) fn hash(&self) -> Option<String> {
        self.corefile.as_deref().map(sha512)
    }
}

/// The hash of a Corefile with its imports, which [`config::print`] printed.
pub(super) fn sha512(text: &str) -> String {
    Sha512::digest(text).iter().map(|octet| format!("{octet:02x}")).collect()
}

fn states(paths: impl IntoIterator<Item = String>) -> BTreeMap<String, Option<FileState>> {
    let state = |path: String| {
        let state = FileState::of(&path);
        (path, state)
    };
    paths.into_iter().map(state).collect()
}

/// Sends a query to one of our own addresses once a second, until it is answered or
/// [`limits::LOOP_PROBES`] queries are sent, each with a name of its own. No query is
/// retransmitted: the `loop` plugin counts them.
pub(super) async fn probe(to: SocketAddr, question: Question) {
    let host = if to.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { to.ip() };
    let to = SocketAddr::new(host, to.port()).into();
    let second = Duration::from_secs(1);
    let mut turns = tokio::time::interval(second);
    for number in 0..limits::LOOP_PROBES {
        turns.tick().await;
        let Some(question) = numbered_probe(&question, number) else { return };
        if client::query(&to, question, RetryPolicy::once(second)).await.is_ok() {
            return;
        }
    }
}
