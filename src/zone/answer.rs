//! The result of a lookup.

use smallvec::smallvec;

use crate::wire::{Name, Owner, Rdatas, RecordSet, Sets, Type};

/// The result of a lookup: the records of one type at one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Records {
        answer: Sets,
        additional: Sets,
    },
    /// The name is an ExternalName Service: its CNAME record, and the target.
    Alias {
        cname: RecordSet,
        target: Name,
    },
    /// The name exists and has no records of the type.
    NoData,
    /// The name does not exist.
    NoName,
    /// The answer needs objects that the source has not listed yet.
    Unsynced,
    /// No zone contains the name.
    NotInZone,
}

impl Found {
    /// Records at the question's name, or [`Found::NoData`] if there are none.
    pub(super) fn set(rtype: Type, ttl: u32, rdatas: Rdatas) -> Self {
        if rdatas.is_empty() {
            return Self::NoData;
        }
        Self::Records {
            answer: smallvec![RecordSet::new(Owner::Question, rtype, ttl, rdatas)],
            additional: Sets::new(),
        }
    }
}

/// A source has not listed all the objects that the answer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not synced with Kubernetes yet")]
pub struct UnsyncedError;
