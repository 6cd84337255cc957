//! What all transports share: the current server, recovery from panics, and limits on queries that
//! wait for upstreams.
#![expect(clippy::disallowed_methods, reason = "the clock is read here")]

mod turns;
mod waiting;

use std::{
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio::time::{sleep, timeout};

use crate::{
    chain::{Cx, QueryError, Refresh, Transport},
    limits,
    metrics::{IntCounter, Metrics},
    server::{Listen, Outcome, Outgoing, Server},
    shares::{Share, Shares},
    wire::{Rcode, refusal},
};

use super::{exchange::Exchanger, log, panics::PANICS};

use waiting::QueuedQuery;
pub(super) use waiting::{ReceivedQuery, WaitingQuery};

/// Shared by every listener.
pub struct Dispatcher {
    /// A reload replaces it as a whole. A query ends on the server that it began with.
    pub server: ArcSwap<Server>,
    pub exchanger: Exchanger,
    pub metrics: Arc<Metrics>,
    pub(super) panics: IntCounter,
    /// Whether the process is about to stop.
    closing: AtomicBool,
    /// The queries that wait for a task. Each of them holds a permit.
    queue: turns::Sender<Box<QueuedQuery>>,
    /// One permit for each query of a datagram, and each refresh, that waits for upstreams.
    datagram_permits: Arc<Shares>,
    stream_permits: Arc<Shares>,
    transfer_permits: Arc<Shares>,
}

/// The header of a request, which is enough to refuse it.
pub(super) type Header = [u8; 12];

/// Whether a call appended a reply to its output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appended {
    Reply,
    Nothing,
}

impl Dispatcher {
    /// Returns the dispatcher, and the task that runs its queue. The task ends when the dispatcher
    /// is dropped.
    pub fn new(
        server: Server,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (queue, receiver) = turns::queue();
        let dispatcher = Arc::new(Self {
            server: ArcSwap::from_pointee(server),
            exchanger: Exchanger::new(Arc::clone(&metrics)),
            panics: PANICS.with(&metrics, []),
            metrics,
            closing: AtomicBool::new(false),
            queue,
            datagram_permits: Shares::new(limits::JOBS),
            stream_permits: Shares::new(limits::STREAM_JOBS),
            transfer_permits: Shares::new(limits::TRANSFERS),
        });
        let weak = Arc::downgrade(&dispatcher);
        (dispatcher, async move { waiting::run_queue(&weak, receiver).await })
    }

    /// From now on, replies over TCP and TLS ask their clients to close the connection.
    pub fn announce_close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Waits until the queries of datagrams are answered. The caller has closed the listeners.
    pub async fn finish(&self) {
        let _ = timeout(limits::QUERY_TIME, async {
            while self.datagram_permits.taken() > 0 {
                sleep(limits::FINISH_POLL).await;
            }
        })
        .await;
        self.exchanger.finish().await;
    }

    /// Replaces `server` by the current one, unless the current one no longer listens at `listen`:
    /// a listener that is about to close answers as before.
    pub(super) fn update_server(&self, server: &mut Arc<Server>, listen: Listen) {
        let current = self.server.load();
        if !Arc::ptr_eq(&current, server) && current.listens().any(|other| other == listen) {
            *server = Arc::clone(&current);
        }
    }

    /// Answers a message as far as that is possible without waiting.
    pub(super) fn receive(
        &self,
        server: &Server,
        listen: Listen,
        packet: &[u8],
        cx: &mut Cx,
        out: &mut Vec<u8>,
    ) -> Outcome {
        self.catch_panic(packet, out, |out| server.receive(listen, packet, cx, out))
    }

    /// Appends the next message of a zone transfer.
    pub(super) fn next_transfer_message(&self, zone: &mut Outgoing, out: &mut Vec<u8>) -> Appended {
        let outcome = self.catch_panic(&[], out, |out| match zone.write(Instant::now(), out) {
            true => Outcome::Reply,
            false => Outcome::Silence,
        });
        match outcome {
            Outcome::Reply => Appended::Reply,
            _ => Appended::Nothing,
        }
    }

