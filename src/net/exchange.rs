//! Queries to upstreams: does what [`Attempt`] decides, and lets identical queries share one
//! exchange.
#![expect(clippy::disallowed_methods, reason = "the clock is read here")]

mod conversation;
mod framed;
mod multiplex;
mod pending;
mod probe;
mod raw;
mod send;
mod sockets;
mod tls;

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures_util::FutureExt;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{
    chain::{Exchange, Exchanged, QueryError},
    limits,
    metrics::{CounterFamily, Family, IntCounter, Metrics},
    net::panics::PANICS,
    shares::{Share, Shares},
    upstream::{Attempt, Group, Health, Upstream, UpstreamError},
    wire::{Class, EdnsOptions, Name, Query, Type},
};

use conversation::Conversation;

static ALL_DOWN: CounterFamily<0> = Family::new(
    "forward_healthcheck_broken_total",
    "Queries for which every upstream was down.",
    [],
);
static REJECTS: CounterFamily<0> = Family::new(
    "forward_max_concurrent_rejects_total",
    "Queries that were refused because max_concurrent others waited for upstreams.",
    [],
);

/// Sends queries to upstreams. Clones share connections and exchanges.
#[derive(Clone)]
pub struct Exchanger(Arc<Shared>);

struct Shared {
    metrics: Arc<Metrics>,
    all_down: IntCounter,
    rejects: IntCounter,
    panics: IntCounter,
    in_flight: Mutex<HashMap<ExchangeKey, RunningExchange>>,
    /// Each query that waits for an exchange has a clone. Its exchange need not be in `in_flight`:
    /// a later one may have replaced it there.
    awaited: Arc<()>,
    /// An exchange continues after its client has stopped waiting, because its reply fills the
    /// cache.
    exchanges: Mutex<JoinSet<()>>,
    /// Health probes, and the closing of idle connections. [`Exchanger::finish`] aborts them.
    background: Mutex<JoinSet<()>>,
    /// The queries that wait for upstreams.
    queries: Arc<Shares>,
    /// The sockets and connections to upstreams.
    sockets: Arc<Shares>,
    udp: sockets::Sockets,
    multiplexed: multiplex::Multiplexed,
    tls: tls::ClientConfigs,
}

/// Queries with equal keys share one reply.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ExchangeKey {
    /// The memory address of the group.
    group: usize,
    name: Name,
    qtype: Type,
    class: Class,
    /// RD, AD, CD and DO: the flags that an upstream's reply depends on.
    flags: [bool; 4],
    options: EdnsOptions,
}

impl ExchangeKey {
    fn of(exchange: &Exchange) -> Self {
        let Query { question, .. } = &exchange.query;
        Self {
            group: Arc::as_ptr(&exchange.group) as usize,
            name: question.name.clone(),
            qtype: question.qtype,
            class: question.class,
            flags: [
                exchange.query.recursion_desired,
                exchange.query.authentic_data,
                exchange.query.checking_disabled,
                exchange.query.dnssec_ok(),
            ],
            options: exchange.query.options.clone(),
        }
    }
}

