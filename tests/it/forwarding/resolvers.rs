//! Real resolvers between ndots and one signed zone of Knot DNS.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    time::Duration,
};

use crate::support::{
    DNSMASQ,
    coredns::CoreDns,
    free_address,
    knot::knot,
    lab::{Process, until},
    packet::ask,
    requirements::require_programs,
    unbound_conf,
};

use super::check::{Outcome, over_tcp};

/// The record types of the zone, each with its data.
const RECORDS: &[(&str, u16, &str)] = &[
    ("A", 1, "192.0.2.1"),
    ("AAAA", 28, "2001:db8::1"),
    ("CNAME", 1, "Target.World.test."),
    ("CNAME", 5, "Target.World.test."),
    ("MX", 15, "10 Mail.World.test."),
    ("TXT", 16, "\"some text\""),
    ("SRV", 33, "1 2 5060 Target.World.test."),
    ("CAA", 257, "0 issue \"ca.test\""),
    ("NAPTR", 35, "100 10 \"S\" \"SIP+D2U\" \"\" _sip._udp.World.test."),
    ("HTTPS", 65, "1 . alpn=h2"),
    ("SVCB", 64, "1 Target.World.test. alpn=h2"),
    ("TLSA", 52, "3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    ("SSHFP", 44, "1 1 123456789abcdef67890123456789abcdef67890"),
    ("PTR", 12, "Target.World.test."),
    ("LOC", 29, "52 22 23 N 4 53 32 E -2m 0m 10000m 10m"),
    ("URI", 256, "10 1 \"https://x.test/\""),
    ("HINFO", 13, "\"PC\" \"LINUX\""),
    ("RP", 17, "Host.World.test. Target.World.test."),
    ("DNAME", 1, "Elsewhere.World.test."),
    ("NS", 2, "Ns.World.test."),
];

/// A question of the zone.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) name: String,
    pub(crate) qtype: u16,
}

/// `count` names, some of them in mixed case, with the types in turn. Each ninth name has no
/// records of the type, and each tenth does not exist.
pub(crate) fn questions(count: usize) -> Vec<Question> {
    let question = |at: usize| {
        let (rtype, qtype, _) = RECORDS[at % RECORDS.len()];
        let below = if rtype == "DNAME" { "deep." } else { "" };
        let missing = if at % 10 == 7 { "no-" } else { "" };
        let name = format!("{below}{missing}h{at}.world.test");
        let name = if at % 3 == 1 { name.replace('h', "H").replace("test", "TeSt") } else { name };
        Question { name, qtype: if at % 9 == 5 { 99 } else { qtype } }
    };
    (0..count).map(question).collect()
}

impl Question {
    fn packet(&self, id: u16, dnssec: bool) -> Vec<u8> {
        let request = ask(&self.name, self.qtype);
        let mut packet = if dnssec { request.opt(1232, 0x8000, &[]) } else { request }.packet();
        packet[..2].copy_from_slice(&id.to_be_bytes());
        packet
    }
}

/// The number of queries that wait for their replies at the same time.
const WINDOW: usize = 24;

/// Asks all questions over UDP, and again over TCP where the reply is truncated. A question without a
/// reply is asked three times.
pub(crate) fn ask_all(server: SocketAddr, questions: &[Question], dnssec: bool) -> Vec<Outcome> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let mut replies: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    let mut packet = vec![0; 65_535];
    for _ in 0..3 {
        let missing = (0..questions.len() as u16).filter(|id| !replies.contains_key(id));
        let mut missing = missing.collect::<Vec<_>>().into_iter();
        let mut waiting = 0;
        loop {
            while waiting < WINDOW
                && let Some(id) = missing.next()
            {
                socket.send(&questions[usize::from(id)].packet(id, dnssec)).unwrap();
                waiting += 1;
            }
            if waiting == 0 {
                break;
            }
            let Ok(length) = socket.recv(&mut packet) else {
                waiting = 0;
                continue;
            };
            let id = u16::from_be_bytes([packet[0], packet[1]]);
            if replies.insert(id, packet[..length].to_vec()).is_none() {
                waiting = waiting.saturating_sub(1);
            }
        }
    }
    let outcome = |(id, question): (usize, &Question)| {
        let reply = replies.get(&(id as u16)).map(Vec::as_slice);
        let outcome = Outcome::new(Duration::ZERO, reply);
        if !outcome.is_truncated() {
            return outcome;
        }
        Outcome::new(
            Duration::ZERO,
            over_tcp(server, &question.packet(id as u16, dnssec)).as_deref(),
        )
    };
    questions.iter().enumerate().map(outcome).collect()
}

fn zone(count: usize) -> String {
    let mut text = "$ORIGIN world.test.\n$TTL 300\n\
        @ SOA Ns.World.test. Host.World.test. 1 7200 1800 86400 60\n@ NS Ns.World.test.\n\
        Ns A 127.0.0.1\nMail A 192.0.2.25\nTarget A 192.0.2.80\ndeep.Elsewhere A 192.0.2.81\n"
        .to_owned();
    for at in 0..count {
        let (rtype, _, data) = RECORDS[at % RECORDS.len()];
        let _ = writeln!(text, "h{at} {rtype} {data}");
        // An answer that does not fit in a datagram.
        let many = if rtype == "TXT" && at % 5 == 0 { 60 } else { 0 };
        for number in 0..many {
            let _ = writeln!(text, "h{at} TXT \"number {number} {}\"", "x".repeat(30));
        }
    }
    text
}

