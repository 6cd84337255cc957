//! What all transports share: the server that is in force, the panic guard, and questions that wait
//! for upstreams.
#![expect(clippy::disallowed_methods, reason = "here is the clock")]

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{Receiver, Sender, channel},
    },
    task::JoinSet,
    time::timeout,
};

use crate::{
    chain::{Cx, Level, QueryError, Reply, Transport},
    limits,
    metrics::{CounterFamily, Family, IntCounter, Metrics},
    server::{Exchange, Listen, Outcome, Outgoing, Pending, Server},
    wire::{Query, Rcode, refusal},
};

use super::{exchange::Exchanger, log::Log};

pub(super) static PANICS: CounterFamily<0> =
    Family::new("panics_total", "Panics while a query was answered.", []);

/// Shared by every listener.
pub struct Dispatcher {
    /// Swapped whole on a reload; a question ends on the one it began with.
    pub server: ArcSwap<Server>,
    pub exchanger: Exchanger,
    pub metrics: Arc<Metrics>,
    pub(super) panics: IntCounter,
    pub log: Log,
    jobs: Sender<Queued>,
    /// One for each datagram's question, or refresh, that may wait for upstreams.
    places: Arc<Semaphore>,
    stream_places: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
}

/// The header of a request: enough to refuse it by.
pub(super) type Header = [u8; 12];

/// Sends a reply that comes later.
pub(super) type Send = Box<dyn FnOnce(&[u8]) + std::marker::Send>;

/// Whose question it is that does not end at once, and on which server.
pub(super) struct Asked {
    pub(super) server: Arc<Server>,
    pub(super) listen: Listen,
    pub(super) header: Header,
    pub(super) cx: Cx,
}

/// A question that waits for upstreams.
pub(super) struct Job {
    pub(super) asked: Asked,
    pub(super) pending: Box<Pending>,
    pub(super) exchange: Exchange,
}

/// A question that left the thread it came in on.
struct Queued {
    job: Job,
    /// Takes the reply; a refresh has nobody who wants it.
    send: Option<Send>,
    place: OwnedSemaphorePermit,
}

impl Dispatcher {
    /// The dispatcher, and the task that runs what waits for upstreams; it ends when the dispatcher
    /// is gone.
    pub fn new(
        server: Server,
        metrics: Arc<Metrics>,
        log: Log,
    ) -> (Arc<Self>, impl Future<Output = ()> + std::marker::Send + 'static) {
        let (jobs, receiver) = channel(limits::JOBS_QUEUED);
        let exchanger = Exchanger::new(Arc::clone(&metrics));
        let numbers = [limits::JOBS, limits::STREAM_JOBS, limits::TRANSFERS];
        let [places, stream_places, transfers] = numbers.map(|most| Arc::new(Semaphore::new(most)));
        let server = ArcSwap::from_pointee(server);
        let dispatcher = Arc::new(Self {
            server,
            exchanger,
            panics: PANICS.with(&metrics, []),
            metrics,
            log,
            jobs,
            places,
            stream_places,
            transfers,
        });
        let weak = Arc::downgrade(&dispatcher);
        (dispatcher, async move { run(&weak, receiver).await })
    }

    /// Waits until what datagrams asked is answered; nothing is listened on any more.
    pub async fn finish(&self) {
        // Whoever holds every place knows that nobody waits.
        let _ = timeout(limits::QUERY_TIME, self.places.acquire_many(limits::JOBS as u32)).await;
        self.exchanger.finish().await;
    }

    /// Makes `server` the one that is in force, unless that one does not listen there any more: a
    /// listener that is about to close answers as before.
    pub(super) fn renew(&self, server: &mut Arc<Server>, listen: Listen) {
        let now = self.server.load();
        if !Arc::ptr_eq(&now, server) && now.listens().any(|other| other == listen) {
            *server = Arc::clone(&now);
        }
    }

