//! How long an HTTP cache may keep a reply, and how old a reply from an HTTP cache is.

use super::{
    Type,
    octets::skip_name,
    query::{HEADER, words},
};

/// Seconds for which a reply of this server stays valid (RFC 8484 §5.1): the lowest TTL of its
/// answer and authority records. For an SOA record the minimum field counts, too (RFC 2308 §5).
/// Zero if there are no such records.
pub fn freshness(reply: &[u8]) -> u32 {
    lowest_ttl(reply).unwrap_or(0)
}

fn lowest_ttl(reply: &[u8]) -> Option<u32> {
    let header = reply.first_chunk::<HEADER>()?;
    let [_, _, _, answers, authorities, _] = words(header);
    let mut lowest = None;
    for place in ttls(reply).take(usize::from(answers) + usize::from(authorities)) {
        let RecordPlace { rtype, ttl, rdata, .. } = place?;
        let negative = rdata.last_chunk().filter(|_| rtype == Type::SOA);
        let ttl = negative.map_or(ttl, |minimum| ttl.min(u32::from_be_bytes(*minimum)));
        lowest = Some(lowest.map_or(ttl, |lowest: u32| lowest.min(ttl)));
    }
    lowest
}

/// Lowers the TTL of each record by the seconds that the reply was in an HTTP cache (RFC 8484
/// §5.1), down to zero.
pub fn grow_older(reply: &mut [u8], seconds: u32) {
    let records = |reply: &[u8]| -> Vec<_> {
        let ttl =
            |place: RecordPlace<'_>| (place.rtype != Type::OPT).then_some((place.at, place.ttl));
        ttls(reply).map_while(|place| place).filter_map(ttl).collect()
    };
    for (at, ttl) in records(reply) {
        if let Some(octets) = reply.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *octets = ttl.saturating_sub(seconds).to_be_bytes();
        }
    }
}

/// A record of a message.
struct RecordPlace<'r> {
    rtype: Type,
    ttl: u32,
    /// The offset of the TTL.
    at: usize,
    rdata: &'r [u8],
}

/// The records of all sections. `None` for one that cannot be read, which is the last one.
fn ttls(reply: &[u8]) -> impl Iterator<Item = Option<RecordPlace<'_>>> {
    let mut rest = after_questions(reply);
    let whole = reply.len();
    std::iter::from_fn(move || {
        let here = rest.take().filter(|here| !here.is_empty())?;
        let place = (|| {
            let fixed_at = skip_name(here)?;
            let (fixed, tail) = fixed_at.split_first_chunk::<10>()?;
            let [rtype, _, high, low, length] = words(fixed);
            let (rdata, tail) = tail.split_at_checked(usize::from(length))?;
            rest = Some(tail);
            let (ttl, at) = (u32::from(high) << 16 | u32::from(low), whole - fixed_at.len() + 4);
            Some(RecordPlace { rtype: Type(rtype), ttl, at, rdata })
        })();
        Some(place)
    })
}

fn after_questions(reply: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = reply.split_first_chunk::<HEADER>()?;
    let [_, _, questions, ..]: [u16; 6] = words(header);
    for _ in 0..questions {
        rest = skip_name(rest)?.get(4..)?;
    }
    Some(rest)
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

    #[test]
    fn the_age_is_taken_off_each_ttl_except_that_of_opt() {
        let query = Query {
            edns: Some(crate::wire::Edns::new(1232, true)),
            ..Query::internal(Question::new("a.b".parse().unwrap(), Type::A))
        };
        let address =
            |ttl| RecordSet::new(Owner::Question, Type::A, ttl, Rdatas::one(&[192, 0, 2, 1]));
        let mut response = Response::of(Rcode::NOERROR);
        response.answer = [300, 20].map(address).into_iter().collect();
        let mut reply = Vec::new();
        response.encode(&query, Room::stream(1232), &mut reply);
        let before = reply.clone();
        grow_older(&mut reply, 100);
        let [old, new] = [&before, &reply]
            .map(|reply| ttls(reply).map(|place| place.unwrap().ttl).collect::<Vec<_>>());
        assert_eq!((&old[..], &new[..]), (&[300, 20, 0x8000][..], &[200, 0, 0x8000][..]));
        for end in 0..reply.len() {
            grow_older(&mut before.clone()[..end], 1);
        }
    }
}
