//! Dynamic updates of zones (RFC 2136).

use crate::limits;

use super::{
    Class, Question, Type, ZoneRecord,
    query::{HEADER, words},
    reply::{Reader, Record, ReplyError},
};

/// An UPDATE message. Its question names the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub prerequisites: Vec<UpdateRecord>,
    pub changes: Vec<UpdateRecord>,
}

/// A record whose class says what it demands or what happens to it. Its data is empty where it
/// stands for all records of a name or of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRecord {
    pub class: Class,
    pub record: ZoneRecord,
}

impl Update {
    /// # Errors
    /// A record is malformed, or there are fewer records than the header says.
    pub fn parse(packet: &[u8]) -> Result<Self, ReplyError> {
        let (header, body) = packet.split_first_chunk::<HEADER>().ok_or(ReplyError::Malformed)?;
        let [_, _, _, prerequisites, changes, _]: [u16; 6] = words(header);
        let (_, rest) = Question::parse(body).ok_or(ReplyError::Malformed)?;
        let at = packet.len() - rest.len();
        let mut reader = Reader { packet, at, room: limits::UPDATE_OCTETS };
        let mut section = |count: u16| {
            let records = reader.section(count)?;
            let complete = records.len() == usize::from(count);
            let records = records.into_iter().map(UpdateRecord::of).collect();
            if complete { Ok(records) } else { Err(ReplyError::Malformed) }
        };
        Ok(Self { prerequisites: section(prerequisites)?, changes: section(changes)? })
    }
}

impl UpdateRecord {
    fn of(record: Record) -> Self {
        Self { class: record.class, record: record.into() }
    }
}

impl Type {
    /// Whether a zone can have such records: a type of questions or of messages has none (RFC 6895
    /// §3.1).
    pub fn is_for_zones(self) -> bool {
        !matches!(self.0, 0 | 128..=255) && self != Self::OPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Opcode, Query, RequestError};

    /// `counts` are those of the header; the records follow the zone `example.org`.
    fn message(counts: [u16; 4], records: &[u8]) -> Vec<u8> {
        let mut packet = vec![0, 7, 5 << 3, 0];
        packet.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        packet.extend(b"\x07example\x03org\0\0\x06\0\x01");
        packet.extend(records);
        packet
    }

    /// A record of the zone's apex.
    fn record(rtype: u8, class: u8, rdata: &[u8]) -> Vec<u8> {
        let fixed = [0xc0, HEADER as u8, 0, rtype, 0, class, 0, 0, 0, 0, 0, rdata.len() as u8];
        [&fixed[..], rdata].concat()
    }

    #[test]
    fn the_sections_are_read() {
        let records = [
            record(1, 255, &[]),
            record(1, 1, &[192, 0, 2, 1]),
            // An NS record with a compressed name.
            record(2, 254, &[2, b'n', b's', 0xc0, HEADER as u8]),
        ];
        let packet = message([1, 1, 2, 0], &records.concat());
        let Err(RequestError::Update(Some(query))) = Query::parse(&packet) else { panic!() };
        assert_eq!((query.opcode, query.question.qtype), (Opcode::Update, Type::SOA));
        let update = Update::parse(&packet).unwrap();
        let short = |records: &[UpdateRecord]| {
            let short = |it: &UpdateRecord| (it.class, it.record.rtype, it.record.rdata.clone());
            records.iter().map(short).collect::<Vec<_>>()
        };
        assert_eq!(short(&update.prerequisites), [(Class::ANY, Type::A, vec![])]);
        let name = b"\x02ns\x07example\x03org\0".to_vec();
        let changes = [(Class::IN, Type::A, vec![192, 0, 2, 1]), (Class::NONE, Type::NS, name)];
        assert_eq!(short(&update.changes), changes);
    }

    #[test]
    fn a_message_without_its_records_is_malformed() {
        let address = record(1, 1, &[192, 0, 2, 1]);
        let malformed = [
            message([1, 0, 2, 0], &address),
            message([1, 0, 1, 0], &address[..address.len() - 1]),
            message([1, 0, 1, 0], &record(1, 1, &[192, 0, 2])),
            message([1, 0, 1, 0], &record(1, 1, &[])),
        ];
        for packet in malformed {
            assert_eq!(Update::parse(&packet), Err(ReplyError::Malformed), "{packet:?}");
        }
        // The zone section must have one zone.
        for zones in [0, 2] {
            let packet = message([zones, 0, 0, 0], &[]);
            assert_eq!(Query::parse(&packet), Err(RequestError::Update(None)));
        }
    }
}
