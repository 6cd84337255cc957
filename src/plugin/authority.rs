//! Answers from a cluster's facts, and where the alias of an ExternalName leads: what the plugins
//! of a cluster have in common.

use std::sync::Arc;

use smallvec::smallvec;

use crate::{
    chain::{Ask, Back, Cx, Flow, From, Nested, Plugin, Reply, Unready},
    limits,
    wire::{
        Class, Ede, Name, Owner, Query, Question, Rcode, RecordSet, Response, Sets, Transfer, Type,
    },
    zone::{Found, View},
};

use super::Fallthrough;

/// A directive at work on its view.
pub(super) struct Authority<V> {
    pub(super) name: &'static str,
    pub(super) view: Arc<V>,
    pub(super) fallthrough: Fallthrough,
}

/// What the view says of a question.
enum Says {
    Answer(Response),
    /// Others may know.
    Nothing,
    /// Aliases that lead out of the question's zone.
    Alias {
        chain: Sets,
        target: Name,
    },
}

/// The nested question for the target of an alias.
fn ask_target(target: Name, qtype: Type) -> Ask {
    Ask { question: Question::new(target, qtype), from: From::Top, step: 0 }
}

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
        match self.says(question) {
            Says::Answer(response) => Flow::Answer(response),
            Says::Nothing => Flow::Next,
            Says::Alias { target, .. } => Flow::Ask(ask_target(target, question.qtype)),
        }
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, Response>> {
        Some(self.view.transfer(question)?.map_err(|_| unsynced()))
    }

    fn response(
        &self,
        cx: &mut Cx,
        query: &Query,
        nested: Option<Nested<'_>>,
        reply: Reply,
    ) -> Back {
        let Some(nested) = nested.filter(|nested| nested.from == From::Top) else {
            return Back::Up(reply);
        };
        // Whoever answered for the target: the Service's name is ours, and no cache may keep it.
        cx.answered_by = self.name();
        // The zone may have changed since the target was asked for: what it says now counts, and
        // this reply is of that target only.
        let question = &query.question;
        match self.says(question) {
            Says::Alias { chain, target } if target == nested.question.name => {
                Back::Up(Ok(with_target(chain, &target, reply)))
            }
            Says::Alias { target, .. } => Back::Ask(ask_target(target, question.qtype)),
            Says::Answer(response) => Back::Up(Ok(response)),
            Says::Nothing => {
                Back::Ask(Ask { question: question.clone(), from: From::Below, step: 0 })
            }
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
    fn says(&self, question: &Question) -> Says {
        match self.view.find(question) {
            Found::NotMine => Says::Nothing,
            Found::Records { answer, additional } => Says::Answer(records(answer, additional)),
            Found::NoData => Says::Answer(self.negative(question, Rcode::NOERROR)),
            Found::NoName if self.fallthrough.includes(&question.name) => Says::Nothing,
            Found::NoName => Says::Answer(self.negative(question, Rcode::NXDOMAIN)),
            Found::Unsynced => Says::Answer(unsynced()),
            Found::Alias { cname, target } => match self.walk(question, cname, target) {
                (chain, End::Outside(target)) => Says::Alias { chain, target },
                (chain, end) => Says::Answer(self.ended(question, chain, end)),
            },
        }
    }

    /// The aliases from a question's name on, as far as they are in its zone: another one may be
    /// another block's.
    fn walk(&self, question: &Question, cname: RecordSet, target: Name) -> (Sets, End) {
        let home = self.view.zone_of(&question.name);
        let mut chain: Sets = smallvec![cname];
        let mut next = target;
        while chain.len() <= limits::CNAME_HOPS {
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
        Response {
            authority: self.view.soa(question).into_iter().collect(),
            ..Response::authoritative(rcode)
        }
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

/// The aliases, and the target's records if it has any: the alias holds whatever becomes of its
/// target.
fn with_target(mut chain: Sets, target: &Name, reply: Reply) -> Response {
    let owner = owner_of_target(&chain);
    if let Ok(reply) = reply
        && reply.rcode == Rcode::NOERROR
    {
        for set in reply.answer {
            let owner = match set.owner {
                Owner::Question => owner.clone(),
                Owner::QuestionFrom(offset) => {
                    target.suffix(usize::from(offset)).as_ref().map_or(owner.clone(), Owner::from)
                }
                named @ Owner::Name(_) => named,
            };
            chain.push(RecordSet { owner, ..set });
        }
    }
    records(chain, Sets::new())
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Instant};

    use super::*;
    use crate::{chain::Transport, model::Kind, wire::Rdatas};

    /// Says one thing, then another.
    struct Changing(Mutex<Vec<Found>>, Name);

    impl View for Changing {
        fn find(&self, _question: &Question) -> Found {
            self.0.lock().unwrap().remove(0)
        }

        fn zone_of(&self, name: &Name) -> Option<&Name> {
            name.left_of(&self.1).map(|_| &self.1)
        }

        fn soa(&self, _question: &Question) -> Option<RecordSet> {
            None
        }

        fn waiting(&self) -> Vec<(Kind, Option<Box<str>>)> {
            Vec::new()
        }
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn alias(target: &str) -> Found {
        let target = name(target);
        Found::Alias {
            cname: RecordSet::new(Owner::Question, Type::CNAME, 5, Rdatas::one(target.wire())),
            target,
        }
    }

    fn address(octet: u8) -> RecordSet {
        RecordSet::new(Owner::Question, Type::A, 5, Rdatas::one(&[192, 0, 2, octet]))
    }

    /// An alias, `then` while its target is asked for, whose reply is 192.0.2.77 or NXDOMAIN.
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn after(then: Found, fallthrough: &[&str], exists: bool) -> Back {
        let view = Arc::new(Changing(
            Mutex::new(vec![alias("old.example."), then]),
            name("cluster.local."),
        ));
        let fallthrough = Fallthrough(fallthrough.iter().map(|zone| name(zone)).collect());
        let plugin = Authority { name: "kubernetes", view, fallthrough };
        let at = ([192, 0, 2, 1], 53).into();
        let mut cx = Cx::new(Instant::now(), 1, at, at, Transport::Udp);
        let query = Query::internal(Question::new(name("db.default.svc.cluster.local."), Type::A));
        let Flow::Ask(Ask { question, from, step }) = plugin.query(&mut cx, &query) else {
            panic!("an alias is followed")
        };
        assert_eq!(question.name, name("old.example."));
        let reply = if exists {
            records(smallvec![address(77)], Sets::new())
        } else {
            Response::of(Rcode::NXDOMAIN)
        };
        let nested = Nested { question: &question, from, step };
        plugin.response(&mut cx, &query, Some(nested), Ok(reply))
    }

    #[test]
    fn a_targets_reply_is_no_answer_once_the_alias_has_gone_elsewhere() {
        for exists in [true, false] {
            let Back::Up(Ok(same)) = after(alias("old.example."), &[], exists) else {
                panic!("the same alias")
            };
            assert_eq!((same.rcode, same.answer.len()), (Rcode::NOERROR, 1 + usize::from(exists)));

            let now = Found::Records { answer: smallvec![address(9)], additional: Sets::new() };
            let Back::Up(Ok(records)) = after(now, &[], exists) else { panic!("records") };
            assert_eq!((records.rcode, &records.answer[..]), (Rcode::NOERROR, &[address(9)][..]));

            let Back::Up(Ok(gone)) = after(Found::NoName, &[], exists) else {
                panic!("no such name")
            };
            assert_eq!((gone.rcode, gone.answer.len()), (Rcode::NXDOMAIN, 0));

            let Back::Ask(Ask { question, from: From::Below, .. }) =
                after(Found::NoName, &["."], exists)
            else {
                panic!("below")
            };
            assert_eq!(question.name, name("db.default.svc.cluster.local."));

            let Back::Ask(Ask { question, from: From::Top, .. }) =
                after(alias("new.example."), &[], exists)
            else {
                panic!("a new target")
            };
            assert_eq!(question.name, name("new.example."));
        }
    }
}
