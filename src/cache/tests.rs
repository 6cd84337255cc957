use super::*;
use crate::wire::{Edns, Name, Owner, Question, Rdatas, RecordSet};

#[expect(clippy::disallowed_methods, reason = "any time will do as the start")]
fn start() -> Instant {
    Instant::now()
}

/// The time of the wall clock in these tests, in seconds since 1970.
const UNIX: u32 = 1_700_000_000;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn cache(change: impl FnOnce(&mut CacheConfig)) -> Cache {
    let mut config = CacheConfig::default();
    change(&mut config);
    Cache::new(config, 1)
}

fn query(name: &str, qtype: Type) -> Query {
    Query::internal(Question::new(name.parse().unwrap(), qtype))
}

fn www() -> Query {
    query("www.example.com", Type::A)
}

fn set(owner: Owner, rtype: Type, ttl: u32, rdata: &[u8]) -> RecordSet {
    RecordSet::new(owner, rtype, ttl, Rdatas::one(rdata))
}

/// A reply with a record of each type, with its TTL. The data is an address or, for a CNAME, a
/// name.
fn records(records: &[(Type, u32)]) -> Response {
    let data = |rtype| if rtype == Type::CNAME { b"\x01a\0".as_slice() } else { &[192, 0, 2, 1] };
    let answer =
        records.iter().map(|&(rtype, ttl)| set(Owner::Question, rtype, ttl, data(rtype))).collect();
    Response { answer, ..Response::of(Rcode::NOERROR) }
}

fn address(ttl: u32) -> Response {
    records(&[(Type::A, ttl)])
}

/// A negative answer that has an SOA with this TTL and minimum.
fn denial(rcode: Rcode, ttl: u32, minimum: u32) -> Response {
    let rdata = [b"\0\0".as_slice(), &[0; 16], &minimum.to_be_bytes()].concat();
    let zone: Name = "example.com".parse().unwrap();
    Response {
        authority: [set(Owner::from(&zone), Type::SOA, ttl, &rdata)].into_iter().collect(),
        ..Response::of(rcode)
    }
}

fn servfail() -> Response {
    Response::of(Rcode::SERVFAIL)
}

/// The TTL and the kind of a fresh entry. All records of an entry must have the same TTL.
fn hit(cache: &Cache, query: &Query, now: Instant) -> Option<(u32, ReplyKind)> {
    let Lookup::Fresh { response, kind, .. } = cache.get(query, now) else { return None };
    let mut ttls: Vec<_> = response.sets().map(|set| set.ttl).collect();
    ttls.dedup();
    match ttls[..] {
        [] => Some((0, kind)),
        [ttl] => Some((ttl, kind)),
        _ => panic!("all records of a reply have one TTL: {ttls:?}"),
    }
}

#[test]
fn a_reply_lives_as_long_as_its_shortest_record() {
    let check = |response: Response, expected: Option<(u32, ReplyKind)>| {
        let (cache, t0) = (cache(|_| {}), start());
        let inserted = cache.insert(&www(), response.clone(), t0, UNIX);
        assert_eq!(inserted.kind, expected.map(|(_, kind)| kind), "{response:?}");
        assert_eq!(hit(&cache, &www(), t0), expected, "{response:?}");
        // The client whose query filled the cache gets the same TTLs as the next one.
        if let Some((ttl, _)) = expected {
            assert!(inserted.response.sets().all(|set| set.ttl == ttl), "{inserted:?}");
            let last = t0 + secs(ttl.into()) - Duration::from_nanos(1);
            assert_eq!(hit(&cache, &www(), last).map(|(left, _)| left), (ttl > 0).then_some(1));
            assert_eq!(hit(&cache, &www(), t0 + secs(ttl.into())), None);
        }
    };
    let [success, denied] =
        [ReplyKind::Success, ReplyKind::Denial].map(|kind| move |ttl| Some((ttl, kind)));
    check(address(300), success(300));
    check(records(&[(Type::CNAME, 60), (Type::A, 300)]), success(60));
    check(records(&[(Type::CNAME, 300), (Type::A, 60)]), success(60));
    // The default bounds are 5 s to 1 h, and 30 min for negative answers.
    check(address(0), None);
    check(address(1), success(5));
    check(address(5), success(5));
    check(address(3600), success(3600));
    check(address(3601), success(3600));
    check(address(u32::MAX), success(3600));
    for rcode in [Rcode::NXDOMAIN, Rcode::NOERROR] {
        check(denial(rcode, 60, 300), denied(60));
        check(denial(rcode, 300, 60), denied(60));
        check(denial(rcode, 86_400, 86_400), denied(1800));
        check(denial(rcode, 300, 0), None);
    }
    // A CNAME whose target has no records is a negative answer.
    check(
        Response { answer: records(&[(Type::CNAME, 20)]).answer, ..denial(Rcode::NOERROR, 60, 60) },
        denied(20),
    );
    // These codes say nothing about the name.
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED, Rcode::NOTIMP, Rcode::FORMERR] {
        check(Response::of(rcode), None);
    }
}

