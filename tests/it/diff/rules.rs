//! Reads `tests/differences.toml`, which lists the intended differences from CoreDNS with their
//! reasons.

use std::{collections::BTreeSet, fs, path::Path};

use regex::Regex;
use serde::Deserialize;

use super::{compare::Delta, questions::Asked};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    difference: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    /// Why ndots differs.
    reason: String,
    /// The document that requires it, if there is one.
    #[serde(default)]
    rfc: String,
    /// The properties of a reply that the rule is about.
    #[serde(default)]
    fields: Vec<String>,
    /// Patterns for CoreDNS's and for ndots's value. Each must match every line of the value.
    #[serde(default)]
    coredns: String,
    #[serde(default)]
    ndots: String,
    /// A pattern for the question; without one the rule holds for all questions.
    #[serde(default)]
    names: String,
    #[serde(default)]
    types: Vec<String>,
    /// `udp`, `tcp`, `edns`, `do`, `cd` or `mixed`. All that are listed must hold.
    #[serde(default)]
    how: Vec<String>,
    /// The Corefiles that the rule is for; without any it holds for all.
    #[serde(default)]
    corefiles: Vec<String>,
    /// The test that shows the difference, if no query of this comparison can.
    #[serde(default)]
    shown_by: String,
}

pub(crate) struct Rule {
    written: Written,
    coredns: Regex,
    ndots: Regex,
    names: Regex,
}

impl Rule {
    /// # Panics
    /// If the file is not valid.
    pub(crate) fn read(path: &Path) -> Vec<Self> {
        let text = fs::read_to_string(path).unwrap();
        let file: File =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.difference.into_iter().map(Self::new).collect()
    }

    fn new(written: Written) -> Self {
        assert!(written.reason.len() > 20, "`{}` needs a reason", written.name);
        let test = Path::new(env!("CARGO_MANIFEST_DIR")).join(&written.shown_by);
        assert!(test.exists(), "`{}`: {} does not exist", written.name, test.display());
        assert!(
            written.fields.is_empty() != written.shown_by.is_empty(),
            "`{}` needs fields, or the test that shows it",
            written.name
        );
        let whole = |pattern: &str| {
            Regex::new(&format!("(?i)^(?:{pattern})$"))
                .unwrap_or_else(|error| panic!("`{}`: {error}", written.name))
        };
        let names = if written.names.is_empty() { ".*" } else { &written.names };
        Self {
            coredns: whole(&written.coredns),
            ndots: whole(&written.ndots),
            names: whole(names),
            written,
        }
    }

    /// Whether the rule is for one of these Corefiles.
    pub(crate) fn is_for(&self, corefiles: &BTreeSet<String>) -> bool {
        let Written { corefiles: only, .. } = &self.written;
        only.is_empty() || only.iter().any(|name| corefiles.contains(name))
    }

    pub(crate) fn is_only_for(&self, corefile: &str) -> bool {
        self.written.corefiles == [corefile]
    }

    pub(crate) fn name(&self) -> &str {
        &self.written.name
    }

    /// Whether a query of this comparison can show the difference.
    pub(crate) fn is_compared(&self) -> bool {
        self.written.shown_by.is_empty()
    }

    pub(crate) fn explains(&self, corefile: &str, asked: &Asked, delta: &Delta) -> bool {
        let Written { fields, types, how, corefiles, .. } = &self.written;
        let lines =
            |text: &str, pattern: &Regex| text.split('\n').all(|line| pattern.is_match(line));
        let among =
            |list: &[String], word: &str| list.is_empty() || list.iter().any(|it| it == word);
        fields.iter().any(|field| field == delta.field)
            && among(corefiles, corefile)
            && among(types, &asked.qtype.to_string())
            && how.iter().all(|word| asked.is(word))
            && self.names.is_match(&asked.name)
            && lines(&delta.coredns, &self.coredns)
            && lines(&delta.ndots, &self.ndots)
    }

    /// `reason (RFC)`.
    pub(crate) fn reason(&self) -> String {
        let Written { reason, rfc, .. } = &self.written;
        if rfc.is_empty() { reason.clone() } else { format!("{reason} ({rfc})") }
    }
}

impl Asked {
    fn is(&self, word: &str) -> bool {
        match word {
            "udp" => !self.how.tcp,
            "tcp" => self.how.tcp,
            "edns" => self.how.edns.is_some(),
            "do" => self.how.dnssec_ok,
            "cd" => self.how.checking_disabled,
            "ad" => self.how.authentic_data,
            "norec" => self.how.no_recursion,
            "mixed" => self.how.mixed,
            _ => panic!("`{word}` is no way to ask"),
        }
    }
}
