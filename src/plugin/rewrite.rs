//! `rewrite [continue|stop] FIELD …`: changes queries on the way down and their replies on the way
//! up.
//!
//! The rules are tried in their order. A rule that matches changes the query. Then no other rule is
//! tried, unless the rule says `continue`: the next rules get the changed query. The changes of the
//! reply are made in reverse order. The client always gets its own question back.

mod edns;
mod name;
mod options;
mod replacement;
mod reply;

use std::{ops::RangeInclusive, sync::Arc};

use crate::{
    chain::{Ask, Back, Cx, Flow, From, Level, Nested, Plugin, QueryError, Reply},
    wire::{Class, EdnsOptions, Name, Query, Question, Rcode, Response, Type},
};

use super::{BuildError, Directive, PluginContext, PluginSettings, Role};

use edns::EdnsRule;
use name::{NamePattern, NameRule, NameText, ReplacedName, TargetRule};
use options::FIELDS;
use reply::ReplyRule;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "rewrite",
    about: "Changes names, types, classes and EDNS options of queries, and their replies.",
    arguments: "[continue|stop] FIELD …",
    options: &FIELDS,
    roles: &[Role::ChangesReplies, Role::DecidesCacheContents],
    example: ".:53 {\n    rewrite name suffix .example.org .default.svc.cluster.local answer auto\n    rewrite continue ttl suffix .example.net. 30-300\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read: options::read,
};

#[derive(Clone, Debug)]
struct Rewrite(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    /// Whether the rules after this one are tried, too, if this one matches.
    continues: bool,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Name(NameRule),
    Type { from: Type, to: Type },
    Class { from: Class, to: Class },
    Ttl { names: NamePattern, bounds: RangeInclusive<u32> },
    Rcode { names: NamePattern, from: Rcode, to: Rcode },
    Target(TargetRule),
    Edns(EdnsRule),
}

/// What a rule does to a query that it matches.
enum Change {
    Name(Name),
    Type(Type),
    Class(Class),
    Options(EdnsOptions),
    /// Only the reply is changed.
    Nothing,
}

/// The query after all rules, and what they do to its reply, in the order of the rules.
struct Rewritten<'r> {
    query: Query,
    reply_rules: Vec<ReplyRule<'r>>,
}

/// The text that a rule made of a name, and that is not a valid name.
struct InvalidName(String);

impl PluginSettings for Rewrite {
    fn build(&self, _context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        Ok(vec![Arc::new(self.clone())])
    }
}

impl Plugin for Rewrite {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        // A refresh repeats a query that has been rewritten already. A transfer has many replies.
        if cx.refresh || query.question.qtype.is_transfer() {
            return Flow::Next;
        }
        match self.apply(cx, query) {
            Ok(None) => Flow::Next,
            Ok(Some(rewritten)) => Flow::Instead(Box::new(rewritten.query)),
            Err(InvalidName(text)) => {
                let text = format!("{}: invalid name after rewrite: {text}", query.question);
                cx.log(Level::Error, DIRECTIVE.name, text);
                Flow::Answer(Response::of(Rcode::SERVFAIL))
            }
        }
    }

    fn nested_reply(&self, cx: &mut Cx, query: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        if let Some(held) = nested.held {
            return Back::Up(Ok(reply::with_target(held.clone(), nested.question, reply)));
        }
        let Ok(Some(rewritten)) = self.apply(cx, query) else { return Back::Up(reply) };
        let reply = rewritten.with_code(reply);
        let Ok(mut response) = reply else { return Back::Up(reply) };
        rewritten.change(&mut response, &query.question);
        match rewritten.new_target(&mut response) {
            Some(target) => {
                let question = Question { name: target, ..rewritten.query.question };
                Back::Hold(Ask { question, from: From::Top, step: 0 }, Box::new(response))
            }
            None => Back::Up(Ok(response)),
        }
    }
}

impl Rewrite {
    /// `None` if no rule matches.
    fn apply(&self, cx: &Cx, query: &Query) -> Result<Option<Rewritten<'_>>, InvalidName> {
        let mut rewritten: Option<Rewritten<'_>> = None;
        let mut text = NameText::default();
        for rule in &self.0 {
            let mut reply_rules = Vec::new();
            let current = rewritten.as_ref().map_or(query, |rewritten| &rewritten.query);
            let Some(change) = rule.action.matches(cx, current, &mut text, &mut reply_rules)?
            else {
                continue;
            };
            let rewritten = rewritten
                .get_or_insert_with(|| Rewritten { query: query.clone(), reply_rules: Vec::new() });
            rewritten.reply_rules.append(&mut reply_rules);
            let question = &mut rewritten.query.question;
            match change {
                Change::Name(name) => {
                    *question =
                        Question { class: question.class, ..Question::new(name, question.qtype) };
                    text = NameText::default();
                }
                Change::Type(qtype) => question.qtype = qtype,
                Change::Class(class) => question.class = class,
                Change::Options(options) => rewritten.query.options = options,
                Change::Nothing => {}
            }
            if !rule.continues {
                break;
            }
        }
        Ok(rewritten)
    }
}

impl Action {
    /// `None` if the rule does not match. What it does to the reply is added to `reply_rules`.
    fn matches<'r>(
        &'r self,
        cx: &Cx,
        query: &Query,
        text: &mut NameText,
        reply_rules: &mut Vec<ReplyRule<'r>>,
    ) -> Result<Option<Change>, InvalidName> {
        let Question { name, qtype, class, .. } = &query.question;
        Ok(match self {
            Self::Name(rule) => match rule.replace(name, text, &cx.metadata) {
                None => None,
                Some(ReplacedName::Invalid(text)) => return Err(InvalidName(text)),
                Some(ReplacedName::Name(new)) => {
                    reply::add_rules(rule, name, &new, reply_rules);
                    Some(Change::Name(new))
                }
            },
            Self::Type { from, to } => (from == qtype).then_some(Change::Type(*to)),
            Self::Class { from, to } => (from == class).then_some(Change::Class(*to)),
            Self::Ttl { names, bounds } => names.matches(name, text).then(|| {
                reply_rules.push(ReplyRule::Ttl(bounds.clone()));
                Change::Nothing
            }),
            Self::Rcode { names, from, to } => names.matches(name, text).then(|| {
                reply_rules.push(ReplyRule::Rcode { from: *from, to: *to });
                Change::Nothing
            }),
            Self::Target(rule) => {
                reply_rules.push(ReplyRule::Target(rule));
                Some(Change::Nothing)
            }
            Self::Edns(rule) => rule.apply(cx, query).map(Change::Options),
        })
    }
}

impl Rewritten<'_> {
    /// The reply with another code. A failure with another code becomes a response.
    fn with_code(&self, reply: Reply) -> Reply {
        let code = reply.as_ref().map_or_else(|error: &QueryError| error.rcode(), |it| it.rcode);
        let new = self.reply_rules.iter().rev().fold(code, |code, rule| match rule {
            ReplyRule::Rcode { from, to } if *from == code => *to,
            _ => code,
        });
        if new == code {
            return reply;
        }
        Ok(Response { rcode: new, ..reply.unwrap_or_default() })
    }
}
