mod scripted;

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use futures_util::future::join_all;

use super::*;
use crate::{
    upstream::{
        GroupSettings, Policy, UpstreamError,
        metrics::{CONNECTION_HITS, CONNECTION_MISSES, REQUESTS, RESPONSES, STRAYS},
    },
    wire::Rcode,
};

use scripted::{Asked, Deed, GENUINE, Scripted, forged, genuine, question, refusal, tampered};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn exchanger() -> Exchanger {
    Exchanger::new(Arc::new(Metrics::default()))
}

fn group_of(to: &[SocketAddr], change: impl FnOnce(&mut GroupSettings)) -> Arc<Group> {
    let mut settings = GroupSettings {
        targets: to.iter().copied().map(Into::into).collect(),
        policy: Policy::Sequential,
        ..GroupSettings::default()
    };
    change(&mut settings);
    Arc::new(Group::new(settings))
}

fn ask(group: &Arc<Group>, name: &str) -> Exchange {
    Exchange { query: Query::internal(question(name)), group: Arc::clone(group) }
}

/// The address in the reply.
fn address(reply: &Reply) -> Option<[u8; 4]> {
    reply.as_ref().ok()?.answer.first()?.rdatas.iter().next()?.try_into().ok()
}

fn strays(exchanger: &Exchanger, upstream: &Scripted) -> u64 {
    STRAYS.with(&exchanger.0.metrics, [&upstream.address.to_string()]).get()
}

/// One question to one upstream, which must bring the genuine address.
async fn check_genuine(
    what: &str,
    script: impl Fn(&Asked) -> Vec<Deed> + Send + Sync + 'static,
) -> (Exchanger, Scripted) {
    let (upstream, exchanger) = (Scripted::start(script).await, exchanger());
    let reply =
        exchanger.exchange(ask(&group_of(&[upstream.address], |_| {}), "www.example.com.")).await;
    assert_eq!(address(&reply), Some(GENUINE), "{what}: {reply:?}");
    (exchanger, upstream)
}

/// Until something holds; what never does fails the test.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("never: {what}");
}

/// P3: the genuine reply comes to the first question only, behind the forged one, so who stops
/// listening never gets it.
#[tokio::test]
async fn a_forged_datagram_never_ends_the_wait() {
    type Forge = fn(&Asked) -> Vec<u8>;
    let forges: [(&str, Forge); 12] = [
        ("wrong id", |asked| forged(asked, |query| query.id ^= 1)),
        ("wrong question", |asked| {
            forged(asked, |query| query.question = question("www.example.net."))
        }),
        ("wrong type", |asked| forged(asked, |query| query.question.qtype = Type::AAAA)),
        ("wrong class", |asked| forged(asked, |query| query.question.class = Class::CH)),
        ("no reply", |asked| tampered(asked, |packet| packet[2] &= 0x7f)),
        ("wrong opcode", |asked| tampered(asked, |packet| packet[2] |= 0x10)),
        ("no question", |asked| tampered(asked, |packet| packet[5] = 0)),
        ("two questions", |asked| tampered(asked, |packet| packet[5] = 2)),
        ("the header alone", |asked| tampered(asked, |packet| packet.truncate(12))),
        ("half a question", |asked| tampered(asked, |packet| packet.truncate(20))),
        ("garbage behind the id", |asked| tampered(asked, |packet| packet[2..].fill(0xa5))),
        ("nothing", |_| Vec::new()),
    ];
    for (what, forge) in forges {
        let script = move |asked: &Asked| match asked.turn {
            0 => vec![Deed::Say(forge(asked)), Deed::Pause(ms(20)), Deed::Say(genuine(asked))],
            _ => Vec::new(),
        };
        let (exchanger, upstream) = check_genuine(what, script).await;
        assert_eq!(strays(&exchanger, &upstream), 1, "{what}");
        assert_eq!(upstream.asked_over(UpstreamTransport::Tcp), 0, "{what}");
    }
}

