//! `template CLASS TYPE [ZONE…] { … }`: answers that are rendered from the query.
//!
//! The templates of a block are tried in their order. If a template has the zone, class and type of
//! a query, but no pattern that matches, the query gets SERVFAIL, unless the template has
//! `fallthrough`, as in CoreDNS.

mod error;
mod function;
mod options;
mod printf;
mod syntax;
mod text;
mod value;

use std::{collections::BTreeMap, sync::Arc};

use regex::Regex;

use crate::{
    chain::{Ask, Back, Cx, Flow, From, Level, Nested, Plugin, Reply, ReplySource},
    metrics::{CounterFamily, Family, Metrics},
    wire::{
        Class, Ede, Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Sets,
        TextRecord, Type,
    },
};

use super::{
    BuildError, Directive, Fallthrough, PluginContext, PluginSettings, Role, ServerLabels,
    expression::{self, Environment, Expression},
};

use options::OPTIONS;
use text::Text;
use value::Data;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "template",
    about: "Answers queries with records whose text is rendered from the query.",
    arguments: "CLASS TYPE [ZONE…]",
    options: &OPTIONS,
    roles: &[Role::Answers, Role::DecidesCacheContents],
    example: ".:53 {\n    template IN A example.org {\n        match ^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)[.]example[.]org[.]$\n        answer \"{{ .Name }} 60 IN A 192.0.{{ .Group.a }}.{{ .Group.b }}\"\n        fallthrough\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read: options::read,
};

static MATCHES: CounterFamily<5> = Family::new(
    "template_matches_total",
    "Queries that a template answered.",
    ["server", "zone", "view", "class", "type"],
);
static TEMPLATE_FAILURES: CounterFamily<7> = Family::new(
    "template_template_failures_total",
    "Templates that could not be rendered for a query.",
    ["server", "zone", "view", "class", "type", "section", "template"],
);
static RECORD_FAILURES: CounterFamily<7> = Family::new(
    "template_rr_failures_total",
    "Rendered texts that are not records.",
    ["server", "zone", "view", "class", "type", "section", "template"],
);

#[derive(Clone, Debug)]
struct TemplateSettings(Vec<Template>);

#[derive(Clone, Debug)]
struct Template {
    class: Class,
    rtype: Type,
    zones: Vec<Name>,
    patterns: Vec<Regex>,
    answer: Vec<Text>,
    additional: Vec<Text>,
    authority: Vec<Text>,
    rcode: Rcode,
    ede: Option<Ede>,
    fallthrough: Option<Fallthrough>,
    /// An expression can use the variables before it.
    variables: Vec<(String, Arc<Expression>)>,
    /// The template answers if all of them are true.
    conditions: Vec<Arc<Expression>>,
}

struct Templates {
    templates: Vec<Template>,
    metrics: Arc<Metrics>,
    servers: ServerLabels,
}

impl PluginSettings for TemplateSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let templates = self.0.iter().map(|template| template.within(context.zones)).collect();
        let (metrics, servers) = (Arc::clone(context.build.metrics), context.servers.clone());
        Ok(vec![Arc::new(Templates { templates, metrics, servers })])
    }
}

/// What a template makes of a query.
enum Match<'t, 'q> {
    Yes(&'t Template, Box<Data<'q>>),
    /// The next template or plugin gets the query.
    PassOn,
    Refused,
}

impl Template {
    /// Without zones, a template has those of its block.
    fn within(&self, zones: &[Name]) -> Self {
        let mut template = self.clone();
        if template.zones.is_empty() {
            template.zones = zones.to_vec();
        }
        template
    }

    fn passes_on(&self, name: &Name) -> bool {
        self.fallthrough.as_ref().is_some_and(|fallthrough| fallthrough.includes(name))
    }

