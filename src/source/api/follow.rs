//! The task of one kind: a complete list, then a watch of the changes after it, again and again.
#![expect(clippy::disallowed_methods, reason = "a clock is read here")]
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    limits,
    metrics::{Family, GaugeFamily},
    model::{Change, Key, Kind},
    source::{
        Notice,
        kind::{self, Decoded, KindDescriptor, Meta, Need, SERVICE_NAME, Version, Watched},
    },
};

use super::{
    Cluster,
    access::NumberedClient,
    error::{Backoffs, WatchError},
    page::{Page, PageMeta},
    protocol::{self, Event, Events, Selection},
};

static HEARD: GaugeFamily<2> = Family::new(
    "kubernetes_heard_timestamp_seconds",
    "When an API server last sent something about a kind of objects.",
    ["resource", "host"],
);
static REFUSED: GaugeFamily<2> = Family::new(
    "kubernetes_refused",
    "1 if an API server does not permit a kind of objects to be read, else 0.",
    ["resource", "host"],
);

pub(super) struct Follower {
    cluster: Cluster,
    kind: &'static KindDescriptor,
    watched: &'static Watched,
    /// As metrics and messages name the kind: `endpointslices.discovery.k8s.io`.
    resource: String,
    changes: mpsc::Sender<Change>,
    /// The versions that the server may have, the newest first.
    versions: Vec<&'static Version>,
    /// The index of the version that is asked for.
    asked: usize,
    /// The resource version to watch from; `None` if only a complete list helps.
    from: Option<String>,
    backoffs: Backoffs,
    /// How many times in a row the server replied with an error.
    failures: u32,
    /// The failure that was reported last, and when.
    reported: Option<(String, Instant)>,
    /// Whether the cluster does not have the kind at all.
    is_absent: bool,
    /// The last object that was reported as left out.
    left_out: Option<Key>,
}

/// How far a list has come.
struct Listing {
    /// The `continue` of the last page.
    after: String,
    /// How many objects a page may have.
    limit: usize,
    objects: usize,
}

impl Default for Listing {
    fn default() -> Self {
        Self { after: String::new(), limit: limits::API_PAGE, objects: 0 }
    }
}

impl Listing {
    fn go_on(&mut self, after: String, objects: usize) -> Result<(), WatchError> {
        self.objects += objects;
        if after == self.after {
            return Err(WatchError::unreadable("a list", "the server sends the same page again"));
        }
        if self.objects > limits::API_LIST_OBJECTS {
            let error = format!("it has more than {} objects", limits::API_LIST_OBJECTS);
            return Err(WatchError::unreadable("a list", error));
        }
        self.after = after;
        Ok(())
    }

    /// After a page that was too large: the next request is for an eighth of the objects.
    fn ask_for_fewer(&mut self) -> Result<(), WatchError> {
        if self.limit == 1 {
            let error = format!("an object has more than {} octets", limits::API_PAGE_OCTETS);
            return Err(WatchError::unreadable("a page", error));
        }
        self.limit = (self.limit / 8).max(1);
        Ok(())
    }
}

