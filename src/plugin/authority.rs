//! What the plugins of a cluster have in common: answers from the facts, and the targets of
//! ExternalName Services.

use std::sync::Arc;

use smallvec::smallvec;

use crate::{
    chain::{Ask, Back, Cx, Flow, From, Metadata, Nested, Plugin, Reply, ReplySource, Unready},
    limits,
    wire::{
        Class, Ede, Name, Owner, Query, Question, Rcode, RecordSet, Response, Sets, Transfer, Type,
    },
    zone::{Found, View},
};

use super::Fallthrough;

/// A plugin that answers from a view of the facts.
pub(super) struct Authority<V> {
    pub(super) name: &'static str,
    pub(super) view: Arc<V>,
    pub(super) fallthrough: Fallthrough,
}

/// The answer of the view to a question.
enum Lookup {
    Answer(Response),
    /// The next plugin gets the query.
    PassOn,
    /// Aliases whose target is outside of the question's zone.
    Alias {
        chain: Sets,
        target: Name,
    },
}

/// The nested query for the target of an alias.
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

    fn note(&self) -> Option<String> {
        let age = self.view.stale_age()?;
        let name = self.name;
        Some(format!(
            "{name} answers from a snapshot that is {age} s old, because the API server has not replied yet"
        ))
    }

    fn metadata(&self, cx: &Cx, query: &Query, metadata: &mut Metadata) {
        for (label, value) in self.view.describe(&query.question.name, cx.peer.ip()) {
            metadata.set(label, value);
        }
    }

    fn query(&self, _cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        if question.class != Class::IN {
            return Flow::Next;
        }
        match self.look_up(question) {
            Lookup::Answer(response) => Flow::Answer(self.with_age(response)),
            Lookup::PassOn => Flow::Next,
            Lookup::Alias { target, .. } => Flow::Ask(ask_target(target, question.qtype)),
        }
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, Response>> {
        Some(self.view.transfer(question)?.map_err(|_| unsynced()))
    }

    fn nested_reply(&self, cx: &mut Cx, query: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        // The name of the Service is in the cluster's zone, so no cache may keep the reply, even if
        // an upstream answered for the target.
        cx.set_answered(self.name(), ReplySource::Local);
        // The zone may have changed since the query for the target was sent. If the alias has
        // another target now, this reply is not used.
        let question = &query.question;
        match self.look_up(question) {
            Lookup::Alias { chain, target } if target == nested.question.name => {
                Back::Up(Ok(self.with_age(with_target(chain, &target, reply))))
            }
            Lookup::Alias { target, .. } => Back::Ask(ask_target(target, question.qtype)),
            Lookup::Answer(response) => Back::Up(Ok(self.with_age(response))),
            Lookup::PassOn => Back::PassOn,
        }
    }
}

/// The end of a chain of aliases.
enum ChainEnd {
    Records(Sets),
    /// A name in the zone that does not exist or has no such record, or a chain that is too long.
    Missing,
    Unsynced,
    /// A name in another zone.
    Outside(Name),
}

impl<V: View> Authority<V> {
    fn look_up(&self, question: &Question) -> Lookup {
        match self.view.find(question) {
            Found::NotInZone => Lookup::PassOn,
            Found::Records { answer, additional } => Lookup::Answer(records(answer, additional)),
            Found::NoData => Lookup::Answer(self.negative(question, Rcode::NOERROR)),
            Found::NoName if self.fallthrough.includes(&question.name) => Lookup::PassOn,
            Found::NoName => Lookup::Answer(self.negative(question, Rcode::NXDOMAIN)),
            Found::Unsynced => Lookup::Answer(unsynced()),
            Found::Alias { cname, target } => match self.follow(question, cname, target) {
                (chain, ChainEnd::Outside(target)) => Lookup::Alias { chain, target },
                (chain, end) => Lookup::Answer(self.ended(question, chain, end)),
            },
        }
    }

    /// Follows the aliases from a question's name within its zone. It ends at a name in another
    /// zone, because that zone may belong to another block.
    fn follow(&self, question: &Question, cname: RecordSet, target: Name) -> (Sets, ChainEnd) {
        let zone = self.view.zone_of(&question.name);
        let mut chain: Sets = smallvec![cname];
        let mut next = target;
        while chain.len() <= limits::CNAME_HOPS {
            if self.view.zone_of(&next) != zone {
                return (chain, ChainEnd::Outside(next));
            }
            let owner = owner_of_target(&chain);
            match self.view.find(&Question::new(next.clone(), question.qtype)) {
                Found::NotInZone => return (chain, ChainEnd::Outside(next)),
                Found::Unsynced => return (chain, ChainEnd::Unsynced),
                Found::NoData | Found::NoName => return (chain, ChainEnd::Missing),
                Found::Records { mut answer, .. } => {
                    for set in &mut answer {
                        set.owner = owner.clone();
                    }
                    return (chain, ChainEnd::Records(answer));
                }
                Found::Alias { cname, target } => {
                    chain.push(RecordSet { owner, ..cname });
                    next = target;
                }
            }
        }
        (chain, ChainEnd::Missing)
    }

