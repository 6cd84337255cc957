//! Evaluates an expression for a query.

use std::collections::BTreeMap;

use crate::{chain::Cx, wire::Query};

use super::{Expression, Number, Operator, Value, joined};

/// What an expression sees of a query.
pub(in crate::plugin) struct Environment<'q> {
    pub(in crate::plugin) cx: &'q Cx,
    pub(in crate::plugin) query: &'q Query,
    /// The values of variables, by their names.
    pub(in crate::plugin) variables: BTreeMap<String, Value>,
    /// The groups of a regular expression.
    pub(in crate::plugin) groups: Option<&'q BTreeMap<String, String>>,
}

/// Whether the expression is true. Anything else, such as a comparison of a number with a string,
/// counts as false.
pub(in crate::plugin) fn is_true(expression: &Expression, environment: &Environment<'_>) -> bool {
    environment.value(expression) == Some(Value::Bool(true))
}

/// The value of the expression; `None` after an error.
pub(in crate::plugin) fn evaluate(
    expression: &Expression,
    environment: &Environment<'_>,
) -> Option<Value> {
    environment.value(expression)
}

impl<'q> Environment<'q> {
    pub(in crate::plugin) fn new(cx: &'q Cx, query: &'q Query) -> Self {
        Self { cx, query, variables: BTreeMap::new(), groups: None }
    }

