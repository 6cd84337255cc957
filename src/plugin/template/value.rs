//! The values of a template, with the rules of Go for printing, truth and comparison.

use std::{cmp::Ordering, collections::BTreeMap, rc::Rc};

use crate::{
    chain::Metadata,
    plugin::expression::{self, Number},
    wire::Question,
};

use super::error::EvalError;

/// What a template sees of a query.
#[derive(Debug)]
pub(super) struct Data<'q> {
    pub(super) zone: String,
    /// Lower-case, with the final dot.
    pub(super) name: String,
    /// The pattern that matches.
    pub(super) regex: String,
    pub(super) class: String,
    pub(super) rtype: String,
    /// The match and its groups. A group that takes no part is empty.
    pub(super) matched: Vec<String>,
    /// The groups by their number and by their name.
    pub(super) groups: BTreeMap<String, String>,
    pub(super) question: &'q Question,
    /// The address of the client.
    pub(super) remote: String,
    pub(super) variables: BTreeMap<String, expression::Value>,
    pub(super) metadata: Metadata,
}

#[derive(Clone, Debug)]
pub(super) enum Value<'d> {
    /// A key that a map does not have.
    Missing,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(Rc<str>),
    List(&'d [String]),
    Map(&'d BTreeMap<String, String>),
    /// The values of expressions, by the names of their variables.
    Variables(&'d BTreeMap<String, expression::Value>),
    /// A list that is the value of an expression.
    Items(Rc<[Self]>),
    Question(&'d Question),
    Data(&'d Data<'d>),
}

impl<'d> Value<'d> {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn field(&self, name: &str) -> Result<Self, EvalError> {
        Ok(match (self, name) {
            (Self::Data(data), "Zone") => Self::text(&data.zone),
            (Self::Data(data), "Name") => Self::text(&data.name),
            (Self::Data(data), "Regex") => Self::text(&data.regex),
            (Self::Data(data), "Class") => Self::text(&data.class),
            (Self::Data(data), "Type") => Self::text(&data.rtype),
            (Self::Data(data), "Remote") => Self::text(&data.remote),
            (Self::Data(data), "Match") => Self::List(&data.matched),
            (Self::Data(data), "Group") => Self::Map(&data.groups),
            (Self::Data(data), "Question") => Self::Question(data.question),
            (Self::Data(data), "Var") => Self::Variables(&data.variables),
            (Self::Question(question), "Name") => Self::text(&question.spelled().to_string()),
            (Self::Question(question), "Qtype") => Self::Unsigned(question.qtype.0.into()),
            (Self::Question(question), "Qclass") => Self::Unsigned(question.class.0.into()),
            (Self::Map(map), key) => map.get(key).map_or(Self::Missing, |text| Self::text(text)),
            (Self::Variables(map), key) => map.get(key).map_or(Self::Missing, Self::of),
            _ => return Err(EvalError::NoField(name.to_owned())),
        })
    }

    /// The value of an expression.
    pub(super) fn of(value: &expression::Value) -> Self {
        match value {
            expression::Value::Nil => Self::Missing,
            expression::Value::Bool(value) => Self::Bool(*value),
            expression::Value::Number(Number::Integer(number)) => Self::Integer(*number),
            expression::Value::Number(Number::Float(number)) => Self::Float(*number),
            expression::Value::Text(text) => Self::text(text),
            expression::Value::List(items) => Self::Items(items.iter().map(Self::of).collect()),
        }
    }

    /// Whether the value counts as true in `if`: it is not empty and not zero.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::Bool(value) => *value,
            Self::Integer(number) => *number != 0,
            Self::Unsigned(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Variables(map) => !map.is_empty(),
            Self::Items(items) => !items.is_empty(),
            Self::Question(_) | Self::Data(_) => true,
        }
    }

    /// The elements for `range` with their keys.
    pub(super) fn elements(&self) -> Result<Vec<(Self, Self)>, EvalError> {
        match self {
            Self::List(list) => {
                let numbered = list.iter().enumerate();
                Ok(numbered
                    .map(|(at, text)| (Self::Integer(at as i64), Self::text(text)))
                    .collect())
            }
            Self::Map(map) => {
                Ok(map.iter().map(|(key, text)| (Self::text(key), Self::text(text))).collect())
            }
            Self::Variables(map) => {
                Ok(map.iter().map(|(key, value)| (Self::text(key), Self::of(value))).collect())
            }
            Self::Items(items) => {
                let numbered = items.iter().enumerate();
                Ok(numbered.map(|(at, item)| (Self::Integer(at as i64), item.clone())).collect())
            }
            _ => Err(EvalError::Argument("range")),
        }
    }

    pub(super) fn print(&self) -> Result<String, EvalError> {
        Ok(match self {
            Self::Missing => "<no value>".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(number) => number.to_string(),
            Self::Unsigned(number) => number.to_string(),
            Self::Float(number) => Number::Float(*number).to_string(),
            Self::Text(text) => text.to_string(),
            Self::List(list) => format!("[{}]", list.join(" ")),
            Self::Map(map) => {
                let pairs: Vec<_> = map.iter().map(|(key, text)| format!("{key}:{text}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
            Self::Variables(map) => {
                let pairs: Vec<_> = map
                    .iter()
                    .map(|(key, value)| Ok(format!("{key}:{}", Self::of(value).print()?)))
                    .collect::<Result<_, EvalError>>()?;
                format!("map[{}]", pairs.join(" "))
            }
            Self::Items(items) => {
                let texts: Vec<_> = items.iter().map(Self::print).collect::<Result<_, _>>()?;
                format!("[{}]", texts.join(" "))
            }
            Self::Question(_) | Self::Data(_) => return Err(EvalError::Argument("print")),
        })
    }

    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Self::Integer(number) => Some((*number).into()),
            Self::Unsigned(number) => Some((*number).into()),
            _ => None,
        }
    }

    pub(super) fn equals(&self, other: &Self) -> Result<bool, EvalError> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(a == b),
            (Self::Text(a), Self::Text(b)) => Ok(a == b),
            (Self::Missing, Self::Missing) => Ok(true),
            // As in Go, a missing value differs from all others.
            (Self::Missing, _) | (_, Self::Missing) => Ok(false),
            _ => self.compare_numbers(other).map(Ordering::is_eq),
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Result<Ordering, EvalError> {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Ok(a.cmp(b)),
            _ => self.compare_numbers(other),
        }
    }

    fn compare_numbers(&self, other: &Self) -> Result<Ordering, EvalError> {
        match (self, other) {
            // As in Go, an integer cannot be compared with a floating-point number.
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b).ok_or(EvalError::Incomparable),
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => Ok(a.cmp(&b)),
                _ => Err(EvalError::Incomparable),
            },
        }
    }
}
