//! Expressions in the language of expr-lang, as far as views need it: literals, lists, ranges,
//! calls, comparisons, `and`, `or`, `not`, `in`, `matches`, `contains`, `startsWith`, `endsWith`,
//! arithmetic and the conditional.

use regex::{Regex, RegexBuilder};

use crate::limits;

/// A value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Nil,
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Self>),
}

#[derive(Debug)]
pub(super) enum Expression {
    Value(Value),
    List(Vec<Self>),
    Call(Function, Vec<Self>),
    Not(Box<Self>),
    Negative(Box<Self>),
    Binary(Operator, Box<[Self; 2]>),
    Matches(Box<Self>, Regex),
    Conditional(Box<[Self; 3]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
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

/// The functions, with their names and numbers of arguments.
macro_rules! functions {
    ($($variant:ident = $name:literal, $arguments:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function { $($variant),* }

        const FUNCTIONS: &[(&str, Function, usize)] =
            &[$(($name, Function::$variant, $arguments)),*];
    };
}

functions! {
    Type = "type", 0;
    Name = "name", 0;
    Class = "class", 0;
    Proto = "proto", 0;
    Size = "size", 0;
    ClientIp = "client_ip", 0;
    Port = "port", 0;
    Id = "id", 0;
    Opcode = "opcode", 0;
    Do = "do", 0;
    Bufsize = "bufsize", 0;
    ServerIp = "server_ip", 0;
    ServerPort = "server_port", 0;
    InCidr = "incidr", 2;
    Metadata = "metadata", 1;
    Len = "len", 1;
    Lower = "lower", 1;
    Upper = "upper", 1;
    Trim = "trim", 1;
    Int = "int", 1;
}

/// Operators by how tightly they bind, the loosest first.
const LEVELS: [&[(&str, Operator)]; 6] = [
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
    #[error("`{0}` takes {1} arguments")]
    Arguments(&'static str, usize),
    #[error("`matches` needs a regular expression in quotes")]
    NoPattern,
    #[error("`{0}` is not a regular expression")]
    BadPattern(String),
    #[error("it is nested too deeply")]
    Depth,
}

use ExpressionError as Error;

impl Expression {
    /// # Errors
    /// The text is not an expression.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
        let expression = parser.conditional()?;
        match parser.next() {
            None => Ok(expression),
            Some(token) => Err(token.unexpected()),
        }
    }

    /// Whether the expression calls `metadata`.
    pub(super) fn reads_metadata(&self) -> bool {
        match self {
            Self::Value(_) => false,
            Self::List(items) => items.iter().any(Self::reads_metadata),
            Self::Call(function, arguments) => {
                *function == Function::Metadata || arguments.iter().any(Self::reads_metadata)
            }
            Self::Not(inner) | Self::Negative(inner) | Self::Matches(inner, _) => {
                inner.reads_metadata()
            }
            Self::Binary(_, sides) => sides.iter().any(Self::reads_metadata),
            Self::Conditional(parts) => parts.iter().any(Self::reads_metadata),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Number(i64),
    /// A name, or a word that is an operator.
    Word(String),
    Sign(&'static str),
}

impl Token {
    fn unexpected(&self) -> Error {
        Error::Unexpected(match self {
            Self::Text(text) | Self::Word(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Sign(sign) => (*sign).to_owned(),
        })
    }

    /// Whether this is the operator or the sign.
    fn is(&self, symbol: &str) -> bool {
        match self {
            Self::Word(word) => word == symbol,
            Self::Sign(sign) => *sign == symbol,
            Self::Text(_) | Self::Number(_) => false,
        }
    }
}

/// The longer ones first.
const SIGNS: [&str; 21] = [
    "||", "&&", "==", "!=", "<=", ">=", "..", "<", ">", "!", "+", "-", "*", "/", "%", "(", ")",
    "[", "]", ",", "?",
];

fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let (token, tail) = match first {
            '\'' | '"' | '`' => string(rest, first)?,
            '0'..='9' => {
                let end = rest.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(rest.len());
                let (digits, tail) = rest.split_at(end);
                let number = digits.parse();
                (Token::Number(number.map_err(|_| Error::Unexpected(digits.to_owned()))?), tail)
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let word = |ch: char| ch.is_ascii_alphanumeric() || ch == '_';
                let end = rest.find(|ch| !word(ch)).unwrap_or(rest.len());
                let (word, tail) = rest.split_at(end);
                (Token::Word(word.to_owned()), tail)
            }
            ':' => (Token::Sign(":"), &rest[1..]),
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
                let sign = sign.ok_or_else(|| Error::Unexpected(first.to_string()))?;
                (Token::Sign(sign), &rest[sign.len()..])
            }
        };
        tokens.push(token);
        rest = tail.trim_start();
    }
    Ok(tokens)
}

/// A string up to its closing quote. A backslash escapes, except between backticks.
fn string(text: &str, quote: char) -> Result<(Token, &str), Error> {
    let (mut value, mut chars) = (String::new(), text.char_indices().skip(1));
    while let Some((at, ch)) = chars.next() {
        match ch {
            _ if ch == quote => return Ok((Token::Text(value), &text[at + 1..])),
            '\\' if quote != '`' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, escaped @ ('\\' | '\'' | '"' | '`'))) => value.push(escaped),
                Some((_, other)) => return Err(Error::Unexpected(format!("\\{other}"))),
                None => return Err(Error::OpenString),
            },
            _ => value.push(ch),
        }
    }
    Err(Error::OpenString)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    /// Reads the symbol if it is next.
    fn takes(&mut self, symbol: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.is(symbol));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Error> {
        if self.takes(symbol) {
            return Ok(());
        }
        Err(self.tokens.get(self.at).map_or(Error::End, Token::unexpected))
    }

    fn conditional(&mut self) -> Result<Expression, Error> {
        self.depth += 1;
        if self.depth > limits::COREFILE_DEPTH {
            return Err(Error::Depth);
        }
        let condition = self.binary(0)?;
        let expression = if self.takes("?") {
            let then = self.conditional()?;
            self.expect(":")?;
            let otherwise = self.conditional()?;
            Expression::Conditional(Box::new([condition, then, otherwise]))
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn binary(&mut self, level: usize) -> Result<Expression, Error> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let negated = level == COMPARISONS && self.takes("not");
            if level == COMPARISONS && self.takes("matches") {
                left = self.matches(left)?;
            } else if let Some((_, operator)) =
                operators.iter().find(|(symbol, _)| self.takes(symbol))
            {
                let right = self.binary(level + 1)?;
                left = Expression::Binary(*operator, Box::new([left, right]));
            } else if negated {
                return Err(Error::Unexpected("not".to_owned()));
            } else {
                return Ok(left);
            }
            if negated {
                left = Expression::Not(Box::new(left));
            }
        }
    }

    fn matches(&mut self, left: Expression) -> Result<Expression, Error> {
        let Some(Token::Text(pattern)) = self.next() else { return Err(Error::NoPattern) };
        let regex = RegexBuilder::new(&pattern).size_limit(limits::PATTERN_OCTETS * 100).build();
        let regex = regex.map_err(|_| Error::BadPattern(pattern))?;
        Ok(Expression::Matches(Box::new(left), regex))
    }

    fn unary(&mut self) -> Result<Expression, Error> {
        self.depth += 1;
        if self.depth > limits::COREFILE_DEPTH {
            return Err(Error::Depth);
        }
        let expression = if self.takes("!") {
            Expression::Not(Box::new(self.unary()?))
        } else if self.takes("not") {
            // `not` binds less tightly than a comparison.
            Expression::Not(Box::new(self.binary(COMPARISONS)?))
        } else if self.takes("-") {
            Expression::Negative(Box::new(self.unary()?))
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn primary(&mut self) -> Result<Expression, Error> {
        match self.next().ok_or(Error::End)? {
            Token::Text(text) => Ok(Expression::Value(Value::Text(text))),
            Token::Number(number) => Ok(Expression::Value(Value::Number(number))),
            Token::Sign("(") => {
                let inner = self.conditional()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => Ok(Expression::List(self.list("]")?)),
            Token::Word(word) => match &*word {
                "true" => Ok(Expression::Value(Value::Bool(true))),
                "false" => Ok(Expression::Value(Value::Bool(false))),
                "nil" => Ok(Expression::Value(Value::Nil)),
                _ => self.call(word),
            },
            token @ Token::Sign(_) => Err(token.unexpected()),
        }
    }

    fn call(&mut self, name: String) -> Result<Expression, Error> {
        let found = FUNCTIONS.iter().find(|(known, ..)| *known == name);
        let Some(&(name, function, count)) = found else { return Err(Error::NoFunction(name)) };
        self.expect("(")?;
        let arguments = self.list(")")?;
        if arguments.len() != count {
            return Err(Error::Arguments(name, count));
        }
        Ok(Expression::Call(function, arguments))
    }

    /// The items up to the closing sign.
    fn list(&mut self, close: &str) -> Result<Vec<Expression>, Error> {
        let mut items = Vec::new();
        while !self.takes(close) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.takes(close) {
                    break;
                }
            }
            items.push(self.conditional()?);
        }
        Ok(items)
    }
}
