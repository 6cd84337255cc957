//! The canonical form of a record set, and signatures over it (RFC 4034 §3.1.8.1 and §6).

use crate::wire::{Class, Name, RecordSet, Type};

use super::ZoneKey;

/// When a signature is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub inception: u32,
    pub expiration: u32,
}

/// Records of one owner and type as they are signed.
pub struct CanonicalSet {
    rtype: Type,
    /// Labels of the owner, without the root and a first `*`.
    labels: u8,
    /// In seconds.
    ttl: u32,
    octets: Vec<u8>,
}

impl CanonicalSet {
    /// `ttl` is the original TTL of the records, in seconds.
    pub fn new(owner: &Name, set: &RecordSet, ttl: u32) -> Self {
        let mut rdatas: Vec<_> =
            set.rdatas.iter().map(|rdata| set.rtype.canonical(rdata)).collect();
        rdatas.sort_unstable();
        rdatas.dedup();
        let mut octets = Vec::new();
        for rdata in rdatas {
            octets.extend_from_slice(owner.wire());
            octets.extend(set.rtype.0.to_be_bytes());
            octets.extend(Class::IN.0.to_be_bytes());
            octets.extend(ttl.to_be_bytes());
            octets.extend((rdata.len() as u16).to_be_bytes());
            octets.extend_from_slice(&rdata);
        }
        let wildcard = owner.labels().next() == Some(b"*");
        let labels = owner.labels().count() - usize::from(wildcard);
        // A name has 127 labels at most.
        Self { rtype: set.rtype, labels: labels as u8, ttl, octets }
    }

    /// All records with their owner, type and TTL. Different sets have different octets.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The data of an RRSIG record; `None` if the key makes no signature. `zone` is the owner of
    /// the key.
    pub fn sign(&self, key: &ZoneKey, zone: &Name, validity: Validity) -> Option<Vec<u8>> {
        let mut rdata = Vec::with_capacity(128);
        rdata.extend(self.rtype.0.to_be_bytes());
        rdata.extend([key.algorithm(), self.labels]);
        for time in [self.ttl, validity.expiration, validity.inception] {
            rdata.extend(time.to_be_bytes());
        }
        rdata.extend(key.tag().to_be_bytes());
        rdata.extend_from_slice(zone.wire());
        let signature = key.sign(&[&*rdata, &self.octets].concat())?;
        rdata.extend(signature);
        Some(rdata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dnssec::key::tests::{PRIVATE, PUBLIC, echo},
        wire::{Owner, Rdatas},
    };

    #[test]
    fn records_are_sorted_and_their_names_lower_case() {
        let owner: Name = "Host.Example.ORG".parse().unwrap();
        let rdatas = [b"\x00\x14\x01B\x00".as_slice(), b"\x00\x0a\x01A\x00", b"\x00\x14\x01b\x00"];
        let set =
            RecordSet::new(Owner::Question, Type::MX, 60, rdatas.into_iter().collect::<Rdatas>());
        let canonical = CanonicalSet::new(&owner, &set, 3600);
        let head = b"\x04host\x07example\x03org\x00\x00\x0f\x00\x01\x00\x00\x0e\x10\x00\x05";
        let expected = [&head[..], b"\x00\x0a\x01a\x00", head, b"\x00\x14\x01b\x00"].concat();
        assert_eq!(canonical.octets(), expected);

        let key = ZoneKey::read(PUBLIC, PRIVATE, echo).unwrap();
        let zone: Name = "example.org".parse().unwrap();
        let validity = Validity { inception: 1, expiration: 2 };
        let rdata = canonical.sign(&key, &zone, validity).unwrap();
        let fields = b"\x00\x0f\x0d\x03\x00\x00\x0e\x10\x00\x00\x00\x02\x00\x00\x00\x01\xd9\x60\x07example\x03org\x00";
        assert_eq!(rdata, [&fields[..], fields, &expected].concat());
    }

    #[test]
    fn the_label_of_a_wildcard_does_not_count() {
        let check = |owner: &str, labels| {
            let set = RecordSet::new(Owner::Question, Type::A, 5, Rdatas::one(&[192, 0, 2, 1]));
            assert_eq!(CanonicalSet::new(&owner.parse().unwrap(), &set, 5).labels, labels);
        };
        check("*.example.org", 2);
        check("www.*.example.org", 4);
        check(".", 0);
    }

    /// SVCB and NSEC keep the case of their names (RFC 6840 §5.1).
    #[test]
    fn newer_types_keep_their_case() {
        for rtype in [Type::NSEC, Type::SVCB] {
            let rdata = b"\x01B\x00\x00";
            assert_eq!(rtype.canonical(rdata), rdata);
        }
        assert_eq!(Type::SRV.canonical(b"\0\0\0\0\0\0\x01B\x00"), b"\0\0\0\0\0\0\x01b\x00");
    }
}
