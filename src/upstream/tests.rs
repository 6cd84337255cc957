mod transports;

use std::time::Instant;

use super::*;
use crate::limits;

#[expect(clippy::disallowed_methods, reason = "any time will do as the start")]
fn start() -> Instant {
    Instant::now()
}

fn group(upstreams: u16, change: impl FnOnce(&mut GroupSettings)) -> Arc<Group> {
    let targets =
        (1..=upstreams).map(|port| SocketAddr::from(([127, 0, 0, 1], port)).into()).collect();
    let mut settings =
        GroupSettings { targets, policy: Policy::Sequential, ..GroupSettings::default() };
    change(&mut settings);
    Arc::new(Group::new(settings))
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A reply with this code and without records to a query with OPT.
fn with(rcode: Rcode) -> ReplySummary {
    ReplySummary {
        rcode,
        has_answer: false,
        transport: UpstreamTransport::Udp,
        form: QueryForm::EDNS,
        client_edns: true,
    }
}

/// The first query to an upstream.
const OVER_UDP: (UpstreamTransport, QueryForm) = (UpstreamTransport::Udp, QueryForm::EDNS);
const OVER_TCP: (UpstreamTransport, QueryForm) = (UpstreamTransport::Tcp, QueryForm::EDNS);

/// A group whose upstreams are known to support EDNS and to reply over UDP.
fn known_group(upstreams: u16, change: impl FnOnce(&mut GroupSettings)) -> Arc<Group> {
    let group = group(upstreams, change);
    for Upstream { health, .. } in &group.upstreams {
        health.record_edns();
        health.record_udp();
    }
    group
}

/// Polls through virtual time until the attempt ends. Returns every send, with its time in
/// milliseconds, its upstream and its transport, and the error at the end.
fn sends(
    attempt: &mut Attempt,
    t0: Instant,
    mut now: Instant,
) -> (Vec<(u128, usize, UpstreamTransport)>, UpstreamError) {
    let mut sends = Vec::new();
    loop {
        match attempt.poll(now) {
            NextAction::Send { upstream, transport, .. } => {
                sends.push(((now - t0).as_millis(), upstream, transport));
            }
            NextAction::Wait(until) => now = until,
            NextAction::PassOnTruncated => panic!("no reply is truncated"),
            NextAction::Done(error) => return (sends, error),
        }
    }
}

#[test]
fn after_silence_the_next_upstream_is_tried_until_the_time_is_over() {
    let t0 = start();
    let two = known_group(2, |_| {});
    let mut attempt = Attempt::begin(&two, t0, 1).unwrap();
    let (sent, error) = sends(&mut attempt, t0, t0);
    assert_eq!(
        sent,
        [
            (0, 0, UpstreamTransport::Udp),
            (300, 1, UpstreamTransport::Udp),
            (600, 0, UpstreamTransport::Udp),
            (1000, 0, UpstreamTransport::Tcp),
            (1200, 1, UpstreamTransport::Udp),
            (1300, 1, UpstreamTransport::Tcp),
        ]
    );
    assert_eq!(error, UpstreamError::NoAnswer(UpstreamTransport::Udp, two.upstream(0).address));
    let one = known_group(1, |_| {});
    let (sent, _) = sends(&mut Attempt::begin(&one, t0, 1).unwrap(), t0, t0);
    assert_eq!(sent.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [0, 300, 900, 1000]);
}

#[test]
fn a_query_to_a_fast_upstream_is_sent_again_sooner() {
    let t0 = start();
    let group = known_group(2, |_| {});
    for _ in 0..50 {
        group.upstream(0).health.record_reply(ms(30));
    }
    let (sent, _) = sends(&mut Attempt::begin(&group, t0, 1).unwrap(), t0, t0);
    assert_eq!(sent[1].0, 90);
}

#[test]
fn after_an_error_the_next_upstream_is_tried_at_once() {
    let t0 = start();
    let group = known_group(2, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    assert_eq!(
        attempt.poll(t0),
        NextAction::Send { upstream: 0, transport: UpstreamTransport::Udp, form: QueryForm::EDNS }
    );
    let error = UpstreamError::Unreachable(UpstreamTransport::Udp, group.upstream(0).address);
    attempt.failed(0, OVER_UDP, error, t0 + ms(1));
    let (transport, form) = OVER_TCP;
    assert_eq!(attempt.poll(t0 + ms(1)), NextAction::Send { upstream: 0, transport, form });
    assert_eq!(
        attempt.poll(t0 + ms(1)),
        NextAction::Send { upstream: 1, transport: UpstreamTransport::Udp, form: QueryForm::EDNS }
    );
    assert_eq!(attempt.replied(1, with(Rcode::NOERROR), t0 + ms(2)), ReplyDecision::Accept);
}

#[test]
fn upstreams_that_all_reject_queries_are_not_flooded() {
    let t0 = start();
    let group = known_group(2, |settings| settings.max_attempts = Some(0));
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    let (mut now, mut sends) = (t0, 0);
    loop {
        match attempt.poll(now) {
            NextAction::Send { upstream, transport, form } => {
                sends += 1;
                let error = UpstreamError::Unreachable(
                    UpstreamTransport::Udp,
                    group.upstream(upstream).address,
                );
                attempt.failed(upstream, (transport, form), error, now);
            }
            NextAction::Wait(until) => now = until,
            NextAction::PassOnTruncated => panic!("no reply is truncated"),
            NextAction::Done(error) => {
                break assert!(matches!(error, UpstreamError::Unreachable(..)));
            }
        }
        assert!(sends < 10);
    }
}

#[test]
fn silent_lists_upstreams_that_exceeded_their_delay() {
    let t0 = start();
    let group = known_group(3, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    let silent = |attempt: &Attempt, at| attempt.silent(t0 + ms(at)).collect::<Vec<_>>();
    assert!(silent(&attempt, 299).is_empty());
    assert_eq!(silent(&attempt, 301), [0], "the second upstream is within its delay");
    assert_eq!(attempt.replied(1, with(Rcode::NOERROR), t0 + ms(400)), ReplyDecision::Accept);
    assert_eq!(silent(&attempt, 2000), [0], "the second upstream replied");
}

#[test]
fn a_servfail_waits_for_the_other_replies_no_longer_than_their_delay() {
    let t0 = start();
    let group = known_group(2, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    assert_eq!(attempt.replied(1, with(Rcode::SERVFAIL), t0 + ms(310)), ReplyDecision::Hold);
    assert_eq!(attempt.replied(0, with(Rcode::NOERROR), t0 + ms(320)), ReplyDecision::Accept);

    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    assert_eq!(attempt.replied(0, with(Rcode::SERVFAIL), t0 + ms(310)), ReplyDecision::Hold);
    let (sent, _) = sends(&mut attempt, t0, t0 + ms(310));
    assert_eq!(sent, []);
    assert!(matches!(attempt.poll(t0 + ms(599)), NextAction::Wait(_)));
    assert!(matches!(attempt.poll(t0 + ms(600)), NextAction::Done(_)));
}

#[test]
fn a_failover_rcode_makes_the_next_upstream_be_tried_once() {
    let t0 = start();
    let group = known_group(2, |settings| settings.failover = vec![Rcode::NXDOMAIN]);
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    assert_eq!(attempt.replied(0, with(Rcode::NXDOMAIN), t0), ReplyDecision::Hold);
    assert_eq!(
        attempt.poll(t0),
        NextAction::Send { upstream: 1, transport: UpstreamTransport::Udp, form: QueryForm::EDNS }
    );
    assert_eq!(attempt.replied(1, with(Rcode::SERVFAIL), t0), ReplyDecision::Accept);
}

#[test]
fn a_truncated_reply_is_fetched_over_tcp_once() {
    let t0 = start();
    let group = known_group(1, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.retry_over_tcp(0, QueryForm::EDNS, t0);
    attempt.retry_over_tcp(0, QueryForm::EDNS, t0);
    assert_eq!(
        attempt.poll(t0),
        NextAction::Send { upstream: 0, transport: UpstreamTransport::Tcp, form: QueryForm::EDNS }
    );
    assert!(matches!(attempt.poll(t0), NextAction::Wait(_)));
}

#[test]
fn upstreams_that_are_down_are_left_out() {
    let t0 = start();
    let two = known_group(2, |_| {});
    let first = &two.upstream(0).health;
    assert!(first.claim_probing());
    assert!(!first.claim_probing(), "one probe at a time");
    for _ in 0..3 {
        first.probe_failed();
    }
    let attempt = |group: &Arc<Group>| {
        Attempt::begin(group, t0, 0).map(|mut attempt| (attempt.poll(t0), attempt.all_down))
    };
    assert_eq!(
        attempt(&two),
        Ok((
            NextAction::Send {
                upstream: 1,
                transport: UpstreamTransport::Udp,
                form: QueryForm::EDNS
            },
            false
        ))
    );
    first.probing_ended();
    assert_eq!(
        attempt(&two),
        Ok((
            NextAction::Send {
                upstream: 0,
                transport: UpstreamTransport::Udp,
                form: QueryForm::EDNS
            },
            false
        ))
    );
    (0..3).for_each(|_| [0, 1].iter().for_each(|&at| two.upstream(at).health.probe_failed()));
    assert_eq!(two.order(1), (vec![1, 0], true), "if all are down, all are tried");
    let one = group(1, |settings| settings.failfast = true);
    (0..3).for_each(|_| one.upstream(0).health.probe_failed());
    assert_eq!(attempt(&one), Err(UpstreamError::NoneHealthy));
}

#[test]
fn max_concurrent_bounds_the_queries_in_flight() {
    let t0 = start();
    let group = group(1, |settings| settings.max_concurrent = Some(2));
    let held: Vec<_> = (0..2).map(|_| Attempt::begin(&group, t0, 0).unwrap()).collect();
    assert!(matches!(Attempt::begin(&group, t0, 0), Err(UpstreamError::TooManyInFlight(2))));
    drop(held);
    assert!(Attempt::begin(&group, t0, 0).is_ok());
}

#[test]
fn the_policy_decides_the_order_of_upstreams() {
    let order = |group: &Group, seed| group.order(seed).0;
    let robin = group(3, |settings| settings.policy = Policy::RoundRobin);
    assert_eq!([order(&robin, 0), order(&robin, 0)], [[0, 1, 2], [1, 2, 0]]);
    let random = group(3, |settings| settings.policy = Policy::Random);
    let firsts: std::collections::HashSet<_> =
        (0..50).map(|seed: u64| order(&random, seed)[0]).collect();
    assert_eq!(firsts.len(), 3);
}

#[test]
fn one_client_gets_half_of_the_queries_to_an_upstream() {
    let (health, client) = (Health::default(), IpAddr::from([192, 0, 2, 1]));
    let mut held: Vec<_> = std::iter::from_fn(|| health.reserve_query(client)).collect();
    assert_eq!(held.len(), limits::UPSTREAM_QUERIES_EACH / 2);
    held.pop();
    assert!(health.reserve_query(client).is_some());
    assert!(health.reserve_query([192, 0, 2, 2].into()).is_some());
}

#[test]
fn a_late_reply_is_awaited_unless_the_upstream_is_crowded_or_down() {
    let t0 = start();
    let ends = |group: &Arc<Group>| {
        let mut attempt = Attempt::begin(group, t0, 0).unwrap();
        let mut now = t0;
        loop {
            match attempt.poll(now) {
                NextAction::Wait(until) => now = until,
                NextAction::Done(error) => return ((now - t0).as_millis(), error),
                _ => {}
            }
        }
    };
    let group = group(1, |_| {});
    let address = group.upstream(0).address;
    assert_eq!(ends(&group), (7_000, UpstreamError::NoAnswer(UpstreamTransport::Udp, address)));
    let health = &group.upstream(0).health;
    let held: Vec<_> =
        std::iter::from_fn(|| health.reserve_query(IpAddr::from([192, 0, 2, 1]))).collect();
    assert_eq!(ends(&group), (2000, UpstreamError::NoAnswer(UpstreamTransport::Udp, address)));
    drop(held);
    (0..3).for_each(|_| health.probe_failed());
    assert_eq!(ends(&group), (2000, UpstreamError::Down(UpstreamTransport::Udp, address)));
}

#[test]
fn upstreams_that_all_fail_are_tried_once_more_and_then_given_up() {
    let t0 = start();
    let group = known_group(1, |_| {});
    let error = UpstreamError::Unreachable(UpstreamTransport::Udp, group.upstream(0).address);
    let mut attempt = Attempt::begin(&group, t0, 0).unwrap();
    for (at, sent) in [(0, OVER_UDP), (0, OVER_TCP), (300, OVER_UDP)] {
        let (transport, form) = sent;
        let expected = NextAction::Send { upstream: 0, transport, form };
        assert_eq!(attempt.poll(t0 + ms(at)), expected, "{at}");
        attempt.failed(0, sent, error, t0 + ms(at));
    }
    assert_eq!(attempt.poll(t0 + ms(300)), NextAction::Done(error));
}

/// Each case has the form of the first query, the reply to it, and the forms in which ndots then
/// asks again.
#[test]
fn a_reply_that_may_depend_on_the_form_is_not_believed_at_once() {
    let random = QueryForm { case: LetterCase::Random, edns: true };
    let lower_case = QueryForm::EDNS;
    let plain = QueryForm::PLAIN;
    type Case<'c> = (&'c str, QueryForm, Rcode, bool, &'c [QueryForm]);
    let cases: [Case<'_>; 9] = [
        ("an answer", QueryForm::EDNS, Rcode::NOERROR, true, &[]),
        ("NXDOMAIN", QueryForm::EDNS, Rcode::NXDOMAIN, false, &[]),
        ("FORMERR", QueryForm::EDNS, Rcode::FORMERR, false, &[plain]),
        ("NOTIMP", QueryForm::EDNS, Rcode::NOTIMP, false, &[plain]),
        ("FORMERR without OPT", plain, Rcode::FORMERR, false, &[]),
        ("an answer in random case", random, Rcode::NOERROR, true, &[]),
        ("NXDOMAIN in random case", random, Rcode::NXDOMAIN, false, &[lower_case]),
        ("NODATA in random case", random, Rcode::NOERROR, false, &[lower_case]),
        ("REFUSED in random case", random, Rcode::REFUSED, false, &[lower_case]),
    ];
    let t0 = start();
    for (what, form, rcode, has_answer, expected) in cases {
        let group = known_group(1, |settings| settings.random_case = form.case == random.case);
        if !form.edns {
            group.upstream(0).health.record_rejected_edns(t0);
        }
        let mut attempt = Attempt::begin(&group, t0, 0).unwrap();
        let send = |form| NextAction::Send { upstream: 0, transport: UpstreamTransport::Udp, form };
        assert_eq!(attempt.poll(t0), send(form), "{what}");
        let decision = attempt.replied(0, ReplySummary { has_answer, form, ..with(rcode) }, t0);
        let again: Vec<_> = std::iter::from_fn(|| match attempt.poll(t0) {
            NextAction::Send { form, .. } => Some(form),
            _ => None,
        })
        .take(expected.len())
        .collect();
        assert_eq!(again, expected, "{what}");
        let believed = decision == ReplyDecision::Accept;
        assert_eq!(believed, expected.is_empty(), "{what}");
    }
}

#[test]
fn an_upstream_without_edns_gets_queries_without_opt_for_a_while() {
    let t0 = start();
    let group = group(1, |_| {});
    let health = &group.upstream(0).health;
    health.record_udp();
    let forms = |now| {
        let mut attempt = Attempt::begin(&group, now, 0).unwrap();
        let mut forms = Vec::new();
        for at in [Duration::ZERO, limits::EDNS_PATIENCE] {
            if let NextAction::Send { form, .. } = attempt.poll(now + at) {
                forms.push(form);
            }
        }
        let form = *forms.last().unwrap();
        attempt.replied(0, ReplySummary { form, has_answer: true, ..with(Rcode::NOERROR) }, now);
        forms
    };
    let both = [QueryForm::EDNS, QueryForm::PLAIN];
    assert_eq!([forms(t0), forms(t0), forms(t0)], [both; 3], "a datagram may be lost");
    assert_eq!(forms(t0), [QueryForm::PLAIN]);
    assert_eq!(forms(t0 + limits::NO_EDNS_TIME), both, "not for ever");
    health.record_edns();
    assert_eq!(forms(t0), [QueryForm::EDNS], "an upstream that supports EDNS has more time");
}

#[test]
fn an_upstream_that_mishandles_random_case_gets_the_spelling_of_the_client() {
    let t0 = start();
    let group = known_group(1, |settings| settings.random_case = true);
    for round in 0..=limits::LOST_CASES {
        let mut attempt = Attempt::begin(&group, t0, 0).unwrap();
        let NextAction::Send { form, .. } = attempt.poll(t0) else { panic!("no send") };
        let is_random = form.case == LetterCase::Random;
        assert_eq!(is_random, round < limits::LOST_CASES);
        if is_random {
            attempt.replied(0, ReplySummary { form, ..with(Rcode::NXDOMAIN) }, t0);
            attempt.poll(t0);
            attempt.replied(0, ReplySummary { has_answer: true, ..with(Rcode::NOERROR) }, t0);
        }
    }
}

#[test]
fn a_truncated_reply_is_passed_on_if_tcp_is_silent_or_refused() {
    let t0 = start();
    let truncated = |group: &Arc<Group>| {
        let mut attempt = Attempt::begin(group, t0, 0).unwrap();
        attempt.poll(t0);
        attempt.truncated(0, QueryForm::EDNS, t0);
        assert!(matches!(
            attempt.poll(t0),
            NextAction::Send { transport: UpstreamTransport::Tcp, .. }
        ));
        attempt
    };
    let group = known_group(2, |_| {});
    let mut silent = truncated(&group);
    let patience = t0 + limits::TRUNCATED_PATIENCE;
    assert_eq!(silent.poll(t0), NextAction::Wait(patience));
    assert_eq!(silent.poll(patience), NextAction::PassOnTruncated);
    assert!(matches!(silent.poll(patience), NextAction::Wait(_)), "TCP may still answer");
    assert!(matches!(silent.poll(t0 + ms(2000)), NextAction::Done(_)));
    let mut refused = truncated(&group);
    let error = UpstreamError::Unreachable(UpstreamTransport::Udp, group.upstream(0).address);
    refused.failed(0, OVER_TCP, error, t0 + ms(1));
    assert!(matches!(refused.poll(t0 + ms(1)), NextAction::Done(_)));
}
