//! The grammar of expressions.

use regex::RegexBuilder;

use crate::{limits, plugin::pattern};

use super::{
    COMPARISONS, Expression, ExpressionError as Error, LEVELS, Scope, Value,
    function::Function,
    token::{Token, tokens},
};

pub(super) fn parse(text: &str, scope: Scope<'_>) -> Result<Expression, Error> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, steps: 0, scope };
    let expression = parser.piped()?;
    match parser.next() {
        None => Ok(expression),
        Some(token) => Err(token.unexpected()),
    }
}

struct Parser<'s> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// The steps of all chains so far.
    steps: usize,
    scope: Scope<'s>,
}

impl Parser<'_> {
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

    /// Counts a step of a chain, such as `a or b or c`. The expression of a chain is nested as
    /// deeply as the chain is long.
    fn step(&mut self) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > limits::EXPRESSION_STEPS { Err(Error::Length) } else { Ok(()) }
    }

    /// An expression, and functions that get its value as their first argument.
    fn piped(&mut self) -> Result<Expression, Error> {
        let mut value = self.conditional()?;
        while self.takes("|") {
            self.step()?;
            match self.next().ok_or(Error::End)? {
                Token::Word(word) => value = self.call(word, vec![value])?,
                token => return Err(token.unexpected()),
            }
        }
        Ok(value)
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
                self.step()?;
                left = self.matches(left)?;
            } else if let Some((_, operator)) =
                operators.iter().find(|(symbol, _)| self.takes(symbol))
            {
                self.step()?;
                let right = self.binary(level + 1)?;
                left = Expression::Binary(*operator, Box::new([left, right]));
            } else if negated {
                return Err(Error::Unexpected("not".to_owned()));
            } else {
                return Ok(left);
            }
            if negated {
                self.step()?;
                left = Expression::Not(Box::new(left));
            }
        }
    }

    fn matches(&mut self, left: Expression) -> Result<Expression, Error> {
        let Some(Token::Text(text)) = self.next() else { return Err(Error::NoPattern) };
        let regex = RegexBuilder::new(&pattern::from_go(&text))
            .size_limit(limits::PATTERN_OCTETS * 100)
            .build();
        let regex = regex.map_err(|_| Error::BadPattern(text))?;
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
            // `not` has a lower precedence than a comparison.
            Expression::Not(Box::new(self.binary(COMPARISONS)?))
        } else if self.takes("-") {
            Expression::Negative(Box::new(self.unary()?))
        } else {
            self.indexed()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn indexed(&mut self) -> Result<Expression, Error> {
        let mut value = self.primary()?;
        while self.takes("[") {
            self.step()?;
            let place = self.conditional()?;
            self.expect("]")?;
            value = Expression::Index(Box::new([value, place]));
        }
        Ok(value)
    }

    fn primary(&mut self) -> Result<Expression, Error> {
        match self.next().ok_or(Error::End)? {
            Token::Text(text) => Ok(Expression::Value(Value::Text(text))),
            Token::Number(number) => Ok(Expression::Value(Value::Number(number))),
            Token::Sign("(") => {
                let inner = self.piped()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => Ok(Expression::List(self.list("]")?)),
            Token::Word(word) => match &*word {
                "true" => Ok(Expression::Value(Value::Bool(true))),
                "false" => Ok(Expression::Value(Value::Bool(false))),
                "nil" => Ok(Expression::Value(Value::Nil)),
                _ if self.scope.variables.contains(&word) => Ok(Expression::Variable(word)),
                _ => self.call(word, Vec::new()),
            },
            token @ Token::Sign(_) => Err(token.unexpected()),
        }
    }

    /// Reads a call. `arguments` has the value before a pipe; those in the parentheses follow it.
    fn call(&mut self, name: String, mut arguments: Vec<Expression>) -> Result<Expression, Error> {
        let function = Function::named(&name)
            .filter(|function| *function != Function::Group || self.scope.groups);
        let is_call = self.takes("(");
        let Some(function) = function else {
            return Err(if is_call { Error::NoFunction(name) } else { Error::NoVariable(name) });
        };
        if !is_call {
            return Err(self.tokens.get(self.at).map_or(Error::End, Token::unexpected));
        }
        arguments.extend(self.list(")")?);
        if !function.arguments().contains(&arguments.len()) {
            return Err(Error::Arguments(function.name()));
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
