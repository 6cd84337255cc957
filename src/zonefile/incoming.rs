//! A zone that arrives in a transfer: all records (RFC 5936), or the changes since a version that
//! is known (RFC 1995).

use std::sync::Arc;

use thiserror::Error;

use crate::wire::{Name, Type, soa_serial};

use super::{Zone, ZoneBuilder};

/// A transfer in progress. The records are added in the order in which the primary server sends
/// them.
pub struct IncomingZone {
    builder: ZoneBuilder,
    /// The newest serial, from the first record.
    newest: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The SOA record of the newest version comes first.
    Start {
        known: Option<u32>,
    },
    /// The second record says whether the changes since this version follow, or all records.
    Second {
        known: u32,
    },
    Whole,
    /// The following records are removed from the version before.
    Removed,
    /// The following records are added, and make the version with this serial.
    Added {
        serial: u32,
    },
    Complete,
}

/// Why the records are not a transfer. If changes were asked for, a transfer of the whole zone may
/// succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IncomingError {
    #[error("the server has no SOA record of the zone")]
    NoSoa,
    #[error("the records are not a complete transfer")]
    Inconsistent,
}

impl IncomingZone {
    /// All records of a zone.
    pub fn whole(origin: Name) -> Self {
        let (builder, state) = (ZoneBuilder::new(origin), State::Start { known: None });
        Self { builder, newest: 0, state }
    }

    /// The changes since this version. A server may send all records instead.
    pub fn since(zone: &Arc<Zone>) -> Self {
        let (builder, known) = (ZoneBuilder::of(zone), Some(zone.serial()));
        Self { builder, newest: 0, state: State::Start { known } }
    }

    /// Adds the next record of the transfer.
    ///
    /// # Errors
    /// See [`IncomingError`].
    pub fn add(
        &mut self,
        owner: &Name,
        rtype: Type,
        ttl: u32,
        rdata: Vec<u8>,
    ) -> Result<(), IncomingError> {
        let serial = match rtype {
            Type::SOA => Some(soa_serial(&rdata).ok_or(IncomingError::NoSoa)?),
            _ => None,
        };
        self.state = match (self.state, serial) {
            (State::Start { known }, Some(serial)) => {
                self.newest = serial;
                self.keep(owner, rtype, ttl, rdata);
                known.map_or(State::Whole, |known| State::Second { known })
            }
            (State::Start { .. }, None) => return Err(IncomingError::NoSoa),
            (State::Second { known }, Some(serial)) if serial == known => State::Removed,
            (State::Second { .. }, None) => {
                self.builder.keep_soa_only();
                self.keep(owner, rtype, ttl, rdata);
                State::Whole
            }
            (State::Whole, Some(_)) => State::Complete,
            (State::Removed, Some(serial)) => {
                self.keep(owner, rtype, ttl, rdata);
                State::Added { serial }
            }
            (State::Removed, None) if self.builder.remove(owner, rtype, &rdata) => State::Removed,
            (State::Added { serial }, Some(next)) if next == serial && next == self.newest => {
                State::Complete
            }
            (State::Added { serial }, Some(next)) if next == serial => State::Removed,
            (state @ (State::Whole | State::Added { .. }), None) => {
                self.keep(owner, rtype, ttl, rdata);
                state
            }
            // Records after the end are ignored.
            (State::Complete, _) => State::Complete,
            _ => return Err(IncomingError::Inconsistent),
        };
        Ok(())
    }

    fn keep(&mut self, owner: &Name, rtype: Type, ttl: u32, rdata: Vec<u8>) {
        // A record that does not belong to the zone is ignored, as in a file.
        let _ = self.builder.add(owner, rtype, ttl, rdata);
    }

    pub fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// # Errors
    /// There is no SOA record, or records are missing.
    pub fn build(self) -> Result<Zone, IncomingError> {
        match self.state {
            State::Complete => self.builder.build().ok_or(IncomingError::NoSoa),
            _ => Err(IncomingError::Inconsistent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soa(serial: u32) -> (&'static str, Type, Vec<u8>) {
        ("example.org", Type::SOA, [&[0, 0][..], &serial.to_be_bytes(), &[0; 16]].concat())
    }

    fn address(name: &'static str, last: u8) -> (&'static str, Type, Vec<u8>) {
        (name, Type::A, vec![192, 0, 2, last])
    }

    fn read(
        mut incoming: IncomingZone,
        records: &[(&'static str, Type, Vec<u8>)],
    ) -> Result<Arc<Zone>, IncomingError> {
        for (owner, rtype, rdata) in records {
            incoming.add(&owner.parse().unwrap(), *rtype, 60, rdata.clone())?;
        }
        incoming.build().map(Arc::new)
    }

    fn addresses(zone: &Arc<Zone>) -> Vec<u8> {
        let sets = zone.transfer().records.filter(|set| set.rtype == Type::A);
        let mut last: Vec<_> = sets
            .flat_map(|set| set.rdatas.iter().map(|rdata| rdata[3]).collect::<Vec<_>>())
            .collect();
        last.sort_unstable();
        last
    }

    #[test]
    fn changes_are_applied_to_the_known_version() {
        let (a, b) = ("a.example.org", "b.example.org");
        let whole = [soa(1), address(a, 1), address(a, 2), address(b, 3), soa(1)];
        let known = read(IncomingZone::whole("example.org".parse().unwrap()), &whole).unwrap();
        let check = |records: &[_], expected: Result<(u32, Vec<u8>), IncomingError>| {
            let zone = read(IncomingZone::since(&known), records);
            assert_eq!(zone.map(|zone| (zone.serial(), addresses(&zone))), expected);
        };
        let inconsistent = Err(IncomingError::Inconsistent);
        check(
            &[soa(2), soa(1), address(a, 1), soa(2), address(b, 4), soa(2)],
            Ok((2, vec![2, 3, 4])),
        );
        // Two versions in one transfer; the last record of a name is removed.
        let two = [soa(3), soa(1), address(b, 3), soa(2), address(a, 9), soa(2), address(a, 1)];
        check(&[&two[..], &[soa(3), soa(3)]].concat(), Ok((3, vec![2, 9])));
        check(&two, inconsistent.clone());
        // All records instead.
        check(&[soa(5), address(a, 7), soa(5)], Ok((5, vec![7])));
        // A record that does not exist; changes of another version; a version that is left out.
        check(&[soa(2), soa(1), address(b, 9), soa(2), soa(2)], inconsistent.clone());
        check(&[soa(3), soa(2), soa(3), soa(3)], inconsistent.clone());
        check(&[soa(4), soa(1), soa(2), soa(3), soa(4), soa(4)], inconsistent.clone());
        check(&[soa(2)], inconsistent);
        check(&[address(a, 1)], Err(IncomingError::NoSoa));
    }

    #[test]
    fn a_name_without_records_does_not_exist_any_more() {
        let whole = [soa(1), address("a.example.org", 1), soa(1)];
        let known = read(IncomingZone::whole("example.org".parse().unwrap()), &whole).unwrap();
        let changes = [soa(2), soa(1), address("a.example.org", 1), soa(2), soa(2)];
        let zone = read(IncomingZone::since(&known), &changes).unwrap();
        assert_eq!((known.len() - zone.len(), addresses(&zone)), (1, vec![]));
    }
}
