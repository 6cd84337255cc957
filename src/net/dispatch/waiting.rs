//! Queries that wait for upstreams. They wait in tasks behind a bounded queue, and never longer
//! than their client waits.
#![expect(clippy::disallowed_methods, reason = "the clock is read here")]

use std::{
    net::IpAddr,
    pin::pin,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::future::poll_immediate;
use tokio::{
    sync::Semaphore,
    task::{JoinSet, spawn_blocking, yield_now},
    time::{sleep, timeout},
};

use crate::{
    chain::{Commit, Committed, Cx, Exchanged, QueryError, Reply, Transport},
    limits,
    server::{Listen, Outcome, Pending, Server, Wait},
    shares::Share,
    wire::{Rcode, Response},
};

use super::{
    super::exchange::{Waiter, WaiterKind},
    Appended, Dispatcher, Header, turns,
};

/// A query, the listener that received it, and the server that answers it.
pub(in crate::net) struct ReceivedQuery {
    server: Arc<Server>,
    listen: Listen,
    header: Header,
    cx: Cx,
}

impl ReceivedQuery {
    /// `packet` is empty for a refresh, which has no client.
    pub(in crate::net) fn new(server: &Arc<Server>, listen: Listen, packet: &[u8], cx: Cx) -> Self {
        let header = packet.first_chunk().copied().unwrap_or_default();
        Self { server: Arc::clone(server), listen, header, cx }
    }

    /// The address that the query came from.
    pub(in crate::net) fn client(&self) -> IpAddr {
        self.cx.peer.ip()
    }
}

/// A query that waits for upstreams.
pub(in crate::net) struct WaitingQuery {
    pub(in crate::net) received: ReceivedQuery,
    pub(in crate::net) pending: Box<Pending>,
    pub(in crate::net) wait: Wait,
}

/// Sends the reply to a query that waited.
type SendReply = Box<dyn FnOnce(&[u8]) + Send>;

/// A query that has left the thread that received it.
pub(super) struct QueuedQuery {
    pub(super) query: WaitingQuery,
    /// `None` for a refresh, which has no client.
    pub(super) send: Option<SendReply>,
    pub(super) permit: Share,
}

impl Dispatcher {
    /// Leaves a query to a task, which sends the reply. If too many queries of its client wait, the
    /// query fails at once and its reply is appended.
    pub(in crate::net) fn enqueue(
        &self,
        query: WaitingQuery,
        send: SendReply,
        out: &mut Vec<u8>,
    ) -> Appended {
        let client = query.received.client();
        let Some(permit) = self.datagram_permit(client) else {
            return self.fail(query, QueryError::Overloaded, out);
        };
        let queued = Box::new(QueuedQuery { query, send: Some(send), permit });
        match self.queue.send(client, queued) {
            Ok(()) => Appended::Nothing,
            Err(rejected) => self.fail(rejected.query, QueryError::Overloaded, out),
        }
    }

    /// Ends a query that cannot wait.
    pub(in crate::net) fn fail(
        &self,
        query: WaitingQuery,
        error: QueryError,
        out: &mut Vec<u8>,
    ) -> Appended {
        let WaitingQuery { mut received, mut pending, .. } = query;
        let mut appended = Appended::Nothing;
        // A plugin may react with another query, which cannot wait either.
        for _ in 0..limits::NESTED_QUERIES {
            match self.resume(&mut received, pending, Err(error).into(), out) {
                Outcome::Wait(next, _) => pending = next,
                Outcome::Reply => {
                    appended = Appended::Reply;
                    break;
                }
                Outcome::Silence | Outcome::Transfer(_) => break,
            }
        }
        self.finish_query(&received.server, received.listen, &mut received.cx);
        appended
    }

    /// Runs a query to its end.
    pub(in crate::net) async fn complete(
        &self,
        query: WaitingQuery,
        out: &mut Vec<u8>,
    ) -> Appended {
        let WaitingQuery { mut received, mut pending, mut wait } = query;
        let appended = loop {
            let has_stale = std::mem::take(&mut received.cx.has_stale_reply);
            let limit = exchange_time(&mut received.cx);
            let (waiter, exchanger) = (waiter(&received.cx), &self.exchanger);
            let exchanged = match wait {
                Wait::Pause(time, response) => {
                    sleep(time.min(limit)).await;
                    Ok(Ok(*response).into())
                }
                Wait::Commit(commit) => Ok(self.commit(commit, &mut received.cx).await.into()),
                Wait::Exchange(exchange) if has_stale => {
                    timeout(limit, exchanger.exchange_while_up(waiter, exchange)).await
                }
                Wait::Exchange(exchange) => {
                    timeout(limit, exchanger.exchange_for(waiter, exchange)).await
                }
            };
            let exchanged = exchanged.unwrap_or_else(|_| Err(QueryError::Impatient).into());
            match self.resume(&mut received, pending, exchanged, out) {
                Outcome::Reply => break Appended::Reply,
                // A zone transfer starts at once or never, so it does not follow an exchange.
                Outcome::Silence | Outcome::Transfer(_) => break Appended::Nothing,
                Outcome::Wait(next, then) => (pending, wait) = (next, then),
            }
        };
        self.finish_query(&received.server, received.listen, &mut received.cx);
        appended
    }

    /// Makes a change to its end, however long its client waits.
    async fn commit(&self, commit: Arc<dyn Commit>, cx: &mut Cx) -> Reply {
        match spawn_blocking(move || commit.commit()).await {
            Ok(Committed { response, lines }) => {
                cx.lines.extend(lines);
                Ok(response)
            }
            Err(_) => {
                self.panics.inc();
                Ok(Response::of(Rcode::SERVFAIL))
            }
        }
    }

    fn resume(
        &self,
        received: &mut ReceivedQuery,
        pending: Box<Pending>,
        exchanged: Exchanged,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let ReceivedQuery { server, header, cx, .. } = received;
        cx.now = Instant::now();
        self.catch_panic(header, out, |out| server.resume(pending, exchanged, cx, out))
    }
}

/// How long to wait for the next exchange: the time that a plugin set, or what is left of the time
/// that a client waits, whichever is shorter.
pub(super) fn exchange_time(cx: &mut Cx) -> Duration {
    let whole = if cx.refresh { limits::LATE_REPLY_TIME } else { limits::EXCHANGE_TIME };
    let left = (cx.started + whole).saturating_duration_since(Instant::now());
    cx.patience.take().map_or(left, |patience| patience.min(left))
}

fn waiter(cx: &Cx) -> Waiter {
    let kind = match cx.transport {
        _ if cx.refresh => WaiterKind::Refresh,
        Transport::Udp => WaiterKind::Datagram,
        _ => WaiterKind::Stream,
    };
    Waiter { kind, client: cx.peer.ip() }
}

/// Starts the queued queries. If the machine is busy, at most [`limits::STARTING_QUERIES`] of them
/// are with the runtime, which runs them in the order of their start. The others wait in the queue,
/// where clients take turns.
pub(super) async fn run_queue(
    dispatcher: &Weak<Dispatcher>,
    mut queue: turns::Receiver<Box<QueuedQuery>>,
) {
    let mut tasks = JoinSet::new();
    let starting = Arc::new(Semaphore::new(limits::STARTING_QUERIES));
    while let Ok(start) = Arc::clone(&starting).acquire_owned().await {
        let queued = loop {
            let queued = timeout(limits::MEMORY_INTERVAL, queue.next()).await;
            // The memory of a task that has ended is freed only by this call.
            while tasks.try_join_next().is_some() {}
            if let Ok(queued) = queued {
                break queued;
            }
        };
        let Some(queued) = queued else { break };
        let Some(dispatcher) = dispatcher.upgrade() else { break };
        tasks.spawn(async move {
            let QueuedQuery { query, send, permit } = *queued;
            let mut out = Vec::new();
            let appended = {
                let mut complete = pin!(dispatcher.complete(query, &mut out));
                match poll_immediate(&mut complete).await {
                    Some(appended) => appended,
                    None => {
                        // This lets the task that sends the query to an upstream run first.
                        yield_now().await;
                        drop(start);
                        complete.await
                    }
                }
            };
            if let Some(send) = send.filter(|_| appended == Appended::Reply) {
                send(&out);
            }
            drop(permit);
        });
    }
    while tasks.join_next().await.is_some() {}
}
