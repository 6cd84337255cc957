//! Watches the Corefile and the files that its plugins read; sends the queries that plugins want to
//! receive.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use sha2::{Digest, Sha512};

use crate::{
    limits,
    net::client::{self, RetryPolicy},
    plugin::numbered_probe,
    wire::Question,
};

use super::config::{self, Text};

/// The watched files, with their content at the last look.
pub(super) struct Watched {
    /// The Corefile with its imports and errors; `None` if it is not watched.
    corefile: Option<String>,
    /// The files of the plugins; `None` for a file that cannot be read.
    files: BTreeMap<String, Option<Vec<u8>>>,
}

impl Watched {
    /// The Corefile as it was read, and the current content of the files.
    pub(super) fn new(text: &Text, paths: Vec<String>) -> Self {
        let files =
            paths.into_iter().map(|path| (path.clone(), std::fs::read(path).ok())).collect();
        Self { corefile: Some(config::print(text)), files }
    }

    /// Keeps what the configuration wants to have watched, if anything.
    pub(super) fn only(self, corefile: bool, files: bool) -> Option<Self> {
        let watched = Self {
            corefile: self.corefile.filter(|_| corefile),
            files: if files { self.files } else { BTreeMap::new() },
        };
        (corefile || files).then_some(watched)
    }

    /// Looks again. True if something has changed.
    pub(super) fn look(&mut self, text: &Text) -> bool {
        let corefile = self
            .corefile
            .as_ref()
            .map(|_| text.again().map(|text| config::print(&text)).unwrap_or_default());
        let files =
            self.files.keys().map(|path| (path.clone(), std::fs::read(path).ok())).collect();
        let now = Self { corefile, files };
        let changed = now.corefile != self.corefile || now.files != self.files;
        *self = now;
        changed
    }

    /// The Corefile's hash as CoreDNS logs it, if the Corefile is watched.
    pub(super) fn hash(&self) -> Option<String> {
        let corefile = self.corefile.as_ref()?;
        Some(Sha512::digest(corefile).iter().map(|octet| format!("{octet:02x}")).collect())
    }
}

/// Sends a query to one of our own addresses once a second, until it is answered or
/// [`limits::LOOP_PROBES`] queries are sent, each with a name of its own. No query is retransmitted:
/// the `loop` plugin counts them.
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
