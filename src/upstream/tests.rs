use std::time::Instant;

use super::*;

#[expect(clippy::disallowed_methods, reason = "any time will do as the first")]
fn start() -> Instant {
    Instant::now()
}

fn group(upstreams: u16, change: impl FnOnce(&mut Settings)) -> Arc<Group> {
    let to = (1..=upstreams).map(|port| SocketAddr::from(([127, 0, 0, 1], port)).into()).collect();
    let mut settings = Settings { to, policy: Policy::Sequential, ..Settings::default() };
    change(&mut settings);
    Arc::new(Group::new(settings))
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Polls through virtual time and notes every send: when, whom, over what.
fn sends(
    attempt: &mut Attempt,
    t0: Instant,
    mut now: Instant,
) -> (Vec<(u128, usize, Over)>, Failure) {
    let mut sends = Vec::new();
    loop {
        match attempt.poll(now) {
            Next::Send { upstream, over } => sends.push(((now - t0).as_millis(), upstream, over)),
            Next::Wait(until) => now = until,
            Next::Done(failure) => return (sends, failure),
        }
    }
}

#[test]
fn silence_is_met_with_the_next_upstream_and_ends_in_time() {
    let t0 = start();
    let two = group(2, |_| {});
    let mut attempt = Attempt::begin(&two, t0, 1).unwrap();
    let (sent, failure) = sends(&mut attempt, t0, t0);
    assert_eq!(
        sent,
        [(0, 0, Over::Udp), (300, 1, Over::Udp), (600, 0, Over::Udp), (1200, 1, Over::Udp)]
    );
    assert_eq!(failure, Failure::NoAnswer(two.upstream(0).address));
    let one = group(1, |_| {});
    let (sent, _) = sends(&mut Attempt::begin(&one, t0, 1).unwrap(), t0, t0);
    assert_eq!(sent.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [0, 300, 900]);
}

#[test]
fn a_fast_upstream_is_hedged_sooner() {
    let t0 = start();
    let group = group(2, |_| {});
    for _ in 0..50 {
        group.upstream(0).health.replied(ms(30));
    }
    let (sent, _) = sends(&mut Attempt::begin(&group, t0, 1).unwrap(), t0, t0);
    assert_eq!(sent[1].0, 90);
}

#[test]
fn a_refusal_moves_on_at_once() {
    let t0 = start();
    let group = group(2, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    assert_eq!(attempt.poll(t0), Next::Send { upstream: 0, over: Over::Udp });
    attempt.failed(0, Failure::Unreachable(group.upstream(0).address), t0 + ms(1));
    assert_eq!(attempt.poll(t0 + ms(1)), Next::Send { upstream: 1, over: Over::Udp });
    assert_eq!(attempt.replied(1, Rcode::NOERROR, t0 + ms(2)), Verdict::Take);
}

#[test]
fn upstreams_that_all_refuse_are_not_hammered() {
    let t0 = start();
    let group = group(2, |settings| settings.max_attempts = Some(0));
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    let (mut now, mut sends) = (t0, 0);
    loop {
        match attempt.poll(now) {
            Next::Send { upstream, .. } => {
                sends += 1;
                attempt.failed(
                    upstream,
                    Failure::Unreachable(group.upstream(upstream).address),
                    now,
                );
            }
            Next::Wait(until) => now = until,
            Next::Done(failure) => break assert!(matches!(failure, Failure::Unreachable(_))),
        }
        assert!(sends < 10);
    }
}

#[test]
fn who_stays_silent_past_its_time_is_told() {
    let t0 = start();
    let group = group(3, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    let silent = |attempt: &Attempt, at| attempt.silent(t0 + ms(at)).collect::<Vec<_>>();
    assert!(silent(&attempt, 299).is_empty());
    assert_eq!(silent(&attempt, 301), [0], "the second has its time still");
    assert_eq!(attempt.replied(1, Rcode::NOERROR, t0 + ms(400)), Verdict::Take);
    assert_eq!(silent(&attempt, 2000), [0], "who answered is not silent");
}

#[test]
fn a_doubtful_reply_waits_for_those_on_the_way_but_not_long() {
    let t0 = start();
    let group = group(2, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    assert_eq!(attempt.replied(1, Rcode::SERVFAIL, t0 + ms(310)), Verdict::Keep);
    assert_eq!(attempt.replied(0, Rcode::NOERROR, t0 + ms(320)), Verdict::Take);

    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.poll(t0 + ms(300));
    assert_eq!(attempt.replied(0, Rcode::SERVFAIL, t0 + ms(310)), Verdict::Keep);
    let (sent, _) = sends(&mut attempt, t0, t0 + ms(310));
    assert_eq!(sent, []);
    assert!(matches!(attempt.poll(t0 + ms(599)), Next::Wait(_)));
    assert!(matches!(attempt.poll(t0 + ms(600)), Next::Done(_)));
}

#[test]
fn one_upstreams_failure_is_doubted_once() {
    let t0 = start();
    let group = group(2, |settings| settings.failover = vec![Rcode::NXDOMAIN]);
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    assert_eq!(attempt.replied(0, Rcode::NXDOMAIN, t0), Verdict::Keep);
    assert_eq!(attempt.poll(t0), Next::Send { upstream: 1, over: Over::Udp });
    assert_eq!(attempt.replied(1, Rcode::SERVFAIL, t0), Verdict::Take);
}

#[test]
fn a_cut_reply_is_fetched_over_tcp_once() {
    let t0 = start();
    let group = group(1, |_| {});
    let mut attempt = Attempt::begin(&group, t0, 1).unwrap();
    attempt.poll(t0);
    attempt.needs_tcp(0);
    attempt.needs_tcp(0);
    assert_eq!(attempt.poll(t0), Next::Send { upstream: 0, over: Over::Tcp });
    assert!(matches!(attempt.poll(t0), Next::Wait(_)));
}

#[test]
fn upstreams_that_are_down_are_left_out() {
    let t0 = start();
    let two = group(2, |_| {});
    let first = &two.upstream(0).health;
    assert!(first.needs_probe());
    assert!(!first.needs_probe(), "one probe at a time");
    for _ in 0..3 {
        first.probe_failed();
    }
    let attempt = |group: &Arc<Group>| {
        Attempt::begin(group, t0, 0).map(|mut attempt| (attempt.poll(t0), attempt.blind))
    };
    assert_eq!(attempt(&two), Ok((Next::Send { upstream: 1, over: Over::Udp }, false)));
    first.probing_ended();
    assert_eq!(attempt(&two), Ok((Next::Send { upstream: 0, over: Over::Udp }, false)));
    (0..3).for_each(|_| [0, 1].iter().for_each(|&at| two.upstream(at).health.probe_failed()));
    assert_eq!(two.order(1), (vec![1, 0], true), "where all are down, all are tried");
    let one = group(1, |settings| settings.failfast = true);
    (0..3).for_each(|_| one.upstream(0).health.probe_failed());
    assert_eq!(attempt(&one), Err(Failure::NoneHealthy));
}

#[test]
fn no_more_than_max_concurrent_are_on_their_way() {
    let t0 = start();
    let group = group(1, |settings| settings.max_concurrent = Some(2));
    let held: Vec<_> = (0..2).map(|_| Attempt::begin(&group, t0, 0).unwrap()).collect();
    assert!(matches!(Attempt::begin(&group, t0, 0), Err(Failure::TooManyInFlight(2))));
    drop(held);
    assert!(Attempt::begin(&group, t0, 0).is_ok());
}

#[test]
fn policies_order_the_upstreams() {
    let order = |group: &Group, seed| group.order(seed).0;
    let robin = group(3, |settings| settings.policy = Policy::RoundRobin);
    assert_eq!([order(&robin, 0), order(&robin, 0)], [[0, 1, 2], [1, 2, 0]]);
    let random = group(3, |settings| settings.policy = Policy::Random);
    let firsts: std::collections::HashSet<_> = (0..50)
        .map(|seed: u64| order(&random, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))[0])
        .collect();
    assert_eq!(firsts.len(), 3);
}

#[test]
fn one_upstream_has_no_more_than_its_share_of_sockets() {
    let health = Health::default();
    let mut held: Vec<_> =
        (0..limits::UPSTREAM_SOCKETS_EACH).map(|_| health.ask().unwrap()).collect();
    assert!((0..3).all(|_| health.ask().is_none()));
    held.pop();
    assert!(health.ask().is_some());
}