    fn matches<'q>(&self, cx: &Cx, query: &'q Query) -> Match<'_, 'q> {
        let question = &query.question;
        let within = self.zones.iter().filter(|zone| question.name.is_within(zone));
        let Some(zone) = within.max_by_key(|zone| zone.wire().len()) else {
            return Match::PassOn;
        };
        let class = self.class == Class::ANY || self.class == question.class;
        let any = self.rtype == Type::ANY || question.qtype == Type::ANY;
        if !class || !(any || self.rtype == question.qtype) {
            return Match::PassOn;
        }
        let name = question.name.to_string();
        let found = self.patterns.iter().find_map(|regex| Some((regex, regex.captures(&name)?)));
        let Some((regex, captures)) = found else {
            let passes = self.passes_on(&question.name);
            return if passes { Match::PassOn } else { Match::Refused };
        };
        let group = |at: usize| captures.get(at).map_or("", |group| group.as_str()).to_owned();
        let matched: Vec<_> = (0..captures.len()).map(group).collect();
        let mut groups = BTreeMap::new();
        for (at, (text, name)) in matched.iter().zip(regex.capture_names()).enumerate() {
            groups.insert(at.to_string(), text.clone());
            groups.extend(name.map(|name| (name.to_owned(), text.clone())));
        }
        let mut environment = Environment::new(cx, query);
        environment.groups = Some(&groups);
        match self.evaluate(&mut environment) {
            Some(true) => {}
            Some(false) if self.passes_on(&question.name) => return Match::PassOn,
            Some(false) | None => return Match::Refused,
        }
        let variables = environment.variables;
        let rtype = if question.qtype == Type::ANY { self.rtype } else { question.qtype };
        let data = Data {
            zone: zone.to_string(),
            regex: regex.as_str().to_owned(),
            class: mnemonic(question.class.to_string(), "CLASS"),
            rtype: mnemonic(rtype.to_string(), "TYPE"),
            matched,
            groups,
            question,
            remote: cx.peer.ip().to_canonical().to_string(),
            name,
            variables,
            metadata: cx.metadata.clone(),
        };
        Match::Yes(self, Box::new(data))
    }

    /// Sets the variables. Returns whether all conditions are true; `None` after an error.
    fn evaluate(&self, environment: &mut Environment<'_>) -> Option<bool> {
        for (name, value) in &self.variables {
            let value = expression::evaluate(value, environment)?;
            environment.variables.insert(name.clone(), value);
        }
        for condition in &self.conditions {
            if expression::evaluate(condition, environment)? != expression::Value::Bool(true) {
                return Some(false);
            }
        }
        Some(true)
    }
}

/// As in CoreDNS, the text of a class or type without a name is empty.
fn mnemonic(text: String, generic: &str) -> String {
    if text.starts_with(generic) { String::new() } else { text }
}

/// A response. If it has an alias whose target must be looked up, `alias` has the index in the
/// answer section at which the records of the target belong, and the target.
struct Rendered {
    response: Response,
    alias: Option<(usize, Name)>,
}

/// A section could not be rendered.
struct Failure<'t> {
    family: &'static CounterFamily<7>,
    section: &'static str,
    template: &'t Text,
    reason: String,
}

impl Template {
    fn render(&self, data: &Data<'_>) -> Result<Rendered, Failure<'_>> {
        let question = data.question;
        let answer = records("answer", &self.answer, data)?;
        let mut alias = None;
        if matches!(question.qtype, Type::A | Type::AAAA) {
            let owned = |name: &Name| {
                answer
                    .iter()
                    .any(|record| Name::from_wire(record.owner.wire()).as_ref() == Some(name))
            };
            let targets = answer.iter().enumerate();
            alias = targets
                .filter_map(|(at, record)| Some((at + 1, record.alias()?)))
                .find(|(_, target)| !owned(target));
        }
        // The sets after the alias must stay apart from those before it.
        let (before, after) = answer.split_at(alias.as_ref().map_or(answer.len(), |(at, _)| *at));
        let mut sets = record_sets(before, question);
        let alias = alias.map(|(_, target)| (sets.len(), target));
        sets.extend(record_sets(after, question));
        let response = Response {
            answer: sets,
            additional: record_sets(&records("additional", &self.additional, data)?, question),
            authority: record_sets(&records("authority", &self.authority, data)?, question),
            ede: self.ede.clone(),
            ..Response::authoritative(self.rcode)
        };
        Ok(Rendered { response, alias })
    }
}

fn records<'t>(
    section: &'static str,
    templates: &'t [Text],
    data: &Data<'_>,
) -> Result<Vec<TextRecord>, Failure<'t>> {
    let record = |template: &'t Text| {
        let text = template.render(data);
        let failure = |family, reason| Failure { family, section, template, reason };
        let text = text.map_err(|error| failure(&TEMPLATE_FAILURES, error.to_string()))?;
        let record = TextRecord::parse(&text);
        record.map_err(|error| failure(&RECORD_FAILURES, error.to_string()))
    };
    templates.iter().map(record).collect()
}

