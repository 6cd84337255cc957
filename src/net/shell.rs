//! What all transports share: the server that is in force, the panic guard, and questions that wait for upstreams.
#![expect(clippy::disallowed_methods, reason = "here is the clock")]

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinSet,
};

use crate::{
    chain::{Cx, Failure, Level, Reply, Transport},
    limits,
    metrics::Metrics,
    server::{Exchange, Listen, Outcome, Pending, Server},
    wire::{Rcode, refusal},
};

use super::{exchange::Exchanger, log::Log};

/// Shared by every listener.
pub struct Shell {
    /// Swapped whole on a reload; a question ends on the one it began with.
    pub server: ArcSwap<Server>,
    pub exchanger: Exchanger,
    pub metrics: Arc<Metrics>,
    pub log: Log,
    jobs: Sender<Job>,
}

/// Sends a reply that comes later.
pub(super) type Send = Box<dyn FnOnce(&[u8]) + std::marker::Send>;

/// A question that left the thread it came in on.
pub(super) struct Job {
    pub(super) server: Arc<Server>,
    pub(super) listen: Listen,
    pub(super) pending: Box<Pending>,
    pub(super) exchange: Exchange,
    pub(super) cx: Cx,
    /// Takes the reply; a refresh has nobody who wants it.
    pub(super) send: Option<Send>,
}

impl Shell {
    /// The shell, and the task that runs what waits for upstreams; it ends when the shell is gone.
    pub fn new(server: Server, metrics: Arc<Metrics>, log: Log) -> (Arc<Self>, impl Future<Output = ()> + std::marker::Send + 'static) {
        let (jobs, receiver) = channel(limits::JOBS_QUEUED);
        let exchanger = Exchanger::new(Arc::clone(&metrics));
        let shell = Arc::new(Self { server: ArcSwap::from_pointee(server), exchanger, metrics, log, jobs });
        let weak = Arc::downgrade(&shell);
        (shell, async move { run(&weak, receiver).await })
    }

    /// Answers a message as far as that goes without waiting. A panic costs its one question.
    pub(super) fn receive(&self, server: &Server, listen: Listen, packet: &[u8], cx: &mut Cx, out: &mut Vec<u8>) -> Outcome {
        let start = out.len();
        let answer = catch_unwind(AssertUnwindSafe(|| server.receive(listen, packet, cx, out)));
        answer.unwrap_or_else(|_| {
            self.count_panic();
            out.truncate(start);
            refusal(packet, Rcode::SERVFAIL, out);
            Outcome::Reply
        })
    }

    fn resume(&self, server: &Server, pending: Box<Pending>, reply: Reply, cx: &mut Cx, out: &mut Vec<u8>) -> Outcome {
        cx.now = Instant::now();
        let answer = catch_unwind(AssertUnwindSafe(|| server.resume(pending, reply, cx, out)));
        answer.unwrap_or_else(|_| {
            self.count_panic();
            Outcome::Silence
        })
    }

    fn count_panic(&self) {
        self.metrics.panics.inc();
        self.log.say(Level::Error, "Recovered from panic in server");
    }

    /// Hands a question to the tasks; where they are too many, ends it. True where a reply was appended.
    pub(super) fn hand_over(&self, job: Job, out: &mut Vec<u8>) -> bool {
        let Err(rejected) = self.jobs.try_send(job) else { return false };
        let Job { server, listen, pending, mut cx, .. } = rejected.into_inner();
        let replied = matches!(self.resume(&server, pending, Err(Failure::Overloaded), &mut cx, out), Outcome::Reply);
        self.after(&server, listen, &mut cx);
        replied
    }

    /// Runs a question to its end; true where a reply was appended.
    pub(super) async fn drive(&self, server: &Arc<Server>, mut outcome: Outcome, cx: &mut Cx, out: &mut Vec<u8>) -> bool {
        loop {
            let (pending, exchange) = match outcome {
                Outcome::Reply => return true,
                Outcome::Silence => return false,
                Outcome::Exchange(pending, exchange) => (pending, exchange),
            };
            let patience = cx.patience.take().unwrap_or(limits::QUERY_TIME);
            let reply = tokio::time::timeout(patience, self.exchanger.exchange(exchange)).await;
            outcome = self.resume(server, pending, reply.unwrap_or(Err(Failure::Impatient)), cx, out);
        }
    }

    /// What plugins left behind with an answer: log lines, and questions to ask once more.
    pub(super) fn after(&self, server: &Arc<Server>, listen: Listen, cx: &mut Cx) {
        for line in cx.lines.drain(..) {
            self.log.write(line);
        }
        for query in std::mem::take(&mut cx.refreshes) {
            let mut fresh = new_cx(cx.peer, cx.local, cx.transport);
            if let Outcome::Exchange(pending, exchange) = server.refresh(listen, query, &mut fresh) {
                let job = Job { server: Arc::clone(server), listen, pending, exchange, cx: fresh, send: None };
                // There is no harm in a refresh that does not happen.
                let _ = self.jobs.try_send(job);
            }
        }
    }
}

/// A context for a question that comes in now.
pub(super) fn new_cx(peer: SocketAddr, local: SocketAddr, transport: Transport) -> Cx {
    Cx::new(Instant::now(), rand::random(), peer, local, transport)
}

async fn run(shell: &std::sync::Weak<Shell>, mut jobs: Receiver<Job>) {
    let mut tasks = JoinSet::new();
    while let Some(job) = jobs.recv().await {
        while tasks.len() >= limits::JOBS || tasks.try_join_next().is_some() {
            if tasks.len() >= limits::JOBS {
                tasks.join_next().await;
            }
        }
        let Some(shell) = shell.upgrade() else { break };
        tasks.spawn(async move {
            let Job { server, listen, pending, exchange, mut cx, send } = job;
            let mut out = Vec::with_capacity(limits::UDP_OCTETS.into());
            let replied = shell.drive(&server, Outcome::Exchange(pending, exchange), &mut cx, &mut out).await;
            if let Some(send) = send.filter(|_| replied) {
                send(&out);
            }
            shell.after(&server, listen, &mut cx);
        });
    }
    while tasks.join_next().await.is_some() {}
}
