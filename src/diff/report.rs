//! Collects the differences, each with its reason or cause, and prints them.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use super::{
    Cause,
    cause::judge,
    compare::{Delta, compare},
    question::Asked,
    reply::Reply,
    rules::{Rule, Scope},
};
use crate::{limits, printable::printable};

/// How many examples of a cause or reason are kept.
const EXAMPLES: usize = 3;

/// The replies of the server that runs now and of ndots to one question.
#[derive(Clone, Copy)]
pub struct Pair<'p> {
    pub asked: &'p Asked,
    pub theirs: Option<&'p Reply>,
    pub ours: Option<&'p Reply>,
}

/// How replies are judged.
pub struct Comparison {
    rules: Vec<Rule>,
    /// The zone of the cluster, in lower case and without a final dot.
    zone: String,
}

/// The result of one question.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Same,
    /// The places of the rules that explain all differences.
    Explained(Vec<usize>),
    Changed(&'static Cause),
}

/// The result, as `-o json` prints it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The server that runs now.
    pub against: String,
    /// Questions that both sides were asked.
    pub questions: usize,
    pub same: usize,
    /// Replies with documented differences only.
    pub explained: Vec<Reason>,
    /// Replies that would change.
    pub changes: Vec<Change>,
    /// Differences that were gone when the question was asked again: the cluster changed.
    pub settled: usize,
    /// Questions that were not asked, because ndots alone does not decide about their answers.
    pub not_compared: usize,
    pub seconds: f64,
}

