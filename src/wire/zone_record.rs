//! Records of a zone outside of messages.

use super::{Class, Name, Type};

/// A record of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneRecord {
    pub owner: Name,
    pub rtype: Type,
    /// The TTL in seconds.
    pub ttl: u32,
    /// The data with uncompressed names.
    pub rdata: Vec<u8>,
}

impl ZoneRecord {
    /// Appends the record as it stands in a message, of the class IN and without compression.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.owner.wire());
        out.extend(self.rtype.0.to_be_bytes());
        out.extend(Class::IN.0.to_be_bytes());
        out.extend(self.ttl.to_be_bytes());
        out.extend((self.rdata.len() as u16).to_be_bytes());
        out.extend_from_slice(&self.rdata);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::reply::zone_records;

    #[test]
    fn records_are_read_as_they_were_written() {
        let record = |owner: &str, rtype, rdata: &[u8]| ZoneRecord {
            owner: owner.parse().unwrap(),
            rtype,
            ttl: 60,
            rdata: rdata.to_vec(),
        };
        let records = [
            record("example.org", Type::NS, b"\x02ns\x07example\x03org\0"),
            record("a.example.org", Type::A, &[192, 0, 2, 1]),
            record("a.example.org", Type(65_280), b""),
        ];
        let mut octets = Vec::new();
        records.iter().for_each(|record| record.write(&mut octets));
        assert_eq!(zone_records(&octets).as_deref(), Some(&records[..]));
        assert_eq!(zone_records(&[]), Some(vec![]));
        assert_eq!(zone_records(&octets[..octets.len() - 1]), None);
        octets[15] = 3;
        assert_eq!(zone_records(&octets), None, "another class");
    }
}
