//! The task of one kind: a complete list, then a watch of the changes after it, again and again.
#![expect(clippy::disallowed_methods, reason = "a clock is read here")]
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    limits,
    metrics::{Family, GaugeFamily},
    model::{Change, Key, Kind},
    source::{
        Notice,
        kind::{self, Decoded, Encoded, KindDescriptor, Meta, Need, Version, Watched},
    },
};

use super::{
    Cluster,
    access::NumberedClient,
    encoding::Encoding,
    error::{Backoffs, WatchError},
    protocol::Selection,
};

static HEARD: GaugeFamily<2> = Family::new(
    "kubernetes_heard_timestamp_seconds",
    "When an API server last sent a message about a kind of objects, in seconds since 1970.",
    ["resource", "host"],
);
static SYNCED: GaugeFamily<2> = Family::new(
    "kubernetes_synced",
    "1 if a complete list of a kind of objects has been read, else 0.",
    ["resource", "host"],
);
static REFUSED: GaugeFamily<2> = Family::new(
    "kubernetes_refused",
    "1 if an API server does not permit a kind of objects to be read, else 0.",
    ["resource", "host"],
);
static INCOMPLETE: GaugeFamily<2> = Family::new(
    "kubernetes_incomplete",
    "1 if objects of a kind are left out because the memory limit is too low, else 0.",
    ["resource", "host"],
);
/// The series that each follower has.
static FAMILIES: [&GaugeFamily<2>; 4] = [&HEARD, &SYNCED, &REFUSED, &INCOMPLETE];

/// Whether the server can send a list as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streaming {
    Usable,
    /// The last stream did not reach its end, so the next list is read in pages.
    Failed,
    /// The server does not support streams.
    Unsupported,
}

pub(super) struct Follower {
    pub(super) cluster: Cluster,
    pub(super) kind: &'static KindDescriptor,
    pub(super) watched: &'static Watched,
    /// As metrics and messages name the kind: `endpointslices.discovery.k8s.io`.
    resource: String,
    pub(super) changes: mpsc::Sender<Change>,
    /// The versions that the server may have, the newest first.
    versions: Vec<&'static Version>,
    /// The index of the version that is asked for.
    asked: usize,
    /// The resource version to watch from; `None` if only a complete list helps.
    pub(super) from: Option<String>,
    pub(super) streaming: Streaming,
    /// The time until which ndots asks for JSON only, because a reply in protobuf could not be
    /// read.
    json_until: Option<Instant>,
    pub(super) backoffs: Backoffs,
    /// How many times in a row the server replied with an error.
    failures: u32,
    /// The failure that was reported last, and when.
    reported: Option<(String, Instant)>,
    /// Whether a complete list was read.
    pub(super) is_synced: bool,
    /// Whether the cluster does not have the kind at all.
    is_absent: bool,
    /// The last object that was reported as left out.
    left_out: Option<Key>,
    /// Whether the last event about the kind was that the server does not permit to read it.
    pub(super) is_refused: bool,
    /// Whether the connection was lost since the last reply, so that the server may have lost
    /// changes.
    pub(super) is_reconnecting: bool,
    /// Whether the last list had more objects than ndots accepts.
    pub(super) was_too_large: bool,
    /// Octets of the facts of a list whose objects are only counted, and not emitted.
    pub(super) measured: Option<usize>,
}

/// Removes the series of the kind. Otherwise the old time of the last message would look like an
/// outage.
impl Drop for Follower {
    fn drop(&mut self) {
        for family in FAMILIES {
            family.remove(&self.cluster.metrics, self.labels());
        }
    }
}

impl Follower {
    pub(super) fn new(cluster: Cluster, fact: Kind, changes: mpsc::Sender<Change>) -> Self {
        let (kind, watched) = kind::of_fact(fact);
        let resource = kind.resource();
        // The series exist before the first reply, so that a kind that was never read is visible.
        for family in FAMILIES {
            family.with(&cluster.metrics, [&resource, cluster.access.host()]).set(0);
        }
        Self {
            cluster,
            kind,
            watched,
            resource,
            changes,
            versions: kind.served(),
            asked: 0,
            from: None,
            streaming: Streaming::Usable,
            json_until: None,
            backoffs: Backoffs::default(),
            failures: 0,
            reported: None,
            is_synced: false,
            is_absent: false,
            left_out: None,
            is_refused: false,
            is_reconnecting: false,
            was_too_large: false,
            measured: None,
        }
    }

