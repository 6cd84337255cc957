//! Zone files: CoreDNS and ndots serve the same files, and are queried for each name in them with
//! each type.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::PathBuf};

use ndots::{
    diff::{Asked, How, Rule},
    wire::{Name, Type},
    zonefile,
};

use super::{compare_batch, compare_transfers, questions::WAYS, report::Report, root, rules};
use crate::support::{Ndots, coredns::CoreDns};

const TYPES: [Type; 24] = [
    Type::A,
    Type::AAAA,
    Type::CNAME,
    Type::DNAME,
    Type::NS,
    Type::SOA,
    Type::MX,
    Type::TXT,
    Type::SRV,
    Type::PTR,
    Type::DS,
    Type::DNSKEY,
    Type::RRSIG,
    Type::NSEC,
    Type::HTTPS,
    Type::SVCB,
    Type::CAA,
    Type::NAPTR,
    Type::TLSA,
    Type::HINFO,
    Type::LOC,
    Type::ANY,
    Type(731),
    Type(65_280),
];

const ZONES: [(&str, &str); 4] = [
    ("rich.zone", "rich.test"),
    ("signed.zone", "signed.test"),
    ("elsewhere.zone", "elsewhere.test"),
    ("reverse.zone", "2.0.192.in-addr.arpa"),
];

fn directory() -> PathBuf {
    root().join("tests/diff/zones")
}

/// The names of a zone file, and names near them.
fn names(file: &str, origin: &str) -> BTreeSet<String> {
    let texts: Vec<(PathBuf, String)> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    let read = |path: &str| {
        let found = texts.iter().find(|(file, _)| file == &PathBuf::from(path));
        found.map(|(_, text)| text.as_str()).ok_or_else(|| "no such file".to_owned())
    };
    let path = directory().join(file).display().to_string();
    let origin: Name = origin.parse().unwrap();
    let zone = zonefile::parse(&path, read(&path).unwrap(), &origin, &read).unwrap();
    assert_eq!(zone.problems, []);
    let zone = std::sync::Arc::new(zone.zone);
    let mut names = BTreeSet::new();
    for set in zone.transfer().records {
        let ndots::wire::Owner::Name(wire) = &set.owner else { panic!("an owner with a name") };
        let mut name = Name::from_wire(wire);
        while let Some(owner) = name.filter(|name| name.is_within(&origin)) {
            for labels in ["", "x.", "a.b.", "*.", "zzz."] {
                let text = format!("{labels}{owner}").trim_end_matches('.').to_owned();
                if text.parse::<Name>().is_ok() {
                    names.insert(text);
                }
            }
            name = owner.parent();
        }
    }
    names
}

fn questions(names: &BTreeSet<String>) -> Vec<Asked> {
    let mut questions = Vec::new();
    for (at, name) in names.iter().enumerate() {
        for (turn, qtype) in TYPES.into_iter().enumerate() {
            let way = WAYS[(at + turn) % WAYS.len()];
            let signed = How { edns: Some(4096), dnssec_ok: true, ..How::default() };
            let ways = [way, signed];
            questions.extend(ways.map(|how| Asked { name: name.clone(), qtype, how }));
        }
    }
    questions
}

fn compare(name: &str, corefile: impl Fn(u16) -> String, report: &mut Report<'_>) {
    let coredns = CoreDns::start(&corefile);
    let ndots = Ndots::corefile(&corefile(0), &["dns"], &[]);
    let servers: [SocketAddr; 2] = [coredns.address, ndots.address];
    report.corefiles.insert(name.to_owned());
    for (file, origin) in ZONES {
        compare_batch(name, &questions(&names(file, origin)), servers, None, report);
    }
    let zones = ZONES.map(|(_, origin)| origin.to_owned());
    compare_transfers(name, &zones, servers, report);
}

#[test]
fn zone_files_are_answered_as_by_coredns() {
    let rules = rules();
    let mut report = Report::new(&rules);
    let home = directory();
    let blocks = |port: u16, options: &str| {
        let block = |(file, origin): &(&str, &str)| {
            format!(
                "{origin}:{port} {{\n bind 127.0.0.1\n root {}\n file {file}{options}\n transfer {{\n  to *\n }}\n}}\n",
                home.display()
            )
        };
        ZONES.iter().map(block).collect::<String>()
    };
    compare("zones", |port| blocks(port, ""), &mut report);
    println!("{}", report.print());
    assert!(report.questions >= 10_000, "only {} questions", report.questions);
    assert_eq!(report.unexplained_differences(), 0);
    let ours = rules.iter().filter(|rule| rule.is_only_for("zones")).map(Rule::name);
    let idle: Vec<_> = ours.filter(|name| report.idle().contains(name)).collect();
    assert_eq!(idle, [""; 0], "these lines of differences.toml explain nothing");
}
