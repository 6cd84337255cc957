//! Collects records and builds a zone from them.

use std::{collections::BTreeMap, iter, sync::Arc};

use smallvec::SmallVec;

use crate::wire::{Name, Owner, Rdatas, RecordSet, Transfer, Type};

use super::{
    distinct::DistinctRdatas,
    key::Key,
    zone::{Node, SetWithSignatures, Zone},
};

/// The records of a zone that is not complete yet.
pub struct ZoneBuilder {
    origin: Name,
    soa: Option<Soa>,
    nodes: BTreeMap<Box<[u8]>, Draft>,
}

/// The SOA record of the zone. CoreDNS accepts another owner than the apex.
struct Soa {
    owner: Name,
    ttl: u32,
    rdata: Vec<u8>,
}

/// The records of one name.
struct Draft {
    owner: Name,
    sets: SmallVec<[DraftSet; 2]>,
}

struct DraftSet {
    rtype: Type,
    /// The type that signatures cover; equal to `rtype` for other records.
    covers: Type,
    ttl: u32,
    rdatas: DistinctRdatas,
}

/// A problem of a record. The zone can be used in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    #[error("it is not in the zone, and the record is ignored")]
    OutOfZone,
    #[error("it has a CNAME record and other records; only the CNAME record is answered")]
    BesideAlias,
    #[error("it has two CNAME records; only the first one is answered")]
    SecondAlias,
    #[error("the SOA record has another name than the zone; write the zone after the file's name")]
    OtherSoa,
}

impl ZoneBuilder {
    pub fn new(origin: Name) -> Self {
        Self { origin, soa: None, nodes: BTreeMap::new() }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The zone can be used in spite of every error. With `BesideAlias` and `OtherSoa` the record
    /// is added. With the other errors it is ignored.
    pub fn add(
        &mut self,
        owner: &Name,
        rtype: Type,
        ttl: u32,
        rdata: Vec<u8>,
    ) -> Result<(), RecordProblem> {
        if rtype == Type::SOA {
            let wrong = *owner != self.origin;
            self.soa = Some(Soa { owner: owner.clone(), ttl, rdata });
            return if wrong { Err(RecordProblem::OtherSoa) } else { Ok(()) };
        }
        let Some(key) = Key::new(owner, &self.origin) else {
            return Err(RecordProblem::OutOfZone);
        };
        let draft = || Draft { owner: owner.clone(), sets: SmallVec::new() };
        self.nodes.entry(key.whole().into()).or_insert_with(draft).add(rtype, ttl, rdata)
    }

    /// Starts with the records of a zone.
    pub fn of(zone: &Arc<Zone>) -> Self {
        let mut builder = Self::new(zone.origin().clone());
        let Transfer { soa, records, .. } = zone.transfer();
        for set in iter::once(soa).chain(records) {
            let Owner::Name(owner) = &set.owner else { continue };
            let Some(owner) = Name::from_wire(owner) else { continue };
            for rdata in set.rdatas.iter() {
                // The zone has accepted the record before.
                let _ = builder.add(&owner, set.rtype, set.ttl, rdata.to_vec());
            }
        }
        builder
    }

    /// Removes all records except the SOA record.
    pub(super) fn keep_soa_only(&mut self) {
        self.nodes.clear();
    }

    /// Removes a record other than SOA. False if there is no such record.
    pub fn remove(&mut self, owner: &Name, rtype: Type, rdata: &[u8]) -> bool {
        let Some(key) = Key::new(owner, &self.origin) else { return false };
        let Some(draft) = self.nodes.get_mut(key.whole()) else { return false };
        let removed = draft.remove(rtype, rdata);
        if draft.sets.is_empty() {
            self.nodes.remove(key.whole());
        }
        removed
    }

    /// `None` if there is no SOA record.
    pub fn build(mut self) -> Option<Zone> {
        let Soa { owner, ttl, rdata } = self.soa?;
        let (_, numbers) = rdata.split_last_chunk::<20>()?;
        let number =
            |at: usize| numbers.get(at..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets));
        let (serial, minimum) = (number(0)?, number(16)?);
        let set = RecordSet::new(Owner::from(&owner), Type::SOA, ttl, Rdatas::one(&rdata));
        let apex = self.nodes.remove(&[][..]).map(Draft::finish).unwrap_or_default();
        let signatures = signatures_of(&apex, Type::SOA);
        let soa = SetWithSignatures { set, signatures };
        let mut nodes: BTreeMap<_, _> =
            self.nodes.into_iter().map(|(key, draft)| (key, draft.finish().into_node())).collect();
        let mut apex = apex.into_node();
        apex.sets.insert(0, soa.clone());
        let has_proofs = apex.get(Type::NSEC).is_some();
        nodes.insert(Box::default(), apex);
        let proofs = nodes.iter().filter(|(_, node)| has_proofs && node.get(Type::NSEC).is_some());
        let proofs = proofs.map(|(key, _)| key.clone()).collect();
        let negative_ttl = ttl.min(minimum);
        Some(Zone { origin: self.origin, soa, serial, negative_ttl, proofs, nodes })
    }
}