    fn labels(&self) -> [&str; 2] {
        [&self.resource, self.cluster.access.host()]
    }

    pub(super) async fn run(mut self) {
        loop {
            let client = self.cluster.access.client().await;
            let (verb, done) = match self.from.take() {
                None => ("list", self.list(&client).await),
                Some(version) => ("watch", self.watch(&client, version).await),
            };
            let Err(error) = done else { continue };
            if self.after(verb, error, &client).await.is_none() {
                return;
            }
        }
    }

    /// Reports an error, prepares the next attempt, and waits for the back-off; `None` if the
    /// receiver is gone.
    async fn after(
        &mut self,
        verb: &str,
        error: WatchError,
        client: &NumberedClient,
    ) -> Option<()> {
        let mut message = error.to_string();
        let (retry_after, backoff) = match error {
            WatchError::Closed => return None,
            WatchError::Expired(_) => {
                self.from = None;
                (None, &mut self.backoffs.expired)
            }
            WatchError::Unknown(_) if self.may_lack_version() && self.next_version() => {
                return Some(());
            }
            WatchError::Unknown(_) if self.watched.need == Need::Optional => {
                return self.wait_for_kind().await;
            }
            WatchError::Refused(_) => {
                self.is_refused = true;
                self.set_refused(1);
                let refused = Change::Refused(self.watched.fact, message.as_str().into());
                self.changes.send(refused).await.ok()?;
                (None, &mut self.backoffs.refused)
            }
            WatchError::Unknown(_) => {
                self.failures += 1;
                (None, &mut self.backoffs.failed)
            }
            WatchError::Unsupported(_) | WatchError::Unreadable(_) => {
                self.failures += 1;
                if self.was_too_large {
                    self.changes.send(Change::Abandon(self.watched.fact)).await.ok()?;
                }
                if self.encoding() == Encoding::Protobuf && !self.was_too_large {
                    let time = limits::API_JSON_TIME;
                    self.json_until = Some(Instant::now() + time);
                    message += &format!("; ndots asks for JSON for {} s", time.as_secs());
                }
                (None, &mut self.backoffs.failed)
            }
            WatchError::Failed(_, retry_after) => {
                self.failures += 1;
                (retry_after, &mut self.backoffs.failed)
            }
            WatchError::Broken(_) => {
                self.is_reconnecting = true;
                if let Err(error) = self.cluster.access.replace(client).await {
                    message = format!("{message}; {error:#}");
                }
                (None, &mut self.backoffs.broken)
            }
        };
        let wait = backoff.after_failure(rand::random(), retry_after);
        if self.failures >= limits::API_WATCH_FAILURES {
            self.from = None;
        }
        self.report(verb, message, wait);
        self.pause(wait).await
    }

    /// `None` if the receiver is gone.
    pub(super) async fn pause(&self, wait: Duration) -> Option<()> {
        tokio::select! {
            () = sleep(wait) => Some(()),
            () = self.changes.closed() => None,
        }
    }

    /// Whether a 404 means that the server lacks the version. A version that was listed exists, and
    /// a server that is starting may not have it yet; only an optional kind may be uninstalled.
    fn may_lack_version(&self) -> bool {
        self.from.is_none() || self.watched.need == Need::Optional
    }

    /// Goes on to the next version of the kind; false if the server has been asked for all of them.
    fn next_version(&mut self) -> bool {
        self.from = None;
        self.asked = (self.asked + 1) % self.versions.len();
        self.asked > 0
    }

    /// The cluster does not have the kind, so it has no such objects. The kind is looked for again,
    /// because its definition may be installed later.
    async fn wait_for_kind(&mut self) -> Option<()> {
        self.send_synced().await.ok()?;
        if !std::mem::replace(&mut self.is_absent, true) {
            let pause = limits::API_ABSENT_KIND_INTERVAL.as_secs();
            (self.cluster.notify)(Notice::Info(format!(
                "this cluster has no {}; looking again every {pause} s",
                self.resource
            )));
        }
        self.pause(limits::API_ABSENT_KIND_INTERVAL).await
    }

