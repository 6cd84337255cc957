//! Reads the lines of `rewrite`.

mod edns;
mod words;

use std::ops::RangeInclusive;

use crate::{
    corefile::Arguments,
    plugin::{DirectiveLines, ListOptions, OptionHelp, OptionStatus, PluginSettings, pattern},
    wire::{Class, Rcode, Type},
};

use super::{
    Action, Rewrite, Rule,
    name::{AnswerRule, NamePattern, NameRule, Place, TargetRule},
    replacement::Replacement,
};

use words::{Words, closed, with_dot};

/// The fields for the help. A rule may stand on one line or between braces.
pub(super) static FIELDS: Fields = Fields(&[
    (
        "name",
        "[exact|prefix|suffix|substring|regex] FROM TO [metadata] [answer auto] [answer name REGEX TO] [answer value REGEX TO]",
        "Changes the name of the question. `{1}` in TO stands for the first group of the pattern, and after `metadata`, `{plugin/label}` stands for a label of the metadata. `answer` changes names in the reply; an exact rule and `answer auto` change them back to the client's name.",
    ),
    ("type", "FROM TO", "Changes the type of the question."),
    ("class", "FROM TO", "Changes the class of the question."),
    (
        "edns0",
        "local set|append|replace CODE DATA [revert]",
        "Sends an EDNS option to upstreams: text, `0x…`, or one of `{qname}`, `{qtype}`, `{client_ip}`, `{client_port}`, `{protocol}`, `{server_ip}`, `{server_port}`.",
    ),
    ("edns0", "nsid set|append|replace [revert]", "Asks upstreams for their identifier."),
    (
        "edns0",
        "subnet set|append|replace IPV4-BITS IPV6-BITS [revert]",
        "Sends the client's address to upstreams, cut to this number of bits.",
    ),
    ("edns0", "local unset CODE", "Does not send this option."),
    ("edns0", "nsid|subnet unset", "Does not send this option."),
    (
        "ttl",
        "[exact|prefix|suffix|substring|regex] NAME SECONDS|MIN-MAX|MIN-|-MAX",
        "Sets the TTLs of the reply to SECONDS, or keeps them within bounds.",
    ),
    (
        "rcode",
        "[exact|prefix|suffix|substring|regex] NAME FROM TO",
        "Changes the code of the reply.",
    ),
    (
        "cname",
        "[exact|prefix|suffix|substring|regex] FROM TO",
        "Changes the target of an alias in the reply, and looks up the new target.",
    ),
]);

pub(super) struct Fields(&'static [(&'static str, &'static str, &'static str)]);

impl ListOptions for Fields {
    fn list(&self) -> Vec<OptionHelp> {
        let help = |(name, arguments, about): &(&'static str, &'static str, &'static str)| {
            OptionHelp { name, arguments, about, status: OptionStatus::Available }
        };
        self.0.iter().map(help).collect()
    }
}

/// The largest TTL (RFC 2181 §8).
const LONGEST_TTL: u32 = i32::MAX as u32;

pub(super) fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut rules = Vec::new();
    lines.each(|arguments| rules.extend(rule(arguments)));
    Some(Box::new(Rewrite(rules)))
}

