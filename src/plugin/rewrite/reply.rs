//! What the rules do to replies.

use std::ops::RangeInclusive;

use crate::{
    chain::{Metadata, Reply},
    wire::{Name, Owner, Question, Rcode, RecordSet, Response, Spelled, Type},
};

use super::{
    Rewritten,
    name::{AnswerRule, NamePattern, NameRule, Place, TargetRule},
};

pub(super) enum ReplyRule<'r> {
    /// Maps the new name of a question, and names below it, back to the old one.
    Back {
        from: Name,
        to: Name,
    },
    /// Maps a suffix of names back.
    Suffix {
        from: &'r str,
        to: &'r str,
    },
    Answer(&'r AnswerRule),
    Ttl(RangeInclusive<u32>),
    Rcode {
        from: Rcode,
        to: Rcode,
    },
    Target(&'r TargetRule),
}

/// Adds the reply rules of a name rule that changed the name of a question from `old` to `new`.
pub(super) fn add_rules<'r>(
    rule: &'r NameRule,
    old: &Name,
    new: &Name,
    reply_rules: &mut Vec<ReplyRule<'r>>,
) {
    if rule.auto {
        reply_rules.push(match &rule.from {
            NamePattern::Suffix(suffix) => ReplyRule::Suffix { from: &rule.to.text, to: suffix },
            _ => ReplyRule::Back { from: new.clone(), to: old.clone() },
        });
    }
    reply_rules.extend(rule.answers.iter().map(ReplyRule::Answer));
}

/// The types whose data has a name that is rewritten.
const WITH_NAMES: [Type; 8] =
    [Type::SRV, Type::MX, Type::CNAME, Type::NS, Type::DNAME, Type::NAPTR, Type::SOA, Type::PTR];

impl ReplyRule<'_> {
    /// The name that takes the place of `name`. `None` if `name` stays: the rule does not match, or
    /// its result is not a valid name.
    fn rename(&self, place: Place, name: &Spelled) -> Option<Spelled> {
        match self {
            Self::Back { from, to } => {
                let folded = Name::from_wire(name.wire())?;
                let left = folded.left_of(from)?.len();
                Spelled::join(name.wire().get(..left)?, to)
            }
            Self::Suffix { from, to } => {
                let text = name.to_string();
                let at = text.len().checked_sub(from.len())?;
                let (rest, suffix) = text.split_at_checked(at)?;
                suffix.eq_ignore_ascii_case(from).then(|| format!("{rest}{to}").parse().ok())?
            }
            Self::Answer(rule) if rule.place == place => {
                let name = name.to_string();
                rule.to.of_match(&rule.pattern, &name, &Metadata::default())?.parse().ok()
            }
            _ => None,
        }
    }

    fn renames(&self) -> bool {
        matches!(self, Self::Back { .. } | Self::Suffix { .. } | Self::Answer(_))
    }

    fn change(&self, set: &mut RecordSet) {
        if let Self::Ttl(bounds) = self {
            set.ttl = set.ttl.clamp(*bounds.start(), *bounds.end());
        }
        if !self.renames() {
            return;
        }
        if let Owner::Name(wire) = &set.owner
            && let Some(old) = Spelled::from_wire(wire)
            && let Some(new) = self.rename(Place::Owner, &old)
        {
            set.owner = Owner::from(&new);
        }
        if WITH_NAMES.contains(&set.rtype) {
            set.rename_targets(|name| self.rename(Place::Value, name));
        }
    }
}

impl Rewritten<'_> {
    /// Applies the rules to the response to the rewritten query. `question` is that of the client.
    pub(super) fn change(&self, response: &mut Response, question: &Question) {
        let asked = &self.query.question;
        let is_renamed = asked.name != question.name;
        if is_renamed || self.reply_rules.iter().any(ReplyRule::renames) {
            // The upstream has validated the records of other names.
            response.authentic_data = false;
        }
        for set in response.sections_mut().into_iter().flatten() {
            let renames = is_renamed || self.reply_rules.iter().any(ReplyRule::renames);
            if renames {
                set.owner = set.owner.clone().named(asked.spelled().wire());
            }
            self.reply_rules.iter().rev().for_each(|rule| rule.change(set));
            if let Owner::Name(wire) = &set.owner
                && wire.eq_ignore_ascii_case(question.name.wire())
            {
                set.owner = Owner::Question;
            }
        }
    }

    /// The new target of the first alias that a `cname` rule matches. The alias gets this target,
    /// and what follows in the answer section is removed.
    pub(super) fn new_target(&self, response: &mut Response) -> Option<Name> {
        let rules = || {
            self.reply_rules.iter().rev().filter_map(|rule| match rule {
                ReplyRule::Target(rule) => Some(rule),
                _ => None,
            })
        };
        rules().next()?;
        let found = response.answer.iter().enumerate().find_map(|(at, set)| {
            let target = set.targets().next().filter(|_| set.rtype == Type::CNAME)?;
            let target = target.to_string().to_lowercase();
            Some((at, rules().find_map(|rule| rule.replace(&target))?))
        });
        let (at, target) = found?;
        response.answer.truncate(at + 1);
        response.answer.retain(|set| set.rtype == Type::CNAME);
        if let Some(alias) = response.answer.last_mut() {
            alias.rename_targets(|_| Some(Spelled::from(&target)));
        }
        Some(target)
    }
}

/// Appends the records of the new target to the aliases that lead to it.
pub(super) fn with_target(mut held: Response, target: &Question, reply: Reply) -> Response {
    if let Ok(found) = reply {
        held.truncated = found.truncated;
        let sets = found.answer.into_iter();
        held.answer.extend(
            sets.map(|set| RecordSet { owner: set.owner.named(target.name.wire()), ..set }),
        );
    }
    held
}