    /// A panic costs only its query, which gets SERVFAIL if its header can be read. With `debug` a
    /// panic ends the process, as in CoreDNS.
    fn catch_panic(
        &self,
        header: &[u8],
        out: &mut Vec<u8>,
        answer: impl FnOnce(&mut Vec<u8>) -> Outcome,
    ) -> Outcome {
        let start = out.len();
        catch_unwind(AssertUnwindSafe(|| answer(out))).unwrap_or_else(|_| {
            self.panics.inc();
            if self.server.load().debug {
                // The exit code of a Go program that does not recover from a panic.
                std::process::exit(2);
            }
            tracing::error!("Recovered from panic in server");
            out.truncate(start);
            refusal(header, Rcode::SERVFAIL, out);
            if out.len() > start { Outcome::Reply } else { Outcome::Silence }
        })
    }

    /// A permit for a query of a connection that waits for upstreams, if the client may have
    /// another one. Connections have their own permits, so that many connections cannot take the
    /// permits of datagrams.
    pub(super) fn stream_permit(&self, client: IpAddr) -> Option<Share> {
        self.stream_permits.take(client)
    }

    /// A permit for a zone transfer, if the client may have another one.
    pub(super) fn transfer_permit(&self, client: IpAddr) -> Option<Share> {
        self.transfer_permits.take(client)
    }

    /// How many queries wait for upstreams.
    pub(super) fn waiting(&self) -> usize {
        self.datagram_permits.taken() + self.stream_permits.taken()
    }

    fn datagram_permit(&self, client: IpAddr) -> Option<Share> {
        self.datagram_permits.take(client)
    }

    /// Answers a query whose caller may wait, because no other query waits behind it. `None` if
    /// nothing is to be sent.
    pub(super) async fn answer(
        &self,
        server: &Arc<Server>,
        listen: Listen,
        packet: &[u8],
        mut cx: Cx,
    ) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let appended = match self.receive(server, listen, packet, &mut cx, &mut out) {
            Outcome::Wait(pending, wait) => {
                let received = ReceivedQuery::new(server, listen, packet, cx);
                let query = WaitingQuery { received, pending, wait };
                match self.stream_permit(query.received.client()) {
                    Some(_permit) => self.complete(query, &mut out).await,
                    None => self.fail(query, QueryError::Overloaded, &mut out),
                }
            }
            outcome => {
                if let Outcome::Transfer(zone) = &outcome {
                    // A zone is many messages, and this transport carries one reply.
                    server.put_off(zone, &mut cx, &mut out);
                }
                self.finish_query(server, listen, &mut cx);
                match outcome {
                    Outcome::Reply | Outcome::Transfer(_) => Appended::Reply,
                    _ => Appended::Nothing,
                }
            }
        };
        (appended == Appended::Reply).then_some(out)
    }

    /// Measures the time of the query, writes the log lines and starts the refreshes that plugins
    /// left in the context.
    pub(super) fn finish_query(&self, server: &Arc<Server>, listen: Listen, cx: &mut Cx) {
        if let Some(timer) = cx.timer.take() {
            timer.observe(cx.started.elapsed().as_secs_f64());
        }
        cx.lines.drain(..).for_each(|line| log::emit(&line));
        if !cx.at_sending.is_empty() {
            let now = Instant::now();
            cx.at_sending.drain(..).for_each(|it| it.record(now));
        }
        for refresh in std::mem::take(&mut cx.refreshes) {
            self.refresh(server, listen, refresh, new_cx(cx.peer, cx.local, cx.transport));
        }
    }

    /// Starts a refresh, unless too many queries wait: a refresh may be skipped.
    fn refresh(&self, server: &Arc<Server>, listen: Listen, refresh: Refresh, mut cx: Cx) {
        let outcome =
            self.catch_panic(&[], &mut Vec::new(), |_| server.refresh(listen, refresh, &mut cx));
        if let (Outcome::Wait(pending, wait), Some(permit)) =
            (outcome, self.datagram_permit(cx.peer.ip()))
        {
            let client = cx.peer.ip();
            let received = ReceivedQuery::new(server, listen, &[], cx);
            let query = WaitingQuery { received, pending, wait };
            let _ = self.queue.send(client, Box::new(QueuedQuery { query, send: None, permit }));
        }
    }
}

/// The context of a query that arrives now. An IPv6 socket shows an IPv4 address as
/// `::ffff:192.0.2.1`; the context has the IPv4 address. Other addresses keep their interface.
pub(super) fn new_cx(peer: SocketAddr, local: SocketAddr, transport: Transport) -> Cx {
    let canonical = |address: SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        IpAddr::V6(_) => address,
    };
    Cx::new(Instant::now(), rand::random(), canonical(peer), canonical(local), transport)
}

#[cfg(test)]
mod tests;
