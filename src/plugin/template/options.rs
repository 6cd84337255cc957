//! Reads the lines of `template`.

use std::sync::Arc;

use regex::Regex;

use crate::{
    corefile::{Arguments, Token},
    plugin::{
        expression::{self, Expression, Scope, is_variable_name},
        pattern,
    },
    wire::{Class, Ede, Rcode, TextRecord, Type},
};

use super::{
    super::{DirectiveLines, Fallthrough, OptionSpec, OptionTable, PluginSettings, names},
    Template, TemplateSettings,
    text::Text,
};

pub(super) static OPTIONS: OptionTable<Template> = OptionTable(&[
    OptionSpec::repeated(
        "match",
        "REGEX…",
        "Answers only names that match one of the patterns.",
        |template, option| {
            for token in some(option, "a pattern") {
                template.patterns.extend(pattern::read(option, token));
            }
        },
    ),
    OptionSpec::repeated(
        "answer",
        "RECORD…",
        "Adds a record to the answer section, as the text of a Go template.",
        |template, option| template.answer.extend(texts(option)),
    ),
    OptionSpec::repeated(
        "additional",
        "RECORD…",
        "Adds a record to the additional section.",
        |template, option| template.additional.extend(texts(option)),
    ),
    OptionSpec::repeated(
        "authority",
        "RECORD…",
        "Adds a record to the authority section.",
        |template, option| template.authority.extend(texts(option)),
    ),
    OptionSpec::new(
        "rcode",
        "CODE",
        "Sets the code of the response; the default is NOERROR.",
        |template, option| {
            template.rcode = named(option, "the code").unwrap_or(template.rcode);
        },
    ),
    OptionSpec::new(
        "ederror",
        "CODE [TEXT]",
        "Adds an extended DNS error for clients that use EDNS.",
        |template, option| {
            let code = option.number("the code", 0, u16::MAX);
            let text = option.optional().map(|token| token.text.clone().into_bytes().into());
            template.ede = code.map(|code| Ede { code, text: text.unwrap_or_default() });
        },
    ),
    OptionSpec::new(
        "fallthrough",
        "[ZONE…]",
        "Passes queries that match no pattern, or for which an `expr` is false, to the next template or plugin. Without this option they get SERVFAIL.",
        |template, option| template.fallthrough = Some(Fallthrough::read(option)),
    ),
    OptionSpec::new(
        "upstream",
        "",
        "Has no effect: the targets of aliases are always looked up.",
        |_, option| {
            option.rest();
        },
    ),
    OptionSpec::repeated(
        "var",
        "NAME EXPRESSION",
        "Sets a variable, which texts have as `.Var.NAME` and later expressions as NAME. Expressions are those of `view`, with group(NAME) for the groups of the pattern.",
        |template, option| {
            let Some(name) = option.required("the name of the variable") else { return };
            let variables: Vec<_> = template.variables.iter().map(|(name, _)| name).collect();
            if !is_variable_name(&name.text) {
                let message = format!("variable name \"{}\" is reserved or invalid", name.text);
                option.error(name.span, &message);
            } else if variables.contains(&&name.text) {
                let message = format!("the variable `{}` is set a second time", name.text);
                option.warning(name.span, &message);
            }
            let value = expression(template, option);
            template.variables.extend(value.map(|value| (name.text.clone(), value)));
        },
    ),
    OptionSpec::repeated(
        "expr",
        "EXPRESSION",
        "Answers only queries for which the expression is true.",
        |template, option| {
            let condition = expression(template, option);
            template.conditions.extend(condition);
        },
    ),
]);

pub(super) fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut templates = Vec::new();
    lines.each(|arguments| {
        let class = match arguments.required("a class") {
            Some(token) => class(arguments, token),
            None => return arguments.skip(),
        };
        let rtype = named(arguments, "the type");
        let mut template = Template {
            class: class.unwrap_or(Class::ANY),
            rtype: rtype.unwrap_or(Type::ANY),
            zones: names(&arguments.zones()),
            patterns: Vec::new(),
            answer: Vec::new(),
            additional: Vec::new(),
            authority: Vec::new(),
            rcode: Rcode::NOERROR,
            ede: None,
            fallthrough: None,
            variables: Vec::new(),
            conditions: Vec::new(),
        };
        OPTIONS.read(arguments, &mut template);
        if template.patterns.is_empty() {
            template.patterns.extend(Regex::new(".*"));
        }
        templates.push(template);
    });
    Some(Box::new(TemplateSettings(templates)))
}

/// Reads the rest of the line as an expression.
fn expression(template: &Template, option: &mut Arguments<'_>) -> Option<Arc<Expression>> {
    let words: Vec<_> = some(option, "an expression").iter().map(|word| &*word.text).collect();
    let variables: Vec<_> = template.variables.iter().map(|(name, _)| name.clone()).collect();
    expression::read(option, &words.join(" "), Scope { variables: &variables, groups: true })
}

fn class(arguments: &mut Arguments<'_>, token: &Token) -> Option<Class> {
    let found = token.text.parse().ok();
    if found.is_none() {
        arguments
            .error(token.span, &format!("invalid query class {}", token.text))
            .help("such as `IN`, or `ANY` for all classes");
    }
    found
}

/// A type or a code with this name.
fn named<T: std::str::FromStr>(arguments: &mut Arguments<'_>, what: &str) -> Option<T> {
    let token = arguments.required(what)?;
    let found = token.text.parse().ok();
    if found.is_none() {
        arguments.error(token.span, &format!("{what} is unknown: {}", token.text));
    }
    found
}

fn some<'w>(option: &mut Arguments<'w>, what: &str) -> &'w [Token] {
    let rest = option.rest();
    if rest.is_empty() {
        option.required(what);
    }
    rest
}

/// Reads the texts of records. A text without actions is the same for every query, so it is parsed
/// here. If it is no record, that is only a warning, because CoreDNS starts with such a text.
fn texts(option: &mut Arguments<'_>) -> Vec<Text> {
    let mut texts = Vec::new();
    for token in some(option, "a record") {
        let text = match Text::new(&token.text) {
            Ok(text) => text,
            Err(error) => {
                option.error(token.span, &format!("could not compile template: {error}"));
                continue;
            }
        };
        if let Some(Err(error)) = text.constant().map(TextRecord::parse) {
            let message =
                format!("every query gets SERVFAIL, because this is not a record: {error}");
            option.warning(token.span, &message);
        }
        texts.push(text);
    }
    texts
}
