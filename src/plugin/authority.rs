//! Answers from a cluster's facts, and where the alias of an ExternalName leads: what the plugins of a cluster have in common.

use std::sync::Arc;

use smallvec::smallvec;

use crate::{
    chain::{Back, Cx, Flow, From, Plugin, Reply, Unready},
    limits,
    wire::{Class, Ede, Name, Owner, Query, Question, Rcode, RecordSet, Response, Sets, Transfer},
    zone::{Found, View},
};

use super::Fallthrough;

/// A directive at work on its view.
pub(super) struct Authority<V> {
    pub(super) name: &'static str,
    pub(super) view: Arc<V>,
    pub(super) fallthrough: Fallthrough,
}

/// The memo of a question for an alias's target.
const TARGET: u32 = 1;

impl<V: View> Plugin for Authority<V> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn unready(&self) -> Option<Unready> {
        let waiting = self.view.waiting();
        let refused: Vec<_> = waiting.iter().filter_map(|(_, reason)| reason.as_deref()).collect();
        let why = (!refused.is_empty()).then(|| refused.join("; "));
        (!waiting.is_empty()).then_some(Unready { why })
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.class != Class::IN {
            return Flow::Next;
        }
        match self.view.find(question) {
            Found::NotMine => Flow::Next,
            Found::Records { answer, additional } => Flow::Answer(records(answer, additional)),
            Found::NoData => Flow::Answer(self.negative(question, Rcode::NOERROR)),
            Found::NoName if self.fallthrough.includes(&question.name) => Flow::Next,
            Found::NoName => Flow::Answer(self.negative(question, Rcode::NXDOMAIN)),
            Found::Unsynced => Flow::Answer(unsynced()),
            Found::Alias { cname, target } => self.follow(question, cname, target),
        }
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, Response>> {
        Some(self.view.transfer(question)?.map_err(|_| unsynced()))
    }

    fn response(&self, cx: &mut Cx, query: &Query, memo: u32, reply: Reply) -> Back {
        if memo != TARGET {
            return Back::Up(reply);
        }
        // Whoever answered for the target: the Service's name is ours, and no cache may keep it.
        cx.answered_by = self.name();
        // The zone may have changed since the target was asked for: what it says now counts.
        let Found::Alias { cname, target } = self.view.find(&query.question) else { return Back::Up(reply) };
        match self.walk(&query.question, cname, target) {
            (chain, End::Outside(target)) => Back::Up(Ok(with_target(chain, &target, reply))),
            (chain, end) => Back::Up(Ok(self.ended(&query.question, chain, end))),
        }
    }
}

/// Where a chain of aliases ends.
enum End {
    Records(Sets),
    /// At a name of ours that is not there, has no such address, or is too far.
    Missing,
    Unsynced,
    /// At a name of another zone.
    Outside(Name),
}

impl<V: View> Authority<V> {
    fn follow(&self, question: &Question, cname: RecordSet, target: Name) -> Flow {
        match self.walk(question, cname, target) {
            (_, End::Outside(target)) => Flow::Ask { question: Question::new(target, question.qtype), from: From::Top, memo: TARGET },
            (chain, end) => Flow::Answer(self.ended(question, chain, end)),
        }
    }

    /// The aliases from a question's name on, as far as they are in its zone: another one may be another block's.
    fn walk(&self, question: &Question, cname: RecordSet, target: Name) -> (Sets, End) {
        let home = self.view.zone_of(&question.name);
        let mut chain: Sets = smallvec![cname];
        let mut next = target;
        while chain.len() <= limits::ALIASES {
            if self.view.zone_of(&next) != home {
                return (chain, End::Outside(next));
            }
            let owner = owner_of_target(&chain);
            match self.view.find(&Question::new(next.clone(), question.qtype)) {
                Found::NotMine => return (chain, End::Outside(next)),
                Found::Unsynced => return (chain, End::Unsynced),
                Found::NoData | Found::NoName => return (chain, End::Missing),
                Found::Records { mut answer, .. } => {
                    for set in &mut answer {
                        set.owner = owner.clone();
                    }
                    return (chain, End::Records(answer));
                }
                Found::Alias { cname, target } => {
                    chain.push(RecordSet { owner, ..cname });
                    next = target;
                }
            }
        }
        (chain, End::Missing)
    }

    fn ended(&self, question: &Question, mut chain: Sets, end: End) -> Response {
        match end {
            End::Records(answer) => {
                chain.extend(answer);
                records(chain, Sets::new())
            }
            End::Unsynced => unsynced(),
            End::Missing | End::Outside(_) => self.negative(question, Rcode::NOERROR),
        }
    }

    fn negative(&self, question: &Question, rcode: Rcode) -> Response {
        Response { authority: self.view.soa(question).into_iter().collect(), ..Response::authoritative(rcode) }
    }
}

fn records(answer: Sets, additional: Sets) -> Response {
    Response { answer, additional, ..Response::authoritative(Rcode::NOERROR) }
}

/// Never NXDOMAIN, and never a question to others: what is not known yet may well be there.
fn unsynced() -> Response {
    Response { ede: Some(Ede::NOT_READY), ..Response::of(Rcode::SERVFAIL) }
}

/// The last alias's target in the object's spelling, as the owner of what follows.
fn owner_of_target(chain: &Sets) -> Owner {
    let target = chain.last().and_then(|cname| cname.rdatas.iter().next()).unwrap_or_default();
    Owner::Name(bytes::Bytes::copy_from_slice(target))
}

/// The aliases, and the target's records if it has any: the alias holds whatever becomes of its target.
fn with_target(mut chain: Sets, target: &Name, reply: Reply) -> Response {
    let owner = owner_of_target(&chain);
    if let Ok(reply) = reply
        && reply.rcode == Rcode::NOERROR
    {
        for set in reply.answer {
            let owner = match set.owner {
                Owner::Question => owner.clone(),
                Owner::QuestionFrom(offset) => target.suffix(usize::from(offset)).as_ref().map_or(owner.clone(), Owner::from),
                named @ Owner::Name(_) => named,
            };
            chain.push(RecordSet { owner, ..set });
        }
    }
    records(chain, Sets::new())
}
