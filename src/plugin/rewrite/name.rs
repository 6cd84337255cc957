//! Rules for the name of the question.

use regex::Regex;

use crate::{chain::Metadata, wire::Name};

use super::replacement::Replacement;

/// Decides by a name whether a rule matches. The texts are in lower case. Except in `cname` rules,
/// they end with a dot, so a prefix ends at the end of a label.
#[derive(Clone, Debug)]
pub(super) enum NamePattern {
    /// `None` if the text is not a valid name. Then the rule never matches.
    Exact(Option<Name>),
    Prefix(String),
    Suffix(String),
    Substring(String),
    Regex(Regex),
}

/// The text of the current name. It is made when a pattern first needs it.
#[derive(Default)]
pub(super) struct NameText(Option<String>);

impl NameText {
    fn of(&mut self, name: &Name) -> &str {
        self.0.get_or_insert_with(|| name.to_string())
    }
}

impl NamePattern {
    pub(super) fn matches(&self, name: &Name, text: &mut NameText) -> bool {
        match self {
            Self::Exact(exact) => exact.as_ref() == Some(name),
            Self::Prefix(prefix) => text.of(name).starts_with(prefix),
            Self::Suffix(suffix) => text.of(name).ends_with(suffix),
            Self::Substring(part) => text.of(name).contains(part),
            Self::Regex(pattern) => pattern.is_match(text.of(name)),
        }
    }

    /// Replaces the part of the text that the pattern matches. `None` if it does not match. An
    /// exact name and a regular expression replace the whole text.
    fn replace(&self, text: &str, to: &Replacement, metadata: &Metadata) -> Option<String> {
        let fixed = &to.text;
        match self {
            Self::Exact(exact) => {
                let is_equal =
                    exact.as_ref().is_some_and(|exact| Ok(exact) == text.parse().as_ref());
                is_equal.then(|| fixed.clone())
            }
            Self::Prefix(prefix) => text.strip_prefix(prefix).map(|rest| format!("{fixed}{rest}")),
            Self::Suffix(suffix) => text.strip_suffix(suffix).map(|rest| format!("{rest}{fixed}")),
            Self::Substring(part) => text.contains(part).then(|| text.replace(part, fixed)),
            Self::Regex(pattern) => to.of_match(pattern, text, metadata),
        }
    }
}

/// `name [exact|prefix|suffix|substring|regex] FROM TO [answer …]`.
#[derive(Clone, Debug)]
pub(super) struct NameRule {
    pub(super) from: NamePattern,
    /// In lower case, with the final dot.
    pub(super) to: Replacement,
    /// The name in `to`, for an exact rule: such a rule needs no text.
    pub(super) exact: Option<Name>,
    /// Whether names in the reply are mapped back.
    pub(super) auto: bool,
    pub(super) answers: Vec<AnswerRule>,
}

/// `answer name PATTERN TO` or `answer value PATTERN TO`.
#[derive(Clone, Debug)]
pub(super) struct AnswerRule {
    pub(super) place: Place,
    pub(super) pattern: Regex,
    pub(super) to: Replacement,
}

/// Where a name stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Owner,
    /// The name in the data of an SRV, MX, CNAME, NS, DNAME, NAPTR, SOA or PTR record.
    Value,
}

/// What a rule makes of a name.
pub(super) enum ReplacedName {
    Name(Name),
    /// The text that is not a name.
    Invalid(String),
}

impl NameRule {
    /// `None` if the rule does not match.
    pub(super) fn replace(
        &self,
        name: &Name,
        text: &mut NameText,
        metadata: &Metadata,
    ) -> Option<ReplacedName> {
        if let (NamePattern::Exact(from), Some(to)) = (&self.from, &self.exact) {
            return (from.as_ref() == Some(name)).then(|| ReplacedName::Name(to.clone()));
        }
        let mut text = self.from.replace(text.of(name), &self.to, metadata)?;
        // After `^(.*[.]example[.]org[.]).*$ {1}` the text ends with two dots: that of the group,
        // and the final dot of `to`.
        if text.ends_with("..") && !text.ends_with("\\..") {
            text.pop();
        }
        let name = text.parse();
        Some(name.map_or_else(|_| ReplacedName::Invalid(text), ReplacedName::Name))
    }
}

/// `cname [exact|prefix|suffix|substring|regex] FROM TO`: another target for an alias.
#[derive(Clone, Debug)]
pub(super) struct TargetRule {
    pub(super) from: NamePattern,
    pub(super) to: Replacement,
}

impl TargetRule {
    /// The new target; `None` if the rule does not match, or if it makes no name. `target` is in
    /// lower case.
    pub(super) fn replace(&self, target: &str) -> Option<Name> {
        self.from.replace(target, &self.to, &Metadata::default())?.parse().ok()
    }
}