    fn value(&self, expression: &Expression) -> Option<Value> {
        Some(match expression {
            Expression::Value(value) => value.clone(),
            Expression::List(items) => {
                Value::List(items.iter().map(|item| self.value(item)).collect::<Option<_>>()?)
            }
            Expression::Variable(name) => self.variables.get(name)?.clone(),
            Expression::Index(parts) => {
                let [value, place] = &**parts;
                element(&self.value(value)?, &self.value(place)?)?
            }
            Expression::Call(function, arguments) => {
                let arguments: Vec<_> =
                    arguments.iter().map(|argument| self.value(argument)).collect::<Option<_>>()?;
                function.call(self, &arguments)?
            }
            Expression::Not(inner) => Value::Bool(!self.bool(inner)?),
            Expression::Negative(inner) => match self.value(inner)? {
                Value::Number(number) => Value::Number(number.negative()?),
                _ => return None,
            },
            Expression::Matches(inner, regex) => match self.value(inner)? {
                Value::Text(text) => Value::Bool(regex.is_match(&text)),
                _ => return None,
            },
            Expression::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.value(if self.bool(condition)? { then } else { otherwise })?
            }
            Expression::Binary(operator, sides) => self.binary(*operator, sides)?,
        })
    }

    fn bool(&self, expression: &Expression) -> Option<bool> {
        match self.value(expression)? {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    fn binary(&self, operator: Operator, [left, right]: &[Expression; 2]) -> Option<Value> {
        match operator {
            Operator::Otherwise => {
                let left = self.value(left)?;
                return if left == Value::Nil { self.value(right) } else { Some(left) };
            }
            Operator::Or => return Some(Value::Bool(self.bool(left)? || self.bool(right)?)),
            Operator::And => return Some(Value::Bool(self.bool(left)? && self.bool(right)?)),
            _ => {}
        }
        let (left, right) = (self.value(left)?, self.value(right)?);
        match operator {
            Operator::Equal => Some(Value::Bool(left == right)),
            Operator::Unequal => Some(Value::Bool(left != right)),
            Operator::In => match right {
                Value::List(items) => Some(Value::Bool(items.contains(&left))),
                _ => None,
            },
            _ => match (left, right) {
                (Value::Number(left), Value::Number(right)) => numbers(operator, left, right),
                (Value::Text(left), Value::Text(right)) => texts(operator, &left, &right),
                _ => None,
            },
        }
    }
}

/// The element at an index. A negative index counts from the end.
fn element(value: &Value, place: &Value) -> Option<Value> {
    let Value::Number(Number::Integer(place)) = place else { return None };
    let at = |length: usize| {
        let length = i64::try_from(length).ok()?;
        usize::try_from(if *place < 0 { length.checked_add(*place)? } else { *place }).ok()
    };
    match value {
        Value::List(items) => items.get(at(items.len())?).cloned(),
        Value::Text(text) => {
            let ch = text.chars().nth(at(text.chars().count())?)?;
            Some(Value::Text(ch.to_string()))
        }
        Value::Nil | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn numbers(operator: Operator, left: Number, right: Number) -> Option<Value> {
    Some(match operator {
        Operator::Less => Value::Bool(left < right),
        Operator::LessOrEqual => Value::Bool(left <= right),
        Operator::Greater => Value::Bool(left > right),
        Operator::GreaterOrEqual => Value::Bool(left >= right),
        Operator::Range => {
            let (Number::Integer(left), Number::Integer(right)) = (left, right) else {
                return None;
            };
            let numbers = (left..=right).map(|number| Value::Number(Number::Integer(number)));
            (right.saturating_sub(left) < 65_536).then(|| Value::List(numbers.collect()))?
        }
        _ => Value::Number(Number::combine(operator, left, right)?),
    })
}

fn texts(operator: Operator, left: &str, right: &str) -> Option<Value> {
    Some(match operator {
        Operator::Less => Value::Bool(left < right),
        Operator::LessOrEqual => Value::Bool(left <= right),
        Operator::Greater => Value::Bool(left > right),
        Operator::GreaterOrEqual => Value::Bool(left >= right),
        Operator::Contains => Value::Bool(left.contains(right)),
        Operator::StartsWith => Value::Bool(left.starts_with(right)),
        Operator::EndsWith => Value::Bool(left.ends_with(right)),
        Operator::Add => Value::Text(joined(&[left, right], "")?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        chain::{Metadata, Transport},
        limits,
        plugin::expression::{ExpressionError, Scope},
        wire::{Edns, Question, Type},
    };

    fn check(text: &str, expected: bool) {
        let question = Question::new("www.Example.org".parse().unwrap(), Type::AAAA);
        let query = Query { id: 7, edns: Some(Edns::new(1400, true)), ..Query::internal(question) };
        let (peer, local) = ("10.1.2.3:4000".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap());
        #[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
        let mut cx = Cx::new(Instant::now(), 1, peer, local, Transport::Udp);
        cx.request_octets = 44;
        cx.metadata = Metadata::collecting();
        cx.metadata.set("geoip/country/code", "DE");
        let variables = ["zone".to_owned()];
        let scope = Scope { variables: &variables, groups: true };
        let expression =
            Expression::parse(text, scope).unwrap_or_else(|error| panic!("{text}: {error}"));
        let groups = BTreeMap::from([("1".to_owned(), "10".to_owned())]);
        let mut environment = Environment::new(&cx, &query);
        environment.groups = Some(&groups);
        environment.variables.insert("zone".to_owned(), Value::Text("a.b".to_owned()));
        assert_eq!(is_true(&expression, &environment), expected, "{text}");
    }

    #[test]
    fn expressions_are_evaluated() {
        for text in [
            "true",
            "type() == 'AAAA'",
            "type() in ['A', 'AAAA']",
            "type() in ['A', 'AAAA',]",
            "type() not in [\"A\"]",
            "not (type() in ['A'])",
            "not type() in ['A']",
            "!(type() == 'A') && name() == 'www.example.org.'",
            "(type() == 'A' && name() == 'example.com.') || client_ip() == '10.1.2.3'",
            "type() == 'A' or proto() == 'udp'",
            "type() == 'AAAA' and class() == \"IN\"",
            "incidr(client_ip(), '10.0.0.0/8')",
            "incidr(server_ip(), '2001:db8::/32')",
            r"name() matches '^www\\.example\\.org\\.$'",
            "name() matches `^www\\.`",
            "name() not matches 'com'",
            "name() startsWith 'www.' && name() endsWith '.org.' && name() contains 'example'",
            "do() && bufsize() == 1400 && size() == 44 && id() == 7 && opcode() == 0",
            "port() == '4000' && server_port() == \"53\"",
            "size() > 40 && size() <= 44 && size() < 50 && size() >= 44 && size() != 45",
            "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 % 4 == 3 && -1 < 0 && 7 / 2 == 3.5",
            "6 / 2 == 3 && 0.1 + 1 > 1 && .5 * 4 == 2 && 7 - 0.5 == 6.5 && -1.5 < -1",
            "int(7 / 2) == 3 && int('7') / 2 == 3.5 && float('1.5') == 1.5 && abs(-1.5) == 1.5",
            "round(2.5) == 3 && floor(2.5) == 2 && ceil(2.5) == 3 && max(1, 2.5) == 2.5",
            "string(7 / 2) == '3.5' && string(6 / 2) == '3' && 2.0 in 1..3 && 1_000 == 1e3",
            "1 / 0 > 1 && 0x1f == 31 && size() / 2 == 22",
            "size() in 1..100",
            "type() == 'A' ? false : true",
            "len(name()) == 16 && upper(type()) == 'AAAA' && lower('A') == 'a'",
            "metadata('geoip/country/code') == 'DE' && metadata('a/b') == ''",
            "group('1') == '10' && group(1) == '10' && group('no') == ''",
            "zone == 'a.b' && split(zone, '.')[0] == 'a' && split(zone, '.')[-1] == 'b'",
            "join(split(zone, '.'), '-') == 'a-b' && replace(zone, '.', '') == 'ab'",
            "hasPrefix(zone, 'a') && hasSuffix(zone, 'b') && trimPrefix(zone, 'a.') == 'b'",
            "(zone | trimSuffix('.b') | upper()) == 'A'",
            "nil ?? 'x' == 'x' && (zone ?? 'x') == 'a.b' && string(7) == '7'",
            "max(1, 3) == 3 && min(1, 3) == 1 && abs(-2) == 2 && indexOf(zone, 'b') == 2",
            "zone[0] == 'a' && [1, 2][1] == 2 && first([4]) == 4 && last([4, 5]) == 5",
            "int(port()) > 1024",
            "true || type() == 'A' && false",
            "server_ip() == '2001:db8::1'",
        ] {
            check(text, true);
        }
        for text in [
            "false",
            "type()",
            "type() == 'A'",
            "type() == 1",
            "size() == '44'",
            "incidr(client_ip(), '192.168.0.0/16')",
            "incidr(client_ip(), 'x')",
            "incidr(client_ip(), '10.1.2.3')",
            "incidr('x', '10.0.0.0/8')",
            "1 / 0 == 1",
            "7 % 2.5 > 0",
            "[1, 2][1.0] == 2",
            "1.0..2.5 == [1, 2]",
            "int(1 / 0) > 0",
            "size() > 'a'",
            "type() in 'AAAA'",
            "true && false || false",
            "[1][1] == 1",
            "zone[9] == ''",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let deep = "(".repeat(1000);
        for text in [
            "",
            "type(",
            "type() ==",
            "type() = 'A'",
            "'a",
            "unknown()",
            "type",
            "incidr('a')",
            "type() 'A'",
            "a.b",
            "type() matches type()",
            "name() matches '('",
            "(true",
            "[1",
            "1 ?",
            "true false",
            "type() not",
            "'\\q'",
            "#",
            &deep,
            "-",
            "!",
            "group(1)",
            "zone",
            "name() | 1",
            "split(name())",
            "1.2.3",
            "1x",
            "1e",
        ] {
            assert!(Expression::parse(text, Scope::default()).is_err(), "{text}");
        }
        let minus = "!".repeat(1000) + "true";
        assert!(Expression::parse(&minus, Scope::default()).is_err());
    }

    #[test]
    fn long_chains_are_refused() {
        for part in [" or true", " | len()", "[0]", " + 1", " ?? 1", " not in [1]", " matches 'a'"]
        {
            let chain = |times| format!("'a'{}", part.repeat(times));
            let refused = Expression::parse(&chain(limits::EXPRESSION_STEPS + 1), Scope::default());
            assert_eq!(refused.err(), Some(ExpressionError::Length), "{part}");
            let accepted = chain(limits::EXPRESSION_STEPS / 2 - 1);
            check(&format!("({accepted}) == [0]"), false);
        }
        check(&format!("len([{}]) == 1000", "1, ".repeat(1000)), true);
    }

    #[test]
    fn texts_have_a_bounded_length() {
        let long = "'".to_owned() + &"a".repeat(40_000) + "'";
        check(&format!("len({long} + 'a') == 40001"), true);
        check(&format!("len({long} + {long}) > 0"), false);
        check(&format!("len(join([{long}, {long}])) > 0"), false);
        check(&format!("len(join(['a', 'a'], {long})) == 40002"), true);
        check(&format!("len(replace('aa', 'a', {long})) > 0"), false);
    }
}
