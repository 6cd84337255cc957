//! An attacker's day: each attack runs against ndots within the memory limit of kubeadm, while other
//! clients ask. `make soak` looks at the release, with the bounds that SECURITY.md promises, and runs
//! the same attacks against CoreDNS. `make test` has a debug build and wide bounds.

use std::time::Duration;

use crate::support::{encrypted::Authority, end::Ended, lab::Program, turn};

use super::{
    arena::{Addresses, Arena, Bounds, Outcome},
    attacks,
};

type Attack = fn(Addresses, &Authority, &Ended) -> String;

/// Each attack with its name. Rates are those that two processors can still send.
const ATTACKS: &[(&str, Attack)] = &[
    ("unread replies over TCP", |to, _, ended| attacks::unread_tcp(to, ended)),
    ("unread replies over HTTP/2", attacks::unread_http2),
    ("misses", |to, _, ended| attacks::misses(to, rate(20_000), ended)),
    ("a silent upstream", |to, _, ended| attacks::misses(to, 5_000, ended)),
    ("QUIC handshakes", |to, authority, ended| {
        attacks::initial_quic(to, authority, rate(500), ended)
    }),
    ("HTTP/2 resets", attacks::rapid_reset),
    ("slow messages over TCP", |to, _, ended| attacks::slow_tcp(to, ended)),
    ("silent TLS", |to, _, ended| attacks::silent_tls(to, ended)),
    ("a name from memory", |to, _, ended| attacks::hits(to, rate(20_000), ended)),
    ("random octets", |to, _, ended| attacks::garbage(to, rate(20_000), ended)),
];

/// Whether a release is tested, with the bounds that are promised.
fn is_release() -> bool {
    std::env::var_os("NDOTS_PROGRAM").is_some()
}

/// A debug build answers fewer queries.
fn rate(of_release: u32) -> u32 {
    if is_release() { of_release } else { of_release / 5 }
}

/// What SECURITY.md promises for a release.
const PROMISED: Bounds = Bounds {
    time: Duration::from_secs(10),
    loss: 0.001,
    rare: Duration::from_millis(50),
    growth: 1.2,
    most: 120 << 20,
};
/// Other programs may need the processors, and debug builds need more time and memory.
const DEBUG: Bounds = Bounds {
    time: Duration::from_secs(2),
    loss: 0.02,
    rare: Duration::from_secs(2),
    growth: 3.0,
    most: 160 << 20,
};

fn run(program: Program, name: &str, attack: Attack, bounds: Bounds) -> Outcome {
    // More than the cache holds, or few of them for a slow build.
    let names = if is_release() { 14_000 } else { 2_000 };
    let outcome = Arena::start(program, names).attacked(attack, bounds);
    println!("{program:?}, {name}: {outcome}");
    outcome
}

/// The environment variable `ATTACK` chooses some.
fn attacks() -> impl Iterator<Item = &'static (&'static str, Attack)> {
    let chosen = std::env::var("ATTACK").unwrap_or_default();
    ATTACKS.iter().filter(move |(name, _)| name.contains(&chosen))
}

#[test]
fn other_clients_do_not_notice_an_attack() {
    let _turn = turn::alone();
    let bounds = if is_release() { PROMISED } else { DEBUG };
    let mut faults = Vec::new();
    for (name, attack) in attacks() {
        let outcome = run(Program::Ndots, name, *attack, bounds);
        let mut fault = |what: String| faults.push(format!("{name}: {what}"));
        for (kind, times) in outcome.clients.all() {
            if times.loss() > bounds.loss || times.at(99) > bounds.rare {
                fault(format!("{kind}: {times}"));
            }
        }
        if !outcome.lives {
            fault("the process has ended".to_owned());
        }
        if outcome.after as f64 > outcome.before as f64 * bounds.growth {
            fault(format!("{} KiB, and {} KiB afterwards", outcome.before, outcome.after));
        }
        if outcome.peak.is_some_and(|octets| octets > bounds.most) {
            fault(format!("{:?} octets", outcome.peak));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The column of CoreDNS in SECURITY.md.
#[test]
#[ignore = "minutes: `make soak`"]
fn the_same_attacks_on_coredns() {
    let _turn = turn::alone();
    for (name, attack) in attacks() {
        run(Program::CoreDns, name, *attack, PROMISED);
    }
}
