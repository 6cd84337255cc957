//! Upstreams that reply over one transport only, or fail because of an OPT record.

use super::*;

/// CoreDNS queries upstreams over TCP for a client over TCP. It would get a reply here, so ndots
/// must, too.
#[test]
fn an_upstream_that_is_silent_over_udp_is_asked_over_tcp() {
    let t0 = start();
    let tcp_at = |group: &Arc<Group>, has_stream_client: bool| {
        let mut attempt = Attempt::begin(group, t0, 0).unwrap();
        attempt.poll(t0);
        if has_stream_client {
            attempt.stream_client_waits(t0);
        }
        let (sent, _) = sends(&mut attempt, t0, t0);
        let tcp = sent.iter().filter(|(_, _, over)| *over == UpstreamTransport::Tcp);
        tcp.map(|(at, ..)| *at).collect::<Vec<_>>()
    };
    assert_eq!(tcp_at(&known_group(1, |_| {}), false), [1000]);
    assert_eq!(tcp_at(&known_group(1, |_| {}), true), [60]);
    assert_eq!(tcp_at(&group(1, |_| {}), false), [60], "it has not replied over UDP yet");
}

#[test]
fn an_upstream_that_replies_over_tcp_only_is_queried_over_tcp_for_a_while() {
    let t0 = start();
    let group = known_group(1, |_| {});
    let transports = |now: Instant| {
        let mut attempt = Attempt::begin(&group, now, 0).unwrap();
        let mut transports = Vec::new();
        for at in [Duration::ZERO, limits::TCP_CLIENT_PATIENCE] {
            if let NextAction::Send { transport, .. } = attempt.poll(now + at) {
                transports.push(transport);
            }
            attempt.stream_client_waits(now);
        }
        let transport = UpstreamTransport::Tcp;
        attempt.replied(0, ReplySummary { transport, ..with(Rcode::NOERROR) }, now);
        transports
    };
    let both = [UpstreamTransport::Udp, UpstreamTransport::Tcp];
    assert_eq!([transports(t0), transports(t0), transports(t0)], [both; 3]);
    assert_eq!(transports(t0), [UpstreamTransport::Tcp]);
    let mut attempt = Attempt::begin(&group, t0, 0).unwrap();
    attempt.poll(t0);
    let error = UpstreamError::Unreachable(UpstreamTransport::Udp, group.upstream(0).address);
    attempt.failed(0, OVER_TCP, error, t0);
    let (transport, form) = OVER_UDP;
    assert_eq!(attempt.poll(t0), NextAction::Send { upstream: 0, transport, form });
    (0..3).for_each(|_| group.upstream(0).health.record_silent_udp(t0));
    assert_eq!(transports(t0 + limits::NO_UDP_TIME), both, "not for ever");
}

/// Each case: whether the client's query has OPT, the RCODE of the reply to the query with OPT, and
/// whether ndots asks again without OPT.
#[test]
fn a_failure_to_a_query_with_opt_is_not_believed_if_the_client_sent_none() {
    let t0 = start();
    for (client_edns, rcode, again) in [
        (false, Rcode::SERVFAIL, true),
        (true, Rcode::SERVFAIL, false),
        (false, Rcode::REFUSED, false),
        (false, Rcode::NXDOMAIN, false),
    ] {
        let group = known_group(1, |_| {});
        let mut attempt = Attempt::begin(&group, t0, 0).unwrap();
        attempt.poll(t0);
        let decision = attempt.replied(0, ReplySummary { client_edns, ..with(rcode) }, t0);
        assert_eq!(decision == ReplyDecision::Hold, again, "{rcode:?} {client_edns}");
        if again {
            let (upstream, transport, form) = (0, UpstreamTransport::Udp, QueryForm::PLAIN);
            assert_eq!(attempt.poll(t0), NextAction::Send { upstream, transport, form });
            let summary = ReplySummary { form, client_edns, ..with(rcode) };
            assert_eq!(attempt.replied(0, summary, t0), ReplyDecision::Accept, "once");
        }
    }
}
