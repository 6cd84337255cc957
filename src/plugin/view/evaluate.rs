//! Evaluates an expression for a query.

use std::net::IpAddr;

use crate::{chain::Cx, limits, plugin::network::Network, transport::Framing, wire::Query};

use super::expression::{Expression, Function, Operator, Value};

/// Whether the expression is true. Anything else, such as a comparison of a number with a string,
/// counts as false.
pub(super) fn is_true(expression: &Expression, cx: &Cx, query: &Query) -> bool {
    Evaluation { cx, query }.value(expression) == Some(Value::Bool(true))
}

struct Evaluation<'q> {
    cx: &'q Cx,
    query: &'q Query,
}

impl Evaluation<'_> {
    /// `None` after an error.
    fn value(&self, expression: &Expression) -> Option<Value> {
        Some(match expression {
            Expression::Value(value) => value.clone(),
            Expression::List(items) => {
                Value::List(items.iter().map(|item| self.value(item)).collect::<Option<_>>()?)
            }
            Expression::Call(function, arguments) => {
                let arguments: Vec<_> =
                    arguments.iter().map(|argument| self.value(argument)).collect::<Option<_>>()?;
                self.call(*function, &arguments)?
            }
            Expression::Not(inner) => Value::Bool(!self.bool(inner)?),
            Expression::Negative(inner) => match self.value(inner)? {
                Value::Number(number) => Value::Number(number.checked_neg()?),
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

    fn call(&self, function: Function, arguments: &[Value]) -> Option<Value> {
        let question = &self.query.question;
        let text = |value: String| Some(Value::Text(value));
        let number = |value: usize| i64::try_from(value).ok().map(Value::Number);
        match (function, arguments) {
            (Function::Type, _) => text(question.qtype.to_string()),
            (Function::Name, _) => text(question.name.to_string()),
            (Function::Class, _) => text(question.class.to_string()),
            (Function::Proto, _) => text(self.cx.transport.proto().to_owned()),
            (Function::Size, _) => number(self.cx.request_octets),
            (Function::ClientIp, _) => text(self.cx.peer.ip().to_string()),
            (Function::Port, _) => text(self.cx.peer.port().to_string()),
            (Function::Id, _) => Some(Value::Number(self.query.id.into())),
            (Function::Opcode, _) => Some(Value::Number(0)),
            (Function::Do, _) => Some(Value::Bool(self.query.dnssec_ok())),
            (Function::Bufsize, _) => number(self.bufsize()),
            (Function::ServerIp, _) => text(self.cx.local.ip().to_string()),
            (Function::ServerPort, _) => text(self.cx.local.port().to_string()),
            (Function::InCidr, [Value::Text(address), Value::Text(network)]) => {
                let address: IpAddr = address.parse().ok()?;
                let network: Network = network.contains('/').then(|| network.parse().ok())??;
                Some(Value::Bool(network.contains(address)))
            }
            (Function::Metadata, [Value::Text(_)]) => text(String::new()),
            (Function::Len, [Value::Text(text)]) => number(text.chars().count()),
            (Function::Len, [Value::List(items)]) => number(items.len()),
            (Function::Lower, [Value::Text(value)]) => text(value.to_lowercase()),
            (Function::Upper, [Value::Text(value)]) => text(value.to_uppercase()),
            (Function::Trim, [Value::Text(value)]) => text(value.trim().to_owned()),
            (Function::Int, [Value::Text(value)]) => value.parse().ok().map(Value::Number),
            (Function::Int, [Value::Number(value)]) => Some(Value::Number(*value)),
            _ => None,
        }
    }

    /// The size of a reply that the client accepts.
    fn bufsize(&self) -> usize {
        match self.cx.transport.framing() {
            Framing::Datagram => {
                let size = self.query.edns.map_or(0, |edns| edns.size);
                usize::from(size.max(limits::UDP_OCTETS_PLAIN))
            }
            Framing::Length | Framing::Request => limits::STREAM_OCTETS,
        }
    }
}

fn numbers(operator: Operator, left: i64, right: i64) -> Option<Value> {
    Some(match operator {
        Operator::Less => Value::Bool(left < right),
        Operator::LessOrEqual => Value::Bool(left <= right),
        Operator::Greater => Value::Bool(left > right),
        Operator::GreaterOrEqual => Value::Bool(left >= right),
        Operator::Add => Value::Number(left.checked_add(right)?),
        Operator::Subtract => Value::Number(left.checked_sub(right)?),
        Operator::Multiply => Value::Number(left.checked_mul(right)?),
        Operator::Divide => Value::Number(left.checked_div(right)?),
        Operator::Remainder => Value::Number(left.checked_rem(right)?),
        Operator::Range if right.saturating_sub(left) < 65_536 => {
            Value::List((left..=right).map(Value::Number).collect())
        }
        _ => return None,
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
        Operator::Add => Value::Text([left, right].concat()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        chain::Transport,
        wire::{Edns, Question, Type},
    };

    fn check(text: &str, expected: bool) {
        let question = Question::new("www.Example.org".parse().unwrap(), Type::AAAA);
        let query = Query { id: 7, edns: Some(Edns::new(1400, true)), ..Query::internal(question) };
        let (peer, local) = ("10.1.2.3:4000".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap());
        #[expect(clippy::disallowed_methods, reason = "a test reads the clock")]
        let mut cx = Cx::new(Instant::now(), 1, peer, local, Transport::Udp);
        cx.request_octets = 44;
        let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(is_true(&expression, &cx, &query), expected, "{text}");
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
            "1 + 2 * 3 == 7 && (1 + 2) * 3 == 9 && 7 % 4 == 3 && -1 < 0 && 7 / 2 == 3",
            "size() in 1..100",
            "type() == 'A' ? false : true",
            "len(name()) == 16 && upper(type()) == 'AAAA' && lower('A') == 'a'",
            "metadata('geoip/country/code') == ''",
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
            "size() > 'a'",
            "type() in 'AAAA'",
            "true && false || false",
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
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
        let minus = "!".repeat(1000) + "true";
        assert!(Expression::parse(&minus).is_err());
    }
}
