//! Compares CoreDNS and ndots on one control plane, with the same Corefile and the same queries. A
//! difference is a bug unless `tests/differences.toml` has it with a reason.
//!
//! Sections are compared as sets, without the SOA's serial and the OPT's size. TTLs are compared
//! exactly, except for external records from a cache, which one server may have fetched some
//! seconds earlier. `make diff` uses every Corefile in `tests/diff/corefiles`; `cargo test` uses
//! kubeadm's, with each query in one way only.

mod ask;
mod command;
mod objects;
mod questions;
mod report;
mod servers;
mod upstream;
mod zones;

use std::{net::SocketAddr, path::Path, thread, time::Instant};

use crate::support::{
    lab::{Lab, LabOptions, Program},
    turn::{self, Turn},
};
use ndots::{
    diff::{Asked, Delta, How, Reply, Rule, as_cut, may_be_cut},
    wire::Type,
};
use objects::Cluster;
use questions::{TYPES, WAYS};
use report::Report;
use servers::{Machines, corefile, corefiles};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Corefiles for which each query is sent in every way. For the others the ways alternate.
const THOROUGH: [&str; 1] = ["kubeadm"];
/// The number of queries before replies are compared.
const BATCH: usize = 20_000;

#[test]
fn kubeadms_corefile_is_answered_as_by_coredns() {
    let turn = turn::alone();
    let run = Run::start(&turn);
    let mut report = Report::new(&run.rules);
    run.corefile("kubeadm", false, &mut report);
    println!("{}", report.print());
    assert!(report.questions >= 10_000, "only {} questions", report.questions);
    assert_eq!(report.unexplained_differences(), 0);
}

#[test]
#[ignore = "minutes: `make diff`"]
fn every_corefile_is_answered_as_by_coredns() {
    let turn = turn::alone();
    let run = Run::start(&turn);
    let mut report = Report::new(&run.rules);
    let only = std::env::var("NDOTS_DIFF").ok();
    for name in corefiles()
        .iter()
        .filter(|name| only.as_ref().is_none_or(|only| only.split(',').any(|only| only == *name)))
    {
        let begun = (Instant::now(), report.questions);
        run.corefile(name, THOROUGH.contains(&&**name), &mut report);
        println!(
            "{name}: {} questions in {:.1} s",
            report.questions - begun.1,
            begun.0.elapsed().as_secs_f64()
        );
    }
    println!("\n{}", report.print());
    assert_eq!(report.unexplained_differences(), 0);
    if only.is_none() {
        assert!(report.questions >= 20_000 && report.corefiles.len() >= 15);
        assert_eq!(report.idle(), [""; 0], "these lines of differences.toml explain nothing");
    }
}

/// A cluster with all objects, and the two hosts of the servers.
struct Run {
    lab: Lab,
    machines: Machines,
    cluster: Cluster,
    rules: Vec<Rule>,
}

impl Run {
    fn start(turn: &Turn) -> Self {
        let relaxed = &["--feature-gates=RelaxedServiceNameValidation=true"];
        let lab = Lab::start(turn, &LabOptions { apiserver: relaxed, ..LabOptions::dual_stack() });
        let machines = Machines::new(&lab);
        let cluster = Cluster::make(&lab, &machines.addresses());
        Self { lab, machines, cluster, rules: rules() }
    }

    fn corefile(&self, name: &str, every_way: bool, report: &mut Report<'_>) {
        let text = corefile(name);
        let mut zones = questions::zones(&text);
        if zones.is_empty() {
            zones.push("cluster.local".to_owned());
        }
        let begun = Instant::now();
        let start = |program| move || self.machines.start(&self.lab, program, name);
        let (coredns, ndots) = both(start(Program::CoreDns), start(Program::Ndots));
        report.corefiles.insert(name.to_owned());
        let names = questions::names(&self.cluster, &zones);
        for batch in questions(&names, every_way).chunks(BATCH) {
            let cached_since = text.contains("cache").then_some(begun);
            compare_batch(name, batch, [coredns.address, ndots.address], cached_since, report);
        }
        if text.contains("transfer {") {
            compare_transfers(name, &zones, [coredns.address, ndots.address], report);
        }
    }
}

/// Every type for every name, in one way or in all ways.
fn questions(names: &[String], every_way: bool) -> Vec<Asked> {
    let mut questions = Vec::new();
    for (at, name) in names.iter().enumerate() {
        for (turn, qtype) in TYPES.into_iter().enumerate() {
            // These names are rare in clusters but have the most special rules.
            let of_top = name.matches('.').count() <= 1 || name.starts_with("ns.dns.");
            let ways: &[How] = if every_way || of_top {
                &WAYS
            } else {
                std::slice::from_ref(&WAYS[(at + turn) % WAYS.len()])
            };
            questions.extend(ways.iter().map(|how| Asked { name: name.clone(), qtype, how: *how }));
        }
    }
    questions
}

