//! The functions of expressions: those that return facts about the query, and those of expr-lang.

use std::{net::IpAddr, ops::RangeInclusive};

use crate::{limits, plugin::network::Network, transport::Framing};

use super::{Number, Value, evaluate::Environment, joined};

/// The functions, with their names and numbers of arguments.
macro_rules! functions {
    ($($variant:ident = $name:literal, $arguments:expr;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::plugin) enum Function { $($variant),* }

        const FUNCTIONS: &[(&str, Function, RangeInclusive<usize>)] =
            &[$(($name, Function::$variant, $arguments)),*];
    };
}

functions! {
    Type = "type", 0..=0;
    Name = "name", 0..=0;
    Class = "class", 0..=0;
    Proto = "proto", 0..=0;
    Size = "size", 0..=0;
    ClientIp = "client_ip", 0..=0;
    Port = "port", 0..=0;
    Id = "id", 0..=0;
    Opcode = "opcode", 0..=0;
    Do = "do", 0..=0;
    Bufsize = "bufsize", 0..=0;
    ServerIp = "server_ip", 0..=0;
    ServerPort = "server_port", 0..=0;
    InCidr = "incidr", 2..=2;
    Metadata = "metadata", 1..=1;
    Group = "group", 1..=1;
    Len = "len", 1..=1;
    Lower = "lower", 1..=1;
    Upper = "upper", 1..=1;
    Trim = "trim", 1..=1;
    Int = "int", 1..=1;
    Float = "float", 1..=1;
    Round = "round", 1..=1;
    Floor = "floor", 1..=1;
    Ceil = "ceil", 1..=1;
    String = "string", 1..=1;
    Split = "split", 2..=2;
    Join = "join", 1..=2;
    Replace = "replace", 3..=3;
    HasPrefix = "hasPrefix", 2..=2;
    HasSuffix = "hasSuffix", 2..=2;
    TrimPrefix = "trimPrefix", 2..=2;
    TrimSuffix = "trimSuffix", 2..=2;
    IndexOf = "indexOf", 2..=2;
    First = "first", 1..=1;
    Last = "last", 1..=1;
    Max = "max", 1..=usize::MAX;
    Min = "min", 1..=usize::MAX;
    Abs = "abs", 1..=1;
}