/// As in CoreDNS, the words in braces are part of the rule only if the line itself has fewer than
/// two words.
fn rule(arguments: &mut Arguments<'_>) -> Option<Rule> {
    let mut tokens: Vec<_> = arguments.rest().iter().collect();
    if tokens.len() < 2 {
        tokens.extend(arguments.body_words());
    }
    let words = &mut Words::new(arguments, tokens);
    let continues = words.keyword("continue");
    if !continues {
        words.keyword("stop");
    }
    let field = words.required("one of: name, type, class, edns0, ttl, rcode, cname")?;
    let action = match field.text.to_ascii_lowercase().as_str() {
        "name" => Action::Name(name(words)?),
        "type" => {
            let [from, to] = words.exactly("type")?;
            let mut read = |text: &str| known::<Type>(words, "type", text);
            Action::Type { from: read(&from.text)?, to: read(&to.text)? }
        }
        "class" => {
            let [from, to] = words.exactly("class")?;
            let mut read = |text: &str| known::<Class>(words, "class", text);
            Action::Class { from: read(&from.text)?, to: read(&to.text)? }
        }
        "ttl" => {
            let (names, [ttl]) = matched(words, "ttl")?;
            let invalid = || words.error(&format!("invalid TTL '{ttl}' for a ttl rule"));
            Action::Ttl { names, bounds: bounds(&ttl).or_else(invalid)? }
        }
        "rcode" => {
            let (names, [from, to]) = matched(words, "rcode")?;
            let (from, to) = (code(words, "matching", &from), code(words, "replacement", &to));
            Action::Rcode { names, from: from?, to: to? }
        }
        "cname" => Action::Target(target(words)?),
        "edns0" => Action::Edns(edns::rule(words)?),
        "answer" => return words.error("response rewrites must begin with a name rule"),
        _ => return words.error(&format!("invalid rule type \"{}\"", field.text)),
    };
    Some(Rule { continues, action })
}

/// `[exact|…] FROM TO [metadata] [answer …]`.
fn name(words: &mut Words<'_, '_>) -> Option<NameRule> {
    if words.left() < 2 {
        return words.error("too few arguments for a name rule");
    }
    let form = if words.left() == 2 { "exact".to_owned() } else { words.next().to_lowercase() };
    let (from, to) = (words.required("a name")?, words.next());
    let with_metadata = words.is_next("metadata");
    if with_metadata {
        words.next();
    }
    let (from, to) = match form.as_str() {
        "regex" if with_metadata => {
            let pattern = words.regex(from, "")?;
            let to = Replacement::with_metadata(with_dot(to), &pattern);
            match to {
                Ok(to) => (NamePattern::Regex(pattern), to),
                Err(reason) => return words.error(&reason),
            }
        }
        _ if with_metadata => {
            return words.error("metadata is only supported for regex name rules");
        }
        "regex" => {
            let pattern = words.regex(from, &to)?;
            let to = Replacement::of_groups(closed(&to), &pattern);
            (NamePattern::Regex(pattern), to)
        }
        other => {
            (fixed(words, "name", other, &closed(&from.text))?, Replacement::fixed(closed(&to)))
        }
    };
    let (auto, answers) = answers(words, &form)?;
    let is_exact = matches!(from, NamePattern::Exact(_));
    let exact = to.text.parse().ok().filter(|_| is_exact);
    Some(NameRule { from, to, exact, auto: auto || is_exact, answers })
}

/// The rest of a name rule: `answer auto`, `answer name REGEX TO`, `answer value REGEX TO`. The
/// word `answer` may be left out after the first one.
fn answers(words: &mut Words<'_, '_>, form: &str) -> Option<(bool, Vec<AnswerRule>)> {
    let (mut auto, mut answers) = (false, Vec::new());
    if words.left() > 0 && !words.is_next("answer") {
        return words.error(&format!(
            "exceeded the number of arguments for a non-answer rule argument for {form} rule"
        ));
    }
    while words.left() > 0 {
        if words.is_next("answer") {
            words.next();
        }
        if words.left() == 0 {
            return words.error(&format!("type missing for answer rule for {form} rule"));
        }
        let what = words.next();
        let place = match what.as_str() {
            "auto" => {
                auto = true;
                continue;
            }
            "name" => Place::Owner,
            "value" => Place::Value,
            _ => {
                let text = format!("invalid type \"{what}\" for answer rule for {form} rule");
                return words.error(&text);
            }
        };
        if words.left() < 2 {
            let text = format!("{what} answer rule for {form} rule: 2 arguments required");
            return words.error(&text);
        }
        let (from, to) = (words.required("a pattern")?, words.next());
        let pattern = words.regex(from, &to)?;
        let to = Replacement::of_groups(closed(&to), &pattern);
        answers.push(AnswerRule { place, pattern, to });
    }
    if auto && answers.iter().any(|answer| answer.place == Place::Owner) {
        return words
            .error("auto name answer rule cannot be combined with explicit name answer rules");
    }
    Some((auto, answers))
}

