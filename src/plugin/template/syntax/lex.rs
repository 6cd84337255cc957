//! Cuts a template into texts and actions, and actions into tokens.

use std::fmt;

use super::super::error::SyntaxError;

pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Text(String),
    Integer(i64),
    /// A keyword or the name of a function.
    Word(String),
    /// `$name`, without the sign.
    Variable(String),
    Dot,
    /// `.Name`.
    Field(String),
    /// `.Name` directly behind another operand.
    Joined(String),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Dot => f.write_str("."),
            Self::Field(name) | Self::Joined(name) => write!(f, ".{name}"),
            Self::Open => f.write_str("("),
            Self::Close => f.write_str(")"),
            Self::Pipe => f.write_str("|"),
            Self::Comma => f.write_str(","),
            Self::Declare => f.write_str(":="),
            Self::Assign => f.write_str("="),
        }
    }
}

/// The white space that `{{-` and `-}}` remove.
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, SyntaxError> {
    let (mut pieces, mut rest, mut trims) = (Vec::new(), text, false);
    loop {
        let (before, action) = match rest.split_once("{{") {
            Some((before, action)) => (before, Some(action)),
            None => (rest, None),
        };
        let mut before = if trims { before.trim_start_matches(SPACES) } else { before };
        let action = action.map(|action| match action.strip_prefix('-') {
            Some(trimming) if trimming.starts_with(SPACES) => {
                before = before.trim_end_matches(SPACES);
                trimming
            }
            _ => action,
        });
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some(action) = action else { return Ok(pieces) };
        (rest, trims) = if let Some(comment) = action.trim_start_matches(SPACES).strip_prefix("/*")
        {
            let (_, after) = comment.split_once("*/").ok_or(SyntaxError::Unclosed)?;
            end_of_action(after).ok_or(SyntaxError::Unclosed)?
        } else {
            let mut lexer = Lexer { rest: action, tokens: Vec::new() };
            let end = lexer.run()?;
            pieces.push(Piece::Action(lexer.tokens));
            end
        };
    }
}

/// The text after the `}}` or ` -}}` that ends an action, and whether it was ` -}}`. `None` if the
/// action does not end here.
fn end_of_action(rest: &str) -> Option<(&str, bool)> {
    let trimming = rest.trim_start_matches(SPACES);
    match trimming.strip_prefix("-}}") {
        Some(after) if trimming.len() < rest.len() => Some((after, true)),
        _ => trimming.strip_prefix("}}").map(|after| (after, false)),
    }
}

struct Lexer<'t> {
    rest: &'t str,
    tokens: Vec<Token>,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) -> Result<(&'t str, bool), SyntaxError> {
        loop {
            if let Some(end) = end_of_action(self.rest) {
                return Ok(end);
            }
            let trimmed = self.rest.trim_start_matches(SPACES);
            let joined = trimmed.len() == self.rest.len();
            self.rest = trimmed;
            let token = self.token(joined)?;
            self.tokens.push(token);
        }
    }

    fn token(&mut self, joined: bool) -> Result<Token, SyntaxError> {
        const SIGNS: [(&str, Token); 6] = [
            ("(", Token::Open),
            (")", Token::Close),
            ("|", Token::Pipe),
            (",", Token::Comma),
            (":=", Token::Declare),
            ("=", Token::Assign),
        ];
        for (sign, token) in SIGNS {
            if let Some(after) = self.rest.strip_prefix(sign) {
                self.rest = after;
                return Ok(token);
            }
        }
        let first = self.rest.chars().next().ok_or(SyntaxError::Unclosed)?;
        match first {
            '"' => self.quoted(),
            '`' => {
                let (text, after) = self.rest[1..].split_once('`').ok_or(SyntaxError::Quote)?;
                self.rest = after;
                Ok(Token::Text(text.to_owned()))
            }
            '$' => {
                self.rest = &self.rest[1..];
                Ok(Token::Variable(self.word().to_owned()))
            }
            '.' => {
                self.rest = &self.rest[1..];
                let behind = matches!(
                    self.tokens.last(),
                    Some(Token::Field(_) | Token::Joined(_) | Token::Variable(_) | Token::Close)
                );
                Ok(match self.word() {
                    "" => Token::Dot,
                    name if joined && behind => Token::Joined(name.to_owned()),
                    name => Token::Field(name.to_owned()),
                })
            }
            '+' | '-' | '0'..='9' => self.number(),
            _ => match self.word() {
                "" => Err(SyntaxError::Unexpected(first.to_string())),
                word => Ok(Token::Word(word.to_owned())),
            },
        }
    }

    fn word(&mut self) -> &'t str {
        let part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let end = self.rest.find(|letter| !part(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let signed = self.rest.starts_with(['+', '-']);
        let (sign, rest) = self.rest.split_at(usize::from(signed));
        self.rest = rest;
        let digits = self.word();
        let number = match digits.strip_prefix("0x") {
            Some(hex) if hex.starts_with(|digit: char| digit.is_ascii_hexdigit()) => {
                i64::from_str_radix(hex, 16)
            }
            _ => digits.parse(),
        };
        match number {
            Ok(number) if !self.rest.starts_with('.') => {
                Ok(Token::Integer(if sign == "-" { -number } else { number }))
            }
            _ => Err(SyntaxError::Unexpected(format!("{sign}{digits}"))),
        }
    }

    fn quoted(&mut self) -> Result<Token, SyntaxError> {
        let mut text = String::new();
        let mut letters = self.rest[1..].char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = &self.rest[at + 2..];
                    return Ok(Token::Text(text));
                }
                '\\' => text.push(match letters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, 'r')) => '\r',
                    Some((_, same @ ('"' | '\\'))) => same,
                    _ => return Err(SyntaxError::Quote),
                }),
                '\n' => return Err(SyntaxError::Quote),
                other => text.push(other),
            }
        }
        Err(SyntaxError::Quote)
    }
}