/// CoreDNS's rule: `max(TTL, MINTTL)`, then at most the maximum, also for `cache 1`.
#[test]
fn the_maximum_ttl_wins_over_the_minimum() {
    let check = |[min, max]: [u64; 2], ttl, expected| {
        let change = |config: &mut CacheConfig| {
            for bounds in [&mut config.success, &mut config.denial] {
                (bounds.min_ttl, bounds.max_ttl) = (secs(min), secs(max));
            }
        };
        let (cache, t0) = (cache(change), start());
        for response in [address(ttl), denial(Rcode::NXDOMAIN, ttl, ttl)] {
            cache.insert(&www(), response, t0, UNIX);
            assert_eq!(hit(&cache, &www(), t0).map(|(ttl, _)| ttl), expected, "{min} {max} {ttl}");
        }
        let mut local = address(ttl);
        cache.clamp_ttls(&www(), &mut local);
        assert_eq!(Some(local.answer[0].ttl), expected.or(Some(min.min(max) as u32)));
    };
    check([5, 1], 60, Some(1));
    check([5, 1], 1, Some(1));
    check([5, 1], 0, None);
    check([60, 30], 10, Some(30));
    check([60, 60], 10, Some(60));
    check([0, 60], 10, Some(10));
}

#[test]
fn a_signed_reply_lives_no_longer_than_its_signatures() {
    let signature = |begins: u32, expires: u32| {
        let times = [expires.to_be_bytes(), begins.to_be_bytes()].concat();
        let rdata = [b"\0\x01\x0d\x02\0\0\0\x3c".as_slice(), &times, b"\0\x07\0x"].concat();
        set(Owner::Question, Type::RRSIG, 300, &rdata)
    };
    let check = |now: u32, signatures: &[(u32, u32)], expected: Option<u32>| {
        let (cache, t0) = (cache(|_| {}), start());
        let mut response = address(300);
        response
            .answer
            .extend(signatures.iter().map(|(begins, expires)| signature(*begins, *expires)));
        let inserted = cache.insert(&www(), response, t0, now);
        assert_eq!(hit(&cache, &www(), t0).map(|(ttl, _)| ttl), expected, "{signatures:?}");
        // The client still gets the reply, with a TTL that no cache may exceed.
        assert_eq!(inserted.response.answer[0].ttl, expected.unwrap_or(0), "{signatures:?}");
        assert_eq!(cache.get(&www(), t0) == Lookup::Miss, expected.is_none(), "{signatures:?}");
    };
    let day = 86_400;
    check(UNIX, &[], Some(300));
    check(UNIX, &[(UNIX - day, UNIX + day)], Some(300));
    check(UNIX, &[(UNIX - day, UNIX + 301)], Some(300));
    check(UNIX, &[(UNIX - day, UNIX + 299)], Some(299));
    check(UNIX, &[(UNIX - day, UNIX + day), (UNIX - day, UNIX + 7)], Some(7));
    // The default minimum of 5 s does not raise it.
    check(UNIX, &[(UNIX - day, UNIX + 1)], Some(1));
    check(UNIX, &[(UNIX - day, UNIX)], None);
    check(UNIX, &[(UNIX - day, UNIX + day), (UNIX - day, UNIX - 1)], None);
    check(UNIX, &[(UNIX, UNIX + day)], Some(300));
    check(UNIX, &[(UNIX + 1, UNIX + day)], None);
    // The times wrap around in 2106.
    check(u32::MAX - 10, &[(u32::MAX - day, 89)], Some(100));
    check(5, &[(u32::MAX - day, 10)], Some(5));
}

