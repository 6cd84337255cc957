//! A signed zone as the text of a zone file, and when it must be signed again.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write,
    sync::Arc,
};

use crate::{
    dnssec::{CanonicalSet, Validity, ZoneKey, nsec},
    limits,
    wire::{Entries, Name, Owner, Rdatas, RecordHeader, RecordSet, Type, Word},
    zonefile::Zone,
};

/// The names of a zone in canonical order, each with its records.
type Names = Vec<(Name, Vec<RecordSet>)>;

/// The text of a zone file with signatures. The serial of the SOA record is `unix`, the time in
/// seconds since 1970. `None` if a key makes no signature.
pub fn signed_zone(
    zone: &Arc<Zone>,
    keys: &[ZoneKey],
    validity: Validity,
    unix: u32,
) -> Option<String> {
    let origin = zone.origin();
    let transfer = zone.transfer();
    let mut soa = transfer.soa;
    let rdata = soa.rdatas.iter().next()?.to_vec();
    let (names, numbers) = rdata.split_last_chunk::<20>()?;
    soa.rdatas = Rdatas::one(&[names, &unix.to_be_bytes(), &numbers[4..]].concat());
    let minimum = u32::from_be_bytes(*numbers.last_chunk()?);
    // RFC 9077 §3.
    let denial_ttl = minimum.min(soa.ttl);
    let of_keys = key_sets(origin, keys, soa.ttl);
    let all = [soa].into_iter().chain(of_keys).chain(transfer.records.filter(is_kept));
    let names = grouped(origin, all);
    let boundaries = Boundaries::of(&names, origin);
    let visible = |name: &Name| boundaries.place(name) != Place::Hidden;
    let chain: Vec<_> = names
        .iter()
        .map(|(name, _)| name)
        .filter(|name| matches!(boundaries.place(name), Place::Zone | Place::Cut))
        .collect();
    let mut next_in_chain = chain.iter().skip(1).copied().chain([origin]);

    let mut text = String::new();
    for (name, sets) in names.iter().filter(|(name, _)| visible(name)) {
        let place = boundaries.place(name);
        let mut sets = sets.clone();
        if place != Place::Below {
            let types = sets.iter().map(|set| set.rtype);
            let types = types.filter(|rtype| place != Place::Cut || belongs_to_cut(*rtype));
            let types: BTreeSet<_> = types.chain([Type::NSEC, Type::RRSIG]).collect();
            let rdata = nsec(next_in_chain.next()?, types);
            let owner = Owner::from(name);
            sets.push(RecordSet::new(owner, Type::NSEC, denial_ttl, Rdatas::one(&rdata)));
        }
        for set in &sets {
            write(&mut text, name, set.ttl, set.rtype, &set.rdatas);
            let belongs_here = match place {
                Place::Zone => true,
                Place::Cut => matches!(set.rtype, Type::DS | Type::NSEC),
                Place::Below | Place::Hidden => false,
            };
            if !belongs_here {
                continue;
            }
            let canonical = CanonicalSet::new(name, set, set.ttl);
            let signed = keys.iter().map(|key| canonical.sign(key, origin, validity));
            let rdatas: Rdatas = signed.collect::<Option<Vec<_>>>()?.into_iter().collect();
            write(&mut text, name, set.ttl, Type::RRSIG, &rdatas);
        }
    }
    Some(text)
}

/// The types that an NSEC record names at a delegation (RFC 4035 §2.3).
fn belongs_to_cut(rtype: Type) -> bool {
    matches!(rtype, Type::NS | Type::DS)
}

/// Where a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Zone,
    /// The name of a delegation. Only its DS and NSEC records belong to the zone.
    Cut,
    /// Below a delegation: addresses of its servers.
    Below,
    /// Below a DNAME record, where no query finds it.
    Hidden,
}

/// The names where a part of the zone ends.
struct Boundaries<'z> {
    origin: &'z Name,
    cuts: HashSet<&'z Name>,
    redirected: HashSet<&'z Name>,
}

impl<'z> Boundaries<'z> {
    fn of(names: &'z Names, origin: &'z Name) -> Self {
        let with = |rtype: Type| {
            let has = move |sets: &[RecordSet]| sets.iter().any(|set| set.rtype == rtype);
            names.iter().filter(move |(_, sets)| has(sets)).map(|(name, _)| name)
        };
        let cuts = with(Type::NS).filter(|name| *name != origin).collect();
        Self { origin, cuts, redirected: with(Type::DNAME).collect() }
    }

    fn place(&self, name: &Name) -> Place {
        let mut above = name.clone();
        let mut place = if self.cuts.contains(name) { Place::Cut } else { Place::Zone };
        while above != *self.origin {
            let Some(parent) = above.parent() else { break };
            if self.redirected.contains(&parent) {
                return Place::Hidden;
            }
            if self.cuts.contains(&parent) {
                place = Place::Below;
            }
            above = parent;
        }
        place
    }
}

/// The records about the keys at the apex: DNSKEY, and CDS and CDNSKEY for the zone above.
fn key_sets(origin: &Name, keys: &[ZoneKey], ttl: u32) -> [RecordSet; 3] {
    let set = |rtype, rdatas: Rdatas| RecordSet::new(Owner::from(origin), rtype, ttl, rdatas);
    let public = || keys.iter().map(ZoneKey::rdata).collect::<Rdatas>();
    let digests = keys.iter().flat_map(|key| key.digests(origin));
    [set(Type::DNSKEY, public()), set(Type::CDS, digests.collect()), set(Type::CDNSKEY, public())]
}