/// Compares transfers of the zones, and of names that are not zones.
fn compare_transfers(
    corefile: &str,
    zones: &[String],
    servers: [SocketAddr; 2],
    report: &mut Report<'_>,
) {
    let others = [
        "in-addr.arpa",
        "ip6.arpa",
        "svc.cluster.local",
        "web.shop.svc.cluster.local",
        "example.org",
    ]
    .map(str::to_owned);
    for name in zones.iter().chain(&others) {
        let how = How { tcp: true, ..How::default() };
        let asked = Asked { name: name.clone(), qtype: Type::AXFR, how };
        let whole = servers.map(|server| {
            let messages = ask::transfer(server, &asked)?;
            let mut replies =
                messages.iter().map(|packet| Reply::read(packet, &asked.packet(0), server.ip()));
            let first = replies.next()?;
            Some(replies.fold(first, |mut whole, reply| {
                let [answer, ..] = reply.sections;
                whole.sections[0].extend(answer);
                whole
            }))
        });
        let [coredns, ndots] = [0, 1].map(|server: usize| whole[server].as_ref());
        report.take(corefile, &asked, [coredns, ndots], compare(&asked, coredns, ndots, 0));
    }
}

fn compare_batch(
    corefile: &str,
    questions: &[Asked],
    servers: [SocketAddr; 2],
    cached_since: Option<Instant>,
    report: &mut Report<'_>,
) {
    let replies = asked_of(servers, questions);
    // One of the two caches may have fetched a record as early as the start of its server.
    let age = cached_since.map_or(0, |begun| begun.elapsed().as_secs() as u32 + 1);
    let mut cut = Vec::new();
    for (at, asked) in questions.iter().enumerate() {
        let [coredns, ndots] = [0, 1].map(|server: usize| replies[server][at].as_ref());
        let deltas = compare(asked, coredns, ndots, age);
        if may_be_cut([coredns, ndots], &deltas) {
            cut.push((at, deltas));
        } else {
            report.take(corefile, asked, [coredns, ndots], deltas);
        }
    }
    let wholes: Vec<Asked> = cut.iter().map(|(at, _)| questions[*at].whole()).collect();
    let wholes = asked_of(servers, &wholes);
    for (place, (at, deltas)) in cut.into_iter().enumerate() {
        let replies = [0, 1].map(|server: usize| replies[server][at].as_ref());
        let wholes = [0, 1].map(|server: usize| wholes[server][place].as_ref());
        let deltas = as_cut(&questions[at], replies, wholes, deltas);
        report.take(corefile, &questions[at], replies, deltas);
    }
}

/// The differences of two replies. External records may be `age` seconds older on one side, because
/// one of the two caches may have fetched them earlier.
fn compare(asked: &Asked, coredns: Option<&Reply>, ndots: Option<&Reply>, age: u32) -> Vec<Delta> {
    let of_world = |reply: Option<&Reply>| {
        reply.is_some_and(|reply| {
            reply.sections.iter().flatten().any(|line| {
                line.owner == "." || line.owner.to_lowercase().ends_with("example.org.")
            })
        })
    };
    let age = if of_world(coredns) && of_world(ndots) { age } else { 0 };
    ndots::diff::compare(asked, coredns, ndots, age)
}

/// The intended differences. A test that one of them names must exist.
fn rules() -> Vec<Rule> {
    let rules = Rule::all().unwrap();
    for rule in &rules {
        let test = root().join(rule.shown_by().unwrap_or_default());
        assert!(test.exists(), "`{}`: {} does not exist", rule.name(), test.display());
    }
    rules
}

/// The parsed replies of both servers.
fn asked_of(servers: [SocketAddr; 2], questions: &[Asked]) -> [Vec<Option<Reply>>; 2] {
    let read = |server: SocketAddr| {
        let packets = ask::ask(server, questions).into_iter().zip(questions);
        packets
            .map(|(packet, asked)| {
                packet.map(|packet| Reply::read(&packet, &asked.packet(0), server.ip()))
            })
            .collect()
    };
    let (coredns, ndots) = both(|| read(servers[0]), || read(servers[1]));
    [coredns, ndots]
}

fn both<A: Send, B: Send>(
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap(), other)
    })
}
