//! `dnssec`: delv and Unbound validate what ndots signs, with every algorithm. The records are
//! those for which other signers had bogus answers.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use crate::support::{
    Ndots,
    coredns::CoreDns,
    free_address,
    lab::{Process, until},
    rejected,
    requirements::require_programs,
};

const PATIENCE: Duration = Duration::from_secs(20);

const ZONE: &str = "$ORIGIN example.org.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\n@ MX 10 Mail.Example.ORG.\nns A 192.0.2.1\nmail A 192.0.2.2\nwww A 192.0.2.3\nwww A 192.0.2.4\nwww TXT \"one\" \"two\"\nsix AAAA 2001:db8::1\n*.wild A 192.0.2.5\nalias CNAME www\nlost CNAME missing\nhalf CNAME six\naway CNAME www.example.net.\ncut NS ns.cut\nns.cut A 192.0.2.6\nsafe NS ns.safe\nns.safe A 192.0.2.7\nsafe DS 1 13 2 abababababababababababababababababababababababababababababababab\na.b.ent A 192.0.2.8\n_sip._tcp SRV 1 2 5060 www\nptr PTR Www.Example.Org.\nnaptr NAPTR 1 2 \"S\" \"SIP+D2U\" \"\" _sip._tcp\nlong TXT \"0123456789012345678901234567890123456789\"\nlong2 TXT \"9876543210987654321098765432109876543210\"\n";

/// Questions by name and type. Validators must accept each answer, whether records or a denial.
const QUESTIONS: &[(&str, &str)] = &[
    ("example.org", "SOA"),
    ("example.org", "NS"),
    ("example.org", "MX"),
    ("example.org", "DNSKEY"),
    ("www.example.org", "A"),
    ("WwW.eXample.oRG", "TXT"),
    ("any.wild.example.org", "A"),
    ("*.wild.example.org", "A"),
    ("alias.example.org", "A"),
    ("_sip._tcp.example.org", "SRV"),
    ("ptr.example.org", "PTR"),
    ("naptr.example.org", "NAPTR"),
    ("long.example.org", "TXT"),
    ("long2.example.org", "TXT"),
    ("safe.example.org", "DS"),
    ("www.example.org", "NSEC"),
    // Denials: of a type at the apex, at a name, at a wildcard, and at the target of an alias.
    ("example.org", "HINFO"),
    ("example.org", "AAAA"),
    ("example.org", "CAA"),
    ("six.example.org", "A"),
    ("www.example.org", "HTTPS"),
    ("www.example.org", "TYPE65280"),
    ("any.wild.example.org", "TXT"),
    ("half.example.org", "A"),
    ("lost.example.org", "A"),
    ("ent.example.org", "A"),
    // Denials of names, one in mixed case.
    ("missing.example.org", "A"),
    ("_25._tcp.missing.example.org", "TLSA"),
    ("_check.Z-yyyy.example.org", "TXT"),
    ("missing.example.org", "NSEC"),
    ("cut.example.org", "DS"),
    ("www.example.org", "DS"),
];

/// The paths of a key of example.org, without ending, and its DNSKEY record.
fn key(directory: &Path, algorithm: &str, more: &[&str]) -> (String, String) {
    let mut command = Command::new("dnssec-keygen");
    command.args(["-q", "-K"]).arg(directory).args(["-a", algorithm]).args(more);
    if algorithm.starts_with("RSA") {
        command.args(["-b", "2048"]);
    }
    let output = command.arg("example.org").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let name = String::from_utf8(output.stdout).unwrap();
    let base = directory.join(name.trim()).display().to_string();
    let public = fs::read_to_string(format!("{base}.key")).unwrap();
    let record = public.lines().find(|line| !line.starts_with(';')).unwrap().to_owned();
    (base, record)
}

/// ndots with this zone and these keys, at an address that Unbound knows before it starts.
fn serve(directory: &Path, address: SocketAddr, keys: &[&str]) -> Ndots {
    let zone = directory.join("db.example.org");
    fs::write(&zone, ZONE).unwrap();
    let corefile = format!(
        "example.org:{} {{\n bind 127.0.0.1\n dnssec {{\n  key file {}\n }}\n file {}\n errors\n}}\n",
        address.port(),
        keys.join(" "),
        zone.display()
    );
    Ndots::corefile(&corefile, &[], &[])
}

