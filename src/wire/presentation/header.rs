//! The fields between the owner and the data of a record.

use super::{Word, field::seconds};
use crate::wire::{Class, Type};

/// The fields between the owner and the data of a record (RFC 1035 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// In seconds.
    pub ttl: Option<u32>,
    pub class: Option<Class>,
    pub rtype: Type,
}

/// The words are not the header of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordHeaderError {
    #[error("the record has no type")]
    NoType,
    #[error("`{0}` is not a TTL, a class or a record type")]
    Unknown(String),
}

impl RecordHeader {
    /// Reads the TTL, the class and the type. The TTL and the class are optional, and can be in
    /// either order. Also returns the words after them, which are the data.
    ///
    /// # Errors
    /// If the type is missing, or records of this type cannot be stored.
    pub fn read<'w, 't>(
        mut words: &'w [Word<'t>],
    ) -> Result<(Self, &'w [Word<'t>]), RecordHeaderError> {
        let (mut ttl, mut class) = (None, None);
        while let Some((first, rest)) = words.split_first() {
            words = rest;
            if let Some(known) = read_class(first.text).filter(|_| class.is_none()) {
                class = Some(known);
            } else if let Some(time) = seconds(first.text).filter(|_| ttl.is_none()) {
                ttl = Some(time);
            } else {
                let stored = |it: &Type| !it.is_meta() && !it.is_transfer() && *it != Type::ANY;
                let rtype = first.text.parse().ok().filter(stored);
                let unknown = || RecordHeaderError::Unknown(first.text.to_owned());
                return Ok((Self { ttl, class, rtype: rtype.ok_or_else(unknown)? }, words));
            }
        }
        Err(RecordHeaderError::NoType)
    }
}

/// Records have no class that only questions have.
fn read_class(text: &str) -> Option<Class> {
    text.parse().ok().filter(|class| ![Class::NONE, Class::ANY].contains(class))
}