#[test]
fn a_negative_answer_without_an_soa_lives_as_long_as_a_failure() {
    let (cache, t0) = (cache(|_| {}), start());
    assert_eq!(
        cache.insert(&www(), Response::of(Rcode::NXDOMAIN), t0, UNIX).kind,
        Some(ReplyKind::Denial)
    );
    assert!(hit(&cache, &www(), t0 + secs(4)).is_some());
    assert!(hit(&cache, &www(), t0 + secs(5)).is_none());
}

#[test]
fn transfers_and_replies_to_non_recursive_queries_are_not_cached() {
    let (cache, t0) = (cache(|_| {}), start());
    for query in [
        query("example.com", Type::AXFR),
        query("example.com", Type::IXFR),
        Query { recursion_desired: false, ..www() },
    ] {
        assert_eq!(cache.insert(&query, address(60), t0, UNIX).kind, None);
        cache.insert_failure(&query, servfail(), t0);
        assert_eq!(cache.get(&query, t0), Lookup::Miss);
    }
}

#[test]
fn everything_that_can_change_the_reply_is_in_the_key() {
    let (cache, t0) = (cache(|_| {}), start());
    cache.insert(&www(), address(60), t0, UNIX);
    let check = |change: fn(&mut Query), hits: bool| {
        let mut query = www();
        change(&mut query);
        assert_eq!(hit(&cache, &query, t0).is_some(), hits, "{query:?}");
    };
    check(|query| query.id = 7, true);
    check(|query| query.question.name = "WWW.example.COM".parse().unwrap(), true);
    check(|query| query.edns = None, true);
    check(|query| query.authentic_data = true, true);
    check(|query| query.recursion_desired = false, true);
    check(|query| query.question.name = "www.example.net".parse().unwrap(), false);
    check(|query| query.question.qtype = Type::AAAA, false);
    check(|query| query.question.class = crate::wire::Class::CH, false);
    check(|query| query.edns = Some(Edns::new(1232, true)), false);
    check(|query| query.checking_disabled = true, false);
}

#[test]
fn a_failure_never_replaces_a_reply() {
    for good in [address(60), denial(Rcode::NXDOMAIN, 60, 60)] {
        let (cache, t0) = (cache(|_| {}), start());
        cache.insert(&www(), good.clone(), t0, UNIX);
        cache.insert_failure(&www(), servfail(), t0 + secs(1));
        assert!(hit(&cache, &www(), t0 + secs(2)).is_some(), "the reply has not expired");
        cache.insert_failure(&www(), servfail(), t0 + secs(61));
        assert_eq!(cache.get(&www(), t0 + secs(62)), Lookup::Failed(servfail()));
        let stale = cache.stale(&www(), t0 + secs(62)).unwrap();
        let code = if good.rcode == Rcode::NXDOMAIN { 19 } else { 3 };
        assert_eq!((stale.rcode, stale.ede.map(|ede| ede.code)), (good.rcode, Some(code)));
        assert_eq!(cache.get(&www(), t0 + secs(66)), Lookup::Stale, "a failure is cached for 5 s");
    }
}

#[test]
fn a_good_reply_removes_a_failure() {
    let (cache, t0) = (cache(|config| config.success.min_ttl = Duration::ZERO), start());
    cache.insert_failure(&www(), servfail(), t0);
    assert_eq!(cache.get(&www(), t0), Lookup::Failed(servfail()));
    cache.insert(&www(), address(1), t0, UNIX);
    assert_eq!(cache.get(&www(), t0 + secs(2)), Lookup::Stale);
}

#[test]
fn failures_are_not_cached_with_a_lifetime_of_zero() {
    let (cache, t0) = (cache(|config| config.failure = Duration::ZERO), start());
    cache.insert_failure(&www(), servfail(), t0);
    assert_eq!(cache.get(&www(), t0), Lookup::Miss);
}

