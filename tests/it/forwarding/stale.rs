//! How long clients wait for upstreams: for a stale entry after the only upstream has become silent,
//! and with `cancel` for an upstream that is slow.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots,
    coredns::CoreDns,
    packet::ask,
    turn,
    upstream::{address_reply, datagrams, slow_datagrams},
};

use super::{MARGIN, check::Outcome};

const NAMES: usize = 6;

/// Answers each query for an address with a record that has a TTL of one second. It does not answer
/// while it is silenced.
fn silenced_upstream() -> (SocketAddr, Arc<AtomicBool>) {
    let silent = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&silent);
    let reply = move |query: &[u8]| {
        if told.load(Ordering::Relaxed) { None } else { address_reply(query, 1) }
    };
    (datagrams(reply), silent)
}

fn timed(server: SocketAddr, number: usize) -> Outcome {
    let begun = Instant::now();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    socket.send_to(&ask(&format!("stale{number}.test"), 1).packet(), server).unwrap();
    let mut reply = [0; 512];
    let length = socket.recv(&mut reply).ok();
    let took = begun.elapsed();
    Outcome::new(took, length.map(|length| &reply[..length]))
}

/// The time that each name takes once its entry has expired and the upstream is silent.
fn measure(server: SocketAddr, silent: &AtomicBool) -> Vec<Outcome> {
    (0..NAMES).for_each(|number| assert!(timed(server, number).is_answer()));
    thread::sleep(Duration::from_millis(1300));
    silent.store(true, Ordering::Relaxed);
    (0..NAMES).map(|number| timed(server, number)).collect()
}

/// CoreDNS gets `serve_stale`, without which it has no stale entries; ndots needs no option.
#[test]
fn stale_entries_come_no_later_than_those_of_coredns() {
    let _turn = turn::alone();
    let ((theirs, theirs_silent), (ours, ours_silent)) = (silenced_upstream(), silenced_upstream());
    let coredns = CoreDns::start(|port| {
        format!(
            ".:{port} {{\n bind 127.0.0.1\n forward . {theirs}\n cache 1 {{\n serve_stale 1h verify\n }}\n}}\n"
        )
    });
    let text = format!(".:0 {{\n bind 127.0.0.1\n forward . {ours}\n cache 1\n}}\n");
    let ndots = Ndots::corefile(&text, &["dns"], &[]);
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| measure(coredns.address, &theirs_silent));
        let ours = measure(ndots.address, &ours_silent);
        (theirs.join().unwrap(), ours)
    });
    for (number, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        let [their_time, our_time] = [theirs, ours].map(|outcome| outcome.took.as_millis());
        println!("stale name {number}: CoreDNS {their_time} ms, ndots {our_time} ms");
        assert!(ours.is_answer(), "name {number} has no stale entry");
        assert!(ours.took < theirs.took + MARGIN, "name {number} is late");
    }
}

#[test]
fn cancel_waits_for_a_slow_upstream_that_replies_to_no_health_check() {
    // It does not answer other types, such as those of health checks.
    let upstream = slow_datagrams(Duration::from_secs(1), |query| address_reply(query, 1));
    for options in ["", " {\n max_fails 0\n }"] {
        let text = format!(
            ".:0 {{\n bind 127.0.0.1\n cancel 4s\n forward . {upstream}{options}\n cache\n}}\n"
        );
        let ndots = Ndots::corefile(&text, &["dns"], &[]);
        let outcome = timed(ndots.address, 0);
        assert!(outcome.is_answer(), "{options:?}: no answer after {:?}", outcome.took);
    }
}
