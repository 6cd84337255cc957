//! Answers from a zone.

use std::collections::HashSet;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    limits,
    wire::{Name, Owner, Question, Rcode, Rdatas, RecordSet, Response, Sets, Type},
};

use super::{
    key::Key,
    walk::Hit,
    zone::{Node, SetWithSignatures, Zone},
};

/// The answer of a zone to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub response: Response,
    pub end: End,
    /// The wildcard whose records are the answer, in wire form.
    pub wildcard: Option<Bytes>,
}

/// How an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    /// The question's name has no records. Another source may have some.
    NoName,
    /// An alias leads to this name outside of the zone. The response has the aliases only.
    Outside(Name),
}

/// The name that is looked up: the question's, and then the target of each alias.
struct At {
    name: Name,
    owner: Owner,
}

enum Step {
    Done(End),
    Alias(At),
}

/// An answer that is not complete yet.
struct Draft<'q> {
    zone: &'q Zone,
    question: &'q Question,
    dnssec: bool,
    response: Response,
    wildcard: Option<Bytes>,
}

impl Zone {
    /// Answers a question for a name of the zone. `dnssec` is the DO bit.
    pub fn answer(&self, question: &Question, dnssec: bool) -> Answer {
        let mut draft = self.draft(question, dnssec, Response::authoritative(Rcode::NOERROR));
        let mut at = At { name: question.name.clone(), owner: Owner::Question };
        let mut seen: SmallVec<[Name; 2]> = SmallVec::new();
        loop {
            let Some(key) = Key::new(&at.name, &self.origin) else {
                return draft.finish(End::Outside(at.name));
            };
            let next = match draft.step(&key, &at) {
                Step::Done(end) => return draft.finish(end),
                Step::Alias(next) => next,
            };
            seen.push(at.name);
            // The answer contains each alias of a loop once.
            if seen.contains(&next.name) || seen.len() > limits::CNAME_HOPS {
                draft.add_name_servers();
                return draft.finish(End::Complete);
            }
            at = next;
        }
    }

    /// Completes an answer whose aliases lead outside of the zone with the reply for their target.
    /// Without a reply the aliases are the answer.
    pub fn complete(
        &self,
        question: &Question,
        dnssec: bool,
        aliases: Response,
        target: (&Name, Option<Response>),
    ) -> Response {
        let mut draft = self.draft(question, dnssec, aliases);
        let (name, reply) = target;
        let Some(reply) = reply else {
            draft.add_name_servers();
            return draft.response;
        };
        match reply.rcode {
            // The code of the last name counts (RFC 6604 §3).
            Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::SERVFAIL => {
                draft.response.rcode = reply.rcode;
            }
            _ => {}
        }
        let is_negative = reply.rcode == Rcode::NXDOMAIN
            || reply.rcode == Rcode::NOERROR && reply.answer.is_empty();
        let named = |set: RecordSet| RecordSet { owner: set.owner.named(name.wire()), ..set };
        if !reply.rcode.is_failure() {
            draft.response.answer.extend(reply.answer.into_iter().map(named));
        }
        draft.response.ede = reply.ede;
        draft.response.truncated = reply.truncated;
        if is_negative {
            // The SOA record of the target's zone says how long the answer may be kept.
            draft.response.authority = reply.authority.into_iter().map(named).collect();
        } else {
            draft.add_name_servers();
        }
        draft.response
    }

    fn draft<'q>(&'q self, question: &'q Question, dnssec: bool, response: Response) -> Draft<'q> {
        Draft { zone: self, question, dnssec, response, wildcard: None }
    }

    /// The node of a name of the zone, whether or not the zone is authoritative for it.
    fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(Key::new(name, &self.origin)?.whole())
    }
}

