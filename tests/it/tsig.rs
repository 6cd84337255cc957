//! Signed messages (TSIG) between ndots, dig, Knot and BIND, in both directions. In these
//! situations other servers had errors.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use crate::support::{
    self, Ndots, free_address,
    lab::{Process, until},
    requirements::require_programs,
};

const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=";
const WRONG: &str = "AoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=";

fn zone(serial: u32, last: u8) -> String {
    let many: String =
        (0..3000).map(|at| format!("h{at} TXT \"{at} {}\"\n", "x".repeat(100))).collect();
    format!(
        "$ORIGIN example.org.\n$TTL 60\n@ SOA ns hostmaster {serial} 3600 1 3600 60\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.{last}\n$ORIGIN many.example.org.\n{many}"
    )
}

fn dig(server: SocketAddr, words: &str) -> String {
    let line = format!("@{} -p {} +tries=1 +time=5 {words}", server.ip(), server.port());
    let output = Command::new("dig").args(line.split(' ')).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn wait_for(server: SocketAddr, question: &str, expected: &str) {
    until(expected, PATIENCE, || dig(server, question).contains(expected).then_some(()));
}

/// The number of records in dig's output.
fn records(text: &str) -> usize {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).count()
}

/// ndots with the zone in a file. `lines` are more lines of its server block.
fn primary(directory: &Path, at: SocketAddr, lines: &str) -> Ndots {
    let file = directory.join("db.example.org");
    fs::write(&file, zone(1, 2)).unwrap();
    let corefile = format!(
        "example.org:{} {{\n bind 127.0.0.1\n file {} {{\n  reload 1s\n }}\n{lines}\n errors\n}}\n",
        at.port(),
        file.display()
    );
    Ndots::corefile(&corefile, &[], &[])
}

#[test]
fn dig_transfers_a_zone_with_a_key() {
    require_programs(&["dig"]);
    let directory = tempfile::tempdir().unwrap();
    let at = free_address();
    // Two plugins around the transfer must not disturb its signatures.
    let lines = format!(
        " tsig {{\n  secret Transfer.Key. {SECRET}\n  require AXFR IXFR\n }}\n minimal\n header {{\n  response set ra\n }}\n transfer {{\n  to *\n }}"
    );
    let _ndots = primary(directory.path(), at, &lines);
    wait_for(at, "www.example.org A", "192.0.2.2");
    for algorithm in ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"] {
        let text = dig(at, &format!("-y {algorithm}:transfer.key:{SECRET} example.org AXFR"));
        // The TSIG record of each message is a line, too.
        assert!(records(&text) > 3005 && text.contains("messages"), "{algorithm} {text:.2000}");
        assert!(!text.contains("verify") && !text.contains("WARNING"), "{text:.2000}");
    }
    let check = |words: &str, expected: &[&str]| {
        let text = dig(at, words);
        let missing = expected.iter().find(|it| !text.contains(**it));
        assert_eq!(missing, None, "{words}: {text:.3000}");
    };
    check("example.org AXFR", &["Transfer failed"]);
    check(&format!("-y hmac-sha256:transfer.key:{WRONG} example.org AXFR"), &["Transfer failed"]);
    check(&format!("-y hmac-sha256:other.key:{SECRET} example.org AXFR"), &["Transfer failed"]);
    let key = format!("-y hmac-sha256:TRANSFER.key:{SECRET}");
    check(&format!("{key} www.example.org A"), &["NOERROR", "TSIG", "NOERROR 0", "192.0.2.2"]);
    check(&format!("{key} none.example.org A"), &["NXDOMAIN", "NOERROR 0"]);
    check(
        &format!("-y hmac-sha256:transfer.key:{WRONG} www.example.org A"),
        &["NOTAUTH", "BADSIG"],
    );
    check(&format!("-y hmac-sha256:other.key:{SECRET} www.example.org A"), &["NOTAUTH", "BADKEY"]);
    check(
        &format!("-y hmac-sha224:transfer.key:{SECRET} www.example.org A"),
        &["NOTAUTH", "BADKEY"],
    );
    check(&format!("{key} +fuzztime=1500000000 www.example.org A"), &["NOTAUTH", "BADTIME"]);
    // Truncated replies have room for the signature.
    check(&format!("{key} +noedns +ignore h1.many.example.org ANY"), &["NOERROR 0"]);
}

#[test]
fn requirements_are_those_of_the_corefile() {
    require_programs(&["dig"]);
    let check = |required: &str, signed_only: &[&str], open: &[&str]| {
        let (directory, at) = (tempfile::tempdir().unwrap(), free_address());
        let secrets = directory.path().join("keys");
        fs::write(
            &secrets,
            format!("key \"a.key.\" {{\n algorithm hmac-sha512;\n secret \"{SECRET}\";\n}};\n"),
        )
        .unwrap();
        let lines = format!(" tsig {{\n  secrets {}\n  {required}\n }}", secrets.display());
        let _ndots = primary(directory.path(), at, &lines);
        wait_for(at, &format!("-y hmac-sha256:a.key:{SECRET} example.org SOA"), "NOERROR 0");
        for qtype in signed_only {
            let text = dig(at, &format!("www.example.org {qtype}"));
            assert!(text.contains("status: REFUSED"), "{required} {qtype}: {text}");
        }
        for qtype in open {
            let text = dig(at, &format!("www.example.org {qtype}"));
            assert!(text.contains("status: NOERROR"), "{required} {qtype}: {text}");
        }
    };
    check("require A TXT", &["A", "TXT"], &["AAAA"]);
    check("require all", &["A", "AAAA"], &[]);
    check("require none", &[], &["A", "AAAA"]);
    check("require_opcode QUERY", &["A"], &[]);
    check("require_opcode UPDATE NOTIFY", &[], &["A"]);
}

