//! How long an HTTP cache may keep a reply.

use super::{
    Type,
    query::{HEADER, skip_name, words},
};

/// Seconds for which a reply of this server stays valid (RFC 8484 §5.1): the lowest TTL of its answer
/// and authority records. For an SOA record the minimum field counts, too (RFC 2308 §5). Zero if there
/// are no such records.
pub fn freshness(reply: &[u8]) -> u32 {
    lowest_ttl(reply).unwrap_or(0)
}

fn lowest_ttl(reply: &[u8]) -> Option<u32> {
    let (header, mut rest) = reply.split_first_chunk::<HEADER>()?;
    let [_, _, questions, answers, authorities, _] = words(header);
    for _ in 0..questions {
        rest = skip_name(rest)?.get(4..)?;
    }
    let mut lowest = None;
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        let (fixed, tail) = skip_name(rest)?.split_first_chunk::<10>()?;
        let [rtype, _, high, low, length] = words(fixed);
        let (rdata, tail) = tail.split_at_checked(usize::from(length))?;
        let ttl = u32::from(high) << 16 | u32::from(low);
        let negative = rdata.last_chunk().filter(|_| Type(rtype) == Type::SOA);
        let ttl = negative.map_or(ttl, |minimum| ttl.min(u32::from_be_bytes(*minimum)));
        lowest = Some(lowest.map_or(ttl, |lowest: u32| lowest.min(ttl)));
        rest = tail;
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Room};

    #[test]
    fn the_lowest_ttl_counts() {
        let query = Query::internal(Question::new("a.b".parse().unwrap(), Type::A));
        let root = Name::root();
        let soa =
            |minimum: u32| [root.wire(), root.wire(), &[0; 16], &minimum.to_be_bytes()].concat();
        let address =
            |ttl| RecordSet::new(Owner::Question, Type::A, ttl, Rdatas::one(&[192, 0, 2, 1]));
        let check = |answer: &[u32], authority: Option<(u32, u32)>, expected: u32| {
            let mut response = Response::of(Rcode::NOERROR);
            response.answer = answer.iter().map(|ttl| address(*ttl)).collect();
            response.authority = authority
                .iter()
                .map(|(ttl, minimum)| {
                    RecordSet::new(Owner::Question, Type::SOA, *ttl, Rdatas::one(&soa(*minimum)))
                })
                .collect();
            // The TTL of an additional record does not count.
            response.additional.push(address(1));
            let mut reply = Vec::new();
            response.encode(&query, Room::stream(1232), &mut reply);
            assert_eq!(freshness(&reply), expected, "{answer:?} {authority:?}");
        };
        check(&[], None, 0);
        check(&[30], None, 30);
        check(&[30, 7, 100_000], None, 7);
        check(&[0, 7], None, 0);
        check(&[], Some((3600, 30)), 30);
        check(&[], Some((5, 30)), 5);
        check(&[20], Some((3600, 30)), 20);
        assert_eq!(freshness(b"no message"), 0);
    }
}
