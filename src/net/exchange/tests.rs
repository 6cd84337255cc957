mod encrypted;
mod pipelining;
mod scripted;
mod shared;
mod sockets;
mod streams;
mod suspicion;

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;

use super::*;
use crate::{
    chain::Reply,
    upstream::{
        GroupSettings, Policy, UpstreamError, UpstreamTransport,
        metrics::{CONNECTION_HITS, CONNECTION_MISSES, DOWN, REQUESTS, RESPONSES, STRAYS},
    },
    wire::{Caps, Edns, Rcode},
};

use scripted::{
    Action, GENUINE, ReceivedQuery, ScriptedUpstream, forged, genuine, number, numbered, question,
    refusal, tampered,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Exchanger {
    /// The reply for a client over TCP.
    async fn exchange(&self, exchange: Exchange) -> Reply {
        self.exchange_for(waiter(WaiterKind::Stream), exchange).await.reply
    }
}

fn waiter(kind: WaiterKind) -> Waiter {
    Waiter { kind, client: IpAddr::from([192, 0, 2, 1]) }
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
    let group = Group::new(settings);
    for at in 0..to.len() {
        let health = &group.upstream(at).health;
        health.record_edns();
        health.record_udp();
    }
    Arc::new(group)
}

fn ask(group: &Arc<Group>, name: &str) -> Exchange {
    Exchange { query: Query::internal(question(name)), group: Arc::clone(group) }
}

/// The address in the reply.
fn address(reply: &Reply) -> Option<[u8; 4]> {
    reply.as_ref().ok()?.answer.first()?.rdatas.iter().next()?.try_into().ok()
}

fn strays(exchanger: &Exchanger, upstream: &ScriptedUpstream) -> u64 {
    STRAYS.with(&exchanger.0.metrics, [&upstream.address.to_string()]).get()
}

/// Sends one query to one upstream, whose answer must be the genuine address.
async fn check_genuine(
    what: &str,
    script: impl Fn(&ReceivedQuery) -> Vec<Action> + Send + Sync + 'static,
) -> (Exchanger, ScriptedUpstream) {
    let (upstream, exchanger) = (ScriptedUpstream::start(script).await, exchanger());
    let reply =
        exchanger.exchange(ask(&group_of(&[upstream.address], |_| {}), "www.example.com.")).await;
    assert_eq!(address(&reply), Some(GENUINE), "{what}: {reply:?}");
    (exchanger, upstream)
}

/// Waits until a condition holds. Fails the test if it does not.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("never: {what}");
}

/// The genuine reply comes to the first query only, after the forged one, so a client that stops
/// listening never gets it.
#[tokio::test]
async fn a_forged_datagram_never_ends_the_wait() {
    type Forge = fn(&ReceivedQuery) -> Vec<u8>;
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
        let script = move |asked: &ReceivedQuery| match asked.turn {
            0 => vec![
                Action::Send(forge(asked)),
                Action::Pause(ms(20)),
                Action::Send(genuine(asked)),
            ],
            _ => Vec::new(),
        };
        let (exchanger, upstream) = check_genuine(what, script).await;
        assert_eq!(strays(&exchanger, &upstream), 1, "{what}");
        assert_eq!(upstream.received_over(UpstreamTransport::Tcp), 0, "{what}");
    }
}

/// Such a reply comes from a faulty upstream, or from a forger who guessed port and id: TCP shows
/// which.
#[tokio::test]
async fn a_doubtful_reply_leads_to_tcp() {
    type Forge = fn(&ReceivedQuery) -> Vec<u8>;
    let forges: [(&str, Forge); 3] = [
        ("cut short", |asked| tampered(asked, |packet| packet[2] |= 2)),
        ("a record cut within its data", |asked| {
            tampered(asked, |packet| packet.truncate(packet.len() - 2))
        }),
        ("a name that points to itself", |asked| tampered(asked, |packet| packet[34] = 34)),
    ];
    for (what, forge) in forges {
        let script = move |asked: &ReceivedQuery| match asked.over {
            UpstreamTransport::Udp => vec![Action::Send(forge(asked))],
            UpstreamTransport::Tcp => vec![Action::Send(genuine(asked))],
        };
        let (_, upstream) = check_genuine(what, script).await;
        assert_eq!(upstream.received_over(UpstreamTransport::Tcp), 1, "{what}");
    }
}

