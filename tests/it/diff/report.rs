//! Counts the questions and the differences by rule, and lists differences without a rule with
//! their first examples.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use ndots::diff::{Asked, Delta, Reply, Rule, Scope};

/// How many examples are printed for a kind of difference, and how many kinds are printed.
const EXAMPLES: usize = 2;
const KINDS: usize = 40;

pub(crate) struct Report<'r> {
    rules: &'r [Rule],
    /// How many replies each rule explains, by rule and Corefile.
    explained: BTreeMap<(usize, String), usize>,
    unexplained: BTreeMap<(&'static str, String, String), Vec<String>>,
    pub(crate) questions: usize,
    /// The names of the Corefiles that were compared.
    pub(crate) corefiles: BTreeSet<String>,
    differing: usize,
    silent: usize,
}

impl<'r> Report<'r> {
    pub(crate) fn new(rules: &'r [Rule]) -> Self {
        Self {
            rules,
            explained: BTreeMap::new(),
            unexplained: BTreeMap::new(),
            questions: 0,
            corefiles: BTreeSet::new(),
            differing: 0,
            silent: 0,
        }
    }

    pub(crate) fn take(
        &mut self,
        corefile: &str,
        asked: &Asked,
        replies: [Option<&Reply>; 2],
        deltas: Vec<Delta>,
    ) {
        self.questions += 1;
        self.silent += usize::from(replies == [None, None]);
        self.differing += usize::from(!deltas.is_empty());
        let mut used = BTreeSet::new();
        for delta in deltas {
            match self
                .rules
                .iter()
                .position(|rule| rule.explains(Scope::Corefile(corefile), asked, &delta))
            {
                Some(rule) => drop(used.insert(rule)),
                None => self.unexplained(corefile, asked, replies, &delta),
            }
        }
        for rule in used {
            *self.explained.entry((rule, corefile.to_owned())).or_default() += 1;
        }
    }

    fn unexplained(
        &mut self,
        corefile: &str,
        asked: &Asked,
        replies: [Option<&Reply>; 2],
        delta: &Delta,
    ) {
        let [theirs, ours] = [&delta.coredns, &delta.ndots].map(|text| kind(delta.field, text));
        let examples = self.unexplained.entry((delta.field, theirs, ours)).or_default();
        let mut text = format!("    {corefile}: {asked}\n");
        if examples.len() < EXAMPLES {
            for ((name, reply), only) in
                ["CoreDNS", "ndots"].iter().zip(replies).zip([&delta.coredns, &delta.ndots])
            {
                write!(
                    text,
                    "    {name}:\n{}",
                    reply.map_or("      no reply\n".to_owned(), ToString::to_string)
                )
                .unwrap();
                only.lines()
                    .take(4)
                    .for_each(|line| writeln!(text, "      only here: {line}").unwrap());
            }
        }
        examples.push(text);
    }

    /// The rules for these Corefiles that explained no difference.
    pub(crate) fn idle(&self) -> Vec<&str> {
        let used: BTreeSet<_> = self.explained.keys().map(|(rule, _)| *rule).collect();
        self.rules
            .iter()
            .enumerate()
            .filter(|(at, rule)| {
                rule.shown_by().is_none() && rule.is_for(&self.corefiles) && !used.contains(at)
            })
            .map(|(_, rule)| rule.name())
            .collect()
    }

    pub(crate) fn unexplained_differences(&self) -> usize {
        self.unexplained.values().map(Vec::len).sum()
    }

    pub(crate) fn print(&self) -> String {
        let mut out = format!(
            "{} questions over {} Corefiles: {} replies differ",
            self.questions,
            self.corefiles.len(),
            self.differing
        );
        writeln!(
            out,
            ", {} differences are not explained; {} questions got no reply from either server",
            self.unexplained_differences(),
            self.silent
        )
        .unwrap();
        for (at, rule) in self.rules.iter().enumerate() {
            let counts: usize = self
                .explained
                .iter()
                .filter(|((of, _), _)| *of == at)
                .map(|(_, count)| count)
                .sum();
            if counts > 0 {
                writeln!(out, "{counts:>8} {}: {}", rule.name(), rule.reason()).unwrap();
            }
        }
        for name in self.idle() {
            writeln!(out, "   never {name}").unwrap();
        }
        for ((field, theirs, ours), examples) in self.unexplained.iter().take(KINDS) {
            writeln!(
                out,
                "\nNOT EXPLAINED, {} times: {field} `{theirs}` in CoreDNS, `{ours}` in ndots",
                examples.len()
            )
            .unwrap();
            examples.iter().take(EXAMPLES).for_each(|example| out.push_str(example));
        }
        out
    }
}

/// The key by which examples are grouped: the types for differences in records, nothing for
/// differences in spelling, and the whole text for all others.
fn kind(field: &str, text: &str) -> String {
    match field {
        "answer" | "authority" | "additional" => {
            let types: BTreeSet<_> =
                text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
            types.into_iter().collect::<Vec<_>>().join(" ")
        }
        "order" | "owner case" | "data case" | "broken" => String::new(),
        _ => text.to_owned(),
    }
}