#[test]
fn a_new_reply_replaces_the_old_one() {
    let t0 = start();
    let (gone, there) = (denial(Rcode::NXDOMAIN, 10, 10), address(1000));
    for (first, second, kind) in
        [(&there, &gone, ReplyKind::Denial), (&gone, &there, ReplyKind::Success)]
    {
        let cache = cache(|_| {});
        cache.insert(&www(), first.clone(), t0, UNIX);
        cache.insert(&www(), second.clone(), t0, UNIX);
        assert_eq!(hit(&cache, &www(), t0).map(|(_, kind)| kind), Some(kind));
        assert_eq!((cache.len(ReplyKind::Success) + cache.len(ReplyKind::Denial)), 1);
        // The first reply does not come back when the second one expires.
        assert!(
            hit(&cache, &www(), t0 + secs(10))
                .is_none_or(|(_, kind)| kind == ReplyKind::Success && second == &there)
        );
        assert_eq!(
            cache.stale(&www(), t0 + secs(2000)).map(|response| response.rcode),
            Some(second.rcode)
        );
    }
}

/// An entry with records expires after 60 s, and a denial arrives at that moment. `at` seconds
/// later, the cache serves the expired entry or the denial, or the upstream is queried.
#[test]
fn a_positive_entry_outlives_a_denial_for_the_hold() {
    let check = |hold, recheck: Option<u64>, denied_for, at: u64, expected: Expected| {
        let change = |config: &mut CacheConfig| {
            config.stale.prefer_positive = hold;
            config.stale.recheck = recheck.map(secs);
        };
        let (cache, t0) = (cache(change), start());
        cache.insert(&www(), address(60), t0, UNIX);
        let denied = denial(Rcode::NXDOMAIN, denied_for, denied_for);
        let inserted = cache.insert(&www(), denied, t0 + secs(60), UNIX);
        let held = hold.is_some_and(|hold| !hold.is_zero());
        assert_eq!(inserted.response.rcode == Rcode::NOERROR, held);
        let found = match cache.get(&www(), t0 + secs(60 + at)) {
            Lookup::Fresh { .. } => Expected::Denial,
            Lookup::Failed(_) => Expected::Positive,
            Lookup::Stale | Lookup::Miss => Expected::Query,
        };
        assert_eq!(found, expected, "{hold:?} {denied_for} {at}");
    };
    let hold = Some(secs(20));
    check(None, None, 900, 1, Expected::Denial);
    check(hold, None, 900, 1, Expected::Positive);
    check(hold, None, 900, 19, Expected::Positive);
    check(hold, None, 900, 20, Expected::Denial);
    check(hold, None, 900, 29, Expected::Denial);
    // The next attempt is after 30 s at the latest, or after the time that the Corefile says.
    check(hold, None, 900, 30, Expected::Query);
    check(hold, None, 10, 10, Expected::Query);
    check(hold, Some(60), 900, 59, Expected::Denial);
    check(hold, Some(60), 900, 60, Expected::Query);
    check(Some(Duration::MAX), None, 900, 29, Expected::Positive);
    check(Some(Duration::ZERO), None, 900, 1, Expected::Denial);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Positive,
    Denial,
    Query,
}

#[test]
fn a_failure_pauses_queries_for_a_name_that_has_a_last_known_good_reply() {
    for (hold, pause) in [(None, 5), (Some(secs(600)), 30)] {
        let (cache, t0) = (cache(|config| config.stale.prefer_positive = hold), start());
        cache.insert(&www(), address(60), t0, UNIX);
        cache.insert_failure(&www(), servfail(), t0 + secs(60));
        let last = t0 + secs(60 + pause) - Duration::from_nanos(1);
        assert_eq!(cache.get(&www(), last), Lookup::Failed(servfail()), "{hold:?}");
        assert_eq!(cache.get(&www(), t0 + secs(60 + pause)), Lookup::Stale, "{hold:?}");
        // A name without a good reply is asked for again after the usual time.
        let other = query("other.example.com", Type::A);
        cache.insert_failure(&other, servfail(), t0);
        assert_eq!(cache.get(&other, t0 + secs(5)), Lookup::Miss);
    }
}

