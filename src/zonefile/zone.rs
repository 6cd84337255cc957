//! The records of a zone.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::wire::{Name, Owner, RecordSet, Transfer, Type};

/// A zone with all of its records. Equal zones have equal records.
#[derive(Debug, PartialEq, Eq)]
pub struct Zone {
    pub(super) origin: Name,
    pub(super) soa: SetWithSignatures,
    pub(super) serial: u32,
    /// The TTL of the SOA record in a negative answer (RFC 2308 §3).
    pub(super) negative_ttl: u32,
    /// The keys of the nodes with NSEC records, sorted; none if the apex has no NSEC record, because
    /// then negative answers cannot be proved. Thousands of names without one may be between two
    /// of them.
    pub(super) proofs: Box<[Box<[u8]>]>,
    /// The nodes with records, by their keys. The apex is one of them.
    pub(super) nodes: BTreeMap<Box<[u8]>, Node>,
}

/// How often a secondary server checks for a new version of a zone, as its SOA record says (RFC
/// 1035 §3.3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    pub refresh: Duration,
    /// After a check that failed.
    pub retry: Duration,
    /// How long the zone is served without a check.
    pub expire: Duration,
}

/// The records of one name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) sets: SmallVec<[SetWithSignatures; 2]>,
}

/// Records of one type, and the signatures over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetWithSignatures {
    pub(super) set: RecordSet,
    pub(super) signatures: Option<RecordSet>,
}

impl Node {
    /// The owner of its records, in wire form.
    pub(super) fn owner(&self) -> Option<&Bytes> {
        let owner = self.sets.first().map(|it| &it.set.owner)?;
        if let Owner::Name(wire) = owner { Some(wire) } else { None }
    }

    pub(super) fn get(&self, rtype: Type) -> Option<&SetWithSignatures> {
        self.sets.iter().find(|it| it.set.rtype == rtype)
    }
}

impl Zone {
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    pub fn serial(&self) -> u32 {
        self.serial
    }

    pub fn timers(&self) -> Timers {
        let rdata = self.soa.set.rdatas.iter().next().unwrap_or_default();
        let numbers = rdata.split_last_chunk::<20>().map(|(_, numbers)| numbers);
        let seconds = |at: usize| {
            let octets = numbers.and_then(|numbers| numbers.get(at..)?.first_chunk());
            let seconds = octets.map_or(0, |octets| u32::from_be_bytes(*octets));
            // Zero would be a check without a pause.
            Duration::from_secs(seconds.max(1).into())
        };
        Timers { refresh: seconds(4), retry: seconds(8), expire: seconds(12) }
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        let count = |set: &RecordSet| set.rdatas.iter().count();
        let sets = self.nodes.values().flat_map(|node| &node.sets);
        sets.map(|it| count(&it.set) + it.signatures.as_ref().map_or(0, count)).sum()
    }

    /// Always false, because a zone has an SOA record.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All records, for a transfer.
    pub fn transfer(self: &Arc<Self>) -> Transfer {
        let zone = Arc::clone(self);
        let mut last: Option<Box<[u8]>> = None;
        let nodes = std::iter::from_fn(move || {
            let next = match &last {
                None => zone.nodes.first_key_value(),
                Some(key) => zone.nodes.range((Excluded(key.clone()), Unbounded)).next(),
            };
            let (key, node) = next?;
            last = Some(key.clone());
            let sets =
                node.sets.iter().flat_map(|it| [Some(it.set.clone()), it.signatures.clone()]);
            Some(sets.flatten().collect::<Vec<_>>())
        });
        let records = nodes.flatten().filter(|set| set.rtype != Type::SOA);
        Transfer { soa: self.soa.set.clone(), serial: self.serial, records: Box::new(records) }
    }

    /// The owner of the apex's records in an answer to a question within the zone.
    pub(super) fn apex_owner(&self, question: &Name) -> Owner {
        let left = question.left_of(&self.origin).map_or(0, <[u8]>::len);
        u8::try_from(left).map_or_else(|_| Owner::from(&self.origin), Owner::QuestionFrom)
    }

    /// Whether names below this key exist.
    pub(super) fn has_below(&self, key: &[u8]) -> bool {
        let mut after = self.nodes.range::<[u8], _>((Excluded(key), Unbounded));
        after.next().is_some_and(|(next, _)| next.starts_with(key))
    }

    /// Whether negative answers can be proved with NSEC records.
    pub(super) fn has_proofs(&self) -> bool {
        !self.proofs.is_empty()
    }

    /// The last node with an NSEC record before the key.
    pub(super) fn before(&self, key: &[u8]) -> Option<&Node> {
        let before = self.proofs.partition_point(|proof| **proof < *key).checked_sub(1)?;
        self.nodes.get(&self.proofs[before])
    }
}