impl Exchanger {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            all_down: ALL_DOWN.with(&metrics, []),
            rejects: REJECTS.with(&metrics, []),
            panics: PANICS.with(&metrics, []),
            metrics,
            in_flight: Mutex::default(),
            awaited: Arc::default(),
            exchanges: Mutex::default(),
            background: Mutex::default(),
            queries: Shares::new(limits::UPSTREAM_QUERIES),
            sockets: Shares::new(limits::UPSTREAM_SOCKETS),
            udp: sockets::Sockets::default(),
            multiplexed: multiplex::Multiplexed::default(),
            tls: tls::ClientConfigs::default(),
        }))
    }

    /// Returns the group's reply. Identical queries that arrive before the reply share it.
    pub async fn exchange_for(&self, waiter: Waiter, exchange: Exchange) -> Exchanged {
        let _awaits = Arc::clone(&self.0.awaited);
        let Some(mut receiver) = self.join_or_start(waiter, exchange) else {
            return Err(QueryError::Overloaded).into();
        };
        let progress = receiver.wait_for(|progress| match progress {
            Progress::Running => false,
            Progress::Truncated(_) => waiter.kind == WaiterKind::Datagram,
            Progress::Done(_) => true,
        });
        // The task ends without a reply only if it panics or the process stops.
        match progress.await.as_deref() {
            Ok(Progress::Truncated(exchanged) | Progress::Done(exchanged)) => exchanged.clone(),
            _ => Err(QueryError::Overloaded).into(),
        }
    }

    /// Like [`Exchanger::exchange_for`], for a client that can have a stale reply: ends with
    /// [`QueryError::Impatient`] as soon as every upstream is probably down. The exchange goes on.
    pub async fn exchange_while_up(&self, waiter: Waiter, exchange: Exchange) -> Exchanged {
        let group = Arc::clone(&exchange.group);
        tokio::select! {
            biased;
            exchanged = self.exchange_for(waiter, exchange) => exchanged,
            () = self.0.until_suspect(&group) => Err(QueryError::Impatient).into(),
        }
    }

    /// Frees the memory of the exchanges that have ended. Otherwise the next exchange does so.
    pub(super) fn free_ended(&self) {
        while lock(&self.0.exchanges).try_join_next().is_some() {}
    }

    /// Waits for the exchanges that a query waits for, and aborts all other tasks.
    pub async fn finish(&self) {
        let _ = tokio::time::timeout(limits::QUERY_TIME, async {
            while Arc::strong_count(&self.0.awaited) > 1 {
                tokio::time::sleep(limits::FINISH_POLL).await;
            }
        })
        .await;
        lock(&self.0.exchanges).abort_all();
        lock(&self.0.background).abort_all();
    }

    fn join_or_start(
        &self,
        waiter: Waiter,
        exchange: Exchange,
    ) -> Option<watch::Receiver<Progress>> {
        let key = ExchangeKey::of(&exchange);
        let mut in_flight = lock(&self.0.in_flight);
        if let Some(running) = in_flight.get(&key)
            && (waiter.kind == WaiterKind::Refresh || running.started.elapsed() < limits::JOIN_TIME)
            && (waiter.client == running.client || !running.starved.load(Ordering::Relaxed))
        {
            if waiter.kind == WaiterKind::Stream {
                running.stream_client.notify_one();
            }
            return (running.waiters() < limits::WAITERS).then(|| running.receiver.clone());
        }
        let (sender, receiver) = watch::channel(Progress::Running);
        let sender = Arc::new(sender);
        let stream_client = Arc::new(Notify::new());
        if waiter.kind == WaiterKind::Stream {
            stream_client.notify_one();
        }
        let starved = Arc::new(AtomicBool::new(false));
        let running = RunningExchange {
            receiver: receiver.clone(),
            sender: Arc::downgrade(&sender),
            started: Instant::now(),
            stream_client: Arc::clone(&stream_client),
            client: waiter.client,
            starved: Arc::clone(&starved),
        };
        in_flight.insert(key.clone(), running);
        let shared = Arc::clone(&self.0);
        spawn(&self.0.exchanges, async move {
            // The key contains the group's memory address. While the group lives, no other group
            // can have this address.
            let _group = Arc::clone(&exchange.group);
            let budget = QueryBudget { client: waiter.client, starved };
            let run = Arc::clone(&shared).run(exchange, budget, &sender, &stream_client);
            let run = std::panic::AssertUnwindSafe(run).catch_unwind();
            let exchanged = run.await.unwrap_or_else(|_| {
                shared.panics.inc();
                Err(QueryError::Overloaded).into()
            });
            shared.forget(&key, &sender);
            let _ = sender.send(Progress::Done(exchanged));
        });
        Some(receiver)
    }
}

/// Who waits for an exchange.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    pub kind: WaiterKind,
    /// Each client address has a share of the queries and of the sockets.
    pub client: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiterKind {
    /// A client that repeats its query over TCP after a truncated reply.
    Datagram,
    /// A client that gets no better reply by asking again.
    Stream,
    /// No client: the reply only fills the cache, however late it is.
    Refresh,
}

/// The progress of an exchange.
enum Progress {
    Running,
    /// The whole reply may still come.
    Truncated(Exchanged),
    Done(Exchanged),
}

struct RunningExchange {
    receiver: watch::Receiver<Progress>,
    sender: Weak<watch::Sender<Progress>>,
    started: Instant,
    /// Notified when a client over TCP starts to wait.
    stream_client: Arc<Notify>,
    /// The client whose query started the exchange.
    client: IpAddr,
    /// Whether the client's share of the queries is used up. Then queries of other clients do not
    /// wait for this exchange.
    starved: Arc<AtomicBool>,
}

