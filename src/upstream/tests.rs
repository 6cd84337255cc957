use std::time::Instant;

use super::*;

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
            NextAction::Send { upstream, transport } => {
                sends.push(((now - t0).as_millis(), upstream, transport));
            }
            NextAction::Wait(until) => now = until,
            NextAction::Done(error) => return (sends, error),
        }
    }
}

#[test]
fn after_silence_the_next_upstream_is_tried_until_the_time_is_over() {
    let t0 = start();
    let two = group(2, |_| {});
    let mut attempt = Attempt::begin(&two, t0, 1).unwrap();
    let (sent, error) = sends(&mut attempt, t0, t0);
    assert_eq!(
        sent,
        [
            (0, 0, UpstreamTransport::Udp),
            (300, 1, UpstreamTransport::Udp),
            (600, 0, UpstreamTransport::Udp),
            (1200, 1, UpstreamTransport::Udp)
        ]
    );
    assert_eq!(error, UpstreamError::NoAnswer(two.upstream(0).address));
    let one = group(1, |_| {});
    let (sent, _) = sends(&mut Attempt::begin(&one, t0, 1).unwrap(), t0, t0);
    assert_eq!(sent.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [0, 300, 900]);
}

#[test]
fn a_query_to_a_fast_upstream_is_sent_again_sooner() {
    let t0 = start();
    let group = group(2, |_| {});
    for _ in 0..50 {
        group.upstream(0).health.record_reply(ms(30));
    }
    let (sent, _) = sends(&mut Attempt::begin(&group, t0, 1).unwrap(), t0, t0);
    assert_eq!(sent[1].0, 90);
}

#[test]
fn after_an_error_the_next_upstream_is_tried_at_once() {
    let t0 = start();
    let group = group(2, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    assert_eq!(
        attempt.poll(t0),
        NextAction::Send { upstream: 0, transport: UpstreamTransport::Udp }
    );
    attempt.failed(0, UpstreamError::Unreachable(group.upstream(0).address), t0 + ms(1));
    assert_eq!(
        attempt.poll(t0 + ms(1)),
        NextAction::Send { upstream: 1, transport: UpstreamTransport::Udp }
    );
    assert_eq!(attempt.replied(1, Rcode::NOERROR, t0 + ms(2)), ReplyDecision::Accept);
}

#[test]
fn upstreams_that_all_reject_queries_are_not_flooded() {
    let t0 = start();
    let group = group(2, |settings| settings.max_attempts = Some(0));
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    let (mut now, mut sends) = (t0, 0);
    loop {
        match attempt.poll(now) {
            NextAction::Send { upstream, .. } => {
                sends += 1;
                attempt.failed(
                    upstream,
                    UpstreamError::Unreachable(group.upstream(upstream).address),
                    now,
                );
            }
            NextAction::Wait(until) => now = until,
            NextAction::Done(error) => {
                break assert!(matches!(error, UpstreamError::Unreachable(_)));
            }
        }
        assert!(sends < 10);
    }
}

#[test]
fn silent_lists_upstreams_that_exceeded_their_delay() {
    let t0 = start();
    let group = group(3, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    let silent = |attempt: &Attempt, at| attempt.silent(t0 + ms(at)).collect::<Vec<_>>();
    assert!(silent(&attempt, 299).is_empty());
    assert_eq!(silent(&attempt, 301), [0], "the second upstream is within its delay");
    assert_eq!(attempt.replied(1, Rcode::NOERROR, t0 + ms(400)), ReplyDecision::Accept);
    assert_eq!(silent(&attempt, 2000), [0], "the second upstream replied");
}

#[test]
fn a_servfail_waits_for_the_other_replies_no_longer_than_their_delay() {
    let t0 = start();
    let group = group(2, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    assert_eq!(attempt.replied(1, Rcode::SERVFAIL, t0 + ms(310)), ReplyDecision::Hold);
    assert_eq!(attempt.replied(0, Rcode::NOERROR, t0 + ms(320)), ReplyDecision::Accept);

    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    assert_eq!(attempt.replied(0, Rcode::SERVFAIL, t0 + ms(310)), ReplyDecision::Hold);
    let (sent, _) = sends(&mut attempt, t0, t0 + ms(310));
    assert_eq!(sent, []);
    assert!(matches!(attempt.poll(t0 + ms(599)), NextAction::Wait(_)));
    assert!(matches!(attempt.poll(t0 + ms(600)), NextAction::Done(_)));
}

#[test]
fn a_failover_rcode_makes_the_next_upstream_be_tried_once() {
    let t0 = start();
    let group = group(2, |settings| settings.failover = vec![Rcode::NXDOMAIN]);
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    assert_eq!(attempt.replied(0, Rcode::NXDOMAIN, t0), ReplyDecision::Hold);
    assert_eq!(
        attempt.poll(t0),
        NextAction::Send { upstream: 1, transport: UpstreamTransport::Udp }
    );
    assert_eq!(attempt.replied(1, Rcode::SERVFAIL, t0), ReplyDecision::Accept);
}

#[test]
fn a_truncated_reply_is_fetched_over_tcp_once() {
    let t0 = start();
    let group = group(1, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.retry_over_tcp(0);
    attempt.retry_over_tcp(0);
    assert_eq!(
        attempt.poll(t0),
        NextAction::Send { upstream: 0, transport: UpstreamTransport::Tcp }
    );
    assert!(matches!(attempt.poll(t0), NextAction::Wait(_)));
}

#[test]
fn upstreams_that_are_down_are_left_out() {
    let t0 = start();
    let two = group(2, |_| {});
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
        Ok((NextAction::Send { upstream: 1, transport: UpstreamTransport::Udp }, false))
    );
    first.probing_ended();
    assert_eq!(
        attempt(&two),
        Ok((NextAction::Send { upstream: 0, transport: UpstreamTransport::Udp }, false))
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
fn one_upstream_gets_no_more_than_its_share_of_sockets() {
    let health = Health::default();
    let mut held: Vec<_> =
        (0..limits::UPSTREAM_SOCKETS_EACH).map(|_| health.reserve_socket().unwrap()).collect();
    assert!((0..3).all(|_| health.reserve_socket().is_none()));
    held.pop();
    assert!(health.reserve_socket().is_some());
}
