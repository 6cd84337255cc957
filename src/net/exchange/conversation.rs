//! One exchange: the sends that an attempt decides on, and the replies to them.

use std::{sync::Arc, time::Instant};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{Notify, watch};

use crate::{
    chain::{QueryError, Reply},
    upstream::{Attempt, Group, NextAction, ReplyDecision, ReplySummary, UpstreamError},
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
    pub(super) async fn run(&self, attempt: &mut Attempt) -> Reply {
        let Self { shared, group, query, .. } = self;
        let mut listening: FuturesUnordered<BoxFuture<'_, UpstreamResult>> =
            FuturesUnordered::new();
        let (mut kept, mut sent) = (None, false);
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
                    sent = true;
                    let client = self.budget.client;
                    let asked = shared.ask((group, upstream), (transport, form), query, client);
                    listening.push(asked.inspect(move |_| drop(places)).boxed());
                    continue;
                }
                NextAction::PassOnTruncated => {
                    if let Some(response) = &kept {
                        let _ = self.progress.send(Progress::Truncated(Response::clone(response)));
                    }
                    continue;
                }
                NextAction::Wait(until) => until,
                // No upstream can be blamed.
                NextAction::Done(_) if !sent => return Err(QueryError::Overloaded),
                NextAction::Done(failure) => return kept.ok_or(QueryError::Upstream(failure)),
            };
            let result = tokio::select! {
                Some(result) = listening.next() => result,
                () = self.stream_client.notified() => {
                    attempt.stream_client_waits(Instant::now());
                    continue;
                }
                () = tokio::time::sleep_until(wake.into()) => continue,
            };
            if let Some(response) = self.handle(attempt, result, &mut kept) {
                return Ok(response);
            }
        }
    }

    /// Returns the reply if it is the answer. A reply that may be the answer is kept.
    fn handle(
        &self,
        attempt: &mut Attempt,
        UpstreamResult { upstream, transport, form, outcome }: UpstreamResult,
        kept: &mut Option<Response>,
    ) -> Option<Response> {
        let health = &self.group.upstream(upstream).health;
        let now = Instant::now();
        match outcome {
            UpstreamOutcome::Reply(reply) => {
                health.record_reply(reply.took);
                let response = reply.response;
                let summary = ReplySummary {
                    rcode: response.rcode,
                    has_answer: !response.answer.is_empty(),
                    transport,
                    form,
                    client_edns: self.query.edns.is_some(),
                };
                match attempt.replied(upstream, summary, now) {
                    ReplyDecision::Accept if is_better(&response, kept.as_ref()) => {
                        return Some(response);
                    }
                    ReplyDecision::Accept => return kept.take(),
                    ReplyDecision::Hold => keep(kept, response),
                }
            }
            UpstreamOutcome::Truncated(reply) => {
                health.record_reply(reply.took);
                keep(kept, reply.response);
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

fn keep(kept: &mut Option<Response>, response: Response) {
    if is_better(&response, kept.as_ref()) {
        *kept = Some(response);
    }
}

/// Whether the response is worth more to the client than the one that is kept. The later of two
/// equal ones is. A failure with a reason is worth more than one without.
fn is_better(response: &Response, kept: Option<&Response>) -> bool {
    kept.is_none_or(|kept| {
        let explains = response.ede.is_some() || kept.ede.is_none();
        !response.rcode.is_failure() || kept.rcode.is_failure() && explains
    })
}
