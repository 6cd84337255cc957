//! Forwarding to upstreams with faults: whatever CoreDNS resolves, ndots resolves, in no more time.

mod check;
mod resolvers;
mod stale;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
    thread,
    time::Duration,
};

use crate::support::{
    Ndots,
    coredns::CoreDns,
    imperfect::{MODES, Mode},
    turn,
};
use check::{CHECKS, Check, Outcome};
use resolvers::{Question, Resolvers, ask_all, questions};

/// The time that ndots may take more than CoreDNS.
const MARGIN: Duration = Duration::from_millis(100);
/// The time that a query may wait for a processor while all other tests run.
const LOAD: Duration = Duration::from_millis(500);

/// A failure stays in the cache for 5 s.
const FAILURE_TTL: Duration = Duration::from_millis(5100);
/// How often a question without its records is asked again.
const REPETITIONS: usize = 3;

/// Modes in which ndots fails a check that CoreDNS passes. The list is exact, so that it shrinks with
/// each repair.
const KNOWN: &[&str] = &[
    "other-port-over-udp",
    "udp-silent-tcp-works",
    "udp-refused-tcp-works",
    "edns-servfail",
    "edns-opt-in-answer-section",
];

/// One block for each mode, with the plugins that kubeadm writes for external names.
fn corefile(port: u16, upstreams: &[SocketAddr]) -> String {
    MODES.iter().zip(upstreams).fold(String::new(), |mut text, (mode, upstream)| {
        let _ = write!(
            text,
            "{}.test:{port} {{\n bind 127.0.0.1\n forward . {upstream}\n cache 30\n}}\n",
            mode.name
        );
        text
    })
}

type Outcomes = BTreeMap<(usize, usize), Outcome>;

/// Runs the checks of all modes at the same time. Those of one mode run in parallel too, after the
/// first query and its repetition.
fn run(server: SocketAddr) -> Outcomes {
    thread::scope(|scope| {
        let modes: Vec<_> = MODES
            .iter()
            .enumerate()
            .map(|(at, mode)| scope.spawn(move || (at, run_mode(server, mode))))
            .collect();
        modes
            .into_iter()
            .flat_map(|mode| {
                let (at, outcomes) = mode.join().unwrap();
                outcomes.into_iter().map(move |(check, outcome)| ((at, check), outcome))
            })
            .collect()
    })
}

fn run_mode(server: SocketAddr, mode: &Mode) -> Vec<(usize, Outcome)> {
    let ask = |check: &Check| check.run(server, mode.name);
    let (inorder, parallel) = CHECKS.split_at(check::IN_ORDER);
    let mut outcomes: Vec<_> = inorder.iter().map(ask).enumerate().collect();
    thread::scope(|scope| {
        let running: Vec<_> =
            parallel.iter().map(|check| scope.spawn(move || ask(check))).collect();
        let parallel = running.into_iter().map(|outcome| outcome.join().unwrap());
        outcomes.extend((check::IN_ORDER..).zip(parallel));
    });
    outcomes
}

#[test]
fn no_fault_of_an_upstream_costs_an_answer_that_coredns_gives() {
    let _turn = turn::alone();
    let start = || MODES.iter().map(Mode::start).collect::<Vec<_>>();
    let coredns = CoreDns::start(|port| corefile(port, &start()));
    let ndots = Ndots::corefile(&corefile(0, &start()), &["dns"], &[]);
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| run(coredns.address));
        let ours = run(ndots.address);
        (theirs.join().unwrap(), ours)
    });

    let (mut lost, mut late, mut passed, mut wanted) = (BTreeSet::new(), Vec::new(), 0, 0);
    for (at, mode) in MODES.iter().enumerate() {
        let (mut line, mut resolved) = (String::new(), [0, 0]);
        for (number, check) in CHECKS.iter().enumerate() {
            let (theirs, ours) = (&theirs[&(at, number)], &ours[&(at, number)]);
            resolved[0] += usize::from(theirs.is_answer());
            resolved[1] += usize::from(ours.is_answer());
            if !theirs.is_answer() {
                continue;
            }
            wanted += 1;
            if let Some(missing) = ours.lacks(theirs) {
                let _ = write!(line, "\n      {}: {missing}", check.name);
                lost.insert(mode.name);
            } else if ours.took > theirs.took + MARGIN + LOAD {
                late.push(format!(
                    "{} {}: {:?}, CoreDNS {:?}",
                    mode.name, check.name, ours.took, theirs.took
                ));
            } else {
                passed += 1;
            }
        }
        let slowest = |outcomes: &Outcomes| {
            (0..CHECKS.len()).map(|check| outcomes[&(at, check)].took).max().unwrap()
        };
        println!(
            "{:32} CoreDNS {} in {:4} ms   ndots {} in {:4} ms   {}{line}",
            mode.name,
            resolved[0],
            slowest(&theirs).as_millis(),
            resolved[1],
            slowest(&ours).as_millis(),
            mode.seen,
        );
    }
    println!("ndots passes {passed} of the {wanted} checks that CoreDNS resolves");
    assert_eq!(lost, BTreeSet::from_iter(KNOWN.iter().copied()), "the modes in which ndots loses");
    assert!(late.is_empty(), "later than CoreDNS:\n{}", late.join("\n"));
}

