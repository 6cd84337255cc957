//! Replays `answer/*.dns`: simulated objects, Corefile, upstreams and clock, then queries and the
//! replies to them.
//!
//! A scenario has parts that begin with `=== corefile`, `=== objects` (YAML), `=== upstream`, `===
//! file PATH` and `=== questions`. A question is `> NAME TYPE [tcp] [edns=SIZE] [do] [cd]
//! [ad] [from=ADDRESS] [serial=NUMBER]`, or `@ +30s` to move the clock. Below it follow the queries to
//! upstreams (`^`, or `^^` after the reply was sent), the code with flags, and the records: those
//! of the authority section after `~`, of the additional section after `+`. Serials are written
//! `SERIAL`, and sections are sorted within a record set, since the order of addresses is random.
//! Upstream lines are `NAME TYPE = RECORD…`, `NAME TYPE = NXDOMAIN` with an SOA behind ` | `, `=
//! SERVFAIL`, `= REFUSED` or `= SILENCE`, `AD` (set if the query has it) and `EDE CODE TEXT`; among the queries, after `!`, they change the upstream's replies.
//! `UPDATE_EXPECT=1 cargo test --test it answer::` rewrites the replies; review the changes.

use std::{
    collections::HashMap,
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message},
    rr::{Name, RData, Record, RecordType, rdata::opt::EdnsOption},
};
use ndots::{
    chain::{Cx, QueryError, Reply, Transport},
    corefile::{self, Diagnostics, Reader},
    metrics::Metrics,
    model::{Change, Kind},
    plugin::{self, Need, Origin, ReloadState},
    server::{BlockConfig, BuildContext, Listen, Outcome, Scheme, Server, Wait, assemble},
    source::manifests::Manifests,
    upstream,
    wire::{self, Query, reply},
    zone::Index,
};

#[test]
fn scenarios_are_answered_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/answer");
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "dns"));
    files.sort();
    let (mut questions, mut wrong) = (0, Vec::new());
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let (got, count) = Scenario::new(&text).replay();
        questions += count;
        if got == text {
            continue;
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(path, &got).unwrap();
        } else {
            wrong.push(format!("{}:\n{}", path.display(), first_difference(&text, &got)));
        }
    }
    println!("{questions} questions in {} scenarios", files.len());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(questions >= 150, "the scenarios have shrunk to {questions} questions");
}

fn first_difference(text: &str, got: &str) -> String {
    let lines = text.lines().zip(got.lines()).enumerate();
    let at = lines
        .filter(|(_, (a, b))| a != b)
        .map(|(at, _)| at)
        .next()
        .unwrap_or(text.lines().count().min(got.lines().count()));
    let around = |text: &str| {
        text.lines()
            .skip(at.saturating_sub(3))
            .take(8)
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    format!("  line {}, expected\n{}  got\n{}", at + 1, around(text), around(got))
}

/// The kinds that are not synced: those that `# unsynced` names, or all if it names none.
fn unsynced(text: &str) -> Vec<Kind> {
    let Some(named) = text.lines().find_map(|line| line.strip_prefix("# unsynced")) else {
        return Vec::new();
    };
    let kinds = Kind::ALL.into_iter();
    if named.trim().is_empty() {
        kinds.collect()
    } else {
        kinds.filter(|kind| named.split_whitespace().any(|name| name == kind.name())).collect()
    }
}

fn kind_of(change: &Change) -> Kind {
    match change {
        Change::Upsert(object) => object.key().kind,
        Change::Remove(key) => key.kind,
        Change::Caused { .. } => Kind::EndpointSlice,
        Change::Relist(kind)
        | Change::Synced(kind)
        | Change::Refused(kind, _)
        | Change::Forget(kind) => *kind,
    }
}

struct Scenario<'t> {
    /// The text before the queries, which stays as it is.
    head: &'t str,
    questions: &'t str,
    upstream: HashMap<(String, String), Vec<String>>,
    server: Server,
    now: Instant,
    seed: u64,
}

const LISTEN: Listen = Listen {
    scheme: Scheme::Dns,
    address: SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 53)),
};