/// The name server and the resolvers. They end when this is dropped.
pub(crate) struct Resolvers {
    pub(crate) addresses: Vec<(&'static str, SocketAddr)>,
    _processes: Vec<Process>,
    _coredns: CoreDns,
    _directory: tempfile::TempDir,
}

impl Resolvers {
    /// Starts them for a zone with `count` names, and waits until each resolves one of them.
    pub(crate) fn start(count: usize) -> Self {
        require_programs(&["knotd", "unbound", "named", "kresd", "dnsmasq", "pdns_recursor"]);
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        fs::write(here.join("zone"), zone(count)).unwrap();
        let primary = free_address();
        let mut processes = vec![knot(here, primary, &signed_zone(here))];
        wait(&mut processes[0], primary);
        let mut addresses = vec![("knotd", primary)];
        for (name, run) in RESOLVERS {
            let address = free_address();
            let mut process = run(here, address.port(), primary.port());
            wait(&mut process, address);
            addresses.push((name, address));
            processes.push(process);
        }
        let coredns = CoreDns::start(|port| {
            format!(".:{port} {{\n bind 127.0.0.1\n forward . {primary}\n cache\n}}\n")
        });
        addresses.push(("coredns", coredns.address));
        Self { addresses, _processes: processes, _coredns: coredns, _directory: directory }
    }
}

fn start(directory: &Path, program: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(program);
    command.current_dir(directory).args(arguments);
    Process::start(program, command, directory.join(format!("{program}.log")))
}

fn wait(process: &mut Process, address: SocketAddr) {
    let packet = ask("target.world.test", 1).packet();
    until("a resolver that answers", Duration::from_secs(30), || {
        process.assert_running();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket.send_to(&packet, address).unwrap();
        let mut reply = [0; 512];
        let length = socket.recv(&mut reply).ok()?;
        // NOERROR with a record.
        (length > 12 && reply[3] & 15 == 0 && reply[7] > 0).then_some(())
    });
}

/// The sections of Knot's configuration for a zone that it signs.
fn signed_zone(here: &Path) -> String {
    format!(
        "policy:
  - id: one
    algorithm: ecdsap256sha256
    single-type-signing: on
template:
  - id: default
    storage: {}
zone:
  - domain: world.test
    file: zone
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
    dnssec-signing: on
    dnssec-policy: one
",
        here.display()
    )
}

/// Starts a resolver in a directory, on a port, with the port of the name server.
type Run = fn(&Path, u16, u16) -> Process;

/// The resolvers, without validation, because the zone has no chain from the root.
const RESOLVERS: [(&str, Run); 5] = [
    ("unbound", unbound),
    ("named", named),
    ("kresd", kresd),
    ("dnsmasq", dnsmasq),
    ("pdns_recursor", pdns_recursor),
];

fn unbound(here: &Path, port: u16, knot: u16) -> Process {
    // The zone is asked without RD.
    let stub = format!("stub-zone:\n  name: world.test.\n  stub-addr: 127.0.0.1@{knot}\n");
    fs::write(here.join("unbound.conf"), unbound_conf(here, port, knot) + &stub).unwrap();
    start(here, "unbound", &["-c", "unbound.conf"])
}

fn named(here: &Path, port: u16, knot: u16) -> Process {
    let text = format!(
        "options {{ directory \"{here}\"; pid-file none; session-keyfile \"{here}/session.key\";
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion yes;
  dnssec-validation no; empty-zones-enable no; forward only;
  forwarders {{ 127.0.0.1 port {knot}; }}; }};
controls {{ }};
",
        here = here.display()
    );
    fs::write(here.join("named.conf"), text).unwrap();
    start(here, "named", &["-g", "-c", "named.conf"])
}

fn kresd(here: &Path, port: u16, knot: u16) -> Process {
    let text = format!(
        "net.listen('127.0.0.1', {port})
trust_anchors.remove('.')
modules = {{ 'policy' }}
cache.size = 20 * MB
policy.add(policy.all(policy.STUB({{'127.0.0.1@{knot}'}})))
"
    );
    let (file, cache) = (here.join("kresd.conf"), here.join("kresd"));
    fs::create_dir(&cache).unwrap();
    fs::write(&file, text).unwrap();
    let [file, cache] = [file, cache].map(|path| path.display().to_string());
    start(here, "kresd", &["-n", "-c", &file, &cache])
}

fn dnsmasq(here: &Path, port: u16, knot: u16) -> Process {
    let own = [
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        // Replies from its cache differ between the two servers that ask, in spelling and SOA records.
        "--cache-size=0",
        "--log-facility=-",
        &format!("--port={port}"),
        &format!("--server=/world.test/127.0.0.1#{knot}"),
    ];
    start(here, "dnsmasq", &[&DNSMASQ[..], &own].concat())
}

fn pdns_recursor(here: &Path, port: u16, knot: u16) -> Process {
    let arguments = [
        &format!("--config-dir={}", here.display()),
        &format!("--socket-dir={}", here.display()),
        "--local-address=127.0.0.1",
        &format!("--local-port={port}"),
        // It must query no other server, not even for the security status of its own version.
        &format!("--forward-zones-recurse=.=127.0.0.1:{knot}"),
        "--security-poll-suffix=",
        "--dnssec=process-no-validate",
        "--setuid=",
        "--setgid=",
        "--daemon=no",
        "--write-pid=no",
    ];
    start(here, "pdns_recursor", &arguments)
}