/// Whether a set of the file is part of the signed zone. Signatures, denials and records of keys
/// are left out, because the signed zone gets new ones.
fn is_kept(set: &RecordSet) -> bool {
    let made = [
        Type::RRSIG,
        Type::NSEC,
        Type::NSEC3,
        Type::NSEC3PARAM,
        Type::DNSKEY,
        Type::CDS,
        Type::CDNSKEY,
    ];
    !made.contains(&set.rtype)
}

/// Groups the sets by their names. The sets of a zone are in canonical order already.
fn grouped(origin: &Name, sets: impl Iterator<Item = RecordSet>) -> Names {
    let mut names = Names::new();
    for set in sets {
        let name = set.owner.name(origin);
        match names.last_mut().filter(|(last, _)| *last == name) {
            Some((_, sets)) => sets.push(set),
            None => names.push((name, vec![set])),
        }
    }
    names
}

/// Writes records in the generic form (RFC 3597 §5), which every server reads.
fn write(text: &mut String, name: &Name, ttl: u32, rtype: Type, rdatas: &Rdatas) {
    for rdata in rdatas.iter() {
        // Writing to a String does not fail.
        let _ = write!(text, "{name}\t{ttl}\tIN\t{rtype}\t\\# {} ", rdata.len());
        for octet in rdata {
            let _ = write!(text, "{octet:02x}");
        }
        text.push('\n');
    }
}

/// The reason why a zone must be signed again; `None` if there is none. It is judged by the
/// signatures of the SOA record in the signed file: their times, and the tags of their keys.
pub fn why_due(signed: &str, unix: u32, keys: &BTreeSet<u16>) -> Option<String> {
    let signatures = Entries::new(signed)
        .take(limits::SIGNED_RECORDS_LOOK)
        .map_while(Result::ok)
        .filter_map(|entry| soa_signature(entry.words.get(1..)?));
    let mut found = BTreeSet::new();
    for (Validity { inception, expiration }, tag) in signatures {
        found.insert(tag);
        let (age, left) =
            (unix.wrapping_sub(inception) as i32, expiration.wrapping_sub(unix) as i32);
        if age < 0 {
            return Some("the signatures begin in the future".to_owned());
        }
        if age > limits::SIGN_AGAIN_AFTER {
            return Some(format!("the signatures are {} days old", age / 86_400));
        }
        if left < limits::SIGN_AGAIN_BEFORE {
            return Some(format!("the signatures end in {} days", left.max(0) / 86_400));
        }
    }
    if found.is_empty() {
        return Some("the signed file has no signature of the SOA record".to_owned());
    }
    (found != *keys).then(|| "the keys are not those of the signed file".to_owned())
}

/// The times of a record and the tag of its key, if it is the signature of an SOA record.
fn soa_signature(words: &[Word<'_>]) -> Option<(Validity, u16)> {
    let (header, data) = RecordHeader::read(words).ok()?;
    let rdata = header.rtype.rdata(data, &Name::root()).ok()?;
    let is_soa = header.rtype == Type::RRSIG && rdata.starts_with(&Type::SOA.0.to_be_bytes());
    let fields = rdata.get(8..)?.first_chunk::<10>().filter(|_| is_soa)?;
    let [a, b, c, d, e, f, g, h, i, j] = *fields;
    let validity = Validity {
        expiration: u32::from_be_bytes([a, b, c, d]),
        inception: u32::from_be_bytes([e, f, g, h]),
    };
    Some((validity, u16::from_be_bytes([i, j])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second line of the signed file has the form that other servers write.
    #[test]
    fn a_zone_is_signed_again_in_time() {
        const DAY: u32 = 86_400;
        let check = |text: &str, unix: u32, expected: Option<&str>| {
            let why = why_due(text, unix, &[59725].into());
            let fits = match (&why, expected) {
                (Some(why), Some(expected)) => why.contains(expected),
                (why, expected) => why.is_none() == expected.is_none(),
            };
            assert!(fits, "{unix}: {why:?}");
        };
        let text = "example.org. 300 IN SOA ns h 1 2 3 4 5\nexample.org. 1800 IN RRSIG SOA 13 2 1800 20190808000000 20190717000000 59725 example.org. AAAA\n";
        let (begin, end) = (1_563_321_600, 1_565_222_400);
        check(text, begin + DAY, None);
        check(text, begin - 1, Some("future"));
        check(text, begin + 6 * DAY, None);
        check(text, begin + 6 * DAY + 1, Some("6 days old"));
        check(text, end - 7 * DAY, Some("old"));
        let short = text.replace("20190808", "20190723");
        check(&short, begin + DAY, Some("end in 5 days"));
        let other = text.replace("59725", "59726");
        check(&other, begin + DAY, Some("keys are not those"));
        check("", begin, Some("no signature"));
        check("example.org. 300 IN SOA ns h 1 2 3 4 5\n", begin, Some("no signature"));
        check("not a zone \"", begin, Some("no signature"));
    }
}
