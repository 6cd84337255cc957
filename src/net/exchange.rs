//! Has questions answered by upstreams: obeys what [`Attempt`] says, and lets identical questions
//! share one exchange.
#![expect(clippy::disallowed_methods, reason = "here is the clock")]

mod probe;
mod tcp;
mod tls;
mod udp;

use std::{
    collections::HashMap,
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
    net::{dispatch::PANICS, tls::client::distrust},
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

/// Shared by everything that asks.
#[derive(Clone)]
pub struct Exchanger(Arc<Shared>);

struct Shared {
    metrics: Arc<Metrics>,
    all_down: IntCounter,
    rejects: IntCounter,
    panics: IntCounter,
    in_flight: Mutex<HashMap<Key, Running>>,
    /// They go on when who asked has left.
    exchanges: Mutex<JoinSet<()>>,
    /// Probes, and what closes idle connections: nobody waits for them.
    background: Mutex<JoinSet<()>>,
    sockets: Semaphore,
    connections: tcp::Pool,
    clients: tls::Clients,
}

/// Questions that one reply answers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    group: usize,
    name: Name,
    qtype: Type,
    class: Class,
    /// RD, AD, CD and DO: what of the flags an upstream's reply depends on.
    flags: [bool; 4],
}

impl Key {
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
            connections: tcp::Pool::default(),
            clients: tls::Clients::default(),
        }))
    }

    /// The group's reply. Who asks the same while it is on its way gets the same reply.
    pub async fn exchange(&self, exchange: Exchange) -> Reply {
        let Some(mut receiver) = self.join_or_start(exchange) else {
            return Err(QueryError::Overloaded);
        };
        let reply = receiver.wait_for(Option::is_some).await;
        // The exchange's task ends without a reply only where it panics or the process stops.
        reply.ok().and_then(|reply| reply.clone()).unwrap_or(Err(QueryError::Overloaded))
    }

    /// Waits for the exchanges that are on their way, and ends what goes on in the background.
    pub async fn finish(&self) {
        let mut exchanges = std::mem::take(&mut *lock(&self.0.exchanges));
        let _ = tokio::time::timeout(limits::QUERY_TIME, async {
            while exchanges.join_next().await.is_some() {}
        })
        .await;
        lock(&self.0.background).abort_all();
    }

    fn join_or_start(&self, exchange: Exchange) -> Option<watch::Receiver<Option<Reply>>> {
        let key = Key::of(&exchange);
        let mut in_flight = lock(&self.0.in_flight);
        if let Some(running) = in_flight.get(&key) {
            return (running.waiters() < limits::WAITERS).then(|| running.receiver.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let sender = Arc::new(sender);
        in_flight.insert(
            key.clone(),
            Running { receiver: receiver.clone(), sender: Arc::downgrade(&sender) },
        );
        let shared = Arc::clone(&self.0);
        spawn(&self.0.exchanges, async move {
            // While the key is in use its group's address must not become another group's.
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

/// An exchange on its way.
struct Running {
    receiver: watch::Receiver<Option<Reply>>,
    sender: Weak<watch::Sender<Option<Reply>>>,
}

impl Running {
    /// Receivers that are not our own.
    fn waiters(&self) -> usize {
        self.sender.upgrade().map_or(0, |sender| sender.receiver_count().saturating_sub(1))
    }
}

/// What came of one datagram or connection.
struct Heard {
    upstream: usize,
    what: What,
}

enum What {
    Reply(Box<Incoming>),
    NeedsTcp,
    Failed(UpstreamError),
}

struct Incoming {
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
        // Whoever answered, who did not is looked after.
        for upstream in attempt.silent(Instant::now()) {
            self.start_probe(&group, upstream);
        }
        reply
    }

    /// Does what the attempt says until there is a reply.
    async fn converse(
        self: &Arc<Self>,
        attempt: &mut Attempt,
        group: &Arc<Group>,
        query: &Query,
    ) -> Reply {
        let mut listening: FuturesUnordered<BoxFuture<'_, Heard>> = FuturesUnordered::new();
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
            let Heard { upstream, what } = tokio::select! {
                Some(heard) = listening.next() => heard,
                () = tokio::time::sleep_until(wake.into()) => continue,
            };
            match what {
                What::Reply(incoming) => {
                    group.upstream(upstream).health.record_reply(incoming.took);
                    match attempt.replied(upstream, incoming.response.rcode, Instant::now()) {
                        ReplyDecision::Accept => return Ok(incoming.response),
                        ReplyDecision::Hold => kept = Some(incoming.response),
                    }
                }
                What::NeedsTcp => attempt.retry_over_tcp(upstream),
                What::Failed(failure) => {
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

    /// Asks one upstream once, and tells what came of it; never ends where only silence or
    /// forgeries came.
    async fn ask(
        self: &Arc<Self>,
        group: &Group,
        upstream: usize,
        transport: UpstreamTransport,
        query: &Query,
    ) -> Heard {
        let to = group.upstream(upstream);
        let metrics = to.metrics(&self.metrics);
        let Some(_waiting) = to.health.reserve_socket() else {
            return Heard { upstream, what: What::Failed(UpstreamError::NoAnswer(to.address)) };
        };
        let Ok(_socket) = self.sockets.acquire().await else { return std::future::pending().await };
        metrics.count_query();
        let began = Instant::now();
        let asked = upstream_query(query, to.health.keeps_case());
        let raw = match transport {
            UpstreamTransport::Udp => {
                metrics.count_datagram();
                udp::ask(to.address, group.settings.source, &asked, metrics.strays()).await
            }
            UpstreamTransport::Tcp => tcp::ask(self, group, to, &asked).await,
        };
        let what = match raw {
            Ok(Raw::Packet(packet)) => self.read(&packet, &asked, transport, to, began),
            Ok(Raw::Doubtful) => What::NeedsTcp,
            Err(error) => What::Failed(match distrust(&error) {
                Some(why) => UpstreamError::Untrusted(to.address, why),
                None => UpstreamError::Unreachable(to.address),
            }),
        };
        Heard { upstream, what }
    }

    fn read(
        &self,
        packet: &[u8],
        asked: &Query,
        transport: UpstreamTransport,
        to: &Upstream,
        began: Instant,
    ) -> What {
        if transport == UpstreamTransport::Tcp
            && reply::matches(packet, asked) == reply::Match::WrongCase
        {
            to.health.record_lost_case();
        }
        match reply::read(packet, asked) {
            Ok(incoming) if incoming.truncated && transport == UpstreamTransport::Udp => {
                What::NeedsTcp
            }
            Ok(incoming) => {
                let took = began.elapsed();
                to.metrics(&self.metrics).count_reply(incoming.response.rcode, took);
                What::Reply(Box::new(Incoming { response: incoming.response, took }))
            }
            // What cannot be read over UDP may be forged; over TCP it is the upstream's own.
            Err(_) if transport == UpstreamTransport::Udp => What::NeedsTcp,
            Err(reply::Fault::Malformed) => What::Failed(UpstreamError::Malformed(to.address)),
            Err(reply::Fault::AliasLoop) => What::Failed(UpstreamError::AliasLoop(to.address)),
        }
    }
}

/// What a transport brought.
enum Raw {
    /// A message that matches what was asked.
    Packet(Vec<u8>),
    /// Too many that do not match, or one that does but for its case.
    Doubtful,
}

/// The question as it goes out: id and case that nobody can guess, our own EDNS, none of the
/// client's options.
fn upstream_query(query: &Query, random_case: bool) -> Query {
    let mut asked = query.clone();
    asked.id = rand::random();
    asked.question.caps = if random_case {
        Caps::random(&asked.question.name, rand::random())
    } else {
        Caps::default()
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
