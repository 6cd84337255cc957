use super::*;
use crate::wire::{Edns, Name, Owner, Question, Rdatas, RecordSet};

#[expect(clippy::disallowed_methods, reason = "any time will do as the first")]
fn start() -> Instant {
    Instant::now()
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn cache(change: impl FnOnce(&mut Settings)) -> Cache {
    let mut settings = Settings::default();
    change(&mut settings);
    Cache::new(settings, 1)
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

/// An address, and where the type is another one an alias.
fn records(records: &[(Type, u32)]) -> Response {
    let data = |rtype| if rtype == Type::CNAME { b"\x01a\0".as_slice() } else { &[192, 0, 2, 1] };
    let answer =
        records.iter().map(|&(rtype, ttl)| set(Owner::Question, rtype, ttl, data(rtype))).collect();
    Response { answer, ..Response::of(Rcode::NOERROR) }
}

fn address(ttl: u32) -> Response {
    records(&[(Type::A, ttl)])
}

/// Without an answer, with an SOA of this TTL and minimum.
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

/// The TTLs of a hit, which must be equal, and its part.
fn hit(cache: &Cache, query: &Query, now: Instant) -> Option<(u32, Part)> {
    let Hit::Fresh { response, part, .. } = cache.get(query, now) else { return None };
    let mut ttls: Vec<_> = response.sets().map(|set| set.ttl).collect();
    ttls.dedup();
    match ttls[..] {
        [] => Some((0, part)),
        [ttl] => Some((ttl, part)),
        _ => panic!("one reply, one TTL: {ttls:?}"),
    }
}

#[test]
fn a_reply_lives_as_long_as_its_shortest_record() {
    let check = |response: Response, expected: Option<(u32, Part)>| {
        let (cache, t0) = (cache(|_| {}), start());
        let kept = cache.put(&www(), response.clone(), t0);
        assert_eq!(kept.part, expected.map(|(_, part)| part), "{response:?}");
        assert_eq!(hit(&cache, &www(), t0), expected, "{response:?}");
        // The first client is told the same as the next.
        if let Some((ttl, _)) = expected {
            assert!(kept.response.sets().all(|set| set.ttl == ttl), "{kept:?}");
            let last = t0 + secs(ttl.into()) - Duration::from_nanos(1);
            assert_eq!(hit(&cache, &www(), last).map(|(left, _)| left), (ttl > 0).then_some(1));
            assert_eq!(hit(&cache, &www(), t0 + secs(ttl.into())), None);
        }
    };
    let [success, denied] = [Part::Success, Part::Denial].map(|part| move |ttl| Some((ttl, part)));
    check(address(300), success(300));
    check(records(&[(Type::CNAME, 60), (Type::A, 300)]), success(60));
    check(records(&[(Type::CNAME, 300), (Type::A, 60)]), success(60));
    // Bounds: 5 s to an hour, half an hour for denials.
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
    // An alias that leads nowhere is a denial.
    check(
        Response { answer: records(&[(Type::CNAME, 20)]).answer, ..denial(Rcode::NOERROR, 60, 60) },
        denied(20),
    );
    // What says nothing of the name.
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED, Rcode::NOTIMP, Rcode::FORMERR] {
        check(Response::of(rcode), None);
    }
}

#[test]
fn a_denial_without_an_soa_lives_as_shortly_as_a_failure() {
    let (cache, t0) = (cache(|_| {}), start());
    assert_eq!(cache.put(&www(), Response::of(Rcode::NXDOMAIN), t0).part, Some(Part::Denial));
    assert!(hit(&cache, &www(), t0 + secs(4)).is_some());
    assert!(hit(&cache, &www(), t0 + secs(5)).is_none());
}

#[test]
fn what_may_not_be_kept_is_not() {
    let (cache, t0) = (cache(|_| {}), start());
    for query in [
        query("example.com", Type::AXFR),
        query("example.com", Type::IXFR),
        // What an upstream happens to know must not be told to those who want it found out.
        Query { recursion_desired: false, ..www() },
    ] {
        assert_eq!(cache.put(&query, address(60), t0).part, None);
        cache.put_failure(&query, servfail(), t0);
        assert_eq!(cache.get(&query, t0), Hit::Miss);
    }
}

#[test]
fn what_the_reply_depends_on_is_in_the_key() {
    let (cache, t0) = (cache(|_| {}), start());
    cache.put(&www(), address(60), t0);
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
fn a_failure_never_takes_a_replys_place() {
    for good in [address(60), denial(Rcode::NXDOMAIN, 60, 60)] {
        let (cache, t0) = (cache(|_| {}), start());
        cache.put(&www(), good.clone(), t0);
        cache.put_failure(&www(), servfail(), t0 + secs(1));
        assert!(hit(&cache, &www(), t0 + secs(2)).is_some(), "it lives");
        cache.put_failure(&www(), servfail(), t0 + secs(61));
        assert_eq!(cache.get(&www(), t0 + secs(62)), Hit::Failed(servfail()));
        let stale = cache.stale(&www(), t0 + secs(62)).unwrap();
        assert_eq!((stale.rcode, stale.ede), (good.rcode, Some(Ede::STALE_ANSWER)));
        assert_eq!(cache.get(&www(), t0 + secs(66)), Hit::Stale, "a failure lives 5 s");
    }
}

#[test]
fn a_good_reply_ends_a_failure() {
    let (cache, t0) = (cache(|settings| settings.success.shortest = Duration::ZERO), start());
    cache.put_failure(&www(), servfail(), t0);
    assert_eq!(cache.get(&www(), t0), Hit::Failed(servfail()));
    cache.put(&www(), address(1), t0);
    assert_eq!(cache.get(&www(), t0 + secs(2)), Hit::Stale);
}

#[test]
fn failures_are_not_kept_where_the_file_says_so() {
    let (cache, t0) = (cache(|settings| settings.failure = Duration::ZERO), start());
    cache.put_failure(&www(), servfail(), t0);
    assert_eq!(cache.get(&www(), t0), Hit::Miss);
}

#[test]
fn the_newest_reply_counts() {
    let t0 = start();
    let (gone, there) = (denial(Rcode::NXDOMAIN, 10, 10), address(1000));
    for (first, second, part) in [(&there, &gone, Part::Denial), (&gone, &there, Part::Success)] {
        let cache = cache(|_| {});
        cache.put(&www(), first.clone(), t0);
        cache.put(&www(), second.clone(), t0);
        assert_eq!(hit(&cache, &www(), t0).map(|(_, part)| part), Some(part));
        assert_eq!((cache.len(Part::Success) + cache.len(Part::Denial)), 1);
        // What the second replaced does not come back when its own time is over.
        assert!(
            hit(&cache, &www(), t0 + secs(10))
                .is_none_or(|(_, part)| part == Part::Success && second == &there)
        );
        assert_eq!(
            cache.stale(&www(), t0 + secs(2000)).map(|response| response.rcode),
            Some(second.rcode)
        );
    }
}

#[test]
fn a_stale_reply_is_told_to_live_shortly_and_ends_with_its_window() {
    let (cache, t0) = (cache(|settings| settings.stale.window = secs(100)), start());
    cache.put(&www(), address(60), t0);
    let check = |at: u64, expected: &Hit, stale: bool| {
        assert_eq!(&cache.get(&www(), t0 + secs(at)), expected, "{at}");
        let response = cache.stale(&www(), t0 + secs(at));
        assert_eq!(response.map(|response| response.answer[0].ttl), stale.then_some(30), "{at}");
    };
    check(60, &Hit::Stale, true);
    check(159, &Hit::Stale, true);
    check(160, &Hit::Miss, false);
}

#[test]
fn time_passes_for_what_is_kept_unless_it_shall_not() {
    for (keep_ttl, left) in [(false, 40), (true, 60)] {
        let (cache, t0) = (cache(|settings| settings.keep_ttl = keep_ttl), start());
        cache.put(&www(), address(60), t0);
        assert_eq!(hit(&cache, &www(), t0 + secs(20)).map(|(ttl, _)| ttl), Some(left));
    }
}

#[test]
fn a_popular_reply_is_fetched_anew_once_before_its_end() {
    let prefetch = Prefetch { amount: 3, gap: secs(10), percent: 10 };
    let check = |asked: &[u64], expected: &[u64]| {
        let (cache, t0) = (cache(|settings| settings.prefetch = Some(prefetch)), start());
        cache.put(&www(), address(100), t0);
        let refreshes = |at: &&u64| {
            matches!(cache.get(&www(), t0 + secs(**at)), Hit::Fresh { refresh: true, .. })
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
    // A pause as long as the gap begins the count anew.
    check(&[72, 81, 90], &[90]);
    check(&[70, 80, 90], &[]);
}

#[test]
fn no_more_is_kept_than_the_capacity_and_what_is_asked_for_stays() {
    let (cache, t0) = (cache(|settings| settings.success.capacity = 160), start());
    let name = |at: u32| query(&format!("n{at}.example.com"), Type::A);
    let mut evicted = 0;
    for at in 0..2000 {
        evicted += cache.put(&name(at), address(60), t0).evicted;
        // Asked for all the time: the hand always finds it used.
        assert!(hit(&cache, &name(0), t0).is_some(), "{at}");
    }
    assert_eq!(cache.len(Part::Success), 160);
    assert_eq!(evicted, 2000 - 160);
    assert!(
        (0..2000).filter(|&at| hit(&cache, &name(at), t0).is_some()).count() == 160,
        "places and slots agree"
    );
}

#[test]
fn large_replies_are_fewer() {
    let (cache, t0) = (cache(|settings| settings.success.capacity = 16_000), start());
    let large = |at: u32| {
        let rdatas: Rdatas = (0..40).map(|_| [0; 1000]).collect();
        let answer = [RecordSet::new(Owner::Question, Type::TXT, 60, rdatas)].into_iter().collect();
        cache.put(
            &query(&format!("n{at}.example.com"), Type::TXT),
            Response { answer, ..Response::of(Rcode::NOERROR) },
            t0,
        )
    };
    let evicted: usize = (0..1000).map(|at| large(at).evicted).sum();
    assert_eq!(cache.len(Part::Success) + evicted, 1000);
    let octets = cache.len(Part::Success) * 40_000;
    assert!((8_000_000..=16_000 * limits::CACHE_REPLY_OCTETS).contains(&octets), "{octets}");
}

#[test]
fn local_replies_get_the_bounds() {
    let cache = cache(|settings| settings.success.longest = secs(30));
    for (given, bounded) in [(0, 5), (4, 5), (5, 5), (30, 30), (31, 30)] {
        let mut response = address(given);
        cache.bound(&www(), &mut response);
        assert_eq!(response.answer[0].ttl, bounded, "{given}");
    }
}
