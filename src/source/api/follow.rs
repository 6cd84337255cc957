//! One kind's task: a whole list, then what happens after it, for ever.
#![expect(clippy::disallowed_methods, reason = "a clock is read here")]
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Request, Response, header::RETRY_AFTER};
use kube::client::Body;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    limits,
    metrics::{CounterFamily, Family, GaugeFamily, HistogramFamily, default_seconds},
    model::{Change, Key},
    source::kind::{Meta, Resource, SERVICE_NAME},
};

use super::{
    Cluster,
    access::Numbered,
    backoff::Backoff,
    protocol::{self, Event, Events, Page, PageMeta, Status},
};

static REQUESTS: CounterFamily<3> = Family::new(
    "kubernetes_rest_client_requests_total",
    "Requests to an API server, by status code.",
    ["code", "method", "host"],
);
static DURATION: HistogramFamily<2> = Family::histogram(
    "kubernetes_rest_client_request_duration_seconds",
    "Time until an API server begins to answer.",
    ["verb", "host"],
    default_seconds,
);
static LIMITER: HistogramFamily<2> = Family::histogram(
    "kubernetes_rest_client_rate_limiter_duration_seconds",
    "Time that a request to an API server waits before it is sent.",
    ["verb", "host"],
    default_seconds,
);
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
    resource: &'static Resource,
    changes: mpsc::Sender<Change>,
    /// Which of the resource's paths is asked.
    path: usize,
    /// Where to go on; `None` where only a whole list helps.
    version: Option<String>,
    paces: Paces,
    /// How often in a row the server was there and did not do it.
    unserved: u32,
    /// The failure that was told last, and when.
    told: Option<(String, Instant)>,
    /// Whether the cluster does not have the kind at all.
    is_absent: bool,
    /// The object whose oddity was told last.
    odd: Option<Key>,
}

/// Each kind of trouble has a backoff of its own: who was away for long is not waited for when it
/// has become another trouble.
struct Paces {
    broken: Backoff,
    /// Ends with a watch that begins: a list alone may be too old again.
    expired: Backoff,
    refused: Backoff,
    failed: Backoff,
}

impl Default for Paces {
    fn default() -> Self {
        let [expired, refused, failed] =
            std::array::from_fn(|_| Backoff::up_to(limits::API_RETRY_MAX));
        Self { broken: Backoff::up_to(limits::API_RECONNECT_MAX), expired, refused, failed }
    }
}

/// Why a list or a watch ended.
enum WatchError {
    /// Nobody wants to know any more.
    Closed,
    /// What is known is too old to go on from.
    Expired(String),
    /// The server does not know the kind, in this version of it.
    Unknown(String),
    /// The permission is missing.
    Refused(String),
    /// The server is there and does not do it; perhaps it says when to come again.
    Failed(String, Option<Duration>),
    /// The connection, or the way into the server.
    Broken(String),
}

impl From<mpsc::error::SendError<Change>> for WatchError {
    fn from(_: mpsc::error::SendError<Change>) -> Self {
        Self::Closed
    }
}

impl Follower {
    pub(super) fn new(
        cluster: Cluster,
        resource: &'static Resource,
        changes: mpsc::Sender<Change>,
    ) -> Self {
        Self {
            cluster,
            resource,
            changes,
            path: 0,
            version: None,
            paces: Paces::default(),
            unserved: 0,
            told: None,
            is_absent: false,
            odd: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let client = self.cluster.access.client().await;
            let (doing, done) = match self.version.take() {
                None => ("list", self.list(&client).await),
                Some(version) => ("watch", self.watch(&client, version).await),
            };
            let Err(trouble) = done else { continue };
            if self.after(doing, trouble, &client).await.is_none() {
                return;
            }
        }
    }

    /// Tells of a trouble, does what helps, and waits; `None` where there is nobody to go on for.
    async fn after(&mut self, doing: &str, trouble: WatchError, client: &Numbered) -> Option<()> {
        let (why, asked, backoff) = match trouble {
            WatchError::Closed => return None,
            WatchError::Expired(why) => {
                self.version = None;
                (why, None, &mut self.paces.expired)
            }
            WatchError::Unknown(_) if self.resource.is_optional => {
                return self.without_kind().await;
            }
            WatchError::Refused(why) => {
                self.metrics_refused(1);
                self.changes
                    .send(Change::Refused(self.resource.kind, why.as_str().into()))
                    .await
                    .ok()?;
                (why, None, &mut self.paces.refused)
            }
            WatchError::Unknown(why) => {
                self.unserved += 1;
                (why, None, &mut self.paces.failed)
            }
            WatchError::Failed(why, asked) => {
                self.unserved += 1;
                (why, asked, &mut self.paces.failed)
            }
            WatchError::Broken(why) => {
                let why = match self.cluster.access.replace(client).await {
                    Ok(()) => why,
                    Err(error) => format!("{why}; {error:#}"),
                };
                (why, None, &mut self.paces.broken)
            }
        };
        let wait = backoff.after_failure(rand::random(), asked);
        if self.unserved >= limits::API_WATCH_FAILURES {
            self.version = None;
        }
        self.tell(doing, why, wait);
        tokio::select! {
            () = sleep(wait) => Some(()),
            () = self.changes.closed() => None,
        }
    }