#[tokio::test]
async fn ten_wrong_ids_lead_to_tcp() {
    let script = |asked: &ReceivedQuery| match asked.over {
        UpstreamTransport::Udp => {
            (1..=10).map(|wrong| Action::Send(forged(asked, |query| query.id ^= wrong))).collect()
        }
        UpstreamTransport::Tcp => vec![Action::Send(genuine(asked))],
    };
    let (exchanger, upstream) = check_genuine("ten wrong ids", script).await;
    assert_eq!(
        (strays(&exchanger, &upstream), upstream.received_over(UpstreamTransport::Tcp)),
        (10, 1)
    );
}

#[tokio::test]
async fn an_upstream_that_loses_the_case_is_soon_asked_in_the_clients_spelling() {
    let lowered = |asked: &ReceivedQuery| {
        let mut asked = asked.clone();
        asked.query.question.caps = Caps::default();
        vec![Action::Send(genuine(&asked))]
    };
    for (random, expected) in [(true, 2 * limits::LOST_CASES as usize + 1), (false, 4)] {
        let upstream = ScriptedUpstream::start(lowered).await;
        let (exchanger, group) =
            (exchanger(), group_of(&[upstream.address], |settings| settings.random_case = random));
        for name in 0..=limits::LOST_CASES {
            let name = format!("some-long-name-{name}.example.com.");
            let mut exchange = ask(&group, &name);
            exchange.query.question.caps = Caps::random(&exchange.query.question.name, [1 << 9; 4]);
            assert_eq!(address(&exchanger.exchange(exchange).await), Some(GENUINE));
        }
        assert_eq!(upstream.received_over(UpstreamTransport::Tcp), 0);
        let received = upstream.received();
        assert_eq!(received.len(), expected, "random case: {random}");
        let last = received.last().unwrap().query.question.spelled().to_string();
        assert_eq!(last, "some-lonG-name-3.example.com.");
    }
}

#[tokio::test]
async fn an_error_without_question_is_a_failure_at_once() {
    let refusing = ScriptedUpstream::start(|asked| {
        vec![Action::Send(tampered(asked, |packet| {
            packet.truncate(12);
            packet[3] |= 5;
            packet[4..].fill(0);
        }))]
    })
    .await;
    let good = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[refusing.address, good.address], |_| {}));
    let started = Instant::now();
    assert_eq!(address(&exchanger.exchange(ask(&group, "www.example.com.")).await), Some(GENUINE));
    assert!(started.elapsed() < limits::MAX_HEDGE_DELAY);
}

/// The upstream's replies over UDP are truncated; over TCP it is silent, or late.
#[tokio::test]
async fn a_truncated_reply_is_passed_on_over_udp_if_tcp_takes_long() {
    let script = |asked: &ReceivedQuery| match asked.over {
        UpstreamTransport::Udp => vec![Action::Send(tampered(asked, |packet| packet[2] |= 2))],
        UpstreamTransport::Tcp => vec![Action::Pause(ms(300)), Action::Send(genuine(asked))],
    };
    let upstream = ScriptedUpstream::start(script).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    let ask = || ask(&group, "www.example.com.");
    let (over_udp, over_tcp) = tokio::join!(
        exchanger.exchange_for(waiter(WaiterKind::Datagram), ask()),
        exchanger.exchange(ask())
    );
    assert!(over_udp.reply.unwrap().truncated);
    assert!(!over_tcp.as_ref().unwrap().truncated);
    assert_eq!(address(&over_tcp), Some(GENUINE));
    assert_eq!(upstream.received().len(), 2, "both clients share the exchange");
}

