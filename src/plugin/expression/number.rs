//! The numbers of expressions: integers and floating-point numbers, which compare by their value.

use std::{cmp::Ordering, fmt};

use super::Operator;

#[derive(Clone, Copy, Debug)]
pub(in crate::plugin) enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    /// Reads the digits of an expression. `_` may stand between digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.replace('_', "");
        let prefixed = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)]
            .into_iter()
            .find_map(|(prefix, base)| Some((digits.strip_prefix(prefix)?, base)));
        match prefixed {
            Some((digits, base)) => i64::from_str_radix(digits, base).ok().map(Self::Integer),
            None if digits.contains(['.', 'e', 'E']) => digits.parse().ok().map(Self::Float),
            None => digits.parse().ok().map(Self::Integer),
        }
    }

    pub(super) fn float(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        }
    }

    /// The integer, without the fraction. `None` for a number that no integer has.
    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(number),
            Self::Float(number) => {
                let fits = number.is_finite() && number.abs() < i64::MAX as f64;
                fits.then_some(number as i64)
            }
        }
    }

    /// The result of `+`, `-`, `*`, `/` or `%`. `None` if it is too large, or not defined for such
    /// numbers. As in expr-lang, a quotient is never an integer, and a remainder needs two of them.
    pub(super) fn combine(operator: Operator, left: Self, right: Self) -> Option<Self> {
        if operator == Operator::Divide {
            return Some(Self::Float(left.float() / right.float()));
        }
        if let (Self::Integer(left), Self::Integer(right)) = (left, right) {
            return Some(Self::Integer(match operator {
                Operator::Add => left.checked_add(right)?,
                Operator::Subtract => left.checked_sub(right)?,
                Operator::Multiply => left.checked_mul(right)?,
                Operator::Remainder => left.checked_rem(right)?,
                _ => return None,
            }));
        }
        let (left, right) = (left.float(), right.float());
        Some(Self::Float(match operator {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            _ => return None,
        }))
    }

    pub(super) fn negative(self) -> Option<Self> {
        Some(match self {
            Self::Integer(number) => Self::Integer(number.checked_neg()?),
            Self::Float(number) => Self::Float(-number),
        })
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => Some(left.cmp(right)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }
}

/// Prints a number as Go does: very small and very large ones with an exponent.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match *self {
            Self::Integer(number) => return number.fmt(f),
            Self::Float(number) if number.is_infinite() => {
                return f.write_str(if number > 0.0 { "+Inf" } else { "-Inf" });
            }
            Self::Float(number) => number,
        };
        let scientific = format!("{number:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        match exponent.parse::<i32>() {
            Ok(exponent) if !(-4..6).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(f, "{digits}e{sign}{:02}", exponent.unsigned_abs())
            }
            _ => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_in_go() {
        for (text, printed) in [
            ("7", "7"),
            ("1_000", "1000"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("3.5", "3.5"),
            ("3.0", "3"),
            ("1e3", "1000"),
            ("123456.5", "123456.5"),
            ("1234567.0", "1.234567e+06"),
            ("1.5e-7", "1.5e-07"),
            ("0.0001", "0.0001"),
            ("1e21", "1e+21"),
            ("1e400", "+Inf"),
        ] {
            assert_eq!(Number::parse(text).unwrap().to_string(), printed, "{text}");
        }
        for text in ["", "0x", "1e", "99999999999999999999"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }
}
