//! Forwarding to upstreams with faults: whatever CoreDNS resolves, ndots resolves, in no more time.

mod check;
mod conntrack;
mod resolvers;
mod stale;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use crate::support::{
    Ndots,
    coredns::CoreDns,
    imperfect::{MODES, MORE, Mode},
    turn,
};
use check::{CHECKS, Check, Outcome};
use resolvers::{Question, Resolvers, ask_all, questions};

/// The time that ndots may take more than CoreDNS.
const MARGIN: Duration = Duration::from_millis(100);
/// A failure stays in the cache for 5 s.
const FAILURE_TTL: Duration = Duration::from_millis(5100);
/// How many times a question is asked again if records are missing in the reply.
const REPETITIONS: usize = 3;
/// How many times a late check is measured. A query may wait for a processor while other programs
/// run, so only a check that is late each time counts as slow.
const MEASUREMENTS: usize = 6;
/// The least number of checks that CoreDNS resolves.
const LEAST: usize = 470;
/// Modes whose checks run at the same time.
const WORKERS: usize = 4;

/// One block for each mode, with the plugins that kubeadm writes for external names.
fn corefile(port: u16, modes: &[&Mode], upstreams: &[SocketAddr]) -> String {
    modes.iter().zip(upstreams).fold(String::new(), |mut text, (mode, upstream)| {
        let _ = write!(
            text,
            "{}.test:{port} {{\n bind 127.0.0.1\n forward . {upstream}\n cache 30\n}}\n",
            mode.name
        );
        text
    })
}

type Outcomes = BTreeMap<(usize, usize), Outcome>;

/// Runs the checks of some modes at the same time. Those of one mode run in parallel too, after the
/// first query and its repetition.
fn run(server: SocketAddr, modes: &[&Mode]) -> Outcomes {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(mode) = modes.get(at) else { return outcomes };
            let checks = run_mode(server, mode).into_iter();
            outcomes.extend(checks.map(|(check, outcome)| ((at, check), outcome)));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
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

/// Runs the checks of these modes against a new server of ndots with new upstreams.
fn run_ndots(modes: &[&Mode]) -> Outcomes {
    let upstreams: Vec<_> = modes.iter().map(|mode| mode.start()).collect();
    let ndots = Ndots::corefile(&corefile(0, modes, &upstreams), &["dns"], &[]);
    run(ndots.address, modes)
}

/// The result of a check.
enum Verdict {
    Pass,
    /// CoreDNS gives no answer.
    Unwanted,
    /// The reply lacks something, which this text names.
    Lost(String),
    Late,
}

fn verdict(theirs: &Outcome, ours: &Outcome) -> Verdict {
    if !theirs.is_answer() {
        return Verdict::Unwanted;
    }
    match ours.lacks(theirs) {
        Some(missing) => Verdict::Lost(missing),
        None if ours.took > theirs.took + MARGIN => Verdict::Late,
        None => Verdict::Pass,
    }
}

fn late(theirs: &Outcomes, ours: &Outcomes) -> Vec<(usize, usize)> {
    ours.iter()
        .filter(|(key, outcome)| matches!(verdict(&theirs[key], outcome), Verdict::Late))
        .map(|(key, _)| *key)
        .collect()
}

#[test]
fn no_fault_of_an_upstream_costs_an_answer_that_coredns_gives() {
    let _turn = turn::alone();
    let modes: Vec<_> = MODES.iter().chain(MORE).collect();
    let upstreams: Vec<_> = modes.iter().map(|mode| mode.start()).collect();
    let coredns = CoreDns::start(|port| corefile(port, &modes, &upstreams));
    let (theirs, mut ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| run(coredns.address, &modes));
        let ours = run_ndots(&modes);
        (theirs.join().unwrap(), ours)
    });
    for _ in 1..MEASUREMENTS {
        let slow: BTreeSet<_> = late(&theirs, &ours).into_iter().map(|(at, _)| at).collect();
        let slow: Vec<_> = slow.into_iter().collect();
        if slow.is_empty() {
            break;
        }
        let again: Vec<_> = slow.iter().map(|at| modes[*at]).collect();
        for ((at, number), outcome) in run_ndots(&again) {
            let key = (slow[at], number);
            if matches!(verdict(&theirs[&key], &ours[&key]), Verdict::Late) {
                ours.insert(key, outcome);
            }
        }
    }
    let resolved = report(&modes, &theirs, &ours);
    assert!(resolved >= LEAST, "CoreDNS resolves only {resolved} checks");
    let plain = modes.iter().position(|mode| mode.name == "plain").expect("there is a good mode");
    for outcomes in [&theirs, &ours] {
        let of_plain = outcomes.iter().filter(|((at, _), _)| *at == plain);
        assert!(of_plain.clone().all(|(_, outcome)| outcome.is_answer()), "a good upstream");
    }
    let lost = ours.iter().filter_map(|(key, outcome)| match verdict(&theirs[key], outcome) {
        Verdict::Lost(missing) => {
            Some(format!("{} {}: {missing}", modes[key.0].name, check_of(*key)))
        }
        _ => None,
    });
    let lost: Vec<_> = lost.collect();
    assert!(lost.is_empty(), "ndots loses answers:\n{}", lost.join("\n"));
    let late: Vec<_> = late(&theirs, &ours)
        .into_iter()
        .map(|key| {
            let [theirs, ours] = [&theirs, &ours].map(|outcomes| outcomes[&key].took);
            format!("{} {}: {ours:?}, CoreDNS {theirs:?}", modes[key.0].name, check_of(key))
        })
        .collect();
    assert!(late.is_empty(), "later than CoreDNS:\n{}", late.join("\n"));
}

fn check_of((_, number): (usize, usize)) -> &'static str {
    CHECKS[number].name
}

/// Prints one line for each mode. Returns how many checks CoreDNS resolves.
fn report(modes: &[&Mode], theirs: &Outcomes, ours: &Outcomes) -> usize {
    let mut count = [0, 0];
    for (at, mode) in modes.iter().enumerate() {
        let of_mode = |outcomes: &Outcomes| {
            let outcomes = (0..CHECKS.len()).map(|number| &outcomes[&(at, number)]);
            let answered = outcomes.clone().filter(|outcome| outcome.is_answer()).count();
            (answered, outcomes.map(|outcome| outcome.took.as_millis()).max().unwrap())
        };
        let ((their_answers, their_time), (our_answers, our_time)) =
            (of_mode(theirs), of_mode(ours));
        count = [count[0] + their_answers, count[1] + our_answers];
        println!(
            "{:32} CoreDNS {their_answers} in {their_time:4} ms   ndots {our_answers} in {our_time:4} ms   {}",
            mode.name, mode.seen,
        );
    }
    println!("CoreDNS resolves {} checks, ndots {}", count[0], count[1]);
    count[0]
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

#[test]
fn every_record_of_real_resolvers_is_passed_on_in_its_spelling() {
    compare_with_resolvers(500);
}

#[test]
#[ignore = "minutes: `make soak`"]
fn every_record_of_ten_thousand_names_is_passed_on_in_its_spelling() {
    compare_with_resolvers(10_000);
}

/// At most 65,000 names.
fn compare_with_resolvers(names: usize) {
    let _turn = turn::alone();
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
            assert!(answered * 100 >= names * 94, "{name}: CoreDNS answers only {answered}");
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

/// Asks CoreDNS and ndots, in this order of addresses. Returns how many questions CoreDNS answers,
/// and what ndots lacks.
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
