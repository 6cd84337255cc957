//! The tokens of an expression.

use super::{ExpressionError as Error, Number};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Text(String),
    Number(Number),
    /// A name, or a word that is an operator.
    Word(String),
    Sign(&'static str),
}

impl Token {
    pub(super) fn unexpected(&self) -> Error {
        Error::Unexpected(match self {
            Self::Text(text) | Self::Word(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Sign(sign) => (*sign).to_owned(),
        })
    }

    /// Whether this is the operator or the sign.
    pub(super) fn is(&self, symbol: &str) -> bool {
        match self {
            Self::Word(word) => word == symbol,
            Self::Sign(sign) => *sign == symbol,
            Self::Text(_) | Self::Number(_) => false,
        }
    }
}

/// Longer signs come first, so that `<=` is not read as `<`.
const SIGNS: [&str; 23] = [
    "||", "&&", "==", "!=", "<=", ">=", "..", "??", "<", ">", "!", "+", "-", "*", "/", "%", "(",
    ")", "[", "]", ",", "?", "|",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let (token, tail) = match first {
            '\'' | '"' | '`' => string(rest, first)?,
            '0'..='9' => number(rest)?,
            '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => number(rest)?,
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

/// A number, and the text after it. The two dots of a range do not belong to it.
fn number(text: &str) -> Result<(Token, &str), Error> {
    let mut end = 0;
    for (at, ch) in text.char_indices() {
        let (before, after) = (&text[..at], &text[at + ch.len_utf8()..]);
        let is_hex = before.starts_with("0x") || before.starts_with("0X");
        let belongs = match ch {
            '.' => !before.contains('.') && !after.starts_with('.'),
            '+' | '-' => before.ends_with(['e', 'E']) && !is_hex,
            _ => ch.is_ascii_alphanumeric() || ch == '_',
        };
        if !belongs {
            break;
        }
        end = at + ch.len_utf8();
    }
    let (digits, tail) = text.split_at(end);
    let number = Number::parse(digits).ok_or_else(|| Error::Unexpected(digits.to_owned()))?;
    Ok((Token::Number(number), tail))
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
