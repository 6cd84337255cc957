//! Faults of upstreams over HTTPS and QUIC that people reported for other programs.

use super::{
    streams::{Heard, KINDS, Kind, StreamUpstream, Turn, genuine_reply},
    *,
};
use crate::upstream::{Health, HttpMethod, Target, metrics::CONNECTION_HITS as HITS};

fn group(upstreams: &[&StreamUpstream], change: impl FnOnce(&mut GroupSettings)) -> Arc<Group> {
    let targets = upstreams.iter().map(|upstream| upstream.target.clone()).collect();
    let mut settings =
        GroupSettings { targets, policy: Policy::Sequential, ..GroupSettings::default() };
    change(&mut settings);
    Arc::new(Group::new(settings))
}

/// Asks for `first`, and then for `second` after a pause. Both must get the genuine address, the
/// second one within `bound`.
async fn check_two(
    kind: Kind,
    pause: Duration,
    bound: Duration,
    script: impl Fn(&Heard) -> Turn + Send + Sync + 'static,
) -> StreamUpstream {
    let upstream = StreamUpstream::start(kind, script).await;
    let (exchanger, group) = (exchanger(), group(&[&upstream], |_| {}));
    let reply = exchanger.exchange(ask(&group, "first.example.")).await;
    assert_eq!(address(&reply), Some(GENUINE), "{kind:?}: {reply:?}");
    tokio::time::sleep(pause).await;
    let started = Instant::now();
    let reply = exchanger.exchange(ask(&group, "second.example.")).await;
    assert_eq!(address(&reply), Some(GENUINE), "{kind:?}: {reply:?}");
    assert!(started.elapsed() < bound, "{kind:?}: {:?}", started.elapsed());
    upstream
}