/// Adjacent records of one owner, type and TTL become a set, so that `loadbalance` can order them.
fn record_sets(records: &[TextRecord], question: &Question) -> Sets {
    let same =
        |a: &TextRecord, b: &TextRecord| (&a.owner, a.rtype, a.ttl) == (&b.owner, b.rtype, b.ttl);
    let set = |records: &[TextRecord]| {
        let first = records.first()?;
        let is_question = first.owner.wire() == question.name.wire();
        let owner = if is_question { Owner::Question } else { Owner::from(&first.owner) };
        let rdatas: Rdatas = records.iter().map(|record| &record.rdata).collect();
        Some(RecordSet::new(owner, first.rtype, first.ttl, rdatas))
    };
    records.chunk_by(same).filter_map(set).collect()
}

impl Plugin for Templates {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        let question = &query.question;
        let (template, data) = match self.find(cx, query) {
            Match::PassOn => return Flow::Next,
            Match::Refused => return servfail(),
            Match::Yes(template, data) => (template, data),
        };
        let label = self.servers.label(self.servers.index(cx));
        MATCHES.with(&self.metrics, [label, &data.zone, "", &data.class, &data.rtype]).inc();
        if template.rcode == Rcode::SERVFAIL {
            return servfail();
        }
        match template.render(&data) {
            Ok(Rendered { alias: Some((_, target)), .. }) => Flow::Ask(Ask {
                question: Question::new(target, question.qtype),
                from: From::Top,
                step: 0,
            }),
            Ok(Rendered { response, alias: None }) => Flow::Answer(response),
            Err(failure) => {
                let Failure { family, section, template, reason } = failure;
                let (source, labels) =
                    (&*template.source, [&*data.zone, "", &data.class, &data.rtype]);
                let [zone, view, class, rtype] = labels;
                family
                    .with(&self.metrics, [label, zone, view, class, rtype, section, source])
                    .inc();
                let text =
                    format!("{question}: the {section} `{source}` gives no record: {reason}");
                cx.log(Level::Error, DIRECTIVE.name, text);
                servfail()
            }
        }
    }

    /// Appends the records of the alias's target. If there are none, the alias is the answer.
    fn nested_reply(&self, cx: &mut Cx, query: &Query, nested: Nested<'_>, reply: Reply) -> Back {
        cx.set_answered(DIRECTIVE.name, ReplySource::Local);
        let Match::Yes(template, data) = self.find(cx, query) else {
            return Back::Up(reply);
        };
        let Ok(Rendered { mut response, alias: Some((at, _)) }) = template.render(&data) else {
            return Back::Up(reply);
        };
        if let Ok(found) = reply {
            response.truncated = found.truncated;
            let target = nested.question.name.wire();
            let sets = found.answer.into_iter();
            let named = sets.map(|set| RecordSet { owner: set.owner.named(target), ..set });
            response.answer.insert_many(at, named);
        }
        Back::Up(Ok(response))
    }
}

impl Templates {
    /// The first template that has the zone, class and type, and does not pass the query on.
    fn find<'q>(&self, cx: &Cx, query: &'q Query) -> Match<'_, 'q> {
        let matches = self.templates.iter().map(|template| template.matches(cx, query));
        matches.into_iter().find(|found| !matches!(found, Match::PassOn)).unwrap_or(Match::PassOn)
    }
}

fn servfail() -> Flow {
    Flow::Answer(Response::of(Rcode::SERVFAIL))
}

#[cfg(test)]
mod tests;