    /// Asks for the next version of the kind; where there is none, the cluster has no such objects:
    /// it is looked at again, for somebody may bring the kind in.
    async fn without_kind(&mut self) -> Option<()> {
        self.version = None;
        self.path = (self.path + 1) % self.resource.paths.len();
        if self.path > 0 {
            return Some(());
        }
        self.changes.send(Change::Synced(self.resource.kind)).await.ok()?;
        if !std::mem::replace(&mut self.is_absent, true) {
            let pause = limits::API_ABSENT_KIND_INTERVAL.as_secs();
            (self.cluster.say)(
                false,
                format!(
                    "this cluster has no {}; looking again every {pause} s",
                    self.resource.name
                ),
            );
        }
        tokio::select! {
            () = sleep(limits::API_ABSENT_KIND_INTERVAL) => Some(()),
            () = self.changes.closed() => None,
        }
    }

    fn metrics_refused(&self, refused: i64) {
        let labels = [self.resource.name, self.cluster.access.host()];
        REFUSED.with(&self.cluster.metrics, labels).set(refused);
    }

    fn tell(&mut self, doing: &str, why: String, wait: Duration) {
        let lasts =
            |at: &Instant| !self.resource.is_optional && at.elapsed() >= limits::API_LOG_INTERVAL;
        let known = self.told.as_ref().is_some_and(|(told, at)| *told == why && !lasts(at));
        if !known {
            let name = self.resource.name;
            (self.cluster.say)(
                true,
                format!("Failed to {doing} {name}: {why}; next try in {:.1} s", wait.as_secs_f64()),
            );
            self.told = Some((why, Instant::now()));
        }
    }

    /// The server has said something of the kind.
    fn heard(&mut self) {
        let Paces { broken, refused, failed, expired: _ } = &mut self.paces;
        [broken, refused, failed].into_iter().for_each(Backoff::reset);
        self.unserved = 0;
        self.is_absent = false;
        self.metrics_refused(0);
        if self.told.take().is_some() {
            (self.cluster.say)(false, format!("{} are watched again", self.resource.name));
        }
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let labels = [self.resource.name, self.cluster.access.host()];
        HEARD.with(&self.cluster.metrics, labels).set(now);
    }

    async fn list(&mut self, client: &Numbered) -> Result<(), WatchError> {
        let labels = self.cluster.labels.clone();
        self.changes.send(Change::Relist(self.resource.kind)).await?;
        let mut after = String::new();
        loop {
            let request = protocol::list(
                self.resource,
                self.resource.paths[self.path],
                labels.as_deref(),
                &after,
            );
            let page = timeout(limits::API_PAGE_TIME, async {
                let body = self.ask(client, request).await?.into_body();
                protocol::whole(body, limits::API_PAGE_OCTETS)
                    .await
                    .map_err(|error| WatchError::Broken(format!("{error:#}")))
            });
            let page = page.await.map_err(|_| {
                WatchError::Broken(format!(
                    "no whole page within {} s",
                    limits::API_PAGE_TIME.as_secs()
                ))
            })??;
            let meta = self.take_page(&page).await?;
            after = meta.after;
            if after.is_empty() {
                // Only now: where a later page fails each time, the waits have to grow.
                self.heard();
                self.changes.send(Change::Synced(self.resource.kind)).await?;
                self.version = Some(meta.resource_version);
                return Ok(());
            }
        }
    }

    async fn take_page(&mut self, page: &[u8]) -> Result<PageMeta, WatchError> {
        let Page { metadata, items } = serde_json::from_slice(page).map_err(|error| {
            WatchError::Failed(format!("a page that cannot be read: {error}"), None)
        })?;
        for item in items {
            self.take(item.get()).await?;
        }
        Ok(metadata)
    }

    /// Takes an object that is there.
    async fn take(&mut self, text: &str) -> Result<Meta, WatchError> {
        let seen = match self.resource.read(text) {
            Ok(seen) => seen,
            Err(error) => {
                (self.cluster.say)(
                    true,
                    format!(
                        "{}: an object that cannot be read is left out: {error}",
                        self.resource.name
                    ),
                );
                return Ok(Meta::default());
            }
        };
        let key = self.resource.key(&seen.meta);
        let change = match seen.fact {
            Ok(Some(object)) => Change::Upsert(object),
            Ok(None) => Change::Remove(key),
            Err(reason) => {
                if self.odd.as_ref() != Some(&key) {
                    (self.cluster.say)(true, format!("{key} is left out: {reason}"));
                    self.odd = Some(key.clone());
                }
                Change::Remove(key)
            }
        };
        self.changes.send(change).await?;
        Ok(seen.meta)
    }