impl Follower {
    pub(super) fn new(cluster: Cluster, fact: Kind, changes: mpsc::Sender<Change>) -> Self {
        let (kind, watched) = kind::of_fact(fact);
        Self {
            cluster,
            kind,
            watched,
            resource: kind.resource(),
            changes,
            versions: kind.served(),
            asked: 0,
            from: None,
            backoffs: Backoffs::default(),
            failures: 0,
            reported: None,
            is_absent: false,
            left_out: None,
        }
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

    /// Reports an error, does what helps, and waits; `None` if the receiver is gone.
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
                self.set_refused(1);
                let refused = Change::Refused(self.watched.fact, message.as_str().into());
                self.changes.send(refused).await.ok()?;
                (None, &mut self.backoffs.refused)
            }
            WatchError::Unknown(_) => {
                self.failures += 1;
                (None, &mut self.backoffs.failed)
            }
            WatchError::Failed(_, retry_after) => {
                self.failures += 1;
                (retry_after, &mut self.backoffs.failed)
            }
            WatchError::Broken(_) => {
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
    async fn pause(&self, wait: Duration) -> Option<()> {
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
        self.changes.send(Change::Synced(self.watched.fact)).await.ok()?;
        if !std::mem::replace(&mut self.is_absent, true) {
            let pause = limits::API_ABSENT_KIND_INTERVAL.as_secs();
            (self.cluster.notify)(Notice::Info(format!(
                "this cluster has no {}; looking again every {pause} s",
                self.resource
            )));
        }
        self.pause(limits::API_ABSENT_KIND_INTERVAL).await
    }

    fn set_refused(&self, refused: i64) {
        let labels = [&*self.resource, self.cluster.access.host()];
        REFUSED.with(&self.cluster.metrics, labels).set(refused);
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

    /// The server has sent something good about the kind.
    fn succeeded(&mut self) {
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
        let labels = [&*self.resource, self.cluster.access.host()];
        HEARD.with(&self.cluster.metrics, labels).set(now);
    }

    /// The path and the selectors of the next request.
    fn selection(&self) -> Selection<'_> {
        Selection {
            path: self.kind.path(self.versions[self.asked], ""),
            watched: self.watched,
            labels: self.cluster.labels.as_deref(),
        }
    }

    fn decode(&self, json: &str) -> Result<Decoded, kind::FieldError> {
        self.kind.decode(self.versions[self.asked], json)
    }

    fn key(&self, meta: &Meta) -> Key {
        Key::new(self.watched.fact, &meta.namespace, &meta.name)
    }

    async fn list(&mut self, client: &NumberedClient) -> Result<(), WatchError> {
        self.changes.send(Change::Relist(self.watched.fact)).await?;
        let mut listing = Listing::default();
        loop {
            let Some(page) = self.fetch_page(client, &listing).await? else {
                listing.ask_for_fewer()?;
                continue;
            };
            let (meta, count) = self.take_page(&page).await?;
            if meta.after.is_empty() {
                // Not before the last page: if a later page fails each time, the waits must grow.
                self.succeeded();
                self.changes.send(Change::Synced(self.watched.fact)).await?;
                self.from = Some(meta.resource_version);
                return Ok(());
            }
            listing.go_on(meta.after, count)?;
        }
    }

    /// The body of the next page; `None` if it is larger than [`limits::API_PAGE_OCTETS`].
    async fn fetch_page(
        &self,
        client: &NumberedClient,
        listing: &Listing,
    ) -> Result<Option<Bytes>, WatchError> {
        let request = protocol::list(&self.selection(), listing.limit, &listing.after);
        let page = timeout(limits::API_PAGE_TIME, async {
            let body = self.cluster.send(client, request).await?.into_body();
            protocol::at_most(body, limits::API_PAGE_OCTETS)
                .await
                .map_err(|error| WatchError::Broken(format!("{error:#}")))
        });
        page.await.map_err(|_| {
            WatchError::Broken(format!(
                "no complete page within {} s",
                limits::API_PAGE_TIME.as_secs()
            ))
        })?
    }

    /// Emits the objects of a page, and returns how many there are.
    async fn take_page(&mut self, page: &[u8]) -> Result<(PageMeta, usize), WatchError> {
        let page = Page::read(self.kind.name, page)?;
        let count = page.items.len();
        for item in page.items {
            self.take(item.get()).await?;
        }
        Ok((page.metadata, count))
    }

    /// Emits an object of a page or an event.
    async fn take(&mut self, json: &str) -> Result<Meta, WatchError> {
        let Decoded { meta, fact } = match self.decode(json) {
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
        self.changes.send(change).await?;
        Ok(meta)
    }

    /// Emits the time of the change that led to an EndpointSlice.
    async fn send_trigger_time(&self, meta: &Meta) -> Result<(), WatchError> {
        let time = meta
            .annotations
            .last_change_trigger_time
            .as_deref()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let (Some(time), Some(service)) = (time, meta.labels.get(SERVICE_NAME)) else {
            return Ok(());
        };
        let (namespace, service) = (meta.namespace.as_str().into(), service.as_str().into());
        Ok(self.changes.send(Change::Caused { namespace, service, at: time.into() }).await?)
    }

    async fn watch(&mut self, client: &NumberedClient, version: String) -> Result<(), WatchError> {
        let request = protocol::watch(&self.selection(), &version);
        self.from = Some(version);
        let begun = Instant::now();
        let end = begun + limits::API_WATCH_TIME + limits::API_WATCH_GRACE;
        let silent = || {
            WatchError::Broken(format!(
                "the server has been silent for {} s",
                (limits::API_WATCH_TIME + limits::API_WATCH_GRACE).as_secs()
            ))
        };
        let mut events = Events::new(
            timeout_at(end, self.cluster.send(client, request))
                .await
                .map_err(|_| silent())??
                .into_body(),
        );
        let mut count = 0u64;
        loop {
            let line = tokio::select! {
                line = timeout_at(end, events.next()) => line.map_err(|_| silent())?,
                () = self.changes.closed() => return Err(WatchError::Closed),
            };
            match line.map_err(|error| WatchError::Broken(format!("{error:#}")))? {
                Some(line) => self.take_event(&line).await?,
                None if count == 0 && begun.elapsed() < limits::API_RETRY_MIN => {
                    return Err(WatchError::Failed(
                        "the server ended the watch at once".to_owned(),
                        None,
                    ));
                }
                None => break,
            }
            count += 1;
            self.backoffs.expired.reset();
            self.succeeded();
        }
        self.backoffs.expired.reset();
        self.succeeded();
        Ok(())
    }

    async fn take_event(&mut self, line: &[u8]) -> Result<(), WatchError> {
        fn unreadable(error: impl std::fmt::Display) -> WatchError {
            WatchError::unreadable("an event", error)
        }
        let Event { name, object } = serde_json::from_slice(line).map_err(unreadable)?;
        let version = match &*name {
            "ADDED" | "MODIFIED" => {
                let meta = self.take(object.get()).await?;
                self.send_trigger_time(&meta).await?;
                meta.resource_version
            }
            "DELETED" => {
                let meta = self.decode(object.get()).map_err(unreadable)?.meta;
                self.changes.send(Change::Remove(self.key(&meta))).await?;
                meta.resource_version
            }
            "BOOKMARK" => self.decode(object.get()).map_err(unreadable)?.meta.resource_version,
            "ERROR" => {
                let status = serde_json::from_str(object.get()).map_err(unreadable)?;
                return Err(WatchError::of_status(status, None));
            }
            // An event of a later Kubernetes.
            _ => String::new(),
        };
        if !version.is_empty() {
            self.from = Some(version);
        }
        Ok(())
    }
}
