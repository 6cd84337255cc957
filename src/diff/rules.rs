//! Reads `tests/differences.toml`, which lists the intended differences from CoreDNS with their
//! reasons. The tests and `ndots diff` use it.

use std::collections::BTreeSet;

use regex::Regex;
use serde::Deserialize;
use thiserror::Error;

use super::{compare::Delta, question::Asked};

/// The intended differences of this version.
const DIFFERENCES: &str = include_str!("../../tests/differences.toml");
/// The zone that the patterns of the file are written for.
const ZONE: &str = "cluster.local";
/// The Corefile of the tests that serves the tests' zone files. Rules for it alone do not apply to
/// other servers.
const ZONE_FILES: &str = "zones";

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
    /// Words of [`Asked::is`], such as `udp` or `mixed`. All that are listed must hold.
    #[serde(default)]
    how: Vec<String>,
    /// The Corefiles of the tests that the rule is for. An empty list stands for all Corefiles.
    #[serde(default)]
    corefiles: Vec<String>,
    /// The test that shows the difference, if no query of this comparison can.
    #[serde(default)]
    shown_by: String,
}

/// Which rules apply.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'s> {
    /// The servers have this Corefile of the tests.
    Corefile(&'s str),
    /// The Corefile of the other server is not known; the cluster's zone is this one.
    Zone(&'s str),
}

pub struct Rule {
    written: Written,
    coredns: Regex,
    ndots: Regex,
    names: Regex,
}

/// Why the file is not valid.
#[derive(Debug, Error)]
pub enum RuleError {
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    #[error("`{0}` needs a reason")]
    Reason(String),
    #[error("`{0}` needs either fields, or the test that shows it")]
    Fields(String),
    #[error("`{name}`: {error}")]
    Pattern { name: String, error: Box<regex::Error> },
}

impl Rule {
    /// The intended differences of this version.
    ///
    /// # Errors
    /// If the file is not valid, which a test rules out.
    pub fn all() -> Result<Vec<Self>, RuleError> {
        let file: File = toml::from_str(DIFFERENCES)?;
        file.difference.into_iter().map(Self::new).collect()
    }

    fn new(written: Written) -> Result<Self, RuleError> {
        let name = || written.name.clone();
        if written.reason.len() <= 20 {
            return Err(RuleError::Reason(name()));
        }
        if written.fields.is_empty() == written.shown_by.is_empty() {
            return Err(RuleError::Fields(name()));
        }
        let whole = |pattern: &str| {
            Regex::new(&format!("(?i)^(?:{pattern})$"))
                .map_err(|error| RuleError::Pattern { name: name(), error: Box::new(error) })
        };
        let names = if written.names.is_empty() { ".*" } else { &written.names };
        Ok(Self {
            coredns: whole(&written.coredns)?,
            ndots: whole(&written.ndots)?,
            names: whole(names)?,
            written,
        })
    }

    /// Whether the rule is for one of these Corefiles.
    pub fn is_for(&self, corefiles: &BTreeSet<String>) -> bool {
        let Written { corefiles: only, .. } = &self.written;
        only.is_empty() || only.iter().any(|name| corefiles.contains(name))
    }

    pub fn is_only_for(&self, corefile: &str) -> bool {
        self.written.corefiles == [corefile]
    }

    pub fn name(&self) -> &str {
        &self.written.name
    }

    /// The test that shows the difference, if no query of this comparison can.
    pub fn shown_by(&self) -> Option<&str> {
        Some(&*self.written.shown_by).filter(|test| !test.is_empty())
    }

    pub fn explains(&self, scope: Scope<'_>, asked: &Asked, delta: &Delta) -> bool {
        let Written { fields, types, how, corefiles, .. } = &self.written;
        let among =
            |list: &[String], word: &str| list.is_empty() || list.iter().any(|it| it == word);
        let lines =
            |text: &str, pattern: &Regex| text.split('\n').all(|line| pattern.is_match(line));
        let is_for = match scope {
            Scope::Corefile(name) => among(corefiles, name),
            Scope::Zone(_) => !self.is_only_for(ZONE_FILES),
        };
        let usual = |text: &str| match scope {
            Scope::Zone(zone) if zone != ZONE => text.to_lowercase().replace(zone, ZONE),
            _ => text.to_owned(),
        };
        fields.iter().any(|field| field == delta.field)
            && is_for
            && among(types, &asked.qtype.to_string())
            && how.iter().all(|word| asked.is(word) == Some(true))
            && self.names.is_match(&usual(&asked.name))
            && lines(&usual(&delta.coredns), &self.coredns)
            && lines(&usual(&delta.ndots), &self.ndots)
    }

    /// `reason (RFC)`.
    pub fn reason(&self) -> String {
        let Written { reason, rfc, .. } = &self.written;
        if rfc.is_empty() { reason.clone() } else { format!("{reason} ({rfc})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Type;

    #[test]
    fn rules_hold_for_any_zone_name() {
        let rules = Rule::all().unwrap();
        let explained = |scope, name: &str, qtype, delta: &Delta| {
            let asked = Asked::new(name, qtype);
            rules.iter().find(|rule| rule.explains(scope, &asked, delta)).map(Rule::name)
        };
        let delta = Delta::new("rcode", "NXDOMAIN", "NOERROR");
        let expected = Some("TXT of a name that exists");
        for (zone, name) in [("cluster.local", "svc.cluster.local"), ("k8s.home", "svc.k8s.home")] {
            assert_eq!(explained(Scope::Zone(zone), name, Type::TXT, &delta), expected);
        }
        assert_eq!(explained(Scope::Zone("k8s.home"), "svc.elsewhere", Type::TXT, &delta), None);
        assert_eq!(explained(Scope::Zone("k8s.home"), "svc.k8s.home", Type::A, &delta), None);
        // A rule for a zone file of the tests says nothing about the TTLs of a cluster.
        let ttl = Delta::new("ttl", "300", "60");
        assert_eq!(explained(Scope::Zone("cluster.local"), "a.test", Type::A, &ttl), None);
        assert!(explained(Scope::Corefile("zones"), "a.test", Type::A, &ttl).is_some());
    }

    #[test]
    fn words_about_the_way_to_ask_exist() {
        let asked = Asked::new(".", Type::A);
        for rule in Rule::all().unwrap() {
            for word in &rule.written.how {
                assert!(
                    asked.is(word).is_some(),
                    "`{}`: `{word}` is not a way to ask",
                    rule.name()
                );
            }
        }
    }
}