/// `[exact|…] NAME` and `N` more words.
fn matched<const N: usize>(
    words: &mut Words<'_, '_>,
    what: &str,
) -> Option<(NamePattern, [String; N])> {
    let count = words.left();
    if count <= N || count > N + 2 {
        let problem = if count <= N { "too few" } else { "too many" };
        return words.error(&format!("{problem} ({count}) arguments for a {what} rule"));
    }
    let form = if count == N + 1 { "exact".to_owned() } else { words.next().to_lowercase() };
    let from = words.required("a name")?;
    let pattern = match form.as_str() {
        "regex" => NamePattern::Regex(words.regex(from, "")?),
        form => fixed(words, what, form, &closed(&from.text))?,
    };
    Some((pattern, std::array::from_fn(|_| words.next())))
}

/// As in CoreDNS, texts get no final dot here, except for `exact`.
fn target(words: &mut Words<'_, '_>) -> Option<TargetRule> {
    if !(2..=3).contains(&words.left()) {
        let text = format!("too few ({}) arguments for a cname rule", words.left());
        return words.error(&text);
    }
    let form = if words.left() == 2 { "exact".to_owned() } else { words.next().to_lowercase() };
    let (from, to) = (words.required("a name")?, words.next().to_lowercase());
    let text = from.text.to_lowercase();
    let (from, to) = match form.as_str() {
        "regex" => {
            let pattern = pattern::in_any_case(&words.regex(from, "")?);
            let to = Replacement::of_groups(to, &pattern);
            (NamePattern::Regex(pattern), to)
        }
        "exact" => (NamePattern::Exact(closed(&text).parse().ok()), Replacement::fixed(to)),
        form => (fixed(words, "cname", form, &text)?, Replacement::fixed(to)),
    };
    Some(TargetRule { from, to })
}

/// The pattern of a form without regular expressions.
fn fixed(words: &mut Words<'_, '_>, what: &str, form: &str, text: &str) -> Option<NamePattern> {
    let text = text.to_owned();
    Some(match form {
        "exact" => NamePattern::Exact(text.parse().ok()),
        "prefix" => NamePattern::Prefix(text),
        "suffix" => NamePattern::Suffix(text),
        "substring" => NamePattern::Substring(text),
        _ => {
            let text = format!(
                "{what} rule supports only exact, prefix, suffix, substring, and regex name matching, received: {form}"
            );
            return words.error(&text);
        }
    })
}

/// A type or class by its name.
fn known<T: std::str::FromStr>(words: &mut Words<'_, '_>, what: &str, text: &str) -> Option<T> {
    match text.parse() {
        Ok(found) => Some(found),
        Err(_) => words.error(&format!("invalid {what} \"{}\"", text.to_uppercase())),
    }
}

/// A code by its name or its number.
fn code(words: &mut Words<'_, '_>, which: &str, text: &str) -> Option<Rcode> {
    let number = text.parse().ok().filter(|number| *number <= Rcode::BADCOOKIE.0).map(Rcode);
    let found = number.or_else(|| text.parse().ok());
    found.or_else(|| words.error(&format!("invalid {which} RCODE '{text}' for a rcode rule")))
}

/// `SECONDS`, `MIN-MAX`, `MIN-` or `-MAX`.
fn bounds(text: &str) -> Option<RangeInclusive<u32>> {
    let Some((low, high)) = text.split_once('-') else {
        let ttl = text.parse().ok()?;
        return Some(ttl..=ttl);
    };
    let number =
        |text: &str, default| if text.is_empty() { Some(default) } else { text.parse().ok() };
    let (low, high) = (number(low, 0)?, number(high, LONGEST_TTL)?);
    (text != "-" && low <= high).then_some(low..=high)
}
