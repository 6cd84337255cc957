//! Zones that `nsupdate` changes, on ndots and on CoreDNS, and the database that both can use.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{
    Ndots, coredns::CoreDns, lab::until, program, requirements::require_programs, serving::Serving,
};

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=";
const SEED: &str = "$ORIGIN example.org.\n$TTL 60\n@ SOA ns hostmaster 10 60 60 60 60\n@ NS ns\n\
                    ns A 192.0.2.53\nwww A 192.0.2.1\nwww A 192.0.2.2\nalias CNAME www\n";

/// A program that serves the Corefile for a port.
trait Program: Sized {
    fn serve(corefile: impl FnOnce(u16) -> String) -> Self;
    fn address(&self) -> SocketAddr;
}

impl Program for Serving {
    fn serve(corefile: impl FnOnce(u16) -> String) -> Self {
        Self::start(corefile)
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Program for CoreDns {
    fn serve(corefile: impl FnOnce(u16) -> String) -> Self {
        Self::start(corefile)
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

fn corefile(port: u16, directory: &Path, options: &str) -> String {
    let seed = directory.join("db.example.org");
    if !seed.exists() {
        fs::write(&seed, SEED).unwrap();
    }
    format!(
        "example.org:{port} {{\n bind 127.0.0.1\n acl {{\n  block net 127.0.0.9/32\n }}\n tsig {{\n  secret all.example.org. {SECRET}\n  secret few.example.org. {SECRET}\n  secret none.example.org. {SECRET}\n  require_opcode UPDATE\n }}\n \
         cache\n transfer {{\n  to *\n }}\n dynupdate {{\n  file {}\n  allow all.example.org. * *\n  allow few.example.org. few.example.org. TXT\n  max_update_records 20\n{options} }}\n errors\n}}\n",
        seed.display()
    )
}

/// What `nsupdate` does with these lines and the key of this name: `ok`, or its message.
fn update(server: SocketAddr, key: &str, arguments: &[&str], lines: &str) -> String {
    let mut command = Command::new("nsupdate");
    if !key.is_empty() {
        command.arg("-y").arg(format!("hmac-sha256:{key}.example.org:{SECRET}"));
    }
    command.args(["-t", "10"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let zone = if lines.contains("zone ") { "" } else { "zone example.org\n" };
    let input = format!("server 127.0.0.1 {}\n{zone}{lines}\nsend\n", server.port());
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let failed = said.lines().find_map(|line| line.strip_prefix("update failed: "));
    match failed {
        Some(code) => code.to_owned(),
        None if output.status.success() && said.is_empty() => "ok".to_owned(),
        None => said,
    }
}

/// The lines of `dig`, in order.
fn dig(server: SocketAddr, question: &str) -> Vec<String> {
    let line = format!("@127.0.0.1 -p {} +tries=1 +noall +answer {question}", server.port());
    let output = Command::new("dig").args(line.split(' ')).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
    let mut lines: Vec<_> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// The key, the lines for `nsupdate`, and its result.
const UPDATES: &[(&str, &str, &str)] = &[
    ("all", "update add new.example.org 60 A 192.0.2.9", "ok"),
    ("all", "update add new.example.org 60 A 192.0.2.9", "ok"),
    (
        "all",
        "update add new.example.org 30 TXT one two\nupdate delete www.example.org A 192.0.2.1",
        "ok",
    ),
    ("all", "prereq nxrrset new.example.org A\nupdate delete new.example.org", "YXRRSET"),
    ("all", "prereq yxrrset new.example.org AAAA\nupdate delete new.example.org", "NXRRSET"),
    ("all", "prereq yxrrset www.example.org A 192.0.2.1\nupdate delete new.example.org", "NXRRSET"),
    (
        "all",
        "prereq yxrrset www.example.org A 192.0.2.2\nupdate add b.example.org 60 A 192.0.2.4",
        "ok",
    ),
    ("all", "prereq nxdomain www.example.org\nupdate delete new.example.org", "YXDOMAIN"),
    ("all", "prereq yxdomain gone.example.org\nupdate delete new.example.org", "NXDOMAIN"),
    ("all", "update delete new.example.org TXT", "ok"),
    ("all", "update add alias.example.org 60 A 192.0.2.7", "ok"),
    ("all", "update add www.example.org 60 CNAME ns.example.org", "ok"),
    ("all", "update add alias.example.org 60 CNAME ns.example.org", "ok"),
    ("all", "update delete example.org NS", "ok"),
    ("all", "update delete example.org", "ok"),
    ("all", "update add example.org 60 MX 10 ns.example.org", "ok"),
    ("all", "update add example.org 60 SOA ns.example.org. h.example.org. 100 60 60 60 60", "ok"),
    ("all", "update add example.org 60 SOA ns.example.org. h.example.org. 99 60 60 60 60", "ok"),
    ("all", "update add a.example.net 60 A 192.0.2.9", "NOTZONE"),
    (
        "all",
        "update add www.example.org 60 DS 1 13 2 abababababababababababababababababababababababababababababababab",
        "NOTIMP",
    ),
    ("all", "zone example.net\nupdate add a.example.net 60 A 192.0.2.9", "REFUSED"),
    ("all", "zone www.example.org\nupdate add a.www.example.org 60 A 192.0.2.9", "NOTAUTH"),
    ("few", "update add few.example.org 60 TXT x", "ok"),
    ("few", "update add few.example.org 60 A 192.0.2.9", "REFUSED"),
    ("few", "update delete few.example.org", "REFUSED"),
    ("few", "update add few.example.org 60 TXT y\nupdate add www.example.org 60 TXT y", "REFUSED"),
    ("none", "update add few.example.org 60 TXT z", "REFUSED"),
    ("", "update add few.example.org 60 TXT z", "REFUSED"),
];

/// The zone after [`UPDATES`].
const AFTER: &[&str] = &[
    "alias.example.org. 60 IN CNAME ns.example.org.",
    "b.example.org. 60 IN A 192.0.2.4",
    "example.org. 60 IN MX 10 ns.example.org.",
    "example.org. 60 IN NS ns.example.org.",
    "example.org. 60 IN SOA ns.example.org. h.example.org. 101 60 60 60 60",
    "few.example.org. 60 IN TXT \"x\"",
    "new.example.org. 60 IN A 192.0.2.9",
    "ns.example.org. 60 IN A 192.0.2.53",
    "www.example.org. 60 IN A 192.0.2.2",
];

fn check_updates<P: Program>() {
    require_programs(&["nsupdate", "dig"]);
    for arguments in [&[][..], &["-v"]] {
        let directory = tempfile::tempdir().unwrap();
        let program = P::serve(|port| corefile(port, directory.path(), ""));
        let server = program.address();
        // The cache must not keep what changes.
        assert_eq!(dig(server, "new.example.org A"), [""; 0]);
        for (key, lines, expected) in UPDATES {
            assert_eq!(update(server, key, arguments, lines), *expected, "{key} {lines}");
        }
        assert_eq!(dig(server, "new.example.org A"), ["new.example.org. 60 IN A 192.0.2.9"]);
        assert_eq!(dig(server, "example.org AXFR"), AFTER);
        let many: Vec<_> =
            (0..21).map(|host| format!("update add h{host}.example.org 60 A 192.0.2.1")).collect();
        assert_eq!(update(server, "all", arguments, &many.join("\n")), "REFUSED");
        assert_eq!(update(server, "all", arguments, &many[1..].join("\n")), "ok");
        let local = [arguments, &["-4"]].concat();
        let lines = "local 127.0.0.9\nupdate add x.example.org 60 A 192.0.2.1";
        assert_eq!(update(server, "all", &local, lines), "REFUSED", "the ACL");
    }
}

#[test]
fn nsupdate_changes_a_zone() {
    check_updates::<Serving>();
}

#[test]
fn nsupdate_changes_the_zone_of_coredns_in_the_same_way() {
    check_updates::<CoreDns>();
}

#[test]
fn a_database_goes_from_ndots_to_coredns_and_back() {
    require_programs(&["nsupdate", "dig"]);
    let directory = tempfile::tempdir().unwrap();
    let option = format!("  database {}\n", directory.path().join("zone.db").display());
    let file = |port| corefile(port, directory.path(), &option);
    let mut expected: Vec<String> = Vec::new();
    let mut round = |program: &dyn Fn() -> (Box<dyn std::any::Any>, SocketAddr), host: u8| {
        let (running, server) = program();
        let known = |line: &String| dig(server, "example.org AXFR").contains(line);
        assert!(expected.iter().all(known), "{host}: {expected:?}");
        // The values are long enough that the bucket leaves the first page.
        let text = "x".repeat(if host.is_multiple_of(2) { 200 } else { 20 });
        for part in 0..9 {
            let line = format!("update add h{host}.example.org 60 TXT {part}{text}");
            assert_eq!(update(server, "all", &[], &line), "ok");
        }
        expected = dig(server, "example.org AXFR");
        assert!(expected.iter().any(|line| line.starts_with(&format!("h{host}."))));
        // The process is killed.
        drop(running);
    };
    let ours = || {
        let program = Serving::start(file);
        let address = program.address;
        (Box::new(program) as Box<dyn std::any::Any>, address)
    };
    let theirs = || {
        let program = CoreDns::start(file);
        let address = program.address;
        (Box::new(program) as Box<dyn std::any::Any>, address)
    };
    for host in 0..6u8 {
        if host.is_multiple_of(2) { round(&ours, host) } else { round(&theirs, host) }
    }
    round(&theirs, 6);
    round(&theirs, 7);
    round(&ours, 8);
    round(&ours, 9);
}

#[test]
fn a_database_is_of_one_process_and_one_zone() {
    require_programs(&["nsupdate", "dig"]);
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("zone.db");
    let option = format!("  database {}\n", database.display());
    let first = Serving::start(|port| corefile(port, directory.path(), &option));
    let line = "update add new.example.org 60 A 192.0.2.9";
    assert_eq!(update(first.address, "all", &[], line), "ok");
    let start = |text: String| {
        let file = directory.path().join("Corefile");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program());
        let output = command.arg("-conf").arg(file).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let second = start(corefile(0, directory.path(), &option));
    assert!(second.contains("zone.db: another process uses it"), "{second}");
    drop(first);
    let other = corefile(0, directory.path(), &option)
        .replace("dynupdate {", "dynupdate sub.example.org {");
    let other = start(other.replace("few.example.org. few.example.org.", "few.example.org. @"));
    assert!(other.contains("the database belongs to the zone example.org."), "{other}");
    fs::write(&database, "not a database").unwrap();
    let damaged = start(corefile(0, directory.path(), &option));
    assert!(damaged.contains("the file is not a database, or is damaged"), "{damaged}");
}

#[test]
fn updates_outlive_a_reload_and_reach_secondary_servers() {
    require_programs(&["nsupdate", "dig"]);
    let directory = tempfile::tempdir().unwrap();
    let secondary_at = crate::support::free_address();
    let primary_at = crate::support::free_address();
    let file = directory.path().join("Corefile");
    let text = corefile(primary_at.port(), directory.path(), "")
        .replace("  to *\n", &format!("  to * {secondary_at}\n"));
    fs::write(&file, &text).unwrap();
    let mut command = Command::new(program());
    command.arg("-conf").arg(&file);
    let primary = Ndots::with_banner(command, &[]);
    let _secondary = Serving::start(|port| {
        format!(
            "example.org:{} {{\n bind 127.0.0.1\n secondary {{\n  transfer from {primary_at}\n }}\n}}\n.:{port} {{\n bind 127.0.0.1\n whoami\n}}\n",
            secondary_at.port()
        )
    });
    let reaches = |name: &str| {
        until(name, PATIENCE, || (!dig(secondary_at, name).is_empty()).then_some(()));
    };
    reaches("www.example.org A");
    let line = "update add one.example.org 60 A 192.0.2.9";
    assert_eq!(update(primary_at, "all", &[], line), "ok");
    // The timers of the zone are a minute.
    reaches("one.example.org A");

    fs::write(&file, text.replace(" errors\n", " errors\n log\n")).unwrap();
    let pid = primary.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "USR1", &pid]).status().unwrap().success());
    until("a reload", PATIENCE, || {
        primary.log.try_iter().any(|line| line.contains("Reloading complete")).then_some(())
    });
    assert_eq!(dig(primary_at, "one.example.org A").len(), 1);
    let line = "update add two.example.org 60 A 192.0.2.9";
    assert_eq!(update(primary_at, "all", &[], line), "ok");
    reaches("two.example.org A");
}
