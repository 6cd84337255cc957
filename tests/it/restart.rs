//! The end of a process: queries that are sent until the sockets close are answered, also when the
//! upstream is slow.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots,
    packet::ask,
    turn,
    upstream::{empty_reply, slow_datagrams},
};

const SERVFAIL: u8 = 2;
/// How long the upstream takes to reply.
const SLOW: Duration = Duration::from_secs(2);
const LAMEDUCK: Duration = Duration::from_secs(1);
/// The pause between two queries of a client. Only one query in eight is forwarded, so the number
/// of waiting queries stays below the limit of one client address.
const PAUSE: Duration = Duration::from_millis(8);

/// An upstream that answers each query [`SLOW`] after it has come, with NOERROR and no record.
fn slow_upstream() -> SocketAddr {
    slow_datagrams(SLOW, |query| Some(empty_reply(query)))
}

fn corefile(upstream: SocketAddr) -> String {
    format!(
        ".:0 {{\n bind 127.0.0.1\n health 127.0.0.1:0 {{\n lameduck {}s\n }}\n ready 127.0.0.1:0\n \
         hosts none {{\n 192.0.2.1 memory.example\n fallthrough\n }}\n forward . {upstream} {{\n max_fails 0\n }}\n}}\n",
        LAMEDUCK.as_secs()
    )
}

/// A query that was sent, and the reply.
struct Sent {
    at: Instant,
    forwarded: bool,
    /// The RCODE.
    reply: Option<u8>,
}

/// A client that keeps one port, as the kernel's connection tracking pins it to a Pod. It sends
/// queries for both kinds of names until the port is closed, and then waits for the replies.
fn ask_until_closed(to: SocketAddr) -> (Vec<Sent>, Instant) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (mut sent, mut reply) = (HashMap::<u16, Sent>::new(), [0; 512]);
    let mut receive = |sent: &mut HashMap<u16, Sent>| {
        while let Ok(length) = socket.recv(&mut reply) {
            assert!(length >= 12);
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            sent.get_mut(&id).unwrap().reply = Some(reply[3] & 15);
        }
    };
    let mut id = 0_u16;
    let closed = loop {
        id += 1;
        let forwarded = id.is_multiple_of(8);
        let name = if forwarded { format!("n{id}.example") } else { "memory.example".to_owned() };
        let mut query = ask(&name, 1).packet();
        query[..2].copy_from_slice(&id.to_be_bytes());
        let at = Instant::now();
        receive(&mut sent);
        let refused = socket.send(&query).is_err() || socket.take_error().unwrap().is_some();
        if refused {
            break at;
        }
        sent.insert(id, Sent { at, forwarded, reply: None });
        assert!(at.elapsed() < Duration::from_secs(30), "the port is still open");
        thread::sleep(PAUSE);
    };
    let end = Instant::now() + SLOW + Duration::from_secs(1);
    while Instant::now() < end && sent.values().any(|it| it.reply.is_none()) {
        thread::sleep(PAUSE);
        receive(&mut sent);
    }
    (sent.into_values().collect(), closed)
}

#[test]
fn every_query_that_is_sent_before_the_socket_closes_gets_a_reply() {
    let _turn = turn::alone();
    let ndots = Ndots::corefile(&corefile(slow_upstream()), &["dns"], &[]);
    let address = ndots.address;
    let clients: Vec<_> =
        (0..3).map(|_| thread::spawn(move || ask_until_closed(address))).collect();
    thread::sleep(Duration::from_millis(500));
    let stopped = Instant::now();
    ndots.child.signal("TERM");
    for client in clients {
        let (sent, closed) = client.join().unwrap();
        let after = sent.iter().filter(|it| it.at > stopped).count();
        let unanswered: Vec<_> = sent
            .iter()
            .filter(|it| it.reply.is_none())
            .map(|it| (it.forwarded, it.at.saturating_duration_since(stopped)))
            .collect();
        assert!(
            after > 100 && unanswered.is_empty(),
            "{} of {after}: {unanswered:?}",
            unanswered.len()
        );
        for it in &sent {
            // Names in memory are answered to the end. Forwarded queries fail only in the last
            // moment: ndots has then waited five seconds, in which some query was always pending.
            let late = it.at > stopped + LAMEDUCK + Duration::from_millis(4900);
            let may_fail = it.forwarded && late;
            assert!(
                it.reply == Some(0) || may_fail && it.reply == Some(SERVFAIL),
                "{:?} to a query {:?} after the signal, forwarded: {}",
                it.reply,
                it.at.saturating_duration_since(stopped),
                it.forwarded
            );
        }
        assert!(closed.duration_since(stopped) < LAMEDUCK + Duration::from_secs(8), "{closed:?}");
    }
}

