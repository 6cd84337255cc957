//! Zone transfers between ndots and real servers: from a file to Knot, and from Knot through ndots
//! to another ndots.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use crate::support::{
    self, Ndots, free_address,
    lab::{Process, until},
    requirements::require_programs,
};

const PATIENCE: Duration = Duration::from_secs(30);
const QUESTIONS: [&str; 12] = [
    "example.org SOA",
    "example.org NS",
    "www.example.org A",
    "any.wild.example.org A",
    "www.sub.example.org A",
    "sub.example.org DS",
    "x.dname.example.org A",
    "alias.example.org A",
    "ent.example.org A",
    "gone.example.org A",
    "txt.example.org TXT",
    "srv.example.org SRV",
];

fn zone(serial: u32, timers: &str, last: u8) -> String {
    format!(
        "$ORIGIN example.org.\n$TTL 60\n@ SOA ns hostmaster {serial} {timers} 60\n@ NS ns\nns A 192.0.2.1\n\
         www A 192.0.2.{last}\n*.wild A 192.0.2.3\nsub NS ns.sub\nns.sub A 192.0.2.4\n\
         sub DS 1 13 2 abababababababababababababababababababababababababababababababab\n\
         dname DNAME wild\nalias CNAME www\na.b.ent A 192.0.2.5\ntxt TXT \"a b\" \"c\"\nsrv SRV 1 2 3 www\n\
         $ORIGIN many.example.org.\n{}",
        (0..3000)
            .map(|number| format!("h{number} TXT \"{number} {}\"\n", "x".repeat(100)))
            .collect::<String>()
    )
}

/// Knot with one zone, whose configuration goes on with `zone`.
fn knot(directory: &Path, address: SocketAddr, other: SocketAddr, zone: &str) -> Process {
    let more = format!(
        "remote:\n  - id: other\n    address: 127.0.0.1@{}\nacl:\n  - id: all\n    address: 127.0.0.1\n    action: [transfer, notify]\n\
         zone:\n  - domain: example.org\n    storage: {}\n    acl: all\n    zonefile-load: difference\n{zone}",
        other.port(),
        directory.display()
    );
    support::knot::knot(directory, address, &more)
}

/// The code, the flags and the records of all sections, in order.
fn ask(server: SocketAddr, question: &str) -> Vec<String> {
    let line =
        format!("@{} -p {} +tries=1 +norecurse +nostats {question}", server.ip(), server.port());
    let output = Command::new("dig").args(line.split(' ')).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let code = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
    let records = text.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
    let mut all: Vec<_> =
        records.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    all.sort();
    all.insert(0, code.unwrap_or("no reply").to_owned());
    all
}

fn wait_for(server: SocketAddr, question: &str, expected: &str) {
    until(expected, PATIENCE, || {
        ask(server, question).iter().any(|line| line.contains(expected)).then_some(())
    });
}

fn secondary(primary: SocketAddr, to: SocketAddr) -> String {
    format!(
        "example.org:0 {{\n bind 127.0.0.1\n secondary {{\n  transfer from {primary}\n }}\n transfer {{\n  to * {to}\n }}\n log\n errors\n}}\n"
    )
}

#[test]
fn a_zone_comes_from_knot_through_ndots_to_ndots() {
    require_programs(&["knotd", "dig"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("example.org.zone");
    fs::write(&file, zone(1, "3600 1 3600", 2)).unwrap();
    let (at, to) = (free_address(), free_address());
    // The server that Knot notifies listens at a known port.
    let first_at = free_address();
    let second_corefile = secondary(first_at, free_address())
        .replace("example.org:0", &format!("example.org:{}", to.port()));
    let first_corefile =
        secondary(at, to).replace("example.org:0", &format!("example.org:{}", first_at.port()));
    // Both servers start before there is a zone, and try again.
    let first = Ndots::corefile(&first_corefile, &[], &[]);
    let second = Ndots::corefile(&second_corefile, &[], &[]);
    wait_for(first_at, "www.example.org A", "SERVFAIL");
    let config = "    file: example.org.zone\n    notify: other\n";
    let primary = knot(directory.path(), at, first_at, config);
    let records = |server: SocketAddr| ask(server, "example.org AXFR +tcp");
    for server in [first_at, to] {
        wait_for(server, "www.example.org A", "192.0.2.2");
        for question in QUESTIONS {
            let [ours, theirs] = [server, at].map(|server| ask(server, question)[0].clone());
            assert_eq!(ours, theirs, "{question}");
        }
        assert_eq!(records(server), records(at));
    }

    // A new version reaches both without a timer: Knot notifies the first, and the first the
    // second.
    fs::write(&file, zone(2, "3600 1 3600", 9)).unwrap();
    primary.child.signal("HUP");
    for server in [first_at, to] {
        wait_for(server, "www.example.org A", "192.0.2.9");
        assert_eq!(records(server), records(at));
    }
    // The first asks Knot for the changes only. ndots itself sends all records to the second.
    let log = fs::read_to_string(directory.path().join("knot.log")).unwrap();
    assert!(log.contains("IXFR, outgoing"), "{log}");
    drop((first, second));
}

#[test]
fn a_secondary_zone_is_checked_and_expires_as_its_timers_say() {
    require_programs(&["knotd", "dig"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("example.org.zone");
    fs::write(&file, zone(1, "1 1 4", 2)).unwrap();
    let at = free_address();
    let config = "    file: example.org.zone\n";
    let primary = knot(directory.path(), at, free_address(), config);
    let ndots = Ndots::corefile(&secondary(at, free_address()), &["dns"], &[]);
    wait_for(ndots.address, "www.example.org A", "192.0.2.2");
    // Unchanged zones do not expire.
    std::thread::sleep(Duration::from_secs(5));
    wait_for(ndots.address, "www.example.org A", "192.0.2.2");
    fs::write(&file, zone(2, "1 1 4", 7)).unwrap();
    primary.child.signal("HUP");
    wait_for(ndots.address, "www.example.org A", "192.0.2.7");
    drop(primary);
    wait_for(ndots.address, "www.example.org A", "SERVFAIL");
    let _knot = knot(directory.path(), at, free_address(), config);
    wait_for(ndots.address, "www.example.org A", "192.0.2.7");
}

#[test]
fn knot_gets_a_notify_message_about_a_new_version_of_a_file() {
    require_programs(&["knotd", "dig"]);
    let directory = tempfile::tempdir().unwrap();
    let zones = tempfile::tempdir().unwrap();
    let file = zones.path().join("db.example.org");
    fs::write(&file, zone(1, "3600 3600 3600", 2)).unwrap();
    let (primary, knot_at) = (free_address(), free_address());
    let config = "    master: other\n";
    let _knot = knot(directory.path(), knot_at, primary, config);
    let corefile = format!(
        "example.org:{} {{\n bind 127.0.0.1\n file {} {{\n  reload 1s\n }}\n transfer {{\n  to {knot_at}\n  source 127.0.0.1\n }}\n}}\n",
        primary.port(),
        file.display()
    );
    let _ndots = Ndots::corefile(&corefile, &[], &[]);
    wait_for(knot_at, "www.example.org A", "192.0.2.2");
    let records = |server: SocketAddr| ask(server, "example.org AXFR +tcp");
    assert_eq!(records(knot_at), records(primary));
    fs::write(&file, zone(2, "3600 3600 3600", 8)).unwrap();
    wait_for(knot_at, "www.example.org A", "192.0.2.8");
}
