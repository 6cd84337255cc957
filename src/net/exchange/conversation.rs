//! One exchange: the sends that an attempt decides on, and the replies to them.

use std::{sync::Arc, time::Instant};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Notify, watch};

use crate::{
    chain::{Exchanged, QueryError},
    upstream::{
        Attempt, Group, NextAction, ReplyDecision, ReplySummary, SentQuery, Upstream,
        UpstreamError, UpstreamTransport,
    },
    wire::{Query, Response},
};

use super::{
    Progress, QueryBudget, Shared,
    send::{UpstreamOutcome, UpstreamResult},
};

pub(super) struct Conversation<'e> {
    pub(super) shared: &'e Arc<Shared>,
    pub(super) group: &'e Arc<Group>,
    pub(super) query: &'e Query,
    pub(super) budget: QueryBudget,
    pub(super) progress: &'e watch::Sender<Progress>,
    pub(super) stream_client: &'e Notify,
}

impl Conversation<'_> {
    /// Does what the attempt decides until there is a reply.
    pub(super) async fn run(&self, attempt: &mut Attempt) -> Exchanged {
        let mut log = Log { sent: Vec::new(), kept: None };
        match self.converse(attempt, &mut log).await {
            Ok(kept) => log.with(kept),
            Err(error) => Exchanged { sent: log.sent.into(), ..Err(error).into() },
        }
    }

    async fn converse(&self, attempt: &mut Attempt, log: &mut Log) -> Result<Kept, QueryError> {
        let Self { shared, group, query, .. } = self;
        let mut listening: FuturesUnordered<BoxFuture<'_, (usize, UpstreamResult)>> =
            FuturesUnordered::new();
        loop {
            let wake = match attempt.poll(Instant::now()) {
                NextAction::Send { upstream, transport, form } => {
                    let to = group.upstream(upstream);
                    let Some(places) = self.budget.take(shared, to) else {
                        shared.start_probe(group, upstream);
                        let error = UpstreamError::NoAnswer(transport, to.address);
                        attempt.failed(upstream, (transport, form), error, Instant::now());
                        continue;
                    };
                    let at = log.add(to, transport);
                    let client = self.budget.client;
                    let asked = shared.ask((group, upstream), (transport, form), query, client);
                    let result = asked.map(move |result| (at, result));
                    listening.push(result.inspect(move |_| drop(places)).boxed());
                    continue;
                }
                NextAction::PassOnTruncated => {
                    if let Some(kept) = &log.kept {
                        let exchanged = log.with(kept.clone());
                        let _ = self.progress.send(Progress::Truncated(exchanged));
                    }
                    continue;
                }
                NextAction::Wait(until) => until,
                // No query was sent, so the error names no upstream.
                NextAction::Done(_) if log.sent.is_empty() => return Err(QueryError::Overloaded),
                NextAction::Done(failure) => {
                    return log.kept.take().ok_or(QueryError::Upstream(failure));
                }
            };
            let (at, result) = tokio::select! {
                Some(result) = listening.next() => result,
                () = self.stream_client.notified() => {
                    attempt.stream_client_waits(Instant::now());
                    continue;
                }
                () = tokio::time::sleep_until(wake.into()) => continue,
            };
            if let Some(kept) = self.handle(attempt, (at, result), log) {
                return Ok(kept);
            }
        }
    }

    /// Returns the reply if it is the answer. A reply that may be the answer is kept.
    fn handle(
        &self,
        attempt: &mut Attempt,
        (at, result): (usize, UpstreamResult),
        log: &mut Log,
    ) -> Option<Kept> {
        let UpstreamResult { upstream, transport, form, outcome } = result;
        let health = &self.group.upstream(upstream).health;
        let now = Instant::now();
        match outcome {
            UpstreamOutcome::Reply(reply) => {
                health.record_reply(reply.took);
                log.sent[at].replied = Some(now);
                let response = reply.response;
                let summary = ReplySummary {
                    rcode: response.rcode,
                    has_answer: !response.answer.is_empty(),
                    transport,
                    form,
                    client_edns: self.query.edns.is_some(),
                };
                match attempt.replied(upstream, summary, now) {
                    ReplyDecision::Accept => {
                        log.keep(at, response);
                        return log.kept.take();
                    }
                    ReplyDecision::Hold => log.keep(at, response),
                }
            }
            UpstreamOutcome::Truncated(reply) => {
                health.record_reply(reply.took);
                log.sent[at].replied = Some(now);
                log.keep(at, reply.response);
                attempt.truncated(upstream, form, now);
            }
            UpstreamOutcome::LostCase => attempt.lost_case(upstream, form, now),
            UpstreamOutcome::NeedsTcp => attempt.retry_over_tcp(upstream, form, now),
            UpstreamOutcome::Failed(failure) => {
                self.shared.start_probe(self.group, upstream);
                attempt.failed(upstream, (transport, form), failure, now);
            }
        }
        None
    }
}

/// The queries that were sent, and the best reply so far.
struct Log {
    sent: Vec<SentQuery>,
    kept: Option<Kept>,
}

/// A reply, and the index of its query in [`Log::sent`].
#[derive(Clone)]
struct Kept {
    at: usize,
    response: Response,
}

impl Log {
    /// Returns the index of the query in `sent`.
    fn add(&mut self, to: &Upstream, over: UpstreamTransport) -> usize {
        let (upstream, proto) = (to.address, to.protocol.proto(over));
        self.sent.push(SentQuery { upstream, proto, sent: Instant::now(), replied: None });
        self.sent.len() - 1
    }

    fn keep(&mut self, at: usize, response: Response) {
        if is_better(&response, self.kept.as_ref().map(|kept| &kept.response)) {
            self.kept = Some(Kept { at, response });
        }
    }

    fn with(&self, kept: Kept) -> Exchanged {
        let Kept { at, response } = kept;
        Exchanged { reply: Ok(response), sent: self.sent.as_slice().into(), answered: Some(at) }
    }
}

/// Whether the response is worth more to the client than the one that is kept. Of two equally good
/// ones, the later one is worth more. A failure with a reason is worth more than one without.
fn is_better(response: &Response, kept: Option<&Response>) -> bool {
    kept.is_none_or(|kept| {
        let explains = response.ede.is_some() || kept.ede.is_none();
        !response.rcode.is_failure() || kept.rcode.is_failure() && explains
    })
}