    /// Answers a message as far as that goes without waiting.
    pub(super) fn receive(
        &self,
        server: &Server,
        listen: Listen,
        packet: &[u8],
        cx: &mut Cx,
        out: &mut Vec<u8>,
    ) -> Outcome {
        self.guarded(packet, out, |out| server.receive(listen, packet, cx, out))
    }

    /// The next message of a zone on its way.
    pub(super) fn next_message(&self, zone: &mut Outgoing, out: &mut Vec<u8>) -> bool {
        let more =
            self.guarded(
                &[],
                out,
                |out| if zone.write(out) { Outcome::Reply } else { Outcome::Silence },
            );
        matches!(more, Outcome::Reply)
    }

    fn resume(
        &self,
        asked: &mut Asked,
        pending: Box<Pending>,
        reply: Reply,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Asked { server, header, cx, .. } = asked;
        cx.now = Instant::now();
        self.guarded(header, out, |out| server.resume(pending, reply, cx, out))
    }

    /// A panic costs its one question, which is answered with SERVFAIL where its header can be
    /// read.
    fn guarded(
        &self,
        header: &[u8],
        out: &mut Vec<u8>,
        answer: impl FnOnce(&mut Vec<u8>) -> Outcome,
    ) -> Outcome {
        let start = out.len();
        catch_unwind(AssertUnwindSafe(|| answer(out))).unwrap_or_else(|_| {
            self.panics.inc();
            if self.server.load().debug {
                // What a Go program ends with where nobody recovers.
                std::process::exit(2);
            }
            self.log.say(Level::Error, "Recovered from panic in server");
            out.truncate(start);
            refusal(header, Rcode::SERVFAIL, out);
            if out.len() > start { Outcome::Reply } else { Outcome::Silence }
        })
    }

    /// A place among the questions of streams that wait for upstreams, if one is free. They have
    /// places of their own, so that a flood of connections leaves datagrams theirs.
    pub(super) fn stream_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.stream_places).try_acquire_owned().ok()
    }

    /// A place among the zones that are on their way, if one is free.
    pub(super) fn transfer_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.transfers).try_acquire_owned().ok()
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Leaves a question to a task; where they are too many, ends it. True where a reply was
    /// appended.
    pub(super) fn hand_over(&self, job: Job, send: Send, out: &mut Vec<u8>) -> bool {
        let Some(place) = self.place() else { return self.turn_away(job, out) };
        match self.jobs.try_send(Queued { job, send: Some(send), place }) {
            Ok(()) => false,
            Err(rejected) => self.turn_away(rejected.into_inner().job, out),
        }
    }

    /// Ends a question that cannot wait; true where a reply was appended.
    pub(super) fn turn_away(&self, job: Job, out: &mut Vec<u8>) -> bool {
        let Job { mut asked, mut pending, .. } = job;
        let mut replied = false;
        // Plugins may have something else to ask, which cannot wait either.
        for _ in 0..limits::NESTED_QUERIES {
            match self.resume(&mut asked, pending, Err(QueryError::Overloaded), out) {
                Outcome::Exchange(next, _) => pending = next,
                outcome => {
                    replied = matches!(outcome, Outcome::Reply);
                    break;
                }
            }
        }
        self.after(&asked.server, asked.listen, &mut asked.cx);
        replied
    }

    /// Runs a question to its end; true where a reply was appended.
    pub(super) async fn drive(&self, job: Job, out: &mut Vec<u8>) -> bool {
        let Job { mut asked, mut pending, mut exchange } = job;
        let replied = loop {
            let reply = timeout(patience(&mut asked.cx), self.exchanger.exchange(exchange)).await;
            match self.resume(&mut asked, pending, reply.unwrap_or(Err(QueryError::Impatient)), out)
            {
                Outcome::Reply => break true,
                // A zone is handed over at once or not at all.
                Outcome::Silence | Outcome::Transfer(_) => break false,
                Outcome::Exchange(next, ask) => (pending, exchange) = (next, ask),
            }
        };
        self.after(&asked.server, asked.listen, &mut asked.cx);
        replied
    }

    /// Answers a question that nobody's else waits behind; `None` where nothing is to be sent.
    pub(super) async fn answer(
        &self,
        server: &Arc<Server>,
        listen: Listen,
        packet: &[u8],
        mut cx: Cx,
    ) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let replied = match self.receive(server, listen, packet, &mut cx, &mut out) {
            Outcome::Exchange(pending, exchange) => {
                let asked =
                    Asked { server: Arc::clone(server), listen, header: header_of(packet), cx };
                let job = Job { asked, pending, exchange };
                match self.stream_place() {
                    Some(_place) => self.drive(job, &mut out).await,
                    None => self.turn_away(job, &mut out),
                }
            }
            outcome => {
                if let Outcome::Transfer(zone) = &outcome {
                    // A zone is many messages, and here goes one.
                    server.put_off(zone, &mut cx, &mut out);
                }
                self.after(server, listen, &mut cx);
                matches!(outcome, Outcome::Reply | Outcome::Transfer(_))
            }
        };
        replied.then_some(out)
    }

    /// What plugins left behind with an answer: log lines, and questions to ask once more.
    pub(super) fn after(&self, server: &Arc<Server>, listen: Listen, cx: &mut Cx) {
        for line in cx.lines.drain(..) {
            self.log.write(line);
        }
        for query in std::mem::take(&mut cx.refreshes) {
            self.refresh(server, listen, query, new_cx(cx.peer, cx.local, cx.transport));
        }
    }

    /// There is no harm in a refresh that does not happen.
    fn refresh(&self, server: &Arc<Server>, listen: Listen, query: Query, mut cx: Cx) {
        let outcome =
            self.guarded(&[], &mut Vec::new(), |_| server.refresh(listen, query, &mut cx));
        if let (Outcome::Exchange(pending, exchange), Some(place)) = (outcome, self.place()) {
            let asked = Asked { server: Arc::clone(server), listen, header: Header::default(), cx };
            let _ = self.jobs.try_send(Queued {
                job: Job { asked, pending, exchange },
                send: None,
                place,
            });
        }
    }
}