#[test]
fn without_pending_queries_the_process_ends_with_the_lameduck_time() {
    let _turn = turn::alone();
    let ndots = Ndots::corefile(&corefile(slow_upstream()), &["dns"], &[]);
    let begun = Instant::now();
    assert_eq!(ndots.terminate(), 0);
    let took = begun.elapsed();
    // With pending queries it would wait five more seconds.
    assert!(took > LAMEDUCK && took < LAMEDUCK + Duration::from_secs(4), "{took:?}");
}

#[test]
fn tcp_clients_get_their_replies_and_then_the_end() {
    let _turn = turn::alone();
    let ndots = Ndots::corefile(&corefile(slow_upstream()), &["dns"], &[]);
    // The option edns-tcp-keepalive without a time (RFC 7828 §3.2.1).
    let memory = ask("memory.example", 1).opt(1232, 0, &[0, 11, 0, 0]).packet();
    let keepalive = |reply: &[u8]| {
        reply.windows(6).find(|it| it[..4] == [0, 11, 0, 2]).map(|it| [it[4], it[5]])
    };
    let mut tcp = ndots.tcp();
    tcp.send(&memory);
    assert_eq!(keepalive(&tcp.receive().unwrap()), Some([0, 100]));
    ndots.child.signal("TERM");
    thread::sleep(Duration::from_millis(200));
    tcp.send(&memory);
    assert_eq!(keepalive(&tcp.receive().unwrap()), Some([0, 0]));
    thread::sleep(LAMEDUCK - Duration::from_millis(400));
    // This query still waits for the upstream when the listener closes.
    tcp.send(&ask("slow.example", 1).packet());
    thread::sleep(LAMEDUCK / 2);
    tcp.send(&memory);
    assert_eq!(tcp.receive().unwrap()[3] & 15, 0, "the reply from the upstream");
    assert_eq!(tcp.receive(), None);
}

/// The first number after these words, which must follow each other in this order.
fn number(text: &str, words: &[&str]) -> u32 {
    let after = words.iter().fold(text, |text, word| {
        text.split_once(word).unwrap_or_else(|| panic!("there is no {word}")).1
    });
    let digits = after.trim_start_matches([':', ' ']);
    digits.split(|ch: char| !ch.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn manifests_leave_kube_proxy_time_before_the_sockets_close() {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
        std::fs::read_to_string(path).unwrap()
    };
    let [deployment, corefile, values] =
        ["standalone/deployment.yaml", "standalone/Corefile", "helm/ndots/values.yaml"].map(read);
    for (pod, corefile) in [(&deployment, &corefile), (&values, &values)] {
        let period = number(pod, &["readinessProbe:\n", "periodSeconds"]);
        let threshold = number(pod, &["readinessProbe:\n", "failureThreshold"]);
        let lameduck = number(corefile, &["health", "lameduck"]);
        let grace = number(pod, &["terminationGracePeriodSeconds"]);
        assert!(period * threshold + 2 < lameduck, "{period} x {threshold}, {lameduck}");
        assert!(lameduck + 15 < grace, "{lameduck}, {grace}");
    }
}