    /// Emits the change that says that all objects of the kind are known.
    pub(super) async fn send_synced(&mut self) -> Result<(), WatchError> {
        self.changes.send(Change::Synced(self.watched.fact)).await?;
        (self.is_synced, self.is_refused) = (true, false);
        self.show_synced();
        Ok(())
    }

    fn show_synced(&self) {
        let (metrics, memory) = (&self.cluster.metrics, &self.cluster.access.memory);
        if self.is_synced {
            SYNCED.with(metrics, self.labels()).set(1);
        }
        let incomplete = !memory.is_complete(self.watched.fact);
        INCOMPLETE.with(metrics, self.labels()).set(incomplete.into());
    }

    fn set_refused(&self, refused: i64) {
        REFUSED.with(&self.cluster.metrics, self.labels()).set(refused);
    }

    /// Logs a failure, unless the same one was logged a short time ago.
    fn report(&mut self, verb: &str, message: String, wait: Duration) {
        let is_due = |at: &Instant| {
            self.watched.need == Need::Required && at.elapsed() >= limits::API_LOG_INTERVAL
        };
        let known =
            self.reported.as_ref().is_some_and(|(text, at)| *text == message && !is_due(at));
        if !known {
            (self.cluster.notify)(Notice::Problem(format!(
                "Failed to {verb} {}: {message}; next try in {:.1} s",
                self.resource,
                wait.as_secs_f64()
            )));
            self.reported = Some((message, Instant::now()));
        }
    }

    /// Records that the server has sent a good reply about the kind.
    pub(super) fn succeeded(&mut self) {
        self.backoffs.reset();
        self.failures = 0;
        self.is_absent = false;
        self.set_refused(0);
        if self.reported.take().is_some() {
            let text = format!("{} are watched again", self.resource);
            (self.cluster.notify)(Notice::Info(text));
        }
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        HEARD.with(&self.cluster.metrics, self.labels()).set(now);
        // Another follower of the kind may have begun or ended, and has the same labels.
        self.show_synced();
    }

    /// The path and the selectors of the next request.
    pub(super) fn selection(&self) -> Selection<'_> {
        Selection {
            path: self.kind.path(self.version(), ""),
            watched: self.watched,
            labels: self.cluster.labels.as_deref(),
            encoding: self.encoding(),
        }
    }

    fn encoding(&self) -> Encoding {
        let json_only = self.json_until.is_some_and(|until| Instant::now() < until);
        match self.kind.message(self.version()) {
            Some(_) if !json_only => Encoding::Protobuf,
            _ => Encoding::Json,
        }
    }

    pub(super) fn decode(&self, object: Encoded<'_>) -> Result<Decoded, kind::FieldError> {
        self.kind.decode(self.version(), object)
    }

    pub(super) fn version(&self) -> &'static Version {
        self.versions[self.asked]
    }

    pub(super) fn key(&self, meta: &Meta) -> Key {
        Key::new(self.watched.fact, &meta.namespace, &meta.name)
    }

    /// Emits an object of a page or an event.
    pub(super) async fn take(&mut self, object: Encoded<'_>) -> Result<Meta, WatchError> {
        let Decoded { meta, fact } = match self.decode(object) {
            Ok(decoded) => decoded,
            Err(error) => {
                (self.cluster.notify)(Notice::Problem(format!(
                    "{}: an object without readable metadata is left out: {error}",
                    self.resource
                )));
                return Ok(Meta::default());
            }
        };
        let key = self.key(&meta);
        let change = match fact {
            Ok(Some(object)) => Change::Upsert(object),
            Ok(None) => Change::Remove(key),
            Err(error) => {
                if self.left_out.as_ref() != Some(&key) {
                    (self.cluster.notify)(Notice::Problem(format!("{key} is left out: {error}")));
                    self.left_out = Some(key.clone());
                }
                Change::Remove(key)
            }
        };
        match (&mut self.measured, change) {
            (Some(measured), Change::Upsert(object)) => *measured += object.octets(),
            (Some(_), _) => {}
            (None, change) => self.changes.send(change).await?,
        }
        Ok(meta)
    }
}
