//! Queries to upstreams: does what [`Attempt`] decides, and lets identical queries share one
//! exchange.
#![expect(clippy::disallowed_methods, reason = "the clock is read here")]

mod pool;
mod probe;
mod tls;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    chain::{Exchange, QueryError, Reply},
    limits,
    metrics::{CounterFamily, Family, IntCounter, Metrics},
    net::{
        client::udp::{UdpQuery, UdpReply},
        panics::PANICS,
        tls::client::rejection,
    },
    upstream::{
        Attempt, Group, NextAction, ReplyDecision, Upstream, UpstreamError, UpstreamTransport,
    },
    wire::{Caps, Class, Edns, Name, Query, Response, Type, reply},
};

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
    /// An exchange goes on when its client stops waiting: its reply fills the cache.
    exchanges: Mutex<JoinSet<()>>,
    /// Health probes, and the closing of idle connections. [`Exchanger::finish`] aborts them.
    background: Mutex<JoinSet<()>>,
    sockets: Semaphore,
    connections: pool::Pool,
    tls: tls::ClientConfigs,
}

/// Queries with equal keys share one reply.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ExchangeKey {
    /// The address of the group.
    group: usize,
    name: Name,
    qtype: Type,
    class: Class,
    /// RD, AD, CD and DO: the flags that an upstream's reply depends on.
    flags: [bool; 4],
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
            exchanges: Mutex::default(),
            background: Mutex::default(),
            sockets: Semaphore::new(limits::UPSTREAM_SOCKETS),
            connections: pool::Pool::default(),
            tls: tls::ClientConfigs::default(),
        }))
    }

    /// Returns the group's reply. Identical queries that arrive before the reply share it.
    pub async fn exchange(&self, exchange: Exchange) -> Reply {
        let Some(mut receiver) = self.join_or_start(exchange) else {
            return Err(QueryError::Overloaded);
        };
        let reply = receiver.wait_for(Option::is_some).await;
        // The task ends without a reply only if it panics or the process stops.
        reply.ok().and_then(|reply| reply.clone()).unwrap_or(Err(QueryError::Overloaded))
    }

    /// Waits for the running exchanges, and aborts the background tasks.
    pub async fn finish(&self) {
        let mut exchanges = std::mem::take(&mut *lock(&self.0.exchanges));
        let _ = tokio::time::timeout(limits::QUERY_TIME, async {
            while exchanges.join_next().await.is_some() {}
        })
        .await;
        lock(&self.0.background).abort_all();
    }

    fn join_or_start(&self, exchange: Exchange) -> Option<watch::Receiver<Option<Reply>>> {
        let key = ExchangeKey::of(&exchange);
        let mut in_flight = lock(&self.0.in_flight);
        if let Some(running) = in_flight.get(&key) {
            return (running.waiters() < limits::WAITERS).then(|| running.receiver.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        in_flight.insert(
            key.clone(),
            RunningExchange { receiver: receiver.clone(), sender: Arc::downgrade(&sender) },
        );
        let shared = Arc::clone(&self.0);
        spawn(&self.0.exchanges, async move {
            // The key holds the group's address, which must not become another group's.
            let _group = Arc::clone(&exchange.group);
            let run =
                std::panic::AssertUnwindSafe(Arc::clone(&shared).run(exchange)).catch_unwind();
            let reply = run.await.unwrap_or_else(|_| {
                shared.panics.inc();
                Err(QueryError::Overloaded)
            });
            lock(&shared.in_flight).remove(&key);
            let _ = sender.send(Some(reply));
        });
        Some(receiver)
    }
}

struct RunningExchange {
    receiver: watch::Receiver<Option<Reply>>,
    sender: Weak<watch::Sender<Option<Reply>>>,
}

impl RunningExchange {
    /// The queries that wait for the reply.
    fn waiters(&self) -> usize {
        self.sender.upgrade().map_or(0, |sender| sender.receiver_count().saturating_sub(1))
    }
}

/// The result of one query to one upstream.
struct UpstreamResult {
    upstream: usize,
    outcome: UpstreamOutcome,
}

enum UpstreamOutcome {
    Reply(Box<TimedReply>),
    /// The reply is truncated or doubtful: ask again over TCP.
    NeedsTcp,
    Failed(UpstreamError),
}

struct TimedReply {
    response: Response,
    took: Duration,
}

impl Shared {
    async fn run(self: Arc<Self>, exchange: Exchange) -> Reply {
        let Exchange { query, group } = exchange;
        let begun = Attempt::begin(&group, Instant::now(), rand::random());
        let mut attempt = begun
            .inspect_err(|failure| self.count_refusal(*failure))
            .map_err(QueryError::Upstream)?;
        if attempt.all_down {
            self.all_down.inc();
        }
        let reply = self.converse(&mut attempt, &group, &query).await;
        // Upstreams that did not answer are probed, although another one answered.
        for upstream in attempt.silent(Instant::now()) {
            self.start_probe(&group, upstream);
        }
        reply
    }

    /// Does what the attempt decides until there is a reply.
    async fn converse(
        self: &Arc<Self>,
        attempt: &mut Attempt,
        group: &Arc<Group>,
        query: &Query,
    ) -> Reply {
        let mut listening: FuturesUnordered<BoxFuture<'_, UpstreamResult>> =
            FuturesUnordered::new();
        let mut kept = None;
        loop {
            let wake = match attempt.poll(Instant::now()) {
                NextAction::Send { upstream, transport } => {
                    listening.push(self.ask(group, upstream, transport, query).boxed());
                    continue;
                }
                NextAction::Wait(until) => until,
                NextAction::Done(failure) => return kept.ok_or(QueryError::Upstream(failure)),
            };
            let UpstreamResult { upstream, outcome } = tokio::select! {
                Some(result) = listening.next() => result,
                () = tokio::time::sleep_until(wake.into()) => continue,
            };
            match outcome {
                UpstreamOutcome::Reply(reply) => {
                    group.upstream(upstream).health.record_reply(reply.took);
                    match attempt.replied(upstream, reply.response.rcode, Instant::now()) {
                        ReplyDecision::Accept => return Ok(reply.response),
                        ReplyDecision::Hold => kept = Some(reply.response),
                    }
                }
                UpstreamOutcome::NeedsTcp => attempt.retry_over_tcp(upstream),
                UpstreamOutcome::Failed(failure) => {
                    self.start_probe(group, upstream);
                    attempt.failed(upstream, failure, Instant::now());
                }
            }
        }
    }

    fn count_refusal(&self, failure: UpstreamError) {
        match failure {
            UpstreamError::TooManyInFlight(_) => self.rejects.inc(),
            UpstreamError::NoneHealthy => self.all_down.inc(),
            _ => {}
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

    /// Sends one query to one upstream. Without a reply this never ends: the caller limits the time.
    async fn ask(
        self: &Arc<Self>,
        group: &Group,
        upstream: usize,
        transport: UpstreamTransport,
        query: &Query,
    ) -> UpstreamResult {
        let to = group.upstream(upstream);
        let metrics = to.metrics(&self.metrics);
        let Some(_waiting) = to.health.reserve_socket() else {
            let outcome = UpstreamOutcome::Failed(UpstreamError::NoAnswer(to.address));
            return UpstreamResult { upstream, outcome };
        };
        let Ok(_socket) = self.sockets.acquire().await else { return std::future::pending().await };
        metrics.count_query();
        let started = Instant::now();
        let case = if to.health.keeps_case() { LetterCase::Random } else { LetterCase::Lower };
        let asked = upstream_query(query, case);
        let raw = match transport {
            UpstreamTransport::Udp => {
                metrics.count_datagram();
                over_udp(to.address, group.settings.source, &asked, metrics.strays()).await
            }
            UpstreamTransport::Tcp => pool::ask(self, group, to, &asked).await,
        };
        let outcome = match raw {
            Ok(RawReply::Packet(packet)) => self.read(&packet, &asked, transport, to, started),
            Ok(RawReply::Doubtful) => UpstreamOutcome::NeedsTcp,
            Err(error) => UpstreamOutcome::Failed(match rejection(&error) {
                Some(reason) => UpstreamError::Untrusted(to.address, reason),
                None => UpstreamError::Unreachable(to.address),
            }),
        };
        UpstreamResult { upstream, outcome }
    }

    fn read(
        &self,
        packet: &[u8],
        asked: &Query,
        transport: UpstreamTransport,
        to: &Upstream,
        started: Instant,
    ) -> UpstreamOutcome {
        if transport == UpstreamTransport::Tcp
            && reply::matches(packet, asked) == reply::Match::WrongCase
        {
            to.health.record_lost_case();
        }
        match reply::read(packet, asked) {
            Ok(incoming) if incoming.truncated && transport == UpstreamTransport::Udp => {
                UpstreamOutcome::NeedsTcp
            }
            Ok(incoming) => {
                let took = started.elapsed();
                to.metrics(&self.metrics).count_reply(incoming.response.rcode, took);
                UpstreamOutcome::Reply(Box::new(TimedReply { response: incoming.response, took }))
            }
            // Over UDP a malformed reply may be forged. Over TCP it is the upstream's own.
            Err(_) if transport == UpstreamTransport::Udp => UpstreamOutcome::NeedsTcp,
            Err(reply::ReplyError::Malformed) => {
                UpstreamOutcome::Failed(UpstreamError::Malformed(to.address))
            }
            Err(reply::ReplyError::AliasLoop) => {
                UpstreamOutcome::Failed(UpstreamError::AliasLoop(to.address))
            }
        }
    }
}

/// Sends one datagram from a port of its own, and waits for the reply. [`RawReply::Doubtful`] after too
/// many datagrams that do not match.
async fn over_udp(
    to: SocketAddr,
    source: Option<IpAddr>,
    asked: &Query,
    strays: &IntCounter,
) -> io::Result<RawReply> {
    let mut exchange = UdpQuery::open(to, source, asked).await?;
    exchange.send().await?;
    Ok(match exchange.receive(|| strays.inc()).await? {
        UdpReply::Match(packet) => RawReply::Packet(packet),
        UdpReply::OtherCase(_) | UdpReply::Doubtful => RawReply::Doubtful,
    })
}

/// What a transport delivered.
enum RawReply {
    /// A message that matches the query.
    Packet(Vec<u8>),
    /// The reply may be forged or incomplete.
    Doubtful,
}

/// The case of the letters in a query to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LetterCase {
    /// A forger must guess it (draft-vixie-dnsext-dns0x20).
    Random,
    Lower,
}

/// The query to an upstream: with an id and letter case that cannot be guessed, our own EDNS record,
/// and none of the client's EDNS options.
fn upstream_query(query: &Query, case: LetterCase) -> Query {
    let mut asked = query.clone();
    asked.id = rand::random();
    asked.question.caps = match case {
        LetterCase::Random => Caps::random(&asked.question.name, rand::random()),
        LetterCase::Lower => Caps::default(),
    };
    asked.edns = Some(Edns::new(limits::UDP_OCTETS, query.dnssec_ok()));
    asked
}

fn spawn(tasks: &Mutex<JoinSet<()>>, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = lock(tasks);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