/// One block for each resolver, on an address of its own: 127.0.0.1, 127.0.0.2 and so on.
fn corefile_of_resolvers(port: u16, resolvers: &Resolvers) -> String {
    let addresses = resolvers.addresses.iter().zip(1..);
    addresses.fold(String::new(), |mut text, ((_, resolver), last)| {
        let _ = write!(
            text,
            ".:{port} {{\n bind 127.0.0.{last}\n forward . {resolver}\n cache 30\n}}\n"
        );
        text
    })
}

/// `NDOTS_NAMES` sets the number of names, which is at most 65,000.
#[test]
fn every_record_of_real_resolvers_is_passed_on_in_its_spelling() {
    let _turn = turn::alone();
    let names = std::env::var("NDOTS_NAMES").map_or(500, |names| names.parse().unwrap());
    let (resolvers, questions) = (Resolvers::start(names), questions(names));
    let coredns = CoreDns::start(|port| corefile_of_resolvers(port, &resolvers));
    let listens: Vec<_> =
        (1..=resolvers.addresses.len()).map(|last| format!("dns://127.0.0.{last}:0")).collect();
    let schemes: Vec<_> = listens.iter().map(String::as_str).collect();
    let ndots = Ndots::corefile(&corefile_of_resolvers(0, &resolvers), &schemes, &[]);

    let mut lost = Vec::new();
    for ((name, _), (listen, last)) in resolvers.addresses.iter().zip(listens.iter().zip(1..)) {
        let theirs = SocketAddr::from(([127, 0, 0, last], coredns.address.port()));
        for dnssec in [false, true] {
            let (answered, lacking) = compare([theirs, ndots.bound[listen]], &questions, dnssec);
            println!(
                "{name:14} DO {dnssec:5} CoreDNS answers {answered} of {names}, ndots lacks records in {}",
                lacking.len()
            );
            lost.extend(lacking.iter().map(|lack| format!("{name}, DO {dnssec}, {lack}")));
        }
    }
    assert!(
        lost.is_empty(),
        "{} replies, such as\n{}",
        lost.len(),
        lost[..lost.len().min(20)].join("\n")
    );
}

/// Asks CoreDNS and ndots, in this order of addresses. Returns how many questions CoreDNS answers, and
/// what ndots lacks.
///
/// Each server asks the resolver on its own, and a resolver under load fails now and then. So what
/// ndots lacks is asked again when no failure is in its cache any more.
fn compare(
    [coredns, ndots]: [SocketAddr; 2],
    questions: &[Question],
    dnssec: bool,
) -> (usize, Vec<String>) {
    let (theirs, mut ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| ask_all(coredns, questions, dnssec));
        let replies = ask_all(ndots, questions, dnssec);
        (theirs.join().unwrap(), replies)
    });
    let lacking = |replies: &[Outcome]| -> Vec<(usize, String)> {
        let of_both = theirs.iter().zip(replies).enumerate();
        of_both
            .filter(|(_, (theirs, _))| theirs.is_answer())
            .filter_map(|(at, (theirs, ours))| Some((at, ours.lacks(theirs)?)))
            .collect()
    };
    for _ in 0..REPETITIONS {
        let again: Vec<_> = lacking(&ours).into_iter().map(|(at, _)| at).collect();
        if again.is_empty() {
            break;
        }
        thread::sleep(FAILURE_TTL);
        let asked: Vec<_> = again.iter().map(|&at| questions[at].clone()).collect();
        let replies = ask_all(ndots, &asked, dnssec);
        for (at, reply) in again.into_iter().zip(replies) {
            ours[at] = reply;
        }
    }
    let describe = |(at, missing): (usize, String)| {
        format!("{} {}: {missing}", questions[at].name, questions[at].qtype)
    };
    let answered = theirs.iter().filter(|outcome| outcome.is_answer()).count();
    (answered, lacking(&ours).into_iter().map(describe).collect())
}
