//! The interface of all views of a source's facts, and the SOA record.

use std::net::IpAddr;

use crate::{
    model::Kind,
    wire::{Name, Owner, Question, Rdatas, RecordSet, Transfer, Type},
};

use super::{
    answer::{Found, UnsyncedError},
    store::Store,
};

/// A view answers questions from a source's facts.
pub trait View: Send + Sync {
    /// The records of the question's type at its name.
    fn find(&self, question: &Question) -> Found;

    /// The longest of the view's zones that contains the name.
    fn zone_of(&self, name: &Name) -> Option<&Name>;

    /// The SOA record of the zone that contains the question's name.
    fn soa(&self, question: &Question) -> Option<RecordSet>;

    /// All records of the zone whose apex the question names; `None` if the view has no such zone
    /// or does not transfer it.
    ///
    /// # Errors
    /// The source has not listed all objects of the zone yet.
    fn transfer(&self, _question: &Question) -> Option<Result<Transfer, UnsyncedError>> {
        None
    }

    /// Metadata about the object that the name stands for and about the client, as pairs of a label
    /// and a value.
    fn describe(&self, _name: &Name, _client: IpAddr) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The age in seconds of the snapshot that answers are from; `None` if the source is up to
    /// date.
    fn stale_age(&self) -> Option<u32> {
        None
    }

    /// The kinds that every answer needs and that have not been listed yet. The text is the reason,
    /// if the source may not read the kind.
    fn waiting(&self) -> Vec<(Kind, Option<Box<str>>)>;
}

/// The longest of the zones that contain `name`.
pub(super) fn longest<'z>(zones: &'z [Name], name: &Name) -> Option<&'z Name> {
    zones.iter().filter(|zone| name.is_within(zone)).max_by_key(|zone| zone.wire().len())
}

/// The age in seconds of the snapshot, if facts of these kinds are from it.
pub(super) fn stale_age(store: &Store, mut kinds: impl Iterator<Item = Kind>) -> Option<u32> {
    store.stale_age().filter(|_| kinds.any(|kind| store.is_stale(kind)))
}

/// The values that differ between SOA records.
pub(super) struct Soa<'s> {
    /// Labels left of the zone, in wire form without a root.
    pub(super) server: &'s [u8],
    pub(super) hostmaster: &'s [u8],
    pub(super) serial: u32,
    pub(super) ttl: u32,
    /// TTL of negative answers in seconds (RFC 2308 §4).
    pub(super) minimum: u32,
}

impl Soa<'_> {
    /// The SOA record. Its owner is the zone in the client's spelling.
    pub(super) fn record(&self, question: &Question, zone: &Name) -> RecordSet {
        let offset = question.name.wire().len() - zone.wire().len();
        let spelled = question.spelled_from(offset);
        let mut rdata = Vec::with_capacity(96);
        for labels in [self.server, self.hostmaster] {
            rdata.extend_from_slice(labels);
            rdata.extend_from_slice(spelled.wire());
        }
        for number in [self.serial, 7200, 1800, 86_400, self.minimum] {
            rdata.extend_from_slice(&number.to_be_bytes());
        }
        // A name has at most 255 octets.
        RecordSet::new(Owner::QuestionFrom(offset as u8), Type::SOA, self.ttl, Rdatas::one(&rdata))
    }
}
