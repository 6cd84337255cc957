//! Regular expressions in the Corefile.

use regex::Regex;

use crate::{
    corefile::{Arguments, Token},
    limits,
};

/// Reads a word as a pattern. An error is reported.
pub(super) fn read(arguments: &mut Arguments<'_>, token: &Token) -> Option<Regex> {
    if token.text.len() > limits::PATTERN_OCTETS {
        let (length, limit) = (token.text.len(), limits::PATTERN_OCTETS);
        arguments.error(token.span, &format!("regex pattern too long: {length} > {limit}"));
        return None;
    }
    match Regex::new(&token.text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            // The last line has the reason; those above it point into the pattern.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("`{}` is not a regular expression: {reason}", token.text);
            arguments.error(token.span, &message);
            None
        }
    }
}