    /// Passes on when that happened which an EndpointSlice tells of.
    async fn tell_cause(&self, meta: &Meta) -> Result<(), WatchError> {
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

    async fn watch(&mut self, client: &Numbered, version: String) -> Result<(), WatchError> {
        let labels = self.cluster.labels.clone();
        let request = protocol::watch(
            self.resource,
            self.resource.paths[self.path],
            labels.as_deref(),
            &version,
        );
        self.version = Some(version);
        let begun = Instant::now();
        let end = begun + limits::API_WATCH_TIME + limits::API_WATCH_GRACE;
        let silent = || {
            WatchError::Broken(format!(
                "no word for {} s",
                (limits::API_WATCH_TIME + limits::API_WATCH_GRACE).as_secs()
            ))
        };
        let mut events = Events::new(
            timeout_at(end, self.ask(client, request)).await.map_err(|_| silent())??.into_body(),
        );
        let mut count = 0u64;
        loop {
            let line = tokio::select! {
                line = timeout_at(end, events.next()) => line.map_err(|_| silent())?,
                () = self.changes.closed() => return Err(WatchError::Closed),
            };
            match line.map_err(|error| WatchError::Broken(format!("{error:#}")))? {
                Some(line) => self.event(&line).await?,
                None if count == 0 && begun.elapsed() < limits::API_RETRY_MIN => {
                    return Err(WatchError::Failed(
                        "the server ended the watch at once".to_owned(),
                        None,
                    ));
                }
                None => break,
            }
            count += 1;
            self.paces.expired.reset();
            self.heard();
        }
        self.paces.expired.reset();
        self.heard();
        Ok(())
    }

    async fn event(&mut self, line: &[u8]) -> Result<(), WatchError> {
        let unreadable =
            |error| WatchError::Failed(format!("an event that cannot be read: {error}"), None);
        let Event { name, object } = serde_json::from_slice(line).map_err(unreadable)?;
        let version = match &*name {
            "ADDED" | "MODIFIED" => {
                let seen = self.take(object.get()).await?;
                self.tell_cause(&seen).await?;
                seen.resource_version
            }
            "DELETED" => {
                let seen = self.resource.read(object.get()).map_err(unreadable)?;
                self.changes.send(Change::Remove(self.resource.key(&seen.meta))).await?;
                seen.meta.resource_version
            }
            "BOOKMARK" => {
                self.resource.read(object.get()).map_err(unreadable)?.meta.resource_version
            }
            "ERROR" => {
                return Err(trouble_of(
                    serde_json::from_str(object.get()).map_err(unreadable)?,
                    None,
                ));
            }
            // A word of a later Kubernetes.
            _ => String::new(),
        };
        if !version.is_empty() {
            self.version = Some(version);
        }
        Ok(())
    }

    /// Sends a request, and gives the reply if it is a good one.
    async fn ask(
        &self,
        client: &Numbered,
        request: Request<Body>,
    ) -> Result<Response<Body>, WatchError> {
        let (metrics, host) = (&self.cluster.metrics, self.cluster.access.host());
        let came = Instant::now();
        let _admitted = self.cluster.access.admission.admit().await;
        LIMITER.with(metrics, ["GET", host]).observe(came.elapsed().as_secs_f64());
        let begun = Instant::now();
        let sent = client.client.send(request).await;
        DURATION.with(metrics, ["GET", host]).observe(begun.elapsed().as_secs_f64());
        let code = sent
            .as_ref()
            .map_or("<error>".to_owned(), |response| response.status().as_str().to_owned());
        REQUESTS.with(metrics, [&code, "GET", host]).inc();
        let response = sent.map_err(|error| WatchError::Broken(causes(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let seconds =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let code = response.status().as_u16();
        Err(trouble_of(
            Status::read(code, response.into_body()).await,
            seconds.map(Duration::from_secs),
        ))
    }
}

fn trouble_of(status: Status, asked: Option<Duration>) -> WatchError {
    match status.code {
        _ if status.is_expired() => WatchError::Expired(status.message),
        // The credential may have been replaced.
        401 => WatchError::Broken(status.message),
        403 => WatchError::Refused(status.message),
        404 => WatchError::Unknown(status.message),
        _ => WatchError::Failed(status.message, asked),
    }
}

/// An error with what caused it: kube's own says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            said = format!("{said}: {text}");
        }
        next = cause.source();
    }
    said
}
