//! Replays `answer/*.dns`: simulated objects, Corefile, upstreams and clock, then queries and the
//! replies to them.
//!
//! A scenario has these parts, of which only the last is required:
//! - `=== corefile`; without it `answer/Corefile` applies;
//! - `=== objects`, as YAML;
//! - `=== upstream`: lines `NAME TYPE = REPLY`. A reply has one or more of these, with ` | `
//!   between them: a record, `NXDOMAIN`, `SERVFAIL`, `REFUSED`, `SILENCE`, `TC`, `AD` (set if the
//!   query has it), `EDE CODE TEXT`. Every other name is NXDOMAIN;
//! - `=== file PATH`: a file that the Corefile names;
//! - `=== questions`.
//!
//! A line `# unsynced KIND…` of the Corefile names kinds of objects that are not synced. Without
//! kinds it means all.
//!
//! A line of the questions is one of these:
//! - `> NAME TYPE [tcp] [edns=SIZE] [do] [cd] [ad] [from=ADDRESS] [serial=NUMBER]`: a query;
//! - `@ +30s` moves the clock;
//! - `! NAME TYPE = REPLY` changes a reply of the upstream;
//! - `; TEXT` is a comment.
//!
//! Below a query follow the queries to upstreams (`^`, or `^^` after the reply was sent), the code
//! with the flags, and the records: those of the authority section after `~`, those of the
//! additional section after `+`. Serials are written as `SERIAL`. Record sets are sorted, since the
//! order of addresses is random.
//!
//! `UPDATE_EXPECT=1 cargo test --test it answer::` rewrites the replies. Review the changes.

mod message;
mod upstream;

use std::{
    collections::HashMap,
    fmt::Write,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use ndots::{
    chain::{Cx, QueryError, Refresh, Reply, Transport, UnixClock},
    corefile::{self, Diagnostics, Reader},
    metrics::Metrics,
    model::{Change, Kind},
    plugin::{self, FileVersion, Need, Origin, ReadFile, ReloadState},
    server::{BlockConfig, BuildContext, Listen, Outcome, Scheme, Server, Wait, assemble},
    source::manifests::Manifests,
    upstream::{UpstreamError, UpstreamTransport},
    wire::{self, Query, reply},
    zone::Index,
    zonefile::NoDatabase,
};

pub(crate) use message::{asked, printed, request};
pub(crate) use upstream::Upstream;

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
    assert!(questions >= 1000, "the scenarios have shrunk to {questions} questions");
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
        | Change::Forget(kind)
        | Change::Abandon(kind) => *kind,
    }
}

struct Scenario<'t> {
    /// The text before the queries, which stays as it is.
    head: &'t str,
    questions: &'t str,
    upstream: Upstream,
    server: Server,
    now: Instant,
    seed: u64,
}

/// The Unix time. It does not move with the scenario's clock.
const NOW: u32 = 1_700_000_000;

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
        let upstream = Upstream::parse(part("upstream").unwrap_or_default());
        let files =
            head.split("\n=== ").filter_map(|part| part.strip_prefix("file ")?.split_once('\n'));
        let files = files.map(|(path, text)| (path.to_owned(), Ok(text.to_owned()))).collect();
        let server = server(
            part("corefile").unwrap_or(COREFILE),
            part("objects").unwrap_or_default(),
            &files,
        );
        Self { head, questions, upstream, server, now: Instant::now(), seed: 7 }
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
            } else if let Some(change) = line.strip_prefix("! ") {
                self.upstream.change(change);
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
            outcome = self.server.resume(pending, reply.into(), &mut cx, &mut out);
        }
        match outcome {
            Outcome::Reply => shown.push_str(&printed(&out)),
            Outcome::Transfer(mut zone) => loop {
                let mut out = Vec::new();
                if !zone.write(self.now, &mut out) {
                    self.server.transferred(&zone, &mut cx);
                    break;
                }
                shown.push_str(&printed(&out));
            },
            _ => shown.push_str("no reply\n"),
        }
        for refresh in std::mem::take(&mut cx.refreshes) {
            self.refresh(refresh, peer, transport, &mut shown);
        }
        shown
    }

    /// The queries to upstreams after the reply.
    fn refresh(
        &mut self,
        refresh: Refresh,
        peer: SocketAddr,
        transport: Transport,
        shown: &mut String,
    ) {
        let mut cx = Cx::new(self.now, self.seed, peer, LISTEN.address, transport);
        let mut outcome = self.server.refresh(LISTEN, refresh, &mut cx);
        while let Outcome::Wait(pending, Wait::Exchange(exchange)) = outcome {
            writeln!(shown, "^^ {}", asked(&exchange.query)).unwrap();
            let reply = self.exchange(&exchange.query);
            outcome = self.server.resume(pending, reply.into(), &mut cx, &mut Vec::new());
        }
    }

    /// The reply of the simulated upstream, parsed as from the network.
    fn exchange(&self, query: &Query) -> Reply {
        let silence = QueryError::Upstream(UpstreamError::NoAnswer(
            UpstreamTransport::Udp,
            "192.0.2.53:53".parse().unwrap(),
        ));
        let packet = self.upstream.reply(query).ok_or(silence)?;
        reply::read(&packet, query).map_err(|_| silence)
    }
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
    let mut octets = HashMap::new();
    for block in &corefile.blocks {
        let zones: Vec<wire::Name> =
            block.keys.iter().map(|key| key.zone.parse().unwrap()).collect();
        let checked = plugin::check(block, &zones, &mut diagnostics);
        assert!(!diagnostics.has_errors(), "{}", diagnostics.render(false));
        for need in checked.needs() {
            if let Need::Octets(path) = &need {
                let read = fs::read(path).map_err(|error| error.to_string());
                let file = read.map(|octets| ReadFile {
                    version: FileVersion::default(),
                    octets: octets.into(),
                });
                octets.insert(path.clone(), file);
            }
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
                index.apply(change, NOW);
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
        octets: &octets,
        modified: &HashMap::new(),
        hosts: &HashMap::new(),
        own_addresses: &["10.244.0.53".parse().unwrap()],
        interfaces: &[],
        host_name: "coredns-5f9c4",
        previous: &ReloadState::default(),
        seed: 1,
        cookies: None,
        clock: UnixClock(|_| NOW),
        signer: ndots::net::signing::signer,
        database: |_| Arc::new(NoDatabase),
    };
    assemble(&written, &context)
        .map_err(|error| error.to_string())
        .map(|assembled| assembled.server)
        .unwrap()
}