    fn ended(&self, question: &Question, mut chain: Sets, end: ChainEnd) -> Response {
        match end {
            ChainEnd::Records(answer) => {
                chain.extend(answer);
                records(chain, Sets::new())
            }
            ChainEnd::Unsynced => unsynced(),
            ChainEnd::Missing | ChainEnd::Outside(_) => self.negative(question, Rcode::NOERROR),
        }
    }

    /// If the facts come from a snapshot, adds an extended error that says so (RFC 8914 §4.4 and
    /// §4.20), and lowers the TTLs.
    fn with_age(&self, mut response: Response) -> Response {
        if self.view.stale_age().is_none() {
            return response;
        }
        response.ede = match response.rcode {
            Rcode::NOERROR => Some(Ede::STALE_ANSWER),
            Rcode::NXDOMAIN => Some(Ede::STALE_NXDOMAIN),
            _ => return response,
        };
        let Response { answer, authority, additional, .. } = &mut response;
        for set in answer.iter_mut().chain(authority).chain(additional) {
            set.ttl = set.ttl.min(limits::SNAPSHOT_TTL);
        }
        response
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

/// Not NXDOMAIN and not a query to an upstream: the name may exist in facts that are not loaded
/// yet.
fn unsynced() -> Response {
    Response { ede: Some(Ede::NOT_READY), ..Response::of(Rcode::SERVFAIL) }
}

/// The target of the last alias in the object's spelling, as the owner of the records after it.
fn owner_of_target(chain: &Sets) -> Owner {
    let target = chain.last().and_then(|cname| cname.rdatas.iter().next()).unwrap_or_default();
    Owner::Name(bytes::Bytes::copy_from_slice(target))
}

/// The aliases and the records of the target. If there are no such records, the aliases alone are
/// the answer.
fn with_target(mut chain: Sets, target: &Name, reply: Reply) -> Response {
    let owner = owner_of_target(&chain);
    let truncated = reply.as_ref().is_ok_and(|reply| reply.truncated);
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
    Response { truncated, ..records(chain, Sets::new()) }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Instant};

    use super::*;
    use crate::{chain::Transport, model::Kind, wire::Rdatas};

    /// A view that returns these results one after the other, for names in this zone.
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

    /// The view finds an alias, and `then` once the query for the target has a reply, which is
    /// 192.0.2.77 or NXDOMAIN.
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn after(then: Found, fallthrough: &[&str], exists: bool) -> Back {
        let view = Arc::new(Changing(
            Mutex::new(vec![alias("old.example."), then]),
            name("cluster.local."),
        ));
        let fallthrough =
            Fallthrough::from(fallthrough.iter().map(|zone| name(zone)).collect::<Vec<_>>());
        let plugin = Authority { name: "kubernetes", view, fallthrough };
        let at = ([192, 0, 2, 1], 53).into();
        let mut cx = Cx::new(Instant::now(), 1, at, at, Transport::Udp);
        let query = Query::internal(Question::new(name("db.default.svc.cluster.local."), Type::A));
        let Flow::Ask(Ask { question, step, .. }) = plugin.query(&mut cx, &query) else {
            panic!("an alias is followed")
        };
        assert_eq!(question.name, name("old.example."));
        let reply = if exists {
            records(smallvec![address(77)], Sets::new())
        } else {
            Response::of(Rcode::NXDOMAIN)
        };
        let nested = Nested { question: &question, step, held: None };
        plugin.nested_reply(&mut cx, &query, nested, Ok(reply))
    }

    #[test]
    fn the_reply_for_a_target_is_dropped_if_the_alias_has_changed() {
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

            assert!(matches!(after(Found::NoName, &["."], exists), Back::PassOn));

            let Back::Ask(Ask { question, from: From::Top, .. }) =
                after(alias("new.example."), &[], exists)
            else {
                panic!("a new target")
            };
            assert_eq!(question.name, name("new.example."));
        }
    }
}