/// What only a guesser of port and id could have sent, or a poor upstream: TCP tells which.
#[tokio::test]
async fn a_doubtful_reply_is_asked_for_over_tcp() {
    type Forge = fn(&Asked) -> Vec<u8>;
    let forges: [(&str, Forge); 4] = [
        ("wrong case", |asked| {
            forged(asked, |query| {
                query.question.caps = Caps::random(&query.question.name, [rand::random(); 4])
            })
        }),
        ("cut short", |asked| tampered(asked, |packet| packet[2] |= 2)),
        ("a record that is not there", |asked| tampered(asked, |packet| packet[7] = 2)),
        ("a name that points to itself", |asked| tampered(asked, |packet| packet[34] = 34)),
    ];
    for (what, forge) in forges {
        let script = move |asked: &Asked| match asked.over {
            UpstreamTransport::Udp => vec![Deed::Say(forge(asked))],
            UpstreamTransport::Tcp => vec![Deed::Say(genuine(asked))],
        };
        let (_, upstream) = check_genuine(what, script).await;
        assert_eq!(upstream.asked_over(UpstreamTransport::Tcp), 1, "{what}");
    }
}

/// R6.
#[tokio::test]
async fn ten_wrong_ids_lead_to_tcp() {
    let script = |asked: &Asked| match asked.over {
        UpstreamTransport::Udp => {
            (1..=10).map(|wrong| Deed::Say(forged(asked, |query| query.id ^= wrong))).collect()
        }
        UpstreamTransport::Tcp => vec![Deed::Say(genuine(asked))],
    };
    let (exchanger, upstream) = check_genuine("ten wrong ids", script).await;
    assert_eq!(
        (strays(&exchanger, &upstream), upstream.asked_over(UpstreamTransport::Tcp)),
        (10, 1)
    );
}

#[tokio::test]
async fn an_upstream_that_loses_the_case_is_asked_in_lower_case_in_the_end() {
    let lowered = |asked: &Asked| {
        let mut asked = asked.clone();
        asked.query.question.caps = Caps::default();
        vec![Deed::Say(genuine(&asked))]
    };
    let upstream = Scripted::start(lowered).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    for name in 0..=limits::LOST_CASES {
        let reply =
            exchanger.exchange(ask(&group, &format!("some-long-name-{name}.example.com."))).await;
        assert_eq!(address(&reply), Some(GENUINE));
    }
    assert_eq!(upstream.asked_over(UpstreamTransport::Tcp), limits::LOST_CASES as usize);
    assert_eq!(upstream.asked().last().unwrap().query.question.caps, Caps::default());
}

/// P2.
#[tokio::test]
async fn identical_questions_share_one_exchange() {
    let upstream = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    let replies =
        join_all((0..60).map(|_| exchanger.exchange(ask(&group, "www.example.com.")))).await;
    assert_eq!(replies.iter().filter(|reply| address(reply) == Some(GENUINE)).count(), 60);
    assert_eq!(upstream.asked().len(), 1);
    // Nothing is kept here: who comes later asks anew.
    exchanger.exchange(ask(&group, "www.example.com.")).await.unwrap();
    assert_eq!(upstream.asked().len(), 2);
}

#[tokio::test]
async fn what_changes_the_reply_is_not_shared() {
    let upstream = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    let changes: [fn(&mut Query); 8] = [
        |_| {},
        |query| query.question.qtype = Type::TXT,
        |query| query.question.class = Class::CH,
        |query| query.question.name = "www.example.net.".parse().unwrap(),
        |query| query.recursion_desired = false,
        |query| query.authentic_data = true,
        |query| query.checking_disabled = true,
        |query| query.edns = Some(Edns::new(1232, true)),
    ];
    join_all(changes.iter().map(|change| {
        let mut exchange = ask(&group, "www.example.com.");
        change(&mut exchange.query);
        exchanger.exchange(exchange)
    }))
    .await;
    assert_eq!(upstream.asked().len(), changes.len());
}

#[tokio::test]
async fn one_question_has_no_more_than_its_waiters() {
    let upstream = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    let replies = join_all(
        (0..limits::WAITERS + 5).map(|_| exchanger.exchange(ask(&group, "www.example.com."))),
    )
    .await;
    let count = |wanted: &Reply| replies.iter().filter(|reply| *reply == wanted).count();
    assert_eq!(count(&Err(QueryError::Overloaded)), 5);
    assert_eq!(count(&replies[0]), limits::WAITERS);
}