/// How long the next exchange is waited for: what a plugin says, but no longer than a client waits
/// for all of it.
fn patience(cx: &mut Cx) -> Duration {
    let left = (cx.started + limits::QUERY_TIME).saturating_duration_since(Instant::now());
    cx.patience.take().map_or(left, |patience| patience.min(left))
}

/// A context for a question that comes in now. What an IPv6 socket calls `::ffff:192.0.2.1` is that
/// IPv4 address.
pub(super) fn new_cx(peer: SocketAddr, local: SocketAddr, transport: Transport) -> Cx {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    Cx::new(Instant::now(), rand::random(), canonical(peer), canonical(local), transport)
}

/// A question that is on its way was read, so it has a header.
pub(super) fn header_of(packet: &[u8]) -> Header {
    packet.first_chunk().copied().unwrap_or_default()
}

async fn run(dispatcher: &Weak<Dispatcher>, mut jobs: Receiver<Queued>) {
    let mut tasks = JoinSet::new();
    while let Some(Queued { job, send, place }) = jobs.recv().await {
        while tasks.try_join_next().is_some() {}
        let Some(dispatcher) = dispatcher.upgrade() else { break };
        tasks.spawn(async move {
            let mut out = Vec::new();
            let replied = dispatcher.drive(job, &mut out).await;
            if let Some(send) = send.filter(|_| replied) {
                send(&out);
            }
            drop(place);
        });
    }
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Said, UPSTREAM, World, eventually, here};
    use super::*;

    fn all(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        let count = places.available_permits() as u32;
        Arc::clone(places).try_acquire_many_owned(count).unwrap()
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_told_at_once() {
        let world = World::start().await;
        world.upstream.reply();
        let (udp, mut tcp) = (world.udp().await, world.tcp().await);
        let (failure, success) = (|id| Said::Failure(id, 2), |id| Said::Address(id, UPSTREAM));
        let full = all(&world.dispatcher.places);
        udp.ask(1, "slow.").await;
        assert_eq!(udp.receive().await, failure(1));
        udp.ask(2, "here.").await;
        assert_eq!(udp.receive().await, here(2));
        tcp.ask(3, "slow.").await;
        assert_eq!(tcp.receive().await, Some(success(3)));
        drop(full);

        let full = all(&world.dispatcher.stream_places);
        tcp.ask(4, "slow.").await;
        assert_eq!(tcp.receive().await, Some(failure(4)));
        udp.ask(5, "slow.").await;
        assert_eq!(udp.receive().await, success(5));
        drop(full);
        tcp.ask(6, "slow.").await;
        assert_eq!(tcp.receive().await, Some(success(6)));
    }

    #[tokio::test]
    async fn places_are_given_back() {
        let world = World::start().await;
        let (udp, mut tcp) = (world.udp().await, world.tcp().await);
        udp.ask(1, "slow.").await;
        udp.ask(2, "panic-late.").await;
        tcp.ask(3, "slow.").await;
        world.upstream.has_heard(2).await;
        let taken = || {
            [
                limits::JOBS - world.dispatcher.places.available_permits(),
                limits::STREAM_JOBS - world.dispatcher.stream_places.available_permits(),
            ]
        };
        assert_eq!(taken(), [2, 1]);
        world.upstream.reply();
        tcp.receive().await.unwrap();
        world.dispatcher.finish().await;
        tcp.ask(4, "here.").await;
        tcp.receive().await.unwrap();
        assert_eq!(taken(), [0, 0]);
    }

    #[tokio::test]
    async fn zones_come_in_turn_and_few_at_a_time() {
        let world = World::start().await;
        let mut client = world.tcp().await;
        client.ask_for_zone(1, "5000.").await;
        client.ask(2, "here.").await;
        let mut records = 0;
        while records < 5002 {
            let message = client.receive_message().await.unwrap();
            assert!(
                message.len() <= limits::TRANSFER_OCTETS && message[1] == 1,
                "{} octets",
                message.len()
            );
            records += usize::from(u16::from_be_bytes([message[6], message[7]]));
        }
        assert_eq!((records, client.receive().await), (5002, Some(here(2))));

        let full = all(&world.dispatcher.transfers);
        client.ask_for_zone(3, "1.").await;
        assert_eq!(client.receive().await, Some(Said::Failure(3, 2)));
        drop(full);
        client.ask_for_zone(4, "1.").await;
        // What it ends with are the SOA record's numbers.
        assert_eq!(client.receive().await, Some(Said::Address(4, [0; 4])));
    }

    #[tokio::test]
    async fn who_takes_nothing_of_a_zone_has_to_leave() {
        let world = World::start().await;
        let mut client = world.tcp().await;
        client.ask_for_zone(1, "endless.").await;
        client.receive_message().await.unwrap();
        assert_eq!(world.dispatcher.transfers.available_permits(), limits::TRANSFERS - 1);
        tokio::time::sleep(limits::TCP_WRITE_TIME).await;
        eventually("its place is free", async || {
            world.dispatcher.transfers.available_permits() == limits::TRANSFERS
        })
        .await;
    }

    #[test]
    fn no_exchange_is_waited_for_longer_than_a_client_waits() {
        let address = ([192, 0, 2, 1], 53).into();
        let check = |ago: Duration, said: Option<Duration>, expected: Duration| {
            let mut cx = new_cx(address, address, Transport::Udp);
            cx.started -= ago;
            cx.patience = said;
            let waits = patience(&mut cx);
            assert!(
                waits <= expected && waits + Duration::from_millis(500) > expected,
                "{ago:?} {said:?}: {waits:?}"
            );
            assert_eq!(cx.patience, None, "it is said for one exchange");
        };
        let second = Duration::from_secs(1);
        check(Duration::ZERO, None, limits::QUERY_TIME);
        check(Duration::ZERO, Some(second), second);
        check(2 * second, None, limits::QUERY_TIME - 2 * second);
        check(limits::QUERY_TIME - second, Some(2 * second), second);
        check(2 * limits::QUERY_TIME, None, Duration::ZERO);
    }
}
