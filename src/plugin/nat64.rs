//! What `dns64` and `siit` have in common: the prefixes of IPv6 addresses that contain an IPv4
//! address (RFC 6052), and the rules for records that are made from other records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    corefile::{Arguments, Token},
    wire::{Rdatas, RecordSet, Response, Type},
};

/// The TTL of records for a name whose zone has no SOA record, in seconds (RFC 6147 §5.1.7).
const DEFAULT_TTL: u32 = 600;

/// A prefix of 4 to 12 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    address: Ipv6Addr,
    octets: usize,
}

/// Which lengths a prefix may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lengths {
    /// Whole octets from 32 to 96 bits, as in CoreDNS's `dns64`.
    Whole,
    /// Those of RFC 6052 §2.2. The octet 8 must be zero.
    OfTheRfc,
}

/// The longest TTL of records that take the place of this empty answer (RFC 6147 §5.1.7).
pub(super) fn longest_ttl(empty: &Response) -> u32 {
    let soa = empty.authority.iter().find(|set| set.rtype == Type::SOA);
    soa.map_or(DEFAULT_TTL, |soa| soa.ttl)
}

/// Removes from an RRSIG set the signatures over records of the type `replaced` (RFC 4034 §3.1.1),
/// because other records take their place. `None` if no signature is left.
pub(super) fn without_signatures(set: RecordSet, replaced: Type) -> Option<RecordSet> {
    if set.rtype != Type::RRSIG {
        return Some(set);
    }
    let covered = replaced.0.to_be_bytes();
    let rdatas: Rdatas = set.rdatas.iter().filter(|rdata| !rdata.starts_with(&covered)).collect();
    (!rdatas.is_empty()).then(|| RecordSet { rdatas, ..set })
}

impl Prefix {
    /// `64:ff9b::/96`, the well-known prefix (RFC 6052 §2.1).
    pub(super) const WELL_KNOWN: Self =
        Self { address: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), octets: 12 };

    /// The indexes of the octets that hold the IPv4 address. The octet 8 is zero (RFC 6052 §2.2).
    fn places(self) -> impl Iterator<Item = usize> {
        (self.octets..16).filter(|place| *place != 8).take(4)
    }

    /// The IPv6 address that stands for an IPv4 address.
    pub(super) fn embed(self, v4: &[u8; 4]) -> Ipv6Addr {
        let mut address = self.address.octets();
        for (place, octet) in self.places().zip(v4) {
            address[place] = *octet;
        }
        address.into()
    }

    /// The IPv4 address that an IPv6 address stands for; `None` without the prefix.
    pub(super) fn extract(self, v6: Ipv6Addr) -> Option<Ipv4Addr> {
        let address = v6.octets();
        let within = address[..self.octets] == self.address.octets()[..self.octets];
        if !within || address[8] != 0 {
            return None;
        }
        let mut v4 = [0; 4];
        for (octet, place) in v4.iter_mut().zip(self.places()) {
            *octet = address[place];
        }
        Some(v4.into())
    }

    pub(super) fn read(
        arguments: &mut Arguments<'_>,
        token: &Token,
        lengths: Lengths,
    ) -> Option<Self> {
        let (text, span) = (&token.text, token.span);
        let parsed = text.split_once('/').and_then(|(address, bits)| {
            Some((address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?))
        });
        let (allowed, help): (&[u8], _) = match lengths {
            Lengths::Whole => (
                &[32, 40, 48, 56, 64, 72, 80, 88, 96],
                "such as `64:ff9b::/96`; its length is 32, 40, 48, 56, 64, 72, 80, 88 or 96 bits",
            ),
            Lengths::OfTheRfc => (
                &[32, 40, 48, 56, 64, 96],
                "such as `64:ff9b::/96`; its length is 32, 40, 48, 56, 64 or 96 bits",
            ),
        };
        let Some((IpAddr::V6(address), bits)) = parsed else {
            arguments.error(span, &format!("`{text}` is not an IPv6 prefix")).help(help);
            return None;
        };
        if !allowed.contains(&bits) {
            arguments.error(span, &format!("invalid prefix length \"{text}\"")).help(help);
            return None;
        }
        let masked = address.to_bits() & (u128::MAX << (128 - u32::from(bits)));
        let prefix = Self { address: Ipv6Addr::from_bits(masked), octets: usize::from(bits / 8) };
        if lengths == Lengths::OfTheRfc && prefix.address.octets()[8] != 0 {
            let message =
                format!("invalid prefix \"{text}\": reserved octet (byte 8) must be zero");
            arguments.error(span, &message);
            return None;
        }
        Some(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6052 §2.4.
    #[test]
    fn addresses_are_embedded_and_extracted() {
        let check = |prefix: &str, octets, expected: &str| {
            let prefix = Prefix { address: prefix.parse().unwrap(), octets };
            let v4 = Ipv4Addr::new(192, 0, 2, 33);
            let v6 = prefix.embed(&v4.octets());
            assert_eq!(v6.to_string(), expected);
            assert_eq!(prefix.extract(v6), Some(v4));
        };
        check("2001:db8::", 4, "2001:db8:c000:221::");
        check("2001:db8:100::", 5, "2001:db8:1c0:2:21::");
        check("2001:db8:122::", 6, "2001:db8:122:c000:2:2100::");
        check("2001:db8:122:300::", 7, "2001:db8:122:3c0:0:221::");
        check("2001:db8:122:344::", 8, "2001:db8:122:344:c0:2:2100:0");
        check("2001:db8:122:344::", 12, "2001:db8:122:344::c000:221");
        check("64:ff9b::", 12, "64:ff9b::c000:221");
        let other = "2001:db8::1".parse().unwrap();
        assert_eq!(Prefix::WELL_KNOWN.extract(other), None);
        let reserved = "64:ff9b::ff00:0:c000:221".parse().unwrap();
        assert_eq!(Prefix::WELL_KNOWN.extract(reserved), None);
    }
}
