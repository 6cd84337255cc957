//! A cursor over the words of one rule.

use regex::Regex;

use crate::{
    corefile::{Arguments, Token},
    plugin::pattern,
};

/// The words of a rule, on its line or between its braces.
pub(super) struct Words<'w, 'a> {
    arguments: &'w mut Arguments<'a>,
    tokens: Vec<&'a Token>,
    at: usize,
}

impl<'w, 'a> Words<'w, 'a> {
    pub(super) fn new(arguments: &'w mut Arguments<'a>, tokens: Vec<&'a Token>) -> Self {
        Self { arguments, tokens, at: 0 }
    }

    /// The number of words that are left.
    pub(super) fn left(&self) -> usize {
        self.tokens.len() - self.at
    }

    /// The next word; empty after the last one.
    pub(super) fn next(&mut self) -> String {
        let token = self.tokens.get(self.at);
        self.at += usize::from(token.is_some());
        token.map_or_else(String::new, |token| token.text.clone())
    }

    pub(super) fn is_next(&self, word: &str) -> bool {
        self.tokens.get(self.at).is_some_and(|token| token.text == word)
    }

    pub(super) fn is_last(&self, word: &str) -> bool {
        self.left() > 0 && self.tokens.last().is_some_and(|token| token.text == word)
    }

    /// Takes the next word if it is this one, in any letter case.
    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let found =
            self.tokens.get(self.at).is_some_and(|token| token.text.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    pub(super) fn required(&mut self, what: &str) -> Option<&'a Token> {
        let Some(token) = self.tokens.get(self.at).copied() else {
            return self.error(&format!("`rewrite` needs {what}"));
        };
        self.at += 1;
        Some(token)
    }

    /// The rest of the rule, which must be two words.
    pub(super) fn exactly(&mut self, what: &str) -> Option<[&'a Token; 2]> {
        match self.tokens.get(self.at..) {
            Some([from, to]) => Some([from, to]),
            _ => self.error(&format!("{what} rules must have exactly two arguments")),
        }
    }

    /// Reports an error at the word that was read last.
    pub(super) fn error<T>(&mut self, text: &str) -> Option<T> {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        let span = last.map_or(self.arguments.span(), |token| token.span);
        self.arguments.error(span, text);
        None
    }

    /// A word as a pattern whose groups `to` may use.
    pub(super) fn regex(&mut self, from: &Token, to: &str) -> Option<Regex> {
        let regex = pattern::read(self.arguments, from)?;
        let used = (0..=100).filter(|at| to.contains(&format!("{{{at}}}"))).count();
        if used >= regex.captures_len() {
            let text = format!(
                "the rewrite regex pattern ({to}) uses more subexpressions than its corresponding matching regex pattern ({})",
                from.text
            );
            return self.error(&text);
        }
        Some(regex)
    }
}

/// The text in lower case, with a final dot.
pub(super) fn closed(text: &str) -> String {
    with_dot(text.to_lowercase())
}

pub(super) fn with_dot(text: String) -> String {
    let is_closed = text.strip_suffix('.').is_some_and(|rest| {
        // An escaped dot is part of a label.
        rest.bytes().rev().take_while(|octet| *octet == b'\\').count() % 2 == 0
    });
    if is_closed { text } else { text + "." }
}