impl<'t> Scenario<'t> {
    fn new(text: &'t str) -> Self {
        let cut = text.find("=== questions\n").expect("a scenario has questions")
            + "=== questions\n".len();
        let (head, questions) = text.split_at(cut);
        let part = |name: &str| {
            let (_, rest) = head.split_once(&format!("=== {name}\n"))?;
            Some(rest.split("\n=== ").next().unwrap_or(rest))
        };
        let upstream = part("upstream")
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(question, records)| {
                let (name, qtype) = question.split_once(' ').unwrap();
                (
                    (name.to_owned(), qtype.to_owned()),
                    records.split(" | ").map(str::to_owned).collect(),
                )
            });
        let files =
            head.split("\n=== ").filter_map(|part| part.strip_prefix("file ")?.split_once('\n'));
        let files = files.map(|(path, text)| (path.to_owned(), Ok(text.to_owned()))).collect();
        let server = server(
            part("corefile").unwrap_or(COREFILE),
            part("objects").unwrap_or_default(),
            &files,
        );
        Self { head, questions, upstream: upstream.collect(), server, now: Instant::now(), seed: 7 }
    }

    /// The scenario with the current replies, and its number of queries.
    fn replay(mut self) -> (String, usize) {
        let (mut out, mut count) = (self.head.to_owned(), 0);
        for line in self.questions.lines() {
            if let Some(step) = line.strip_prefix("@ +") {
                let seconds: u64 = step.strip_suffix('s').unwrap().parse().unwrap();
                self.now += Duration::from_secs(seconds);
                writeln!(out, "{line}\n").unwrap();
            } else if let Some(question) = line.strip_prefix("> ") {
                count += 1;
                writeln!(out, "{line}\n{}", self.ask(question)).unwrap();
            } else if let Some((question, records)) =
                line.strip_prefix("! ").and_then(|line| line.split_once(" = "))
            {
                let (name, qtype) = question.split_once(' ').unwrap();
                self.upstream.insert(
                    (name.to_owned(), qtype.to_owned()),
                    records.split(" | ").map(str::to_owned).collect(),
                );
                writeln!(out, "{line}").unwrap();
            } else if line.starts_with("; ") {
                writeln!(out, "{line}").unwrap();
            }
        }
        (out, count)
    }

    fn ask(&mut self, question: &str) -> String {
        let mut words = question.split(' ');
        let (name, qtype) = (words.next().unwrap(), words.next().unwrap());
        let options: Vec<&str> = words.collect();
        let value = |key: &str| {
            options.iter().find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
        };
        let transport = if options.contains(&"tcp") { Transport::Tcp } else { Transport::Udp };
        let peer = SocketAddr::new(value("from").unwrap_or("10.244.9.9").parse().unwrap(), 40_000);
        self.seed += 1;
        let mut cx = Cx::new(self.now, self.seed, peer, LISTEN.address, transport);
        let mut out = Vec::new();
        let mut shown = String::new();
        let packet = request(name, qtype, &options, value("edns"), value("serial"));
        let mut outcome = self.server.receive(LISTEN, &packet, &mut cx, &mut out);
        while let Outcome::Wait(pending, Wait::Exchange(exchange)) = outcome {
            writeln!(shown, "^ {}", asked(&exchange.query)).unwrap();
            let reply = self.exchange(&exchange.query);
            outcome = self.server.resume(pending, reply, &mut cx, &mut out);
        }
        match outcome {
            Outcome::Reply => shown.push_str(&printed(&out)),
            Outcome::Transfer(mut zone) => loop {
                let mut out = Vec::new();
                if !zone.write(&mut out) {
                    self.server.transferred(&zone, &mut cx);
                    break;
                }
                shown.push_str(&printed(&out));
            },
            _ => shown.push_str("no reply\n"),
        }
        for query in std::mem::take(&mut cx.refreshes) {
            self.refresh(query, peer, transport, &mut shown);
        }
        shown
    }

    /// The queries to upstreams after the reply.
    fn refresh(
        &mut self,
        query: Query,
        peer: SocketAddr,
        transport: Transport,
        shown: &mut String,
    ) {
        let mut cx = Cx::new(self.now, self.seed, peer, LISTEN.address, transport);
        let mut outcome = self.server.refresh(LISTEN, query, &mut cx);
        while let Outcome::Wait(pending, Wait::Exchange(exchange)) = outcome {
            writeln!(shown, "^^ {}", asked(&exchange.query)).unwrap();
            let reply = self.exchange(&exchange.query);
            outcome = self.server.resume(pending, reply, &mut cx, &mut Vec::new());
        }
    }

    /// The reply of the simulated upstream, parsed as from the network.
    fn exchange(&self, query: &Query) -> Reply {
        let question = &query.question;
        let silence = QueryError::Upstream(upstream::UpstreamError::NoAnswer(
            "192.0.2.53:53".parse().unwrap(),
        ));
        let key = (question.name.to_string(), question.qtype.to_string());
        let lines = self.upstream.get(&key).cloned().unwrap_or_else(|| vec!["NXDOMAIN".to_owned()]);
        let mut message = Message::response(query.id, hickory_proto::op::OpCode::Query);
        message.metadata.recursion_available = true;
        let name = Name::from_str(&key.0).unwrap();
        message.add_query(hickory_proto::op::Query::query(
            name.clone(),
            RecordType::from(question.qtype.0),
        ));
        for line in &lines {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["SILENCE"] => return Err(silence),
                ["SERVFAIL"] => {
                    message.metadata.response_code = hickory_proto::op::ResponseCode::ServFail;
                }
                ["REFUSED"] => {
                    message.metadata.response_code = hickory_proto::op::ResponseCode::Refused;
                }
                ["AD"] => message.metadata.authentic_data = query.authentic_data,
                ["EDE", code, ..] => {
                    let text = line.splitn(3, ' ').nth(2).unwrap_or_default();
                    let code: u16 = code.parse().unwrap();
                    let data = [&code.to_be_bytes(), text.as_bytes()].concat();
                    let mut edns = Edns::new();
                    edns.options_mut().insert(EdnsOption::Unknown(15, data));
                    message.set_edns(edns);
                }
                ["NXDOMAIN"] => {
                    message.metadata.response_code = hickory_proto::op::ResponseCode::NXDomain;
                }
                [owner, ttl, rtype, ..] => {
                    let rdata = line.splitn(4, ' ').nth(3).unwrap();
                    let tokens = rdata.split(' ');
                    let rdata = RData::try_from_str(
                        RecordType::from_str(rtype).unwrap(),
                        &tokens.collect::<Vec<_>>().join(" "),
                    )
                    .unwrap();
                    let record = Record::from_rdata(
                        Name::from_str(owner).unwrap(),
                        ttl.parse().unwrap(),
                        rdata,
                    );
                    if *rtype == *"SOA" {
                        message.add_authority(record)
                    } else {
                        message.add_answer(record)
                    };
                }
                _ => panic!("upstream line {line:?}"),
            }
        }
        let packet = message.to_vec().unwrap();
        reply::read(&packet, query).map_err(|_| silence)
    }
}

