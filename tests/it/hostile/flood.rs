//! Floods of queries that wait for upstreams, from one address, while another client asks.

use std::{
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots,
    cgroup::{KUBEADM, MemoryGroup},
    coredns::CoreDns,
    end::{Ended, end},
    page, question, rcode, turn, upstream,
};

use super::arena::resident;

const A: u16 = 1;
const METRICS: &str = "127.0.0.1:0";

/// An upstream that replies at once to names that begin with `www`, and never to others.
fn silent_except_www() -> SocketAddr {
    upstream::datagrams(|query| {
        query[13..].starts_with(b"www").then(|| upstream::empty_reply(query))
    })
}

fn server(plugins: &str) -> Ndots {
    let text = format!(
        ".:0 {{\n bind 127.0.0.1\n prometheus {METRICS}\n {plugins}\n forward . {}\n}}\n",
        silent_except_www()
    );
    Ndots::corefile(&text, &["dns", METRICS], &[])
}

/// Sends `rate` queries a second from 127.0.0.2 until `ended` is true. The upstream does not reply
/// to queries for these names. Returns the number of replies.
fn flood(server: SocketAddr, rate: u32, ended: &Ended) -> u64 {
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (started, mut sent, mut replies) = (Instant::now(), 0, 0);
    while !ended.is_true() {
        let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        for id in sent..due {
            let _ = socket.send(&question(id as u16, &format!("miss{id}.example.org"), A));
        }
        sent = due.max(sent);
        while socket.recv(&mut [0; 4096]).is_ok() {
            replies += 1;
        }
        thread::sleep(Duration::from_millis(2));
    }
    replies
}

/// The times of the answers to another client, in order, and how many queries failed.
fn ask(server: SocketAddr, count: u16) -> (Vec<Duration>, usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut times, mut failed, begun) = (Vec::new(), 0, Instant::now());
    for id in 0..count {
        // On a busy machine fewer queries are enough.
        if begun.elapsed() > Duration::from_secs(20) {
            break;
        }
        let started = Instant::now();
        // If the process has ended, this or the next call fails.
        let _ = socket.send(&question(id, &format!("www{id}.example.org"), A));
        let mut reply = [0; 512];
        match socket.recv(&mut reply) {
            Ok(_) if rcode(&reply) == 0 => times.push(started.elapsed()),
            _ => failed += 1,
        }
        thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    (times, failed)
}

/// Memory of the process in KiB.
fn memory(server: &Ndots) -> u64 {
    resident(server.child.id())
}

struct Flooded {
    times: Vec<Duration>,
    failed: usize,
    replies: u64,
}

/// Floods the server. Another client asks when the flood has filled every queue that it can fill.
fn during_flood(server: &Ndots, rate: u32) -> Flooded {
    let ((end, ended), address) = (end(), server.address);
    let flooder = thread::spawn(move || flood(address, rate, &ended));
    thread::sleep(Duration::from_secs(4));
    let (times, failed) = ask(address, 300);
    drop(end);
    Flooded { times, failed, replies: flooder.join().unwrap() }
}

#[test]
fn a_flood_of_misses_neither_fails_nor_delays_another_client() {
    let _turn = turn::alone();
    let mut server = server("");
    let limited = MemoryGroup::limit(server.child.id(), KUBEADM);
    ask(server.address, 100);
    let before = memory(&server);
    let Flooded { times, failed, replies } = during_flood(&server, 4000);
    let peak = memory(&server);
    let median = times[times.len() / 2];
    let rare = times[times.len() * 99 / 100];
    thread::sleep(Duration::from_secs(10));
    let after = memory(&server);
    println!(
        "another client: {failed} failed, p50 {median:?}, p99 {rare:?}; {replies} replies \
         to the flood; memory {before} KiB, {peak} KiB, 10 s later {after} KiB"
    );
    let most = limited.as_ref().map(MemoryGroup::peak);
    println!("the most memory, with that of the kernel: {most:?} octets");
    assert!(server.child.is_running(), "the process lives within 170 MiB");
    assert!(failed == 0, "{failed}");
    // The bounds are wide, because other programs may need the processors now.
    assert!(median < Duration::from_millis(500) && rare < Duration::from_secs(4));
    // The cache keeps the failures of the flood. Debug builds need more than releases.
    assert!(after < 80 << 10, "{after} KiB");
}

/// The same flood for CoreDNS, for the table in SECURITY.md.
#[test]
#[ignore = "minutes: `make soak`"]
fn the_same_flood_with_coredns() {
    let _turn = turn::alone();
    for option in ["", "{\n  max_concurrent 1000\n }"] {
        let upstream = silent_except_www();
        let mut server = CoreDns::start(|port| {
            format!(".:{port} {{\n bind 127.0.0.1\n forward . {upstream} {option}\n}}\n")
        });
        let limited = MemoryGroup::limit(server.child.id(), KUBEADM);
        let ((end, ended), address) = (end(), server.address);
        let flooder = thread::spawn(move || flood(address, 4000, &ended));
        thread::sleep(Duration::from_secs(4));
        let (times, failed) = ask(address, 300);
        drop(end);
        flooder.join().unwrap();
        println!(
            "CoreDNS {option:?}: {} answered, {failed} failed, p50 {:?}; the most memory {:?}, {:?}",
            times.len(),
            times.get(times.len() / 2),
            limited.as_ref().map(MemoryGroup::peak),
            server.child.try_wait().unwrap()
        );
    }
}

#[test]
fn shed_drops_what_would_fail() {
    let _turn = turn::alone();
    let server = server("shed");
    let Flooded { failed, replies, .. } = during_flood(&server, 3000);
    let text = page(server.bound[METRICS], "/metrics").unwrap();
    let dropped = text
        .lines()
        .find_map(|line| {
            line.strip_prefix(
                "coredns_shed_dropped_total{reason=\"query\",server=\"dns://127.0.0.1:0\"} ",
            )
        })
        .unwrap_or_else(|| panic!("{text}"));
    println!("{dropped} dropped, {replies} replies, {failed} failed");
    assert!(dropped.parse::<f64>().unwrap() > 1000.);
    assert_eq!(failed, 0);
}
