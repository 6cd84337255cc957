//! Compares two replies to one question section by section. Sections are sets, and TTLs must be
//! equal.

use std::collections::BTreeMap;

use super::{
    question::Asked,
    reply::{Line, Reply, SECTIONS},
};

/// A reply of this many octets over TCP has little room for another record.
const STREAM: usize = 65_300;

/// One property in which two replies differ, with both values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delta {
    pub field: &'static str,
    pub coredns: String,
    pub ndots: String,
}

/// Returns the differences. Records may be `age` seconds older on one side, because the two caches
/// fetched them at different times.
pub fn compare(
    asked: &Asked,
    coredns: Option<&Reply>,
    ndots: Option<&Reply>,
    age: u32,
) -> Vec<Delta> {
    let (coredns, ndots) = match (coredns, ndots) {
        (None, None) => return Vec::new(),
        (Some(coredns), Some(ndots)) => (coredns, ndots),
        (one, other) => {
            return vec![Delta::new(
                "reply",
                one.map_or("none", |it| &it.rcode),
                other.map_or("none", |it| &it.rcode),
            )];
        }
    };
    if coredns.broken.is_some() || ndots.broken.is_some() {
        let text = |reply: &Reply| reply.broken.clone().unwrap_or_default();
        return vec![Delta::new("broken", text(coredns), text(ndots))];
    }
    let mut deltas = Deltas(Vec::new());
    let packet = asked.packet(0);
    let end = 12 + coredns.question.len().max(ndots.question.len());
    let question = packet.get(12..end).unwrap_or_default();
    let echo = |reply: &Reply| if reply.question == question { "echoed" } else { "another" };
    deltas.text("question", echo(coredns), echo(ndots));
    deltas.text("rcode", &coredns.rcode, &ndots.rcode);
    for ((name, theirs), (_, ours)) in coredns.flags.iter().zip(&ndots.flags) {
        deltas.text(name, &theirs.to_string(), &ours.to_string());
    }
    let opt = |reply: &Reply| {
        reply.edns.as_ref().map_or("none".to_owned(), |edns| {
            format!("version {} do {}", edns.version, edns.dnssec_ok)
        })
    };
    deltas.text("opt", &opt(coredns), &opt(ndots));
    let options =
        |reply: &Reply| reply.edns.as_ref().map(|edns| edns.options.clone()).unwrap_or_default();
    deltas.text("options", &options(coredns), &options(ndots));
    let sections = coredns.sections.iter().zip(&ndots.sections);
    for (name, (theirs, ours)) in SECTIONS.into_iter().zip(sections) {
        deltas.section(name, theirs, ours, age);
    }
    deltas.text("order", &aliases(coredns), &aliases(ndots));
    deltas.0
}

/// The aliases at the start of the answer section. Their order counts, because clients follow them
/// in order.
fn aliases(reply: &Reply) -> String {
    let answer = &reply.sections[0];
    let first = answer.iter().position(|line| line.rtype != "CNAME").unwrap_or(answer.len());
    let late = answer[first..].iter().any(|line| line.rtype == "CNAME");
    let owners: Vec<_> = answer[..first].iter().map(|line| line.owner.to_lowercase()).collect();
    format!("{}{}", owners.join(" "), if late { " late" } else { "" })
}

/// The differences that remain if a reply is incomplete because not all records fit into it.
/// `wholes` are the replies to the same question over TCP.
pub fn as_cut(
    asked: &Asked,
    replies: [Option<&Reply>; 2],
    wholes: [Option<&Reply>; 2],
    mut deltas: Vec<Delta>,
) -> Vec<Delta> {
    let ([Some(coredns), Some(ndots)], [Some(theirs), Some(ours)]) = (replies, wholes) else {
        return deltas;
    };
    let whole = if ours.truncated { theirs } else { ours };
    // Messages over a stream have a maximum size, too.
    if coredns.rcode != ndots.rcode
        || whole.octets <= if asked.how.tcp { STREAM } else { asked.room().min(1232) }
    {
        return deltas;
    }
    if ndots.octets > asked.room() || !whole.truncated && !is_part_of(ndots, whole) {
        deltas.push(Delta::new("cut", "a part", "no part of the whole"));
        return deltas;
    }
    let of_cut = ["tc", "answer", "authority", "additional", "order"];
    deltas.retain(|delta| !of_cut.contains(&delta.field));
    let state = |reply: &Reply| if reply.truncated { "cut" } else { "whole" };
    deltas.push(Delta::new("cut", state(coredns), state(ndots)));
    deltas
}

/// Whether the replies must be asked for again over TCP, and compared with [`as_cut`].
pub fn may_be_cut(replies: [Option<&Reply>; 2], deltas: &[Delta]) -> bool {
    let truncated = replies.into_iter().flatten().any(|reply| reply.truncated);
    truncated && !deltas.is_empty() || deltas.iter().any(|delta| delta.field == "additional")
}

/// Whether a truncated reply contains only records of the complete one. Additional records are
/// ignored, because they are left out first.
fn is_part_of(cut: &Reply, whole: &Reply) -> bool {
    cut.rcode == whole.rcode
        && cut.sections.iter().zip(&whole.sections).take(2).all(|(cut, whole)| {
            let whole: BTreeMap<_, _> = whole.iter().map(|line| (line.key(), ())).collect();
            cut.iter().all(|line| whole.contains_key(&line.key()))
        })
}

impl Delta {
    pub fn new(field: &'static str, coredns: impl Into<String>, ndots: impl Into<String>) -> Self {
        Self { field, coredns: coredns.into(), ndots: ndots.into() }
    }
}

struct Deltas(Vec<Delta>);

impl Deltas {
    fn text(&mut self, field: &'static str, coredns: &str, ndots: &str) {
        if coredns != ndots {
            self.0.push(Delta::new(field, coredns, ndots));
        }
    }

    fn section<'l>(
        &mut self,
        name: &'static str,
        coredns: &'l [Line],
        ndots: &'l [Line],
        age: u32,
    ) {
        let set = |lines: &'l [Line]| {
            lines.iter().map(|line| (line.key(), line)).collect::<BTreeMap<_, _>>()
        };
        let mut unmatched = set(ndots);
        let mut theirs = Vec::new();
        for (key, line) in set(coredns) {
            match unmatched.remove(&key) {
                Some(ours) => self.record(line, ours, age),
                None => theirs.push(line.to_string()),
            }
        }
        let mut ours: Vec<_> = unmatched.into_values().map(ToString::to_string).collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        if !theirs.is_empty() || !ours.is_empty() {
            self.0.push(Delta::new(name, theirs.join("\n"), ours.join("\n")));
        }
    }

    /// Compares two records with the same owner, type and data.
    fn record(&mut self, coredns: &Line, ndots: &Line, age: u32) {
        if coredns.ttl.abs_diff(ndots.ttl) > age {
            self.0.push(Delta::new("ttl", coredns.ttl.to_string(), ndots.ttl.to_string()));
        }
        if coredns.owner != ndots.owner {
            self.0.push(Delta::new("owner case", &coredns.owner, &ndots.owner));
        }
        if coredns.data != ndots.data {
            self.0.push(Delta::new("data case", &coredns.data, &ndots.data));
        }
    }
}
