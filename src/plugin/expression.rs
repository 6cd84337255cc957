//! Expressions in the language of expr-lang, as far as `view` and `template` need it: literals,
//! lists, ranges, indexes, calls, comparisons, `and`, `or`, `not`, `in`, `matches`, `contains`,
//! `startsWith`, `endsWith`, `??`, arithmetic and the conditional.

mod evaluate;
mod function;
mod number;
mod parser;
mod token;

use std::sync::Arc;

use regex::Regex;

pub(super) use evaluate::{Environment, evaluate, is_true};

use crate::{corefile::Arguments, limits};

use function::Function;
pub(super) use number::Number;

/// A value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Self>),
}

#[derive(Debug)]
pub(super) enum Expression {
    Value(Value),
    List(Vec<Self>),
    /// A variable of the template.
    Variable(String),
    Call(Function, Vec<Self>),
    /// A list or a text, and the index of the element.
    Index(Box<[Self; 2]>),
    Not(Box<Self>),
    Negative(Box<Self>),
    Binary(Operator, Box<[Self; 2]>),
    Matches(Box<Self>, Regex),
    Conditional(Box<[Self; 3]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// The right side if the left one is nil.
    Otherwise,
    Or,
    And,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Contains,
    StartsWith,
    EndsWith,
    Range,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

/// The operators by precedence, the lowest first.
const LEVELS: [&[(&str, Operator)]; 7] = [
    &[("||", Operator::Or), ("or", Operator::Or)],
    &[("&&", Operator::And), ("and", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("in", Operator::In),
        ("contains", Operator::Contains),
        ("startsWith", Operator::StartsWith),
        ("endsWith", Operator::EndsWith),
    ],
    &[("..", Operator::Range)],
    &[("+", Operator::Add), ("-", Operator::Subtract)],
    &[("*", Operator::Multiply), ("/", Operator::Divide), ("%", Operator::Remainder)],
    &[("??", Operator::Otherwise)],
];
/// The level of comparisons, which `not` and `matches` belong to.
const COMPARISONS: usize = 2;

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpressionError {
    #[error("a string does not end")]
    OpenString,
    #[error("`{0}` is unexpected")]
    Unexpected(String),
    #[error("it ends too early")]
    End,
    #[error("there is no function `{0}`")]
    NoFunction(String),
    #[error("`{0}` has the wrong number of arguments")]
    Arguments(&'static str),
    #[error("there is no variable `{0}`")]
    NoVariable(String),
    #[error("`matches` needs a regular expression in quotes")]
    NoPattern,
    #[error("`{0}` is not a regular expression")]
    BadPattern(String),
    #[error("it is nested too deeply")]
    Depth,
    #[error("it is too long: it has more than {} operators and indexes", limits::EXPRESSION_STEPS)]
    Length,
}

/// The names that an expression may use besides the functions of every expression.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope<'s> {
    pub(super) variables: &'s [String],
    /// Whether there are groups of a regular expression.
    pub(super) groups: bool,
}

impl Expression {
    /// # Errors
    /// The text is not an expression.
    pub(super) fn parse(text: &str, scope: Scope<'_>) -> Result<Self, ExpressionError> {
        parser::parse(text, scope)
    }

    /// A text that `incidr` gets as a network, and that is none, so that `incidr` always fails.
    fn bad_network(&self) -> Option<&str> {
        if let Self::Call(Function::InCidr, arguments) = self
            && let [_, Self::Value(Value::Text(text))] = &arguments[..]
            && function::network(text).is_none()
        {
            return Some(text);
        }
        self.parts().iter().find_map(Self::bad_network)
    }

    fn parts(&self) -> &[Self] {
        match self {
            Self::Value(_) | Self::Variable(_) => &[],
            Self::List(parts) | Self::Call(_, parts) => parts,
            Self::Not(part) | Self::Negative(part) | Self::Matches(part, _) => {
                std::slice::from_ref(part)
            }
            Self::Index(parts) | Self::Binary(_, parts) => &parts[..],
            Self::Conditional(parts) => &parts[..],
        }
    }
}

/// Reads the expression of an option. An error is reported.
pub(super) fn read(
    option: &mut Arguments<'_>,
    text: &str,
    scope: Scope<'_>,
) -> Option<Arc<Expression>> {
    let span = option.span();
    match Expression::parse(text, scope) {
        Ok(expression) => {
            if let Some(text) = expression.bad_network() {
                let message = format!("`{text}` is not a network, so `incidr` always fails");
                option.warning(span, &message).help("such as `10.0.0.0/8` or `2001:db8::/32`");
            }
            Some(Arc::new(expression))
        }
        Err(error) => {
            option
                .error(span, &format!("the expression cannot be read: {error}"))
                .help("such as `incidr(client_ip(), '10.0.0.0/8')` or `name() matches '^a\\\\.'`");
            None
        }
    }
}

/// Joins the texts; `None` if the result would be too long.
fn joined(texts: &[&str], separator: &str) -> Option<String> {
    let separators = separator.len().saturating_mul(texts.len().saturating_sub(1));
    let octets = texts.iter().fold(separators, |sum, text| sum.saturating_add(text.len()));
    (octets <= limits::EXPRESSION_OCTETS).then(|| texts.join(separator))
}

/// Whether a variable may have this name: it is a word, and means nothing else in an expression.
pub(super) fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let is_word = first && chars.all(|ch| ch.is_ascii_alphanumeric() || ch == '_');
    let is_operator = LEVELS.iter().any(|level| level.iter().any(|(symbol, _)| *symbol == name));
    is_word && !is_operator && !RESERVED.contains(&name) && Function::named(name).is_none()
}

const RESERVED: [&str; 7] = ["true", "false", "nil", "not", "matches", "let", "if"];