/// `example.com. A do`
fn asked(query: &Query) -> String {
    let dnssec_ok = if query.dnssec_ok() { " do" } else { "" };
    format!("{}{dnssec_ok}", query.question)
}

const COREFILE: &str = include_str!("../answer/Corefile");

struct Environment(String);

impl Reader for Environment {
    fn read(&self, _path: &str) -> Result<String, String> {
        Err("no files here".to_owned())
    }

    fn list(&self, _directory: &str) -> Vec<String> {
        Vec::new()
    }

    fn env(&self, name: &str) -> Option<String> {
        (name == "DIR").then(|| self.0.clone())
    }
}

/// A server for the objects, without sockets.
fn server(text: &str, objects: &str, files: &HashMap<String, Result<String, String>>) -> Server {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("objects.yaml"), objects).unwrap();
    let mut diagnostics = Diagnostics::default();
    let reader = Environment(directory.path().display().to_string());
    let corefile = corefile::parse("Corefile", text, &reader, &mut diagnostics);
    let mut stores = HashMap::new();
    let mut written = Vec::new();
    for block in &corefile.blocks {
        let zones: Vec<wire::Name> =
            block.keys.iter().map(|key| key.zone.parse().unwrap()).collect();
        let checked = plugin::check(block, &zones, &mut diagnostics);
        assert!(!diagnostics.has_errors(), "{}", diagnostics.render(false));
        for need in checked.needs() {
            let Need::Source { source, .. } = need else { continue };
            let Origin::Manifests(directory) = &source.origin else {
                panic!("scenarios read manifests")
            };
            let mut index = Index::default();
            let reading = Manifests::open(Path::new(directory), None).unwrap().read();
            assert_eq!(reading.errors, []);
            let unsynced = unsynced(text);
            for change in
                reading.changes.into_iter().filter(|change| !unsynced.contains(&kind_of(change)))
            {
                index.apply(change, 1_700_000_000);
            }
            stores.insert(source, index.store());
        }
        written.push(BlockConfig {
            keys: zones.into_iter().map(|zone| (zone, LISTEN)).collect(),
            checked,
        });
    }
    let context = BuildContext {
        metrics: &Arc::new(Metrics::default()),
        stores: &stores,
        files,
        modified: &HashMap::new(),
        hosts: &HashMap::new(),
        own_addresses: &["10.244.0.53".parse().unwrap()],
        interfaces: &[],
        host_name: "coredns-5f9c4",
        previous: &ReloadState::default(),
        seed: 1,
        cookies: None,
    };
    assemble(&written, &context)
        .map_err(|error| error.to_string())
        .map(|assembled| assembled.server)
        .unwrap()
}

