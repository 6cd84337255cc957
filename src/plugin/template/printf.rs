//! `printf` with the verbs of Go that make sense for the text of a record.

use std::{iter::Peekable, str::Chars};

use crate::limits;

use super::{error::EvalError, value::Value};

/// `%[flags][width][.precision]verb`.
#[derive(Default)]
struct Verb {
    left: bool,
    plus: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

pub(super) fn printf(format: &str, values: &[Value<'_>]) -> Result<String, EvalError> {
    let (mut printed, mut letters, mut values) =
        (String::new(), format.chars().peekable(), values.iter());
    while let Some(letter) = letters.next() {
        if letter != '%' {
            printed.push(letter);
            continue;
        }
        let verb = Verb::read(&mut letters)?;
        let kind = letters.next().ok_or(EvalError::Argument("printf"))?;
        if kind == '%' {
            printed.push('%');
            continue;
        }
        let value = values.next().ok_or(EvalError::Argument("printf"))?;
        printed.push_str(&verb.print(kind, value)?);
    }
    if values.next().is_some() { Err(EvalError::Argument("printf")) } else { Ok(printed) }
}

impl Verb {
    fn read(letters: &mut Peekable<Chars<'_>>) -> Result<Self, EvalError> {
        let mut verb = Self::default();
        loop {
            match letters.peek() {
                Some('-') => verb.left = true,
                Some('+') => verb.plus = true,
                Some('0') => verb.zero = true,
                Some('#') => verb.alternate = true,
                _ => break,
            }
            letters.next();
        }
        verb.width = number(letters)?;
        if letters.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(letters)?);
        }
        Ok(verb)
    }

    fn print(&self, kind: char, value: &Value<'_>) -> Result<String, EvalError> {
        if let Some((number, digits, prefix)) = value.number().and_then(|number| {
            let (digits, prefix) = digits(kind, number.unsigned_abs())?;
            Some((number, digits, prefix))
        }) {
            return Ok(self.number(number, prefix, &digits));
        }
        let text = match (kind, value.number(), value) {
            ('c', Some(number), _) => u32::try_from(number)
                .ok()
                .and_then(char::from_u32)
                .ok_or(EvalError::Argument("printf"))?
                .to_string(),
            ('s' | 'v', _, Value::Text(text)) => self.cut(text),
            ('q', _, Value::Text(text)) => format!("{:?}", self.cut(text)),
            ('x', _, Value::Text(text)) => {
                text.bytes().map(|octet| format!("{octet:02x}")).collect()
            }
            ('X', _, Value::Text(text)) => {
                text.bytes().map(|octet| format!("{octet:02X}")).collect()
            }
            ('t' | 'v', _, Value::Bool(value)) => value.to_string(),
            ('f', _, Value::Float(number)) => format!("{number:.*}", self.precision.unwrap_or(6)),
            ('s' | 'v', None, value) => value.print()?,
            // Go prints `%!d(string=x)`, which is in no valid record.
            _ => return Err(EvalError::Argument("printf")),
        };
        Ok(self.pad(&text))
    }

    fn cut(&self, text: &str) -> String {
        text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
    }

    /// The digits with sign, prefix and zeros.
    fn number(&self, number: i128, prefix: &str, digits: &str) -> String {
        let sign = match number {
            ..0 => "-",
            _ if self.plus => "+",
            _ => "",
        };
        let prefix = if self.alternate { prefix } else { "" };
        let taken = sign.len() + prefix.len();
        let least = match self.precision {
            Some(precision) => precision,
            None if self.zero && !self.left => self.width.saturating_sub(taken),
            None => 0,
        };
        self.pad(&format!("{sign}{prefix}{digits:0>least$}"))
    }

    fn pad(&self, text: &str) -> String {
        let width = self.width;
        match (self.left, self.zero) {
            (true, _) => format!("{text:<width$}"),
            (false, true) if self.precision.is_none() => format!("{text:0>width$}"),
            (false, _) => format!("{text:>width$}"),
        }
    }
}

fn number(letters: &mut Peekable<Chars<'_>>) -> Result<usize, EvalError> {
    let mut number = 0;
    while let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(10)) {
        number = number * 10 + digit as usize;
        if number > limits::NAME_OCTETS {
            return Err(EvalError::Argument("printf"));
        }
        letters.next();
    }
    Ok(number)
}

/// The digits of a number for a verb, and what `#` puts before them.
fn digits(kind: char, number: u128) -> Option<(String, &'static str)> {
    Some(match kind {
        'd' | 'v' => (number.to_string(), ""),
        'x' => (format!("{number:x}"), "0x"),
        'X' => (format!("{number:X}"), "0X"),
        'o' => (format!("{number:o}"), "0"),
        'b' => (format!("{number:b}"), "0b"),
        _ => return None,
    })
}