impl Draft<'_> {
    fn step(&mut self, key: &Key, at: &At) -> Step {
        match self.zone.walk(key, self.question.qtype) {
            Hit::Node(node) => self.records(node, at, None),
            Hit::Wildcard(node) => {
                self.wildcard = node.owner().cloned();
                self.records(node, at, Some(key))
            }
            Hit::Dname(node, depth) => self.redirect(node, key.depth() - depth, at),
            Hit::Referral(node) => {
                self.refer(node);
                Step::Done(End::Complete)
            }
            Hit::EmptyWildcard => {
                self.negative(Rcode::NOERROR);
                self.prove_absent(key.whole());
                Step::Done(End::Complete)
            }
            Hit::Empty => {
                self.negative(Rcode::NOERROR);
                self.prove_absent(key.whole());
                Step::Done(self.nothing())
            }
            Hit::Missing { encloser } => {
                self.negative(Rcode::NXDOMAIN);
                self.prove_absent(key.whole());
                self.prove_absent(&key.wildcard(encloser));
                Step::Done(self.nothing())
            }
        }
    }

    fn finish(self, end: End) -> Answer {
        Answer { response: self.response, end, wildcard: self.wildcard }
    }

    fn nothing(&self) -> End {
        if self.response.answer.is_empty() { End::NoName } else { End::Complete }
    }

    /// Answers from the records of a node. `absent` is the key of the name for which the node is a
    /// wildcard.
    fn records(&mut self, node: &Node, at: &At, absent: Option<&Key>) -> Step {
        let qtype = self.question.qtype;
        // Queries for these types do not follow an alias (RFC 4035 §2.5).
        let beside = [Type::CNAME, Type::RRSIG, Type::NSEC].contains(&qtype);
        let alias = node.get(Type::CNAME).filter(|_| !beside);
        if let Some(alias) = alias
            && let Some(target) = alias.set.rdatas.iter().next()
            && let Some(name) = Name::from_wire(target)
        {
            self.answer(alias, &at.owner);
            if let Some(key) = absent {
                self.prove_absent(key.whole());
            }
            let owner = Owner::Name(Bytes::copy_from_slice(target));
            return Step::Alias(At { name, owner });
        }
        let before = self.response.answer.len();
        match node.get(qtype) {
            Some(set) => self.answer(set, &at.owner),
            None if qtype == Type::RRSIG => self.signatures(node, &at.owner),
            None => {}
        }
        if self.response.answer.len() == before {
            self.negative(Rcode::NOERROR);
            self.prove(node);
        } else {
            self.add_name_servers();
            self.add_addresses(node.get(qtype), qtype);
        }
        if let Some(key) = absent {
            self.prove_absent(key.whole());
        }
        Step::Done(End::Complete)
    }

    /// The records of a set, and their signatures if the client wants them.
    fn answer(&mut self, set: &SetWithSignatures, owner: &Owner) {
        extend(&mut self.response.answer, set, owner, self.dnssec);
    }

    fn signatures(&mut self, node: &Node, owner: &Owner) {
        let signatures = node.sets.iter().filter_map(|it| it.signatures.clone());
        let owned = signatures.map(|set| RecordSet { owner: owner.clone(), ..set });
        self.response.answer.extend(owned);
    }

    /// Follows a DNAME record. The name has `labels` labels left of the record's owner.
    fn redirect(&mut self, node: &Node, labels: usize, at: &At) -> Step {
        let Some(dname) = node.get(Type::DNAME) else { return Step::Done(End::Complete) };
        self.answer(dname, &dname.set.owner);
        let left = at.name.offsets().nth(labels).unwrap_or(0);
        let target = dname.set.rdatas.iter().next().unwrap_or_default();
        let wire = [&at.name.wire()[..left], target].concat();
        let Some(name) = Name::from_wire(&wire) else {
            // The new name is too long (RFC 6672 §2.2).
            self.response.rcode = Rcode::YXDOMAIN;
            return Step::Done(End::Complete);
        };
        let alias =
            RecordSet::new(at.owner.clone(), Type::CNAME, dname.set.ttl, Rdatas::one(&wire));
        self.response.answer.push(alias);
        if self.question.qtype == Type::CNAME {
            self.add_name_servers();
            return Step::Done(End::Complete);
        }
        Step::Alias(At { name, owner: Owner::Name(wire.into()) })
    }

    /// The name servers of a zone below, with their addresses.
    fn refer(&mut self, node: &Node) {
        // A referral is not authoritative, but aliases before it are.
        self.response.authoritative = !self.response.answer.is_empty();
        let Some(servers) = node.get(Type::NS) else { return };
        extend(&mut self.response.authority, servers, &servers.set.owner, false);
        if self.dnssec {
            match node.get(Type::DS) {
                Some(ds) => extend(&mut self.response.authority, ds, &ds.set.owner, true),
                None => self.prove(node),
            }
        }
        self.add_addresses(Some(servers), Type::NS);
    }

    fn negative(&mut self, rcode: Rcode) {
        self.response.rcode = rcode;
        let SetWithSignatures { set, signatures } = &self.zone.soa;
        let ttl = self.zone.negative_ttl;
        let short = |set: &RecordSet| RecordSet { ttl: set.ttl.min(ttl), ..set.clone() };
        let soa = SetWithSignatures { set: short(set), signatures: signatures.as_ref().map(short) };
        extend(&mut self.response.authority, &soa, &soa.set.owner, self.dnssec);
    }

    /// The zone's name servers, unless they are the answer.
    fn add_name_servers(&mut self) {
        let apex = self.zone.nodes.get(&[][..]);
        let servers = apex.and_then(|node| node.get(Type::NS));
        let is_answer = self.question.qtype == Type::NS && self.question.name == self.zone.origin;
        if let Some(servers) = servers.filter(|_| !is_answer) {
            let owner = self.zone.apex_owner(&self.question.name);
            extend(&mut self.response.authority, servers, &owner, self.dnssec);
        }
    }

    /// The addresses of the targets of records, if the zone has them.
    fn add_addresses(&mut self, set: Option<&SetWithSignatures>, rtype: Type) {
        let with_targets = [Type::NS, Type::MX, Type::SRV, Type::SVCB, Type::HTTPS];
        let Some(SetWithSignatures { set, .. }) = set.filter(|_| with_targets.contains(&rtype))
        else {
            return;
        };
        let mut seen = HashSet::new();
        let targets = set.rdatas.iter().filter_map(|rdata| Name::from_wire(rtype.target(rdata)?));
        for target in targets {
            let Some(node) = self.zone.node(&target) else { continue };
            if !seen.insert(target) {
                continue;
            }
            for addresses in [Type::A, Type::AAAA].into_iter().filter_map(|it| node.get(it)) {
                let owner = &addresses.set.owner;
                extend(&mut self.response.additional, addresses, owner, self.dnssec);
            }
        }
    }

    /// The NSEC record of a name, which says which types the name has.
    fn prove(&mut self, node: &Node) {
        if let Some(nsec) = node.get(Type::NSEC).filter(|_| self.dnssec && self.zone.has_proofs()) {
            self.add_proof(nsec);
        }
    }

    /// The NSEC record that says that there is no such name.
    fn prove_absent(&mut self, key: &[u8]) {
        if self.dnssec
            && let Some(node) = self.zone.before(key)
            && let Some(nsec) = node.get(Type::NSEC)
        {
            self.add_proof(nsec);
        }
    }

    fn add_proof(&mut self, nsec: &SetWithSignatures) {
        let is_there = |set: &RecordSet| set.rtype == Type::NSEC && set.owner == nsec.set.owner;
        if !self.response.authority.iter().any(is_there) {
            extend(&mut self.response.authority, nsec, &nsec.set.owner, true);
        }
    }
}

/// Appends a set with this owner, and its signatures.
fn extend(section: &mut Sets, set: &SetWithSignatures, owner: &Owner, dnssec: bool) {
    let owned = |set: &RecordSet| RecordSet { owner: owner.clone(), ..set.clone() };
    section.push(owned(&set.set));
    section.extend(set.signatures.iter().filter(|_| dnssec).map(owned));
}