fn request(
    name: &str,
    qtype: &str,
    options: &[&str],
    edns: Option<&str>,
    serial: Option<&str>,
) -> Vec<u8> {
    let name: wire::Spelled = name.parse().unwrap();
    let (qtype, class) = match qtype.split_once('/') {
        Some((class, qtype)) => (qtype, if class == "CH" { 3 } else { 1 }),
        None => (qtype, 1_u16),
    };
    let qtype: wire::Type = qtype.parse().unwrap();
    let bit = |option, bit| if options.contains(&option) { bit } else { 0 };
    let flags = bit("cd", 0x10) | bit("ad", 0x20);
    let mut packet = vec![
        0,
        1,
        1,
        flags,
        0,
        1,
        0,
        0,
        0,
        u8::from(serial.is_some()),
        0,
        u8::from(edns.is_some()),
    ];
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&qtype.0.to_be_bytes());
    packet.extend_from_slice(&class.to_be_bytes());
    if let Some(serial) = serial {
        // An SOA record at the name of the query; its MNAME and RNAME are the same name.
        packet
            .extend_from_slice(b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x18\xc0\x0c\xc0\x0c");
        packet.extend_from_slice(&serial.parse::<u32>().unwrap().to_be_bytes());
        packet.extend_from_slice(&[0; 16]);
    }
    if let Some(size) = edns {
        let size: u16 = size.parse().unwrap();
        let flags = if options.contains(&"do") { 0x80 } else { 0 };
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&size.to_be_bytes());
        packet.extend_from_slice(&[0, 0, flags, 0, 0, 0]);
    }
    packet
}

/// A reply, parsed by hickory-proto, which is independent of our encoder.
fn printed(packet: &[u8]) -> String {
    let message = Message::from_vec(packet).expect("a reply that others can read");
    let mut out = String::new();
    let meta = &message.metadata;
    let flags = [
        (meta.authoritative, "aa"),
        (meta.truncation, "tc"),
        (meta.recursion_desired, "rd"),
        (meta.recursion_available, "ra"),
        (meta.authentic_data, "ad"),
        (meta.checking_disabled, "cd"),
    ];
    let flags: String =
        flags.iter().filter(|(set, _)| *set).map(|(_, name)| format!(" {name}")).collect();
    let question =
        message.queries.first().map(|query| query.name().to_string()).unwrap_or_default();
    let rcode = wire::Rcode(meta.response_code.into());
    writeln!(out, "{rcode}{flags} {question} {} octets", packet.len()).unwrap();
    if let Some(edns) = &message.edns {
        let options: Vec<_> = edns
            .options()
            .as_ref()
            .iter()
            .map(|(code, option)| format!(" {code:?}={option:?}"))
            .collect();
        let dnssec = if edns.flags().dnssec_ok { " do" } else { "" };
        writeln!(out, "edns {}{dnssec}{}", edns.max_payload(), options.concat()).unwrap();
    }
    for (mark, section) in
        [("", &message.answers), ("~ ", &message.authorities), ("+ ", &message.additionals)]
    {
        let mut lines: Vec<String> = Vec::new();
        let mut from = 0;
        for (at, record) in section.iter().enumerate() {
            if at > 0
                && (record.record_type() != section[at - 1].record_type()
                    || record.name != section[at - 1].name)
            {
                lines[from..].sort();
                from = at;
            }
            let data = record.data.to_string().replace(" 1700000000 ", " SERIAL ");
            lines.push(format!(
                "{mark}{} {} {} {data}",
                record.name,
                record.ttl,
                record.record_type()
            ));
        }
        lines[from..].sort();
        lines.iter().for_each(|line| writeln!(out, "{line}").unwrap());
    }
    out
}