#[derive(Debug, Serialize)]
pub struct Reason {
    pub name: String,
    pub reason: String,
    pub count: usize,
    pub examples: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Change {
    pub cause: &'static str,
    pub reason: &'static str,
    #[serde(rename = "do")]
    pub advice: &'static str,
    pub count: usize,
    pub examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
pub struct Example {
    pub question: String,
    pub differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
pub struct Difference {
    pub field: &'static str,
    pub server: String,
    pub ndots: String,
}

impl Comparison {
    pub fn new(rules: Vec<Rule>, zone: &str) -> Self {
        Self { rules, zone: zone.trim_end_matches('.').to_ascii_lowercase() }
    }

    /// Whether a reply would change in a way that no rule explains.
    pub fn would_change(&self, pair: Pair<'_>, deltas: &[Delta]) -> bool {
        matches!(self.judge(pair, deltas), Found::Changed(_))
    }

    fn judge(&self, pair: Pair<'_>, deltas: &[Delta]) -> Found {
        let (mut used, mut left) = (Vec::new(), Vec::new());
        let scope = Scope::Zone(&self.zone);
        for delta in deltas {
            let is_longer = delta.field == "ttl"
                && delta.coredns.parse::<u32>().ok() > delta.ndots.parse().ok();
            let rule = || self.rules.iter().position(|it| it.explains(scope, pair.asked, delta));
            match rule().filter(|_| !is_longer) {
                Some(rule) => used.push(rule),
                None => left.push(delta.clone()),
            }
        }
        match (left.is_empty(), used.is_empty()) {
            (true, true) => Found::Same,
            (true, false) => Found::Explained(used),
            _ => Found::Changed(judge(pair.asked, [pair.theirs, pair.ours], &left)),
        }
    }

    /// Adds a question with its differences to the report.
    pub fn take(&self, pair: Pair<'_>, deltas: &[Delta], report: &mut Report) {
        report.questions += 1;
        match self.judge(pair, deltas) {
            Found::Same => report.same += 1,
            Found::Explained(mut used) => {
                used.sort_unstable();
                used.dedup();
                for rule in used.into_iter().filter_map(|at| self.rules.get(at)) {
                    report.explained(rule, pair.asked);
                }
            }
            Found::Changed(cause) => report.changed(cause, pair.asked, deltas),
        }
    }
}

impl Pair<'_> {
    pub fn differences(&self) -> Vec<Delta> {
        let is_forwarded = |reply: Option<&Reply>| reply.is_some_and(|it| !it.is_authoritative());
        let age =
            if is_forwarded(self.theirs) && is_forwarded(self.ours) { limits::DIFF_AGE } else { 0 };
        compare(self.asked, self.theirs, self.ours, age)
    }
}

impl Report {
    /// The replies to the questions, in their order.
    pub fn read(
        questions: &[Asked],
        packets: Vec<Option<Vec<u8>>>,
        server: SocketAddr,
    ) -> Vec<Option<Reply>> {
        let own: IpAddr = server.ip();
        let read = |(packet, asked): (Option<Vec<u8>>, &Asked)| {
            packet.map(|packet| Reply::read(&packet, &asked.packet(0), own))
        };
        packets.into_iter().zip(questions).map(read).collect()
    }

    fn explained(&mut self, rule: &Rule, asked: &Asked) {
        let at = self.explained.iter().position(|it| it.name == rule.name());
        let at = at.unwrap_or_else(|| {
            self.explained.push(Reason {
                name: rule.name().to_owned(),
                reason: rule.reason(),
                count: 0,
                examples: Vec::new(),
            });
            self.explained.len() - 1
        });
        let Some(reason) = self.explained.get_mut(at) else { return };
        reason.count += 1;
        if reason.examples.len() < EXAMPLES {
            reason.examples.push(asked.to_string());
        }
    }

    fn changed(&mut self, cause: &'static Cause, asked: &Asked, deltas: &[Delta]) {
        let at = self.changes.iter().position(|it| it.cause == cause.id);
        let at = at.unwrap_or_else(|| {
            let Cause { id, reason, advice } = cause;
            self.changes.push(Change { cause: id, reason, advice, count: 0, examples: Vec::new() });
            self.changes.len() - 1
        });
        let Some(change) = self.changes.get_mut(at) else { return };
        change.count += 1;
        if change.examples.len() < EXAMPLES {
            let differences = deltas.iter().map(|delta| Difference {
                field: delta.field,
                server: delta.coredns.clone(),
                ndots: delta.ndots.clone(),
            });
            let example =
                Example { question: asked.to_string(), differences: differences.collect() };
            change.examples.push(example);
        }
    }

    pub fn is_same(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let mut changes: BTreeMap<_, _> =
            self.changes.iter().map(|it| ((usize::MAX - it.count, it.cause), it)).collect();
        while let Some((_, change)) = changes.pop_first() {
            writeln!(text, "✗ {} ({} questions)", change.cause, change.count)?;
            writeln!(text, "    {}", change.reason)?;
            writeln!(text, "    do    {}", change.advice)?;
            for example in &change.examples {
                writeln!(text, "    {}", printable(&example.question))?;
                for Difference { field, server, ndots } in &example.differences {
                    writeln!(text, "      {field}: server {}", shown(server))?;
                    writeln!(
                        text,
                        "      {:>width$}  ndots  {}",
                        "",
                        shown(ndots),
                        width = field.len()
                    )?;
                }
            }
        }
        for Reason { name, reason, count, .. } in &self.explained {
            writeln!(text, "· {name} ({count} questions)\n    {reason}")?;
        }
        let differing: usize = self.changes.iter().map(|it| it.count).sum();
        writeln!(
            text,
            "{} questions to {} in {:.1} s: {} same, {} with documented differences, {differing} would change",
            self.questions,
            self.against,
            self.seconds,
            self.same,
            self.questions - self.same - differing,
        )?;
        if self.settled > 0 {
            writeln!(
                text,
                "{} differences were gone {} s later: the cluster changed",
                self.settled,
                limits::DIFF_SETTLE.as_secs()
            )?;
        }
        if self.not_compared > 0 {
            writeln!(
                text,
                "{} not compared: names that are forwarded, and records about the server itself",
                self.not_compared
            )?;
        }
        let verdict = if self.is_same() { "nothing would change" } else { "answers would change" };
        writeln!(text, "{verdict}")
    }
}

/// A value on one line.
fn shown(value: &str) -> String {
    if value.is_empty() {
        return "nothing".to_owned();
    }
    printable(&value.replace('\n', "; ")).to_string()
}