impl Function {
    pub(super) fn named(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(known, ..)| *known == name).map(|(_, function, _)| *function)
    }

    fn entry(self) -> Option<&'static (&'static str, Self, RangeInclusive<usize>)> {
        FUNCTIONS.iter().find(|(_, function, _)| *function == self)
    }

    pub(super) fn name(self) -> &'static str {
        self.entry().map_or("", |(name, ..)| name)
    }

    /// How many arguments it takes.
    pub(super) fn arguments(self) -> RangeInclusive<usize> {
        self.entry().map_or(0..=0, |(_, _, arguments)| arguments.clone())
    }

    /// The value of the function. `None` if an argument has the wrong type or cannot be parsed, or
    /// if the function has no value here. The expression then has no value.
    pub(super) fn call(self, environment: &Environment<'_>, arguments: &[Value]) -> Option<Value> {
        match (self, arguments) {
            (_, []) => self.fact(environment),
            (Self::Metadata, [Value::Text(label)]) => {
                text(environment.cx.metadata.get(label).unwrap_or(""))
            }
            (Self::Group, [key]) => {
                let key = printed(key)?;
                text(environment.groups?.get(&key).map_or("", String::as_str))
            }
            (Self::InCidr, [Value::Text(address), Value::Text(network)]) => {
                let address: IpAddr = address.parse().ok()?;
                Some(Value::Bool(self::network(network)?.contains(address)))
            }
            (Self::String, [value]) => Some(Value::Text(printed(value)?)),
            (Self::Int, [Value::Text(value)]) => integer(value.parse().ok()?),
            (Self::Float, [Value::Text(value)]) => float(value.parse().ok()?),
            (Self::Int, [Value::Number(value)]) => integer(value.integer()?),
            (Self::Float, [Value::Number(value)]) => float(value.float()),
            (Self::Round, [Value::Number(value)]) => float(value.float().round()),
            (Self::Floor, [Value::Number(value)]) => float(value.float().floor()),
            (Self::Ceil, [Value::Number(value)]) => float(value.float().ceil()),
            (Self::Max | Self::Min | Self::Abs, values) => self.of_numbers(values),
            (Self::Len, [Value::List(items)]) => number(items.len()),
            (Self::First, [Value::List(items)]) => {
                Some(items.first().cloned().unwrap_or(Value::Nil))
            }
            (Self::Last, [Value::List(items)]) => Some(items.last().cloned().unwrap_or(Value::Nil)),
            (Self::Join, [Value::List(items), separator @ ..]) => {
                let items: Vec<_> = items.iter().map(as_text).collect::<Option<_>>()?;
                let separator = separator.first().map_or(Some(""), as_text)?;
                joined(&items, separator).map(Value::Text)
            }
            (_, values) => self.of_texts(&values.iter().map(as_text).collect::<Option<Vec<_>>>()?),
        }
    }

    /// A fact about the query.
    fn fact(self, environment: &Environment<'_>) -> Option<Value> {
        let Environment { cx, query, .. } = environment;
        let question = &query.question;
        match self {
            Self::Type => text(&question.qtype.to_string()),
            Self::Name => text(&question.name.to_string()),
            Self::Class => text(&question.class.to_string()),
            Self::Proto => text(cx.transport.proto()),
            Self::Size => number(cx.request_octets),
            Self::ClientIp => text(&cx.peer.ip().to_string()),
            Self::Port => text(&cx.peer.port().to_string()),
            Self::Id => number(query.id.into()),
            Self::Opcode => integer(query.opcode.number().into()),
            Self::Do => Some(Value::Bool(query.dnssec_ok())),
            Self::Bufsize => number(bufsize(environment)),
            Self::ServerIp => text(&cx.local.ip().to_string()),
            Self::ServerPort => text(&cx.local.port().to_string()),
            _ => None,
        }
    }

    fn of_numbers(self, values: &[Value]) -> Option<Value> {
        let numbers = values.iter().map(|value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        });
        let numbers: Vec<Number> = numbers.collect::<Option<_>>()?;
        let result = numbers.into_iter().reduce(|one, other| match self {
            Self::Max if other > one => other,
            Self::Min if other < one => other,
            _ => one,
        })?;
        let is_negative = self == Self::Abs && result < Number::Integer(0);
        Some(Value::Number(if is_negative { result.negative()? } else { result }))
    }

    fn of_texts(self, texts: &[&str]) -> Option<Value> {
        match (self, texts) {
            (Self::Len, [value]) => number(value.chars().count()),
            (Self::Lower, [value]) => text(&value.to_lowercase()),
            (Self::Upper, [value]) => text(&value.to_uppercase()),
            (Self::Trim, [value]) => text(value.trim()),
            (Self::Split, [value, separator]) => {
                let parts = value.split(separator).map(|part| Value::Text(part.to_owned()));
                Some(Value::List(parts.collect()))
            }
            (Self::Replace, [value, from, to]) => {
                let replaced = value.replace(from, to);
                (replaced.len() <= limits::EXPRESSION_OCTETS).then_some(Value::Text(replaced))
            }
            (Self::HasPrefix, [value, prefix]) => Some(Value::Bool(value.starts_with(prefix))),
            (Self::HasSuffix, [value, suffix]) => Some(Value::Bool(value.ends_with(suffix))),
            (Self::TrimPrefix, [value, prefix]) => {
                text(value.strip_prefix(prefix).unwrap_or(value))
            }
            (Self::TrimSuffix, [value, suffix]) => {
                text(value.strip_suffix(suffix).unwrap_or(value))
            }
            (Self::IndexOf, [value, part]) => match value.find(part) {
                Some(at) => number(at),
                None => integer(-1),
            },
            _ => None,
        }
    }
}

/// Unlike in `acl`, a network has a mask.
pub(super) fn network(text: &str) -> Option<Network> {
    text.contains('/').then(|| text.parse().ok())?
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.to_owned()))
}

fn number(number: usize) -> Option<Value> {
    integer(i64::try_from(number).ok()?)
}

fn integer(number: i64) -> Option<Value> {
    Some(Value::Number(Number::Integer(number)))
}

fn float(number: f64) -> Option<Value> {
    Some(Value::Number(Number::Float(number)))
}

fn as_text(value: &Value) -> Option<&str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

/// The text of a single value.
fn printed(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => as_text(value).map(str::to_owned),
    }
}

/// The largest reply, in octets, that the client accepts.
fn bufsize(environment: &Environment<'_>) -> usize {
    match environment.cx.transport.framing() {
        Framing::Datagram => {
            let size = environment.query.edns.map_or(0, |edns| edns.size);
            usize::from(size.max(limits::UDP_OCTETS_PLAIN))
        }
        Framing::Length | Framing::Request => limits::STREAM_OCTETS,
    }
}