fn dig(server: SocketAddr, words: &str) -> String {
    let line = format!("@{} -p {} +tries=1 +time=5 {words}", server.ip(), server.port());
    let output = Command::new("dig").args(line.split(' ')).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn wait_for(server: SocketAddr) {
    until("a reply", PATIENCE, || {
        dig(server, "example.org SOA").contains("status: NOERROR").then_some(())
    });
}

/// A file with the key as the only trust anchor, in the form of BIND.
fn anchors(directory: &Path, record: &str) -> String {
    let words: Vec<_> = record.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "DNSKEY").unwrap();
    let [flags, protocol, algorithm] = [words[at + 1], words[at + 2], words[at + 3]];
    let data = words[at + 4..].concat();
    let file = directory.join("anchors");
    let text = format!(
        "trust-anchors {{ example.org. static-key {flags} {protocol} {algorithm} \"{data}\"; }};\n"
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// The output of delv: `; fully validated`, `; negative response, fully validated`, or the reason
/// why it did not validate.
fn delv(server: SocketAddr, anchors: &str, (name, qtype): (&str, &str)) -> String {
    let port = server.port().to_string();
    let mut command = Command::new("delv");
    command.args(["@127.0.0.1", "-p", &port, "-a", anchors, "+root=example.org", "-q", name]);
    let output = command.args(["-t", qtype]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn delv_validates_every_algorithm() {
    require_programs(&["delv", "dig", "dnssec-keygen"]);
    let mut wrong = Vec::new();
    for algorithm in ["ECDSAP256SHA256", "ECDSAP384SHA384", "ED25519", "RSASHA256", "RSASHA512"] {
        let directory = tempfile::tempdir().unwrap();
        let (base, record) = key(directory.path(), algorithm, &["-f", "KSK"]);
        let anchors = anchors(directory.path(), &record);
        let at = free_address();
        let _ndots = serve(directory.path(), at, &[&base]);
        wait_for(at);
        for question in QUESTIONS {
            let said = delv(at, &anchors, *question);
            if !said.contains("fully validated") {
                let reply = dig(at, &format!("{} {} +dnssec", question.0, question.1));
                wrong.push(format!("{algorithm} {question:?}: {said}\n{reply}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A zone-signing key signs the records, and a key-signing key signs the keys.
#[test]
fn two_keys_share_the_work() {
    require_programs(&["delv", "dig", "dnssec-keygen"]);
    let directory = tempfile::tempdir().unwrap();
    let (ksk, record) = key(directory.path(), "ECDSAP256SHA256", &["-f", "KSK"]);
    let (zsk, _) = key(directory.path(), "ECDSAP256SHA256", &[]);
    let anchors = anchors(directory.path(), &record);
    let at = free_address();
    let _ndots = serve(directory.path(), at, &[&format!("{ksk}.key"), &format!("{zsk}.private")]);
    wait_for(at);
    for question in QUESTIONS {
        let said = delv(at, &anchors, *question);
        assert!(said.contains("fully validated"), "{question:?}: {said}");
    }
    let signatures = |question: &str| {
        let text = dig(at, &format!("{question} +dnssec +noall +answer"));
        text.lines().filter(|line| line.contains("RRSIG")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (of_keys, of_others) = (signatures("example.org DNSKEY"), signatures("www.example.org A"));
    assert_eq!((of_keys.len(), of_others.len()), (1, 1));
    let tag = |line: &str| line.split_whitespace().nth(10).unwrap().to_owned();
    assert_ne!(tag(&of_keys[0]), tag(&of_others[0]));
}

/// The code, and each record without its data; of a signature the type that it covers.
fn outline(server: SocketAddr, question: &str) -> Vec<String> {
    let text = dig(server, &format!("{question} +dnssec +norecurse"));
    let code = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
    let records = text.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
    let mut all: Vec<_> = records
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let covered = if words[3] == "RRSIG" { words[4] } else { "" };
            format!("{} {} {covered}", words[0], words[3]).to_lowercase()
        })
        .collect();
    all.sort();
    all.insert(0, code.unwrap_or("no reply").to_owned());
    all
}

/// Both have the same records and signatures, except for the differences in `differences.toml`.
#[test]
fn replies_have_the_records_of_coredns() {
    require_programs(&["dig", "dnssec-keygen"]);
    let directory = tempfile::tempdir().unwrap();
    let (base, _) = key(directory.path(), "ECDSAP256SHA256", &["-f", "KSK"]);
    let at = free_address();
    let _ndots = serve(directory.path(), at, &[&base]);
    wait_for(at);
    let zone = directory.path().join("db.example.org");
    let coredns = CoreDns::start(|port| {
        format!(
            "example.org:{port} {{\n bind 127.0.0.1\n dnssec {{\n  key file {base}\n }}\n file {}\n}}\n",
            zone.display()
        )
    });
    let mut wrong = Vec::new();
    for (name, qtype) in QUESTIONS {
        // CoreDNS has no proof for the end of an alias (`differences.toml`).
        if name.starts_with("half") || name.starts_with("lost") {
            continue;
        }
        let [ours, theirs] =
            [at, coredns.address].map(|server| outline(server, &format!("{name} {qtype}")));
        if ours != theirs {
            wrong.push(format!("{name} {qtype}: {ours:#?} {theirs:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A resolver with the zone's key as its trust anchor. `below` serves the unsigned zones.
fn unbound(
    directory: &Path,
    record: &str,
    zone: SocketAddr,
    below: SocketAddr,
) -> (Process, SocketAddr) {
    let at = free_address();
    let anchor = directory.join("anchor.key");
    fs::write(&anchor, format!("{record}\n")).unwrap();
    let stub = |name: &str, at: SocketAddr| {
        format!("stub-zone:\n name: \"{name}\"\n stub-addr: 127.0.0.1@{}\n", at.port())
    };
    let config = format!(
        "server:\n directory: \"{home}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n interface: 127.0.0.1\n port: {}\n do-not-query-localhost: no\n do-ip6: no\n num-threads: 1\n module-config: \"validator iterator\"\n trust-anchor-file: \"{}\"\n val-log-level: 2\n aggressive-nsec: yes\nremote-control:\n control-enable: no\n{}{}{}",
        at.port(),
        anchor.display(),
        stub("example.org", zone),
        stub("cut.example.org", below),
        stub("example.net", below),
        home = directory.display()
    );
    let file = directory.join("unbound.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("unbound");
    command.arg("-d").arg("-c").arg(&file);
    (Process::start("unbound", command, directory.join("unbound.log")), at)
}

#[test]
fn unbound_validates_records_denials_and_delegations() {
    require_programs(&["unbound", "dig", "dnssec-keygen"]);
    let directory = tempfile::tempdir().unwrap();
    let (base, record) = key(directory.path(), "ECDSAP256SHA256", &["-f", "KSK"]);
    let (zone, below) = (free_address(), free_address());
    let _ndots = serve(directory.path(), zone, &[&base]);
    let unsigned = directory.path().join("db.unsigned");
    fs::write(&unsigned, "@ 60 SOA ns.cut.example.org. h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.6\nwww 60 A 192.0.2.66\n").unwrap();
    let corefile = format!(
        "cut.example.org:{port} example.net:{port} {{\n bind 127.0.0.1\n file {}\n}}\n",
        unsigned.display(),
        port = below.port()
    );
    let _below = Ndots::corefile(&corefile, &[], &[]);
    wait_for(zone);
    let (_unbound, resolver) = unbound(directory.path(), &record, zone, below);
    until("Unbound", PATIENCE, || {
        dig(resolver, "example.org SOA").contains("status: NOERROR").then_some(())
    });
    let mut wrong = Vec::new();
    let mut check = |question: &str, validated: bool, wanted: &str| {
        let reply = dig(resolver, &format!("{question} +dnssec"));
        let flags = reply.split(";; flags:").nth(1).and_then(|rest| rest.split(';').next());
        let is_validated = flags.is_some_and(|flags| flags.split(' ').any(|flag| flag == "ad"));
        if is_validated != validated
            || !reply.contains("status: NOERROR")
            || !reply.contains(wanted)
        {
            wrong.push(format!("{question}:\n{reply}"));
        }
    };
    for (name, qtype) in QUESTIONS {
        check(&format!("{name} {qtype}"), true, "");
    }
    // The zone below the cut has no signatures, and its parent zone proves that it needs none.
    check("www.cut.example.org A", false, "192.0.2.66");
    check("cut.example.org SOA", false, "ns.cut");
    // The target is in another zone, so the whole answer is not validated, but not bogus either.
    check("away.example.org A", false, "192.0.2.66");
    // Unbound answers from cached denials. The denial of one type must not deny other types.
    check("www.example.org CAA", true, "SOA");
    check("www.example.org A", true, "192.0.2.3");
    check("example.org A", true, "SOA");
    check("example.org MX", true, "Mail");
    let text = wrong.join("\n").to_lowercase();
    let log = fs::read_to_string(directory.path().join("unbound.log")).unwrap_or_default();
    assert!(wrong.is_empty(), "{text}\n{log}");
}

#[test]
fn replies_of_upstreams_are_signed() {
    require_programs(&["delv", "dig", "dnssec-keygen", "dnsmasq"]);
    let directory = tempfile::tempdir().unwrap();
    let (base, record) = key(directory.path(), "ECDSAP256SHA256", &[]);
    let anchors = anchors(directory.path(), &record);
    let (upstream, at) = (free_address(), free_address());
    let mut command = Command::new("dnsmasq");
    command.args(crate::support::DNSMASQ).args([
        &format!("--port={}", upstream.port()),
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--local=/example.org/",
        "--host-record=www.example.org,192.0.2.9",
        "--txt-record=_acme-challenge.example.org,token",
    ]);
    let _dnsmasq = Process::start("dnsmasq", command, directory.path().join("dnsmasq.log"));
    let corefile = format!(
        "example.org:{} {{\n bind 127.0.0.1\n cache\n dnssec {{\n  key file {base}\n  cache_capacity 100\n }}\n forward . {upstream}\n errors\n}}\n",
        at.port()
    );
    let _ndots = Ndots::corefile(&corefile, &[], &[]);
    until("a reply", PATIENCE, || dig(at, "www.example.org A").contains("192.0.2.9").then_some(()));
    for question in [("www.example.org", "A"), ("_acme-challenge.example.org", "TXT")] {
        // The second reply comes from the cache.
        for _ in 0..2 {
            let said = delv(at, &anchors, question);
            assert!(said.contains("fully validated"), "{question:?}: {said}");
        }
    }
    // A client that does not ask for signatures gets none, and NXDOMAIN.
    let plain = dig(at, "missing.example.org A");
    assert!(plain.contains("NXDOMAIN") && !plain.contains("RRSIG"), "{plain}");
}

#[test]
fn a_key_that_cannot_be_used_is_named() {
    require_programs(&["dnssec-keygen"]);
    let directory = tempfile::tempdir().unwrap();
    let (base, _) = key(directory.path(), "ECDSAP256SHA256", &[]);
    let (other, _) = key(directory.path(), "ECDSAP256SHA256", &[]);
    let start = |zone: &str, key: &str| {
        rejected(&format!(
            "{zone}:0 {{\n bind 127.0.0.1\n dnssec {{\n  key file {key}\n }}\n whoami\n}}\n"
        ))
    };
    let check = |said: &str, expected: &str| assert!(said.contains(expected), "{said}");
    check(&start("example.org", "/nowhere/K"), "the key file /nowhere/K.key cannot be read");
    check(&start("example.net", &base), "can not sign any of the zones");
    fs::copy(format!("{other}.private"), format!("{base}.private")).unwrap();
    check(&start("example.org", &base), "does not belong to the public key");
    fs::write(format!("{base}.private"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
    check(&start("example.org", &base), "Private-key-format");
}

/// `sign` writes a file that `file` serves, and writes it again when the zone changes.
#[test]
fn a_signed_file_is_served_and_follows_its_source() {
    require_programs(&["delv", "dig", "dnssec-keygen"]);
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let (base, record) = key(home, "ECDSAP256SHA256", &["-f", "KSK"]);
    let anchors = anchors(home, &record);
    let at = free_address();
    fs::write(home.join("db.example.org"), ZONE).unwrap();
    let corefile = format!(
        "example.org:{} {{\n bind 127.0.0.1\n root {}\n file db.example.org.signed\n sign db.example.org {{\n  key file {base}\n  directory .\n }}\n errors\n}}\n",
        at.port(),
        home.display()
    );
    let ndots = Ndots::corefile(&corefile, &[], &[]);
    wait_for(at);
    let denied_at_cut = ("cut.example.org", "DS");
    let questions = QUESTIONS.iter().filter(|(_, qtype)| *qtype != "NSEC");
    for question in questions.chain([&denied_at_cut]) {
        let said = delv(at, &anchors, *question);
        assert!(said.contains("fully validated"), "{question:?}: {said}");
    }
    let cds = dig(at, "example.org CDS +short");
    assert_eq!(cds.lines().count(), 2, "{cds}");
    // A second zone file with the same serial: CoreDNS does not sign it before its next check.
    std::thread::sleep(Duration::from_millis(1100));
    fs::write(home.join("db.example.org"), format!("{ZONE}new A 192.0.2.99\n")).unwrap();
    until("the new name", PATIENCE, || {
        dig(at, "new.example.org A").contains("192.0.2.99").then_some(())
    });
    assert!(delv(at, &anchors, ("new.example.org", "A")).contains("fully validated"));
    let signed = fs::read_to_string(home.join("db.example.org.signed")).unwrap();
    // Addresses below a delegation have no signatures, and names have one NSEC record each.
    let of = |name: &str, rtype: &str| {
        let line = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words[0] == format!("{name}.example.org.") && words[3] == rtype
        };
        signed.lines().filter(line).count()
    };
    assert_eq!([of("ns.cut", "RRSIG"), of("ns.cut", "NSEC"), of("ns.cut", "A")], [0, 0, 1]);
    assert_eq!([of("cut", "RRSIG"), of("cut", "NSEC"), of("safe", "RRSIG")], [1, 1, 2]);
    let (code, log) = ndots.end();
    let signings = log.iter().filter(|line| line.contains("Successfully signed")).count();
    assert_eq!((code, signings), (0, 2), "{log:#?}");
}
