//! Sockets that queries share while there are many queries.

use super::*;

/// Asks for `0.example.com.` and so on, `at_once` names at a time.
async fn ask_numbers(exchanger: &Exchanger, group: &Arc<Group>, count: u32, at_once: u32) {
    for first in (0..count).step_by(at_once as usize) {
        let names = (first..first + at_once).map(|number| format!("{number}.example.com."));
        let replies = names.map(|name| async move {
            let client = waiter(WaiterKind::Datagram);
            let reply = exchanger.exchange_for(client, ask(group, &name)).await.reply;
            assert_eq!(address(&reply), Some(number(&name).to_be_bytes()), "{name}: {reply:?}");
        });
        join_all(replies.collect::<Vec<_>>()).await;
    }
}

/// Makes the next queries share sockets.
fn spend_budget(exchanger: &Exchanger) {
    let mut budget = lock(&exchanger.0.udp.budget);
    for _ in 0..4 * limits::OWN_PORTS as usize {
        budget.take(Instant::now());
    }
}

fn queries_by_port(received: &[ReceivedQuery]) -> HashMap<u16, usize> {
    let mut ports = HashMap::new();
    received.iter().for_each(|query| *ports.entry(query.from.port()).or_default() += 1);
    ports
}

#[tokio::test]
async fn while_queries_are_few_each_has_a_port_of_its_own() {
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(numbered(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    ask_numbers(&exchanger, &group, 200, 10).await;
    assert!(queries_by_port(&upstream.received()).len() >= 195);
}

/// The ids pass a chi-square test of both octets: with 255 degrees of freedom, six standard
/// deviations above the mean are 391.
#[tokio::test]
async fn many_queries_share_ports_that_cannot_be_guessed_and_are_soon_replaced() {
    const QUERIES: usize = 20_000;
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(numbered(asked))]).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    ask_numbers(&exchanger, &group, QUERIES as u32, 32).await;
    let received = upstream.received();
    let ports = queries_by_port(&received);
    println!("{} ports, at most {:?} queries each", ports.len(), ports.values().max());
    assert!(ports.len() >= limits::SHARED_SOCKETS && ports.len() <= 2000, "{} ports", ports.len());
    assert!(ports.values().all(|&queries| queries <= received.len() / 50), "{ports:?}");
    for shift in [0, 8] {
        let mut counts = [0.0; 256];
        received
            .iter()
            .for_each(|query| counts[usize::from((query.query.id >> shift) as u8)] += 1.0);
        let expected = received.len() as f64 / 256.0;
        let chi_square: f64 =
            counts.iter().map(|count: &f64| (count - expected).powi(2) / expected).sum();
        println!("chi-square of the ids: {chi_square}");
        assert!(chi_square < 391.0, "the octet at bit {shift}: {chi_square}");
    }
    let open = || sockets::sockets_to(upstream.address, "/proc/net/udp");
    assert!(open() <= 2 * limits::SHARED_SOCKETS, "{} sockets", open());
    let retired = Instant::now() + 2 * limits::SHARED_SOCKET_TIME;
    while open() > 0 {
        assert!(Instant::now() < retired, "{} sockets are still open", open());
        tokio::time::sleep(ms(100)).await;
    }
    assert_eq!(exchanger.0.sockets.taken(), 0);
}

/// The replies come in another order than the queries. A reply with the id of another query on the
/// same socket comes before some of them.
#[tokio::test]
async fn replies_on_a_shared_socket_reach_their_own_query() {
    let earlier: Mutex<HashMap<u16, ReceivedQuery>> = Mutex::default();
    let script = move |asked: &ReceivedQuery| {
        let other = lock(&earlier).insert(asked.from.port(), asked.clone());
        let pause = Action::Pause(ms(u64::from(asked.query.id) % 30));
        let crossed =
            other.map(|other| Action::Send(forged(asked, |query| query.id = other.query.id)));
        [pause].into_iter().chain(crossed).chain([Action::Send(numbered(asked))]).collect()
    };
    let upstream = ScriptedUpstream::start(script).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    spend_budget(&exchanger);
    ask_numbers(&exchanger, &group, 600, 600).await;
    // A socket with many strays is replaced, and its queries repeated over TCP.
    assert!(queries_by_port(&upstream.received()).len() < 2 * limits::SHARED_SOCKETS);
    assert!(strays(&exchanger, &upstream) > 0, "crossed ids match nothing");
}

/// If an upstream sends each reply several times, the copies are not forged.
#[tokio::test]
async fn a_late_reply_on_a_shared_socket_is_not_taken_for_a_forged_one() {
    let script = |asked: &ReceivedQuery| (0..4).map(|_| Action::Send(numbered(asked))).collect();
    let upstream = ScriptedUpstream::start(script).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    spend_budget(&exchanger);
    ask_numbers(&exchanger, &group, 4000, 40).await;
    assert_eq!(strays(&exchanger, &upstream), 0);
    assert_eq!(upstream.received_over(UpstreamTransport::Tcp), 0);
}

/// When a forger has found a shared port, the port is not used any longer, and no reply is lost.
#[tokio::test]
async fn forged_replies_to_a_shared_port_lead_to_tcp() {
    let script = |asked: &ReceivedQuery| match asked.over {
        UpstreamTransport::Udp => (0..limits::STRAY_REPLIES)
            .map(|_| Action::Send(forged(asked, |query| query.id ^= 0x5555)))
            .collect(),
        UpstreamTransport::Tcp => vec![Action::Send(numbered(asked))],
    };
    let upstream = ScriptedUpstream::start(script).await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    spend_budget(&exchanger);
    ask_numbers(&exchanger, &group, 40, 4).await;
    assert!(strays(&exchanger, &upstream) >= 10);
}

/// The kernel reports a rejected datagram once for a socket, whichever query it belongs to.
#[tokio::test]
async fn a_closed_port_ends_all_queries_on_a_shared_socket_at_once() {
    let closed = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (exchanger, group) =
        (exchanger(), group_of(&[closed], |settings| settings.max_attempts = Some(1)));
    spend_budget(&exchanger);
    let upstream = group.upstream(0);
    let queries = (0..1000).map(|number| {
        let query = Query::internal(question(&format!("{number}.example.com.")));
        let client = IpAddr::from([192, 0, 2, 1]);
        super::super::sockets::ask(&exchanger.0, &group, upstream, (query, client))
    });
    let ended = tokio::time::timeout(ms(20_000), join_all(queries)).await;
    let refused = ended.expect("no query waits for ever").into_iter().filter(|outcome| {
        outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
    assert_eq!(refused.count(), 1000);
}

/// If there are more upstreams, each of them gets fewer sockets.
#[tokio::test]
async fn a_ninth_busy_upstream_has_sockets_too() {
    let exchanger = exchanger();
    spend_budget(&exchanger);
    let mut upstreams = Vec::new();
    for _ in 0..10 {
        let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(numbered(asked))]).await;
        let group = group_of(&[upstream.address], |_| {});
        ask_numbers(&exchanger, &group, 600, 60).await;
        upstreams.push(upstream);
    }
    let open = |upstream: &ScriptedUpstream| sockets::sockets_to(upstream.address, "/proc/net/udp");
    let open: Vec<_> = upstreams.iter().map(open).collect();
    assert!(open.iter().all(|open| *open > 100), "{open:?}");
    assert!(open.iter().sum::<usize>() <= limits::SHARED_SOCKETS_ALL, "{open:?}");
}