#[tokio::test]
async fn identical_queries_share_one_exchange() {
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    let replies =
        join_all((0..60).map(|_| exchanger.exchange(ask(&group, "www.example.com.")))).await;
    assert_eq!(replies.iter().filter(|reply| address(reply) == Some(GENUINE)).count(), 60);
    assert_eq!(upstream.received().len(), 1);
    // The exchanger is not a cache: a later query is sent again.
    exchanger.exchange(ask(&group, "www.example.com.")).await.unwrap();
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn queries_that_differ_in_what_the_reply_depends_on_are_sent_separately() {
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
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
    assert_eq!(upstream.received().len(), changes.len());
}

#[tokio::test]
async fn few_clients_wait_for_one_exchange() {
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    let replies = join_all(
        (0..limits::WAITERS + 5).map(|_| exchanger.exchange(ask(&group, "www.example.com."))),
    )
    .await;
    let count = |wanted: &Reply| replies.iter().filter(|reply| *reply == wanted).count();
    assert_eq!(count(&Err(QueryError::Overloaded)), 5);
    assert_eq!(count(&replies[0]), limits::WAITERS);
}

#[tokio::test]
async fn ports_and_ids_cannot_be_guessed() {
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
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
    let mut queries = upstream.received();
    queries.truncate(1000);
    let pairs: HashSet<_> =
        queries.iter().map(|received| (received.from.port(), received.query.id)).collect();
    assert!(pairs.len() >= 950, "{} pairs", pairs.len());
    let mut ports = HashMap::<u16, u32>::new();
    queries.iter().for_each(|received| *ports.entry(received.from.port()).or_default() += 1);
    assert!(ports.values().all(|&queries| queries <= 20), "{ports:?}");
    // Each of the 16 bits is set in half of 1,000 ids: six standard deviations are 95.
    for bit in 0..16 {
        let set = queries.iter().filter(|received| received.query.id >> bit & 1 == 1).count();
        assert!((405..=595).contains(&set), "bit {bit} of the id: {set}");
    }
}

#[tokio::test]
async fn our_own_edns_goes_upstream() {
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    for (client, dnssec_ok) in
        [(None, false), (Some(Edns::new(65_535, false)), false), (Some(Edns::new(512, true)), true)]
    {
        let mut exchange = ask(&group, "www.example.com.");
        exchange.query.edns = client;
        exchanger.exchange(exchange).await.unwrap();
        assert_eq!(
            upstream.received().last().unwrap().query.edns,
            Some(Edns::new(1232, dnssec_ok))
        );
    }
}

#[tokio::test]
async fn after_a_silent_upstream_the_next_is_asked_and_the_silent_one_is_probed() {
    let (silent, good) = (
        ScriptedUpstream::start(|_| Vec::new()).await,
        ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await,
    );
    let (exchanger, group) = (exchanger(), group_of(&[silent.address, good.address], |_| {}));
    let started = Instant::now();
    let reply = exchanger.exchange(ask(&group, "www.example.com.")).await;
    assert_eq!(address(&reply), Some(GENUINE));
    assert!(started.elapsed() >= limits::MAX_HEDGE_DELAY, "the first upstream has its time");
    let over_udp = |upstream: &ScriptedUpstream| upstream.received_over(UpstreamTransport::Udp);
    assert_eq!((over_udp(&silent), over_udp(&good)), (1, 1));
    eventually("the silent one is probed", || silent.probes() > 0).await;
    assert_eq!(good.probes(), 0);
}

#[tokio::test]
async fn the_first_upstream_may_answer_after_the_second_is_asked() {
    let slow = |asked: &ReceivedQuery| {
        vec![Action::Pause(limits::MAX_HEDGE_DELAY + ms(200)), Action::Send(genuine(asked))]
    };
    let (slow, silent) =
        (ScriptedUpstream::start(slow).await, ScriptedUpstream::start(|_| Vec::new()).await);
    let (exchanger, group) = (exchanger(), group_of(&[slow.address, silent.address], |_| {}));
    assert_eq!(address(&exchanger.exchange(ask(&group, "www.example.com.")).await), Some(GENUINE));
    let over_udp = |upstream: &ScriptedUpstream| upstream.received_over(UpstreamTransport::Udp);
    assert_eq!((over_udp(&slow), over_udp(&silent)), (1, 1));
}

/// An upstream behind a firewall that drops UDP, or whose replies come from another port.
#[tokio::test]
async fn replies_over_tcp_keep_an_upstream_up_that_is_silent_over_udp() {
    let upstream = ScriptedUpstream::start(|asked| match asked.over {
        UpstreamTransport::Udp => Vec::new(),
        UpstreamTransport::Tcp => vec![Action::Send(genuine(asked))],
    })
    .await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    let mut over_udp = 0;
    use WaiterKind::{Datagram, Stream};
    for kind in [Stream, Datagram, Stream, Datagram] {
        over_udp = upstream.received_over(UpstreamTransport::Udp);
        let started = Instant::now();
        let asked = ask(&group, "www.example.com.");
        let reply = exchanger.exchange_for(waiter(kind), asked).await.reply;
        assert_eq!(address(&reply), Some(GENUINE));
        assert!(started.elapsed() < 2 * limits::TCP_CLIENT_PATIENCE, "{kind:?}");
    }
    assert_eq!(upstream.received_over(UpstreamTransport::Udp), over_udp, "UDP is given up");
}

/// One of two upstreams loses every other datagram, and no client notices.
#[tokio::test]
async fn datagrams_that_one_upstream_loses_cost_no_reply() {
    let lossy = ScriptedUpstream::start(|asked| {
        if asked.turn % 2 == 0 { Vec::new() } else { vec![Action::Send(genuine(asked))] }
    })
    .await;
    let good = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
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
        "an upstream that answers fast gets little time: {patience:?}"
    );
}

