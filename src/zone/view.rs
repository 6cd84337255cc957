//! What all views of a source's facts have in common.

use crate::{
    model::Kind,
    wire::{Name, Owner, Question, Rdatas, RecordSet, Transfer, Type},
};

use super::{Found, Unsynced, Zone};

/// Answers questions from facts.
pub trait View: Send + Sync {
    /// What the question's name has of its type.
    fn find(&self, question: &Question) -> Found;

    /// The longest of the view's zones that a name is in.
    fn zone_of(&self, name: &Name) -> Option<&Name>;

    /// The SOA of the zone that the question is in.
    fn soa(&self, question: &Question) -> Option<RecordSet>;

    /// The zone whose apex the question names, whole; `None` where that is none of the view's, or
    /// none that it hands over.
    ///
    /// # Errors
    /// Where it is not known yet what the zone holds.
    fn transfer(&self, _question: &Question) -> Option<Result<Transfer, Unsynced>> {
        None
    }

    /// The kinds that nothing can be answered without and that have not been listed yet, with the
    /// reason where they may not be read.
    fn waiting(&self) -> Vec<(Kind, Option<Box<str>>)>;
}

impl View for Zone {
    fn find(&self, question: &Question) -> Found {
        Self::find(self, question)
    }

    fn zone_of(&self, name: &Name) -> Option<&Name> {
        Self::zone_of(self, name)
    }

    fn soa(&self, question: &Question) -> Option<RecordSet> {
        Self::soa(self, question)
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, Unsynced>> {
        Self::transfer(self, question)
    }

    fn waiting(&self) -> Vec<(Kind, Option<Box<str>>)> {
        self.unsynced().collect()
    }
}

/// The longest of the zones that `name` is in.
pub(super) fn longest<'z>(zones: &'z [Name], name: &Name) -> Option<&'z Name> {
    zones.iter().filter(|zone| name.is_within(zone)).max_by_key(|zone| zone.wire().len())
}

/// What differs between SOA records.
pub(super) struct Soa<'s> {
    /// Labels left of the zone, in wire form without a root.
    pub(super) server: &'s [u8],
    pub(super) hostmaster: &'s [u8],
    pub(super) serial: u32,
    pub(super) ttl: u32,
    /// Seconds that a negative answer lives (RFC 2308 §4).
    pub(super) minimum: u32,
}

impl Soa<'_> {
    /// Owned by the zone in the client's spelling.
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