const KNOT_KEY: &str = "key:\n  - id: shared.key\n    algorithm: hmac-sha256\n    secret: NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=\n";

/// Knot with the zone and a key. `zone` has more lines of the zone's configuration.
fn knot(directory: &Path, at: SocketAddr, other: SocketAddr, zone: &str) -> Process {
    let more = format!(
        "{KNOT_KEY}remote:\n  - id: other\n    address: 127.0.0.1@{}\n    key: shared.key\nacl:\n  - id: keyed\n    key: shared.key\n    action: [transfer, notify]\nzone:\n  - domain: example.org\n    storage: {}\n    acl: keyed\n{zone}",
        other.port(),
        directory.display()
    );
    support::knot::knot(directory, at, &more)
}

/// BIND with a key. `more` are other sections of its configuration, and `options` more of its options.
fn bind(directory: &Path, at: SocketAddr, options: &str, more: &str) -> Process {
    let (home, file) = (directory.display(), directory.join("named.conf"));
    let config = format!(
        "key \"shared.key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\noptions {{ directory \"{home}\"; pid-file \"{home}/pid\"; session-keyfile \"{home}/session\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; {options}}};\ncontrols {{ }};\n{more}",
        at.port()
    );
    fs::write(&file, config).unwrap();
    let mut command = Command::new("named");
    command.args(["-g", "-c"]).arg(&file);
    Process::start("named", command, directory.join("named.log"))
}

/// ndots as a secondary server with this key.
fn secondary(at: SocketAddr, primary: SocketAddr, secret: &str) -> Ndots {
    let corefile = format!(
        "example.org:{} {{\n bind 127.0.0.1\n tsig {{\n  secret shared.key {secret}\n  require_opcode NOTIFY\n }}\n secondary {{\n  transfer from {primary}\n  key shared.key.\n }}\n log\n errors\n}}\n",
        at.port()
    );
    Ndots::corefile(&corefile, &[], &[])
}

#[test]
fn zones_come_from_knot_and_bind_with_a_key() {
    require_programs(&["knotd", "named", "dig"]);
    let (knot_home, bind_home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (knot_at, bind_at) = (free_address(), free_address());
    let [from_knot, from_bind, refused] = std::array::from_fn(|_| free_address());
    for home in [&knot_home, &bind_home] {
        fs::write(home.path().join("example.org.zone"), zone(1, 2)).unwrap();
    }
    let lines = "    file: example.org.zone\n    zonefile-load: difference\n    notify: other\n";
    let theirs = knot(knot_home.path(), knot_at, from_knot, lines);
    let zone_of_bind = "zone \"example.org\" { type primary; file \"example.org.zone\"; allow-transfer { key \"shared.key\"; }; };\n";
    let _named = bind(bind_home.path(), bind_at, "notify no; ", zone_of_bind);
    wait_for(bind_at, "www.example.org A", "192.0.2.2");
    wait_for(knot_at, "www.example.org A", "192.0.2.2");
    let _first = secondary(from_knot, knot_at, SECRET);
    let _second = secondary(from_bind, bind_at, SECRET);
    let wrong = secondary(refused, knot_at, WRONG);
    for at in [from_knot, from_bind] {
        wait_for(at, "www.example.org A", "192.0.2.2");
        wait_for(at, "h2999.many.example.org TXT", "2999 xxx");
    }
    let told = wrong.log.iter().find(|line| line.contains("failed to transfer")).unwrap();
    assert!(told.contains("BADSIG") || told.contains("NOTAUTH"), "{told}");

    // Knot sends a signed NOTIFY message. One without a signature is refused.
    let text = dig(from_knot, "+opcode=NOTIFY example.org SOA");
    assert!(text.contains("REFUSED"), "{text}");
    fs::write(knot_home.path().join("example.org.zone"), zone(2, 9)).unwrap();
    theirs.child.signal("HUP");
    wait_for(from_knot, "www.example.org A", "192.0.2.9");
}

#[test]
fn zones_go_to_knot_and_bind_with_a_key() {
    require_programs(&["knotd", "named", "dig"]);
    let [zones, knot_home, bind_home] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [at, knot_at, bind_at] = std::array::from_fn(|_| free_address());
    let lines = format!(
        " tsig {{\n  secret shared.key. {SECRET}\n  require AXFR IXFR\n }}\n transfer {{\n  to {knot_at} {bind_at}\n  key shared.key\n }}"
    );
    let _ndots = primary(zones.path(), at, &lines);
    wait_for(at, "www.example.org A", "192.0.2.2");
    let _knot = knot(knot_home.path(), knot_at, at, "    master: other\n");
    let zone_of_bind = format!(
        "server 127.0.0.1 {{ keys {{ \"shared.key\"; }}; }};\nzone \"example.org\" {{ type secondary; file \"copy\"; primaries {{ 127.0.0.1 port {}; }}; allow-notify {{ key \"shared.key\"; }}; }};\n",
        at.port()
    );
    let _named = bind(bind_home.path(), bind_at, "", &zone_of_bind);
    for server in [knot_at, bind_at] {
        wait_for(server, "h2999.many.example.org TXT", "2999 xxx");
    }
    // Both accept the signed NOTIFY message about a new version.
    fs::write(zones.path().join("db.example.org"), zone(2, 8)).unwrap();
    for server in [knot_at, bind_at] {
        wait_for(server, "www.example.org A", "192.0.2.8");
    }
}