/// P1.
#[tokio::test]
async fn ports_and_ids_cannot_be_guessed() {
    let upstream = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    for round in 0..1000 / 16 + 1 {
        let names = (0..16).map(|at| format!("n{}.example.com.", round * 16 + at));
        let replies = join_all(
            names
                .map(|name| exchanger.exchange(ask(&group, &name)).map(|reply| reply.is_ok()))
                .collect::<Vec<_>>(),
        )
        .await;
        assert!(replies.iter().all(|answered| *answered));
    }
    let mut asked = upstream.asked();
    asked.truncate(1000);
    let pairs: HashSet<_> = asked.iter().map(|asked| (asked.from.port(), asked.query.id)).collect();
    assert!(pairs.len() >= 950, "{} pairs", pairs.len());
    let mut ports = HashMap::<u16, u32>::new();
    asked.iter().for_each(|asked| *ports.entry(asked.from.port()).or_default() += 1);
    assert!(ports.values().all(|&questions| questions <= 10), "{ports:?}");
    // Each of 16 bits is set in half of 1,000 ids: six sigmas are 95.
    for bit in 0..16 {
        let set = asked.iter().filter(|asked| asked.query.id >> bit & 1 == 1).count();
        assert!((405..=595).contains(&set), "bit {bit} of the id: {set}");
    }
    let cases: HashSet<_> = asked
        .iter()
        .map(|asked| asked.query.question.spelled().to_string()[6..].to_owned())
        .collect();
    assert!(cases.len() > 100, "{} spellings", cases.len());
}

#[tokio::test]
async fn our_own_edns_goes_upstream() {
    let upstream = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    for (client, dnssec_ok) in
        [(None, false), (Some(Edns::new(65_535, false)), false), (Some(Edns::new(512, true)), true)]
    {
        let mut exchange = ask(&group, "www.example.com.");
        exchange.query.edns = client;
        exchanger.exchange(exchange).await.unwrap();
        assert_eq!(upstream.asked().last().unwrap().query.edns, Some(Edns::new(1232, dnssec_ok)));
    }
}

#[tokio::test]
async fn a_silent_upstream_is_left_for_the_next_and_probed() {
    let (silent, good) = (
        Scripted::start(|_| Vec::new()).await,
        Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await,
    );
    let (exchanger, group) = (exchanger(), group_of(&[silent.address, good.address], |_| {}));
    let began = Instant::now();
    let reply = exchanger.exchange(ask(&group, "www.example.com.")).await;
    assert_eq!(address(&reply), Some(GENUINE));
    assert!(began.elapsed() >= limits::MAX_HEDGE_DELAY, "the first has its time");
    assert_eq!((silent.asked().len(), good.asked().len()), (1, 1));
    eventually("the silent one is probed", || silent.probes() > 0).await;
    assert_eq!(good.probes(), 0);
}

#[tokio::test]
async fn the_first_is_listened_to_while_the_second_is_asked() {
    let slow = |asked: &Asked| {
        vec![Deed::Pause(limits::MAX_HEDGE_DELAY + ms(200)), Deed::Say(genuine(asked))]
    };
    let (slow, silent) = (Scripted::start(slow).await, Scripted::start(|_| Vec::new()).await);
    let (exchanger, group) = (exchanger(), group_of(&[slow.address, silent.address], |_| {}));
    assert_eq!(address(&exchanger.exchange(ask(&group, "www.example.com.")).await), Some(GENUINE));
    assert_eq!((slow.asked().len(), silent.asked().len()), (1, 1));
}

/// R12: one of two loses every other datagram, and no client sees it.
#[tokio::test]
async fn a_brown_out_of_one_upstream_is_not_seen() {
    let lossy = Scripted::start(|asked| {
        if asked.turn % 2 == 0 { Vec::new() } else { vec![Deed::Say(genuine(asked))] }
    })
    .await;
    let good = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (
        exchanger(),
        group_of(&[lossy.address, good.address], |settings| settings.policy = Policy::RoundRobin),
    );
    for round in 0..25 {
        let names: Vec<_> = (0..16).map(|at| format!("n{round}-{at}.example.com.")).collect();
        let replies =
            join_all(names.iter().map(|name| exchanger.exchange(ask(&group, name)))).await;
        assert!(replies.iter().all(|reply| address(reply) == Some(GENUINE)));
    }
    let patience = group.upstream(0).health.hedge_delay();
    assert!(
        patience < limits::MAX_HEDGE_DELAY,
        "who answers fast is waited for shortly: {patience:?}"
    );
}