#[tokio::test]
async fn queries_share_a_connection_and_are_padded_without_an_id() {
    for kind in KINDS {
        let upstream = StreamUpstream::start(kind, |heard| Turn::Reply(genuine_reply(heard))).await;
        let (exchanger, group) = (exchanger(), group(&[&upstream], |_| {}));
        assert!(exchanger.exchange(ask(&group, "first.example.")).await.is_ok());
        let names: Vec<_> = (0..50).map(|at| format!("n{at}.example.")).collect();
        let replies =
            join_all(names.iter().map(|name| exchanger.exchange(ask(&group, name)))).await;
        assert!(replies.iter().all(|reply| address(reply) == Some(GENUINE)), "{kind:?}");
        let heard = upstream.heard();
        for heard in &heard {
            let edns = heard.query.edns.unwrap();
            assert!(heard.query.id == 0 && edns.padding && heard.octets % 128 == 0, "{heard:?}");
        }
        let port = upstream.target.address.port();
        let expected = match kind {
            Kind::Http1 | Kind::Http2(HttpMethod::Post) => {
                format!("POST dns.example:{port}/dns-query")
            }
            Kind::Http2(HttpMethod::Get) => format!("GET dns.example:{port}/dns-query"),
            Kind::Quic => String::new(),
        };
        assert_eq!(heard[0].request, expected);
        if kind != Kind::Http1 {
            assert_eq!(upstream.connections(), 1, "{kind:?}");
            let proto = if kind == Kind::Quic { "quic" } else { "https" };
            let to = upstream.target.address.to_string();
            let hits = HITS.with(&exchanger.0.metrics, ["forward", &to, proto]).get();
            assert_eq!(hits, 50, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn one_query_that_takes_long_delays_no_other() {
    let slow = |heard: &Heard| match heard.turn {
        0 => Turn::Later(ms(900), genuine_reply(heard)),
        _ => Turn::Reply(genuine_reply(heard)),
    };
    for kind in KINDS {
        let upstream = StreamUpstream::start(kind, slow).await;
        let (exchanger, group) = (exchanger(), group(&[&upstream], |_| {}));
        let (first, fast) = tokio::join!(exchanger.exchange(ask(&group, "slow.example.")), async {
            tokio::time::sleep(ms(100)).await;
            let started = Instant::now();
            assert!(exchanger.exchange(ask(&group, "fast.example.")).await.is_ok());
            started.elapsed()
        });
        assert_eq!(address(&first), Some(GENUINE), "{kind:?}");
        assert!(fast < ms(250), "{kind:?}: {fast:?}");
    }
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_replaced() {
    for kind in KINDS {
        // It closes the connection when the second query arrives on it.
        let upstream =
            check_two(kind, ms(1), ms(250), |heard| match (heard.turn, heard.connection) {
                (1.., 0) => Turn::Close,
                _ => Turn::Reply(genuine_reply(heard)),
            })
            .await;
        assert_eq!(upstream.connections(), 2, "{kind:?}");
    }
}

#[tokio::test]
async fn a_query_is_sent_again_if_the_upstream_resets_its_stream() {
    for kind in KINDS {
        check_two(kind, ms(1), ms(250), |heard| match (heard.turn, heard.connection) {
            (1.., 0) => Turn::Reset,
            _ => Turn::Reply(genuine_reply(heard)),
        })
        .await;
    }
}

/// This happens after a change of the network, or if a firewall forgets the connection.
#[tokio::test]
async fn a_connection_that_is_silent_is_replaced_in_time() {
    for kind in KINDS {
        let upstream =
            check_two(kind, ms(350), ms(900), |heard| match (heard.turn, heard.connection) {
                (1.., 0) => Turn::Silence,
                _ => Turn::Reply(genuine_reply(heard)),
            })
            .await;
        let heard = upstream.heard();
        assert!(heard.iter().any(|heard| heard.connection == 1), "{kind:?}");
    }
}

#[tokio::test]
async fn many_queries_on_a_silent_connection_open_one_new_connection() {
    for kind in [Kind::Http2(HttpMethod::Post), Kind::Quic] {
        let upstream = StreamUpstream::start(kind, |heard| match (heard.turn, heard.connection) {
            (1.., 0) => Turn::Silence,
            _ => Turn::Reply(genuine_reply(heard)),
        })
        .await;
        let (exchanger, group) = (exchanger(), group(&[&upstream], |_| {}));
        assert!(exchanger.exchange(ask(&group, "first.example.")).await.is_ok());
        let names: Vec<_> = (0..60).map(|at| format!("n{at}.example.")).collect();
        let replies =
            join_all(names.iter().map(|name| exchanger.exchange(ask(&group, name)))).await;
        assert!(replies.iter().all(|reply| address(reply) == Some(GENUINE)), "{kind:?}");
        assert_eq!(upstream.connections(), 2, "{kind:?}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    for kind in KINDS {
        let upstream = StreamUpstream::start(kind, |heard| Turn::Reply(genuine_reply(heard))).await;
        let changes: [fn(&mut GroupSettings); 2] =
            [|settings| settings.expire = ms(50), |settings| settings.max_age = Some(ms(50))];
        for (round, change) in changes.into_iter().enumerate() {
            let (exchanger, group) = (exchanger(), group(&[&upstream], change));
            for name in ["first.example.", "second.example."] {
                assert!(exchanger.exchange(ask(&group, name)).await.is_ok());
                tokio::time::sleep(ms(80)).await;
            }
            assert_eq!(upstream.connections(), 2 * (round + 1), "{kind:?}");
            eventually("no connection is left", || !exchanger.0.multiplexed.sweep()).await;
        }
    }
}

/// The first upstream fails, and the second one is asked at once.
#[tokio::test]
async fn responses_that_are_not_replies_lead_to_the_next_upstream() {
    let page = b"<html>Log in to this network</html>".to_vec();
    let turns = [
        ("too many requests", Turn::Http(429, Vec::new())),
        ("out of order", Turn::Http(503, page.clone())),
        ("a page of a captive portal", Turn::Http(200, page)),
        ("empty", Turn::Http(200, Vec::new())),
        ("reset", Turn::Reset),
        ("closed", Turn::Close),
    ];
    for (what, turn) in turns {
        for kind in KINDS {
            let turn = turn.clone();
            let failing = StreamUpstream::start(kind, move |_| turn.clone()).await;
            let good = StreamUpstream::start(kind, |heard| Turn::Reply(genuine_reply(heard))).await;
            let (exchanger, group) = (exchanger(), group(&[&failing, &good], |_| {}));
            let started = Instant::now();
            let reply = exchanger.exchange(ask(&group, "www.example.")).await;
            assert_eq!(address(&reply), Some(GENUINE), "{what} {kind:?}: {reply:?}");
            assert!(started.elapsed() < ms(250), "{what} {kind:?}: {:?}", started.elapsed());
        }
    }
}

/// As in CoreDNS: the status does not matter if there is a reply, and neither does the id.
#[tokio::test]
async fn a_reply_counts_whatever_its_status_and_its_id() {
    for kind in KINDS {
        let upstream = StreamUpstream::start(kind, |heard| {
            let mut reply = genuine_reply(heard);
            reply[1] = 7;
            Turn::Http(404, reply)
        })
        .await;
        let (exchanger, group) = (exchanger(), group(&[&upstream], |_| {}));
        let reply = exchanger.exchange(ask(&group, "www.example.")).await;
        assert_eq!(address(&reply), Some(GENUINE), "{kind:?}: {reply:?}");
    }
}

/// A redirection within the server keeps the query. One to another server is a failure.
#[tokio::test]
async fn redirections_within_the_server_are_followed() {
    for kind in &KINDS[..3] {
        for status in [301, 302, 307, 308] {
            let upstream = StreamUpstream::start(*kind, move |heard| {
                if heard.request.ends_with("/moved/") {
                    Turn::Reply(genuine_reply(heard))
                } else if heard.query.question.name.to_string().starts_with("away") {
                    Turn::Redirect(status, "https://other.example/moved/".to_owned())
                } else {
                    let dns = heard.request.starts_with("GET").then_some(&*heard.parameters);
                    let dns = dns.map(|dns| format!("?{dns}")).unwrap_or_default();
                    Turn::Redirect(status, format!("/moved/{dns}"))
                }
            })
            .await;
            let (exchanger, group) = (exchanger(), group(&[&upstream], |_| {}));
            let reply = exchanger.exchange(ask(&group, "www.example.")).await;
            assert_eq!(address(&reply), Some(GENUINE), "{kind:?} {status}: {reply:?}");
            let reply = exchanger.exchange(ask(&group, "away.example.")).await;
            let error = UpstreamError::HttpStatus(upstream.target.address, status);
            assert_eq!(reply, Err(QueryError::Upstream(error)), "{kind:?}");
        }
    }
}

/// The server redirects every request to itself.
#[tokio::test]
async fn redirections_that_form_a_loop_end() {
    let circle = |_: &Heard| Turn::Redirect(308, "/dns-query?dns=AAAA".to_owned());
    let upstream = StreamUpstream::start(KINDS[1], circle).await;
    let (exchanger, group) =
        (exchanger(), group(&[&upstream], |settings| settings.max_attempts = Some(1)));
    let reply = exchanger.exchange(ask(&group, "www.example.")).await;
    let error = UpstreamError::HttpStatus(upstream.target.address, 308);
    assert_eq!(reply, Err(QueryError::Upstream(error)));
    assert!(upstream.heard().len() <= 2 * (limits::HTTP_REDIRECTS + 1));
}

/// RFC 8484 §5.1.
#[tokio::test]
async fn the_time_in_an_http_cache_is_taken_off_the_ttl() {
    for (age, ttl) in [(0, 60), (25, 35), (61, 0)] {
        for kind in &KINDS[..3] {
            let cached = move |heard: &Heard| Turn::Cached(age, genuine_reply(heard));
            let upstream = StreamUpstream::start(*kind, cached).await;
            let (exchanger, group) = (exchanger(), group(&[&upstream], |_| {}));
            let reply = exchanger.exchange(ask(&group, "www.example.")).await.unwrap();
            assert_eq!(reply.answer[0].ttl, ttl, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn failures_are_reported_and_a_reply_to_another_question_is_not_used() {
    let status = StreamUpstream::start(KINDS[1], |_| Turn::Http(405, Vec::new())).await;
    let other = StreamUpstream::start(KINDS[1], |heard| {
        let mut heard = heard.clone();
        heard.query.question = question("other.example.");
        Turn::Reply(genuine_reply(&heard))
    })
    .await;
    for (upstream, expected) in [
        (&status, UpstreamError::HttpStatus(status.target.address, 405)),
        (&other, UpstreamError::Malformed(other.target.address)),
    ] {
        let (exchanger, group) = (exchanger(), group(&[upstream], |_| {}));
        let reply = exchanger.exchange(ask(&group, "www.example.")).await;
        assert_eq!(reply, Err(QueryError::Upstream(expected)));
    }
}

/// If a QUIC server is gone, its host replies with ICMP.
#[tokio::test]
async fn an_unreachable_upstream_costs_little_time() {
    for kind in KINDS {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let good = StreamUpstream::start(kind, |heard| Turn::Reply(genuine_reply(heard))).await;
        let dead = Target { address: closed, ..good.target.clone() };
        let settings = GroupSettings {
            targets: vec![dead, good.target.clone()],
            policy: Policy::Sequential,
            ..GroupSettings::default()
        };
        let (exchanger, group) = (exchanger(), Arc::new(Group::new(settings)));
        let started = Instant::now();
        assert!(exchanger.exchange(ask(&group, "www.example.")).await.is_ok());
        assert!(started.elapsed() < ms(200), "{kind:?}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn an_upstream_that_works_again_is_used_again() {
    for kind in KINDS {
        let is_up = Arc::new(AtomicBool::new(false));
        let up = Arc::clone(&is_up);
        let upstream = StreamUpstream::start(kind, move |heard| {
            if up.load(Ordering::SeqCst) { Turn::Reply(genuine_reply(heard)) } else { Turn::Close }
        })
        .await;
        let (exchanger, group) = (
            exchanger(),
            group(&[&upstream], |settings| {
                settings.health_check.interval = ms(50);
            }),
        );
        assert!(exchanger.exchange(ask(&group, "first.example.")).await.is_err());
        let health: &Health = &group.upstream(0).health;
        eventually("it is down", || health.is_down(2)).await;
        is_up.store(true, Ordering::SeqCst);
        eventually("it is up", || !health.is_down(2)).await;
        let reply = exchanger.exchange(ask(&group, "second.example.")).await;
        assert_eq!(address(&reply), Some(GENUINE), "{kind:?}: {reply:?}");
    }
}

#[tokio::test]
async fn more_queries_than_a_connection_has_streams_open_another_one() {
    for kind in [Kind::Http2(HttpMethod::Post), Kind::Quic] {
        let upstream =
            StreamUpstream::start(kind, |heard| Turn::Later(ms(200), genuine_reply(heard))).await;
        let (exchanger, group) = (exchanger(), group(&[&upstream], |_| {}));
        assert!(exchanger.exchange(ask(&group, "first.example.")).await.is_ok());
        let names: Vec<_> = (0..250).map(|at| format!("n{at}.example.")).collect();
        let replies =
            join_all(names.iter().map(|name| exchanger.exchange(ask(&group, name)))).await;
        assert!(replies.iter().all(|reply| address(reply) == Some(GENUINE)), "{kind:?}");
        assert!((3..=6).contains(&upstream.connections()), "{kind:?}: {}", upstream.connections());
    }
}
