//! Replies of upstreams that a fuzzer makes.

use std::{collections::HashSet, time::Instant};

use crate::{
    cache::{Cache, CacheBounds, CacheConfig, Lookup},
    limits,
    wire::{
        Edns, Name, Owner, Query, Question, Response, Room, Type,
        reply::{self, Match},
    },
};

/// The time at which signatures are checked, in seconds since 1970.
const UNIX: u32 = 1_800_000_000;
const NAMES: [&str; 5] =
    ["www.example.org", "example.org", "WwW.eXample.org", "lb.example.org", "other.test"];
const TYPES: [Type; 4] = [Type::A, Type::CNAME, Type::MX, Type::ANY];

/// Reads any reply of an upstream to a query that the first octet chooses. Reading it does not
/// panic, every kept record belongs to the question, the cache has no entry for a name or type that
/// was not asked for, and the reply to the client fits.
///
/// # Panics
/// If one of these promises is broken.
pub fn upstream_reply(data: &[u8], now: Instant) {
    let Some((choice, rest)) = data.split_first() else { return };
    let choice = usize::from(*choice);
    let Some(question) = question(choice % 5, choice / 5 % 4) else { return };
    let dnssec = choice / 20 % 2 == 0;
    let edns = Some(Edns::new(limits::UDP_OCTETS, dnssec));
    let asked = Query { id: 7, edns, ..Query::internal(question) };
    // Most packets begin with the id and the question of the query. Otherwise hardly any input
    // would match the query.
    let packet = if choice >= 200 { rest.to_vec() } else { with_question(&asked, rest) };
    if reply::matches(&packet, &asked) != Match::Yes {
        return;
    }
    let Ok(response) = reply::read(&packet, &asked) else { return };
    assert_kept_records_belong(&response, &asked);
    let mut out = Vec::new();
    response.encode(&asked, Room::stream(limits::UDP_OCTETS), &mut out);
    assert!(out.len() <= limits::STREAM_OCTETS, "{} octets", out.len());
    assert_cache_has_only(&asked, response, now);
}

fn question(name: usize, qtype: usize) -> Option<Question> {
    Some(Question::new(NAMES[name].parse().ok()?, TYPES[qtype]))
}

/// The id and the question of the query, with flags, counts and records from the fuzzer.
fn with_question(asked: &Query, rest: &[u8]) -> Vec<u8> {
    let (header, records) = rest.split_at(rest.len().min(8));
    let mut packet = asked.id.to_be_bytes().to_vec();
    let octet = |at: usize| header.get(at).copied().unwrap_or(0);
    // QR is set, the opcode is QUERY, and there is one question.
    packet.extend([0x80 | octet(0) & 0x07, octet(1), 0, 1]);
    // The header announces at most 15 records in a section, so that most inputs really contain that
    // many.
    for at in [2, 3, 4] {
        packet.extend([0, octet(at) & 15]);
    }
    packet.extend_from_slice(asked.question.spelled().wire());
    packet.extend(asked.question.qtype.0.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend_from_slice(records);
    packet
}

/// The answer section is a chain from the name of the question, and the SOA and NS records are of
/// zones that the name at its end is in.
fn assert_kept_records_belong(response: &Response, asked: &Query) {
    let name = |owner: &Owner| match owner {
        Owner::Name(wire) => Name::from_wire(wire),
        Owner::Question | Owner::QuestionFrom(_) => Some(asked.question.name.clone()),
    };
    let mut reached: HashSet<Name> = HashSet::from([asked.question.name.clone()]);
    for set in &response.answer {
        let owner = name(&set.owner).expect("the owner of a kept record is a valid name");
        let is_above = reached.iter().any(|name| name.is_within(&owner));
        assert!(
            reached.contains(&owner) || set.rtype == Type::DNAME && is_above,
            "{owner} {} is not in the chain from {}",
            set.rtype,
            asked.question.name
        );
        if set.rtype == Type::CNAME {
            reached.extend(set.rdatas.iter().filter_map(Name::from_wire));
        }
    }
    let zones = [Type::SOA, Type::NS];
    for set in response.authority.iter().filter(|set| zones.contains(&set.rtype)) {
        let owner = name(&set.owner).expect("the owner of a kept record is a valid name");
        assert!(
            reached.iter().any(|name| name.is_within(&owner)),
            "{owner} {} is not above {}",
            set.rtype,
            asked.question.name
        );
    }
}

fn assert_cache_has_only(asked: &Query, response: Response, now: Instant) {
    let config = CacheConfig::default();
    let small = |bounds| CacheBounds { capacity: 16, ..bounds };
    let (success, denial) = (small(config.success), small(config.denial));
    let cache = Cache::new(CacheConfig { success, denial, ..config }, 1);
    let inserted = cache.insert(asked, response, now, UNIX);
    for at in 0..NAMES.len() * TYPES.len() {
        let Some(question) = question(at % NAMES.len(), at / NAMES.len()) else { continue };
        let is_other =
            question.name != asked.question.name || question.qtype != asked.question.qtype;
        let other = asked.asking(question);
        assert!(
            !is_other
                || cache.get(&other, now) == Lookup::Miss && cache.stale(&other, now).is_none(),
            "{} {} is in the cache, and was not asked",
            other.question.name,
            other.question.qtype
        );
    }
    if let Lookup::Fresh { response, .. } = cache.get(asked, now) {
        assert_eq!(response.answer, inserted.response.answer, "the cache gives what it got");
    }
}