#[tokio::test]
async fn silence_of_upstreams_that_are_down_ends_after_the_read_timeout() {
    let silent = ScriptedUpstream::start(|_| Vec::new()).await;
    let (exchanger, group) =
        (exchanger(), group_of(&[silent.address], |settings| settings.read_timeout = ms(700)));
    (0..3).for_each(|_| group.upstream(0).health.probe_failed());
    let reply = exchanger.exchange(ask(&group, "www.example.com.")).await;
    assert_eq!(
        reply,
        Err(QueryError::Upstream(UpstreamError::Down(UpstreamTransport::Udp, silent.address)))
    );
    assert_eq!(
        silent.received_over(UpstreamTransport::Udp),
        2,
        "the datagram is sent again after 300 ms"
    );
}

/// A cold name may take a recursive resolver some seconds.
#[tokio::test]
async fn an_answer_that_takes_longer_than_the_read_timeout_is_given() {
    let slow = |asked: &ReceivedQuery| match asked.turn {
        0 => vec![Action::Pause(ms(900)), Action::Send(genuine(asked))],
        _ => Vec::new(),
    };
    let upstream = ScriptedUpstream::start(slow).await;
    let group = group_of(&[upstream.address], |settings| settings.read_timeout = ms(400));
    let reply = exchanger().exchange(ask(&group, "www.example.com.")).await;
    assert_eq!(address(&reply), Some(GENUINE));
}

#[tokio::test]
async fn after_an_upstream_that_refuses_the_next_is_asked_at_once() {
    let closed = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let good = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[closed, good.address], |_| {}));
    let started = Instant::now();
    assert_eq!(address(&exchanger.exchange(ask(&group, "www.example.com.")).await), Some(GENUINE));
    assert!(started.elapsed() < limits::MAX_HEDGE_DELAY);
    let reply = exchanger.exchange(ask(&group_of(&[closed], |_| {}), "www.example.com.")).await;
    assert_eq!(
        reply,
        Err(QueryError::Upstream(UpstreamError::Unreachable(UpstreamTransport::Udp, closed)))
    );
}

#[tokio::test]
async fn servfail_of_one_upstream_leads_to_the_next() {
    let failing =
        ScriptedUpstream::start(|asked| vec![Action::Send(refusal(asked, Rcode::SERVFAIL))]).await;
    let good = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[failing.address, good.address], |_| {}));
    assert_eq!(address(&exchanger.exchange(ask(&group, "www.example.com.")).await), Some(GENUINE));
    let alone =
        exchanger.exchange(ask(&group_of(&[failing.address], |_| {}), "www.example.com.")).await;
    assert_eq!(alone.map(|response| response.rcode), Ok(Rcode::SERVFAIL));
}