#[tokio::test]
async fn silence_ends_before_the_client_gives_up() {
    let silent = Scripted::start(|_| Vec::new()).await;
    let (exchanger, group) =
        (exchanger(), group_of(&[silent.address], |settings| settings.read_timeout = ms(700)));
    let reply = exchanger.exchange(ask(&group, "www.example.com.")).await;
    assert_eq!(reply, Err(QueryError::Upstream(UpstreamError::NoAnswer(silent.address))));
    assert_eq!(
        silent.asked_over(UpstreamTransport::Udp),
        2,
        "the datagram is sent again after 300 ms"
    );
}

#[tokio::test]
async fn who_refuses_is_passed_over_at_once() {
    let nobody = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let good = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[nobody, good.address], |_| {}));
    let began = Instant::now();
    assert_eq!(address(&exchanger.exchange(ask(&group, "www.example.com.")).await), Some(GENUINE));
    assert!(began.elapsed() < limits::MAX_HEDGE_DELAY);
    let reply = exchanger.exchange(ask(&group_of(&[nobody], |_| {}), "www.example.com.")).await;
    assert_eq!(reply, Err(QueryError::Upstream(UpstreamError::Unreachable(nobody))));
}

#[tokio::test]
async fn one_upstreams_servfail_is_not_the_answer_while_another_knows() {
    let failing = Scripted::start(|asked| vec![Deed::Say(refusal(asked, Rcode::SERVFAIL))]).await;
    let good = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[failing.address, good.address], |_| {}));
    assert_eq!(address(&exchanger.exchange(ask(&group, "www.example.com.")).await), Some(GENUINE));
    let alone =
        exchanger.exchange(ask(&group_of(&[failing.address], |_| {}), "www.example.com.")).await;
    assert_eq!(alone.map(|response| response.rcode), Ok(Rcode::SERVFAIL));
}

#[tokio::test]
async fn connections_are_used_again_and_replaced_where_the_peer_closed_them() {
    for (closes, hits, misses) in [(false, 2, 1), (true, 2, 3)] {
        let script = move |asked: &Asked| {
            let close = closes.then_some(Deed::Close);
            [Deed::Say(genuine(asked))].into_iter().chain(close).collect()
        };
        let upstream = Scripted::start(script).await;
        let (exchanger, group) =
            (exchanger(), group_of(&[upstream.address], |settings| settings.force_tcp = true));
        for _ in 0..3 {
            assert_eq!(
                address(&exchanger.exchange(ask(&group, "www.example.com.")).await),
                Some(GENUINE)
            );
        }
        let labels = ["forward", &upstream.address.to_string(), "tcp"];
        let metrics = &exchanger.0.metrics;
        let counted =
            [&CONNECTION_HITS, &CONNECTION_MISSES].map(|family| family.with(metrics, labels).get());
        assert_eq!(counted, [hits, misses], "closes: {closes}");
        let sends = REQUESTS.with(metrics, [&upstream.address.to_string()]).get();
        assert_eq!(sends, 3, "a connection that was closed meanwhile costs no attempt");
        assert_eq!(upstream.asked_over(UpstreamTransport::Udp), 0);
    }
}