impl Draft {
    fn add(&mut self, rtype: Type, ttl: u32, rdata: Vec<u8>) -> Result<(), RecordProblem> {
        let covers = covered(rtype, &rdata);
        let problem = self.problem_with(rtype);
        if matches!(problem, Err(RecordProblem::SecondAlias)) && !self.has(rtype, &rdata) {
            return problem;
        }
        let same = |set: &&mut DraftSet| (set.rtype, set.covers) == (rtype, covers);
        match self.sets.iter_mut().find(same) {
            Some(set) => {
                // Records of a set have one TTL (RFC 2181 §5.2).
                set.ttl = set.ttl.min(ttl);
                set.rdatas.add(rdata);
                Ok(())
            }
            None => {
                let rdatas = DistinctRdatas::one(rdata);
                self.sets.push(DraftSet { rtype, covers, ttl, rdatas });
                problem
            }
        }
    }

    fn remove(&mut self, rtype: Type, rdata: &[u8]) -> bool {
        let mut removed = false;
        for set in self.sets.iter_mut().filter(|set| set.rtype == rtype) {
            removed |= set.rdatas.remove(rdata);
        }
        self.sets.retain(|set| !set.rdatas.is_empty());
        removed
    }

    fn has(&self, rtype: Type, rdata: &[u8]) -> bool {
        self.sets.iter().any(|set| set.rtype == rtype && set.rdatas.contains(rdata))
    }

    /// A CNAME record excludes others, except those of DNSSEC (RFC 2181 §10.1, RFC 4035 §2.5).
    fn problem_with(&self, rtype: Type) -> Result<(), RecordProblem> {
        let is_signature = |rtype| matches!(rtype, Type::RRSIG | Type::NSEC);
        let mut others = self.sets.iter().filter(|set| !is_signature(set.rtype));
        let (alias, other) = (
            self.sets.iter().any(|set| set.rtype == Type::CNAME),
            others.any(|set| set.rtype != Type::CNAME),
        );
        match rtype {
            Type::CNAME if alias => Err(RecordProblem::SecondAlias),
            Type::CNAME if other => Err(RecordProblem::BesideAlias),
            Type::CNAME => Ok(()),
            rtype if alias && !is_signature(rtype) => Err(RecordProblem::BesideAlias),
            _ => Ok(()),
        }
    }

    fn finish(self) -> Finished {
        let owner = Owner::from(&self.owner);
        let set = |draft: DraftSet| {
            let rdatas = draft.rdatas.into_vec().into_iter().collect();
            (draft.covers, RecordSet::new(owner.clone(), draft.rtype, draft.ttl, rdatas))
        };
        Finished(self.sets.into_iter().map(set).collect())
    }
}

/// The record sets of one name, each with the type that its signatures cover.
#[derive(Default)]
struct Finished(Vec<(Type, RecordSet)>);

impl Finished {
    fn into_node(self) -> Node {
        let sets = self.0.iter().filter(|(_, set)| set.rtype != Type::RRSIG);
        let signed = sets.map(|(rtype, set)| SetWithSignatures {
            set: set.clone(),
            signatures: signatures_of(&self, *rtype),
        });
        Node { sets: signed.collect() }
    }
}

fn signatures_of(node: &Finished, rtype: Type) -> Option<RecordSet> {
    let mut sets = node.0.iter();
    sets.find(|(covers, set)| set.rtype == Type::RRSIG && *covers == rtype)
        .map(|(_, set)| set.clone())
}

/// The type that a signature covers (RFC 4034 §3.1.1).
fn covered(rtype: Type, rdata: &[u8]) -> Type {
    match (rtype, rdata.first_chunk()) {
        (Type::RRSIG, Some(covers)) => Type(u16::from_be_bytes(*covers)),
        _ => rtype,
    }
}