/// The client from whose share the queries of an exchange are taken.
struct QueryBudget {
    client: IpAddr,
    starved: Arc<AtomicBool>,
}

impl QueryBudget {
    /// A place among the queries to the upstream, and one among all queries.
    fn take(&self, shared: &Shared, upstream: &Upstream) -> Option<(Share, Share)> {
        let taken =
            upstream.health.reserve_query(self.client).zip(shared.queries.take(self.client));
        self.starved.store(taken.is_none(), Ordering::Relaxed);
        taken
    }
}

impl RunningExchange {
    /// The queries that wait for the reply.
    fn waiters(&self) -> usize {
        self.sender.upgrade().map_or(0, |sender| sender.receiver_count().saturating_sub(1))
    }
}

impl Shared {
    async fn run(
        self: Arc<Self>,
        exchange: Exchange,
        budget: QueryBudget,
        progress: &watch::Sender<Progress>,
        stream_client: &Notify,
    ) -> Exchanged {
        let Exchange { query, group } = exchange;
        let mut attempt = match Attempt::begin(&group, Instant::now(), rand::random()) {
            Ok(attempt) => attempt,
            Err(failure) => {
                self.count_refusal(failure);
                return Err(QueryError::Upstream(failure)).into();
            }
        };
        if attempt.all_down {
            self.all_down.inc();
        }
        let (shared, group, query) = (&self, &group, &query);
        let conversation = Conversation { shared, group, query, budget, progress, stream_client };
        let exchanged = conversation.run(&mut attempt).await;
        // Upstreams that did not answer are probed, although another one answered.
        for upstream in attempt.silent(Instant::now()) {
            self.start_probe(group, upstream);
        }
        exchanged
    }

    /// Removes the exchange, so that other queries no longer share it. A later exchange with the
    /// same key stays.
    fn forget(&self, key: &ExchangeKey, sender: &Arc<watch::Sender<Progress>>) {
        let mut in_flight = lock(&self.in_flight);
        if in_flight.get(key).is_some_and(|running| running.sender.as_ptr() == Arc::as_ptr(sender))
        {
            in_flight.remove(key);
            shrink(&mut in_flight);
        }
    }

    fn count_refusal(&self, failure: UpstreamError) {
        match failure {
            UpstreamError::TooManyInFlight(_) => self.rejects.inc(),
            UpstreamError::NoneHealthy => self.all_down.inc(),
            _ => {}
        }
    }

    /// Probes the upstreams if they do not reply in time, and waits until all are probably down.
    /// An upstream without health checks counts as down if no query gets a reply during the hedge
    /// delay and [`limits::SUSPECT_TIME`].
    async fn until_suspect(self: &Arc<Self>, group: &Arc<Group>) {
        if group.is_suspect() {
            return;
        }
        let healths = || group.upstreams().iter().map(|upstream| &upstream.health);
        let replies: Vec<_> = healths().map(Health::replies).collect();
        let delay = healths().map(Health::hedge_delay).max().unwrap_or_default();
        tokio::time::sleep(delay.min(limits::SUSPECT_TIME)).await;
        if group.settings.max_fails == 0 {
            tokio::time::sleep(limits::SUSPECT_TIME).await;
            let silent =
                healths().zip(replies).filter(|(health, before)| health.replies() == *before);
            silent.for_each(|(health, _)| health.suspect());
        }
        for upstream in 0..group.upstreams().len() {
            self.start_probe(group, upstream);
        }
        while !group.is_suspect() {
            tokio::time::sleep(limits::SUSPECT_POLL).await;
        }
    }

    fn start_probe(self: &Arc<Self>, group: &Arc<Group>, upstream: usize) {
        if group.settings.max_fails > 0 && group.upstream(upstream).health.claim_probing() {
            spawn(
                &self.background,
                probe::until_healthy(Arc::downgrade(self), Arc::downgrade(group), upstream),
            );
        }
    }
}

fn spawn(tasks: &Mutex<JoinSet<()>>, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = lock(tasks);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task);
}

/// Frees the memory that a burst of entries has left behind.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    if map.capacity() > limits::SPARSE_ENTRIES && map.capacity() / 8 > map.len() {
        map.shrink_to(map.len() * 2);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