#[tokio::test]
async fn an_exchange_goes_on_when_nobody_waits() {
    let upstream =
        Scripted::start(|asked| vec![Deed::Pause(ms(50)), Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    assert!(
        tokio::time::timeout(ms(10), exchanger.exchange(ask(&group, "www.example.com.")))
            .await
            .is_err()
    );
    eventually("its reply is counted", || {
        let labels = [&*upstream.address.to_string(), "NOERROR"];
        RESPONSES.with(&exchanger.0.metrics, labels).get() == 1
    })
    .await;
}

/// Sockets of this machine that are connected to an address, as the kernel lists them.
fn sockets_to(address: SocketAddr, table: &str) -> usize {
    let port = format!(":{:04X}", address.port());
    let lines = std::fs::read_to_string(table).unwrap();
    let established = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words[2].ends_with(&port) && matches!(words[3], "01" | "08")
    };
    lines.lines().skip(1).filter(established).count()
}

#[tokio::test]
async fn sockets_do_not_outlive_their_questions() {
    let upstream = Scripted::start(|asked| {
        if asked.turn % 2 == 0 { vec![Deed::Say(genuine(asked))] } else { Vec::new() }
    })
    .await;
    let (exchanger, group) =
        (exchanger(), group_of(&[upstream.address], |settings| settings.read_timeout = ms(400)));
    let names: Vec<_> = (0..20).map(|name| format!("n{name}.example.com.")).collect();
    join_all(names.iter().map(|name| exchanger.exchange(ask(&group, name)))).await;
    eventually("no UDP socket is left", || sockets_to(upstream.address, "/proc/net/udp") == 0)
        .await;
    assert_eq!(exchanger.0.sockets.available_permits(), limits::UPSTREAM_SOCKETS);
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let upstream = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let (exchanger, group) = (
        exchanger(),
        group_of(&[upstream.address], |settings| {
            (settings.force_tcp, settings.expire) = (true, ms(200))
        }),
    );
    exchanger.exchange(ask(&group, "www.example.com.")).await.unwrap();
    assert_eq!(sockets_to(upstream.address, "/proc/net/tcp"), 1);
    eventually("the connection is closed", || sockets_to(upstream.address, "/proc/net/tcp") == 0)
        .await;
    eventually("nobody looks for more", || lock(&exchanger.0.background).try_join_next().is_some())
        .await;
    exchanger.exchange(ask(&group, "www.example.com.")).await.unwrap();
    eventually("the next one is closed too", || sockets_to(upstream.address, "/proc/net/tcp") == 0)
        .await;
}

#[tokio::test]
async fn connections_are_as_old_and_as_many_as_is_written() {
    let upstream = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
    let misses = |change: fn(&mut GroupSettings), pause: Duration| {
        let address = upstream.address;
        async move {
            let (exchanger, group) = (
                exchanger(),
                group_of(&[address], |settings| (settings.force_tcp, _) = (true, change(settings))),
            );
            for names in
                [["a.example.com.", "b.example.com."], ["c.example.com.", "d.example.com."]]
            {
                join_all(names.map(|name| exchanger.exchange(ask(&group, name)))).await;
                tokio::time::sleep(pause).await;
            }
            let labels = ["forward", &*address.to_string(), "tcp"];
            CONNECTION_MISSES.with(&exchanger.0.metrics, labels).get()
        }
    };
    assert_eq!(misses(|_| {}, ms(0)).await, 2);
    assert_eq!(
        misses(|settings| settings.max_age = Some(ms(100)), ms(150)).await,
        4,
        "used or not, an old one is not kept"
    );
    assert_eq!(
        misses(|settings| settings.max_idle = Some(1), ms(0)).await,
        3,
        "one of the two is kept"
    );
}

#[tokio::test]
async fn questions_leave_from_the_address_that_is_written() {
    let source = IpAddr::from([127, 0, 0, 9]);
    for over_tcp in [false, true] {
        let upstream = Scripted::start(|asked| vec![Deed::Say(genuine(asked))]).await;
        let group = group_of(&[upstream.address], |settings| {
            (settings.source, settings.force_tcp) = (Some(source), over_tcp)
        });
        assert_eq!(
            address(&exchanger().exchange(ask(&group, "www.example.com.")).await),
            Some(GENUINE)
        );
        assert_eq!(upstream.asked()[0].from.ip(), source);
    }
}

#[tokio::test]
async fn the_end_waits_for_questions_and_not_for_probes() {
    let silent = Scripted::start(|_| Vec::new()).await;
    let (exchanger, group) =
        (exchanger(), group_of(&[silent.address], |settings| settings.read_timeout = ms(400)));
    let (reply, ()) =
        tokio::join!(exchanger.exchange(ask(&group, "www.example.com.")), exchanger.finish());
    assert!(matches!(reply, Err(QueryError::Upstream(_))));
    let began = Instant::now();
    exchanger.finish().await;
    assert!(began.elapsed() < limits::QUERY_TIME / 2);
}
