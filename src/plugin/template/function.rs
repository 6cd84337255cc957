//! The functions of a template: those of Go and CoreDNS's `parseInt`.

use super::{
    error::{EvalError, SyntaxError},
    printf::printf,
    value::Value,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Or,
    Not,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Index,
    Slice,
    Length,
    Print,
    PrintLine,
    Printf,
    ParseInt,
}

use Function::{
    And, Equal, Greater, GreaterOrEqual, Index, Length, Less, LessOrEqual, Not, NotEqual, Or,
    ParseInt, Print, PrintLine, Printf, Slice,
};

const ALL: [(&str, Function); 16] = [
    ("and", And),
    ("or", Or),
    ("not", Not),
    ("eq", Equal),
    ("ne", NotEqual),
    ("lt", Less),
    ("le", LessOrEqual),
    ("gt", Greater),
    ("ge", GreaterOrEqual),
    ("index", Index),
    ("slice", Slice),
    ("len", Length),
    ("print", Print),
    ("println", PrintLine),
    ("printf", Printf),
    ("parseInt", ParseInt),
];

/// Functions of Go that the texts of records do not need.
const NOT_HERE: [&str; 5] = ["html", "js", "urlquery", "call", "nil"];

impl Function {
    pub(super) fn named(name: &str) -> Result<Self, SyntaxError> {
        match ALL.iter().find(|(known, _)| *known == name) {
            Some((_, function)) => Ok(*function),
            None if NOT_HERE.contains(&name) => Err(SyntaxError::NotHere(name.to_owned())),
            None => Err(SyntaxError::UnknownFunction(name.to_owned())),
        }
    }

    /// For `and` and `or`, the truth value that decides the result: after an argument with this
    /// value, the others are not evaluated.
    pub(super) fn short_circuit(self) -> Option<bool> {
        match self {
            And => Some(false),
            Or => Some(true),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        ALL.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    pub(super) fn call<'d>(self, arguments: &[Value<'d>]) -> Result<Value<'d>, EvalError> {
        let wrong = EvalError::Argument(self.name());
        let bool = |result: Result<bool, EvalError>| result.map(Value::Bool);
        match (self, arguments) {
            // The evaluation stops at the argument that decides.
            (And | Or, [.., last]) => Ok(last.clone()),
            (Not, [value]) => Ok(Value::Bool(!value.is_true())),
            (Equal, [first, others @ ..]) if !others.is_empty() => {
                for other in others {
                    if first.equals(other)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            (NotEqual, [a, b]) => bool(a.equals(b).map(|equal| !equal)),
            (Less, [a, b]) => bool(a.compare(b).map(std::cmp::Ordering::is_lt)),
            (LessOrEqual, [a, b]) => bool(a.compare(b).map(std::cmp::Ordering::is_le)),
            (Greater, [a, b]) => bool(a.compare(b).map(std::cmp::Ordering::is_gt)),
            (GreaterOrEqual, [a, b]) => bool(a.compare(b).map(std::cmp::Ordering::is_ge)),
            (Index, [value, keys @ ..]) => {
                keys.iter().try_fold(value.clone(), |value, key| index(&value, key))
            }
            (Slice, [value, bounds @ ..]) => slice(value, bounds),
            (Length, [value]) => length(value).map(|length| Value::Integer(length as i64)),
            (Print, values) => print(values).map(|text| Value::text(&text)),
            (PrintLine, values) => {
                let texts: Vec<_> = values.iter().map(Value::print).collect::<Result<_, _>>()?;
                Ok(Value::text(&(texts.join(" ") + "\n")))
            }
            (Printf, [Value::Text(format), values @ ..]) => {
                printf(format, values).map(|text| Value::text(&text))
            }
            (ParseInt, [Value::Text(text), base, bits]) => {
                parse_int(text, base.number(), bits.number()).ok_or(wrong).map(Value::Unsigned)
            }
            _ => Err(wrong),
        }
    }
}

fn index<'d>(value: &Value<'d>, key: &Value<'d>) -> Result<Value<'d>, EvalError> {
    let outside = EvalError::Argument("index");
    match (value, key) {
        (Value::List(list), key) => {
            let at = key.number().and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| list.get(at)).map(|text| Value::text(text)).ok_or(outside)
        }
        (Value::Text(text), key) => {
            let at = key.number().and_then(|at| usize::try_from(at).ok());
            let octet = at.and_then(|at| text.as_bytes().get(at));
            octet.map(|octet| Value::Unsigned((*octet).into())).ok_or(outside)
        }
        (Value::Items(items), key) => {
            let at = key.number().and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| items.get(at)).cloned().ok_or(outside)
        }
        (Value::Variables(map), Value::Text(key)) => {
            Ok(map.get(&**key).map_or(Value::Missing, Value::of))
        }
        // Unlike `.Group.a`, `index` gives the empty text for a key that does not exist.
        (Value::Map(map), Value::Text(key)) => {
            Ok(Value::text(map.get(&**key).map_or("", String::as_str)))
        }
        _ => Err(outside),
    }
}

fn slice<'d>(value: &Value<'d>, bounds: &[Value<'d>]) -> Result<Value<'d>, EvalError> {
    let wrong = || EvalError::Argument("slice");
    let bounds: Vec<usize> = bounds
        .iter()
        .map(|bound| bound.number().and_then(|bound| usize::try_from(bound).ok()))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let (from, to) = match *bounds {
        [] => (0, length(value)?),
        [from] => (from, length(value)?),
        [from, to] => (from, to),
        _ => return Err(wrong()),
    };
    match value {
        Value::Text(text) => text.get(from..to).map(Value::text).ok_or_else(wrong),
        Value::List(list) => list.get(from..to).map(Value::List).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

fn length(value: &Value<'_>) -> Result<usize, EvalError> {
    match value {
        Value::Text(text) => Ok(text.len()),
        Value::List(list) => Ok(list.len()),
        Value::Map(map) => Ok(map.len()),
        Value::Variables(map) => Ok(map.len()),
        Value::Items(items) => Ok(items.len()),
        _ => Err(EvalError::Argument("len")),
    }
}

/// Like Go, puts a space between two arguments unless one of them is a text.
fn print(values: &[Value<'_>]) -> Result<String, EvalError> {
    let mut printed = String::new();
    for (at, value) in values.iter().enumerate() {
        let is_text = |value: &Value<'_>| matches!(value, Value::Text(_));
        if at > 0 && !is_text(value) && !is_text(&values[at - 1]) {
            printed.push(' ');
        }
        printed.push_str(&value.print()?);
    }
    Ok(printed)
}

/// Go's `strconv.ParseUint`. Base 0 means that a prefix such as `0x` decides.
fn parse_int(text: &str, base: Option<i128>, bits: Option<i128>) -> Option<u64> {
    let (digits, base) = match (base?, text.get(..2)) {
        (0, Some("0x" | "0X")) => (&text[2..], 16),
        (0, Some("0b" | "0B")) => (&text[2..], 2),
        (0, Some("0o" | "0O")) => (&text[2..], 8),
        (0, Some(prefixed)) if prefixed.starts_with('0') => (&text[1..], 8),
        (0, _) => (text, 10),
        (base @ 2..=36, _) => (text, base as u32),
        _ => return None,
    };
    let bits = match bits? {
        0 => 64,
        bits @ 1..=64 => bits as u32,
        _ => return None,
    };
    if digits.starts_with('+') {
        return None;
    }
    let number = u64::from_str_radix(digits, base).ok()?;
    (u64::MAX >> (64 - bits) >= number).then_some(number)
}