#[test]
fn a_stale_reply_has_a_short_ttl_and_is_gone_after_the_window() {
    let (cache, t0) = (cache(|config| config.stale.window = secs(100)), start());
    cache.insert(&www(), address(60), t0, UNIX);
    let check = |at: u64, expected: &Lookup, stale: bool| {
        assert_eq!(&cache.get(&www(), t0 + secs(at)), expected, "{at}");
        let response = cache.stale(&www(), t0 + secs(at));
        assert_eq!(response.map(|response| response.answer[0].ttl), stale.then_some(30), "{at}");
    };
    check(60, &Lookup::Stale, true);
    check(159, &Lookup::Stale, true);
    check(160, &Lookup::Miss, false);
}

#[test]
fn the_ttl_counts_down_unless_keep_ttl_is_set() {
    for (keep_ttl, left) in [(false, 40), (true, 60)] {
        let (cache, t0) = (cache(|config| config.keep_ttl = keep_ttl), start());
        cache.insert(&www(), address(60), t0, UNIX);
        assert_eq!(hit(&cache, &www(), t0 + secs(20)).map(|(ttl, _)| ttl), Some(left));
    }
}

#[test]
fn a_popular_entry_is_refreshed_once_before_it_expires() {
    let prefetch = Prefetch { amount: 3, gap: secs(10), percent: 10 };
    let check = |asked: &[u64], expected: &[u64]| {
        let (cache, t0) = (cache(|config| config.prefetch = Some(prefetch)), start());
        cache.insert(&www(), address(100), t0, UNIX);
        let refreshes = |at: &&u64| {
            matches!(cache.get(&www(), t0 + secs(**at)), Lookup::Fresh { refresh: true, .. })
        };
        assert_eq!(
            asked.iter().filter(refreshes).copied().collect::<Vec<_>>(),
            expected,
            "{asked:?}"
        );
    };
    check(&[80, 85, 89, 90, 91, 99], &[90]);
    check(&[90, 91], &[]);
    check(&[91, 92, 93, 94], &[93]);
    // A pause as long as the gap restarts the count.
    check(&[72, 81, 90], &[90]);
    check(&[70, 80, 90], &[]);
}

#[test]
fn the_cache_holds_its_capacity_and_keeps_entries_in_use() {
    let (cache, t0) = (cache(|config| config.success.capacity = 160), start());
    let name = |at: u32| query(&format!("n{at}.example.com"), Type::A);
    let mut evicted = 0;
    for at in 0..2000 {
        evicted += cache.insert(&name(at), address(60), t0, UNIX).evicted;
        // This entry is used all the time, so the hand never evicts it.
        assert!(hit(&cache, &name(0), t0).is_some(), "{at}");
    }
    assert_eq!(cache.len(ReplyKind::Success), 160);
    assert_eq!(evicted, 2000 - 160);
    assert!(
        (0..2000).filter(|&at| hit(&cache, &name(at), t0).is_some()).count() == 160,
        "indexes and slots agree"
    );
}

#[test]
fn the_cache_holds_fewer_entries_when_replies_are_large() {
    let (cache, t0) = (cache(|config| config.success.capacity = 16_000), start());
    let large = |at: u32| {
        let rdatas: Rdatas = (0..40).map(|_| [0; 1000]).collect();
        let answer = [RecordSet::new(Owner::Question, Type::TXT, 60, rdatas)].into_iter().collect();
        cache.insert(
            &query(&format!("n{at}.example.com"), Type::TXT),
            Response { answer, ..Response::of(Rcode::NOERROR) },
            t0,
            UNIX,
        )
    };
    let evicted: usize = (0..1000).map(|at| large(at).evicted).sum();
    assert_eq!(cache.len(ReplyKind::Success) + evicted, 1000);
    let octets = cache.len(ReplyKind::Success) * 40_000;
    assert!((8_000_000..=16_000 * limits::CACHE_REPLY_OCTETS).contains(&octets), "{octets}");
}

#[test]
fn replies_that_are_not_cached_get_the_ttl_bounds() {
    let cache = cache(|config| config.success.max_ttl = secs(30));
    for (given, bounded) in [(0, 5), (4, 5), (5, 5), (30, 30), (31, 30)] {
        let mut response = address(given);
        cache.clamp_ttls(&www(), &mut response);
        assert_eq!(response.answer[0].ttl, bounded, "{given}");
    }
}
