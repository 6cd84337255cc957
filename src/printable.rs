//! Text from outside for a terminal or a line of the log. Objects of a cluster, replies and files
//! may hold escape sequences, and lines that look like our own.

use std::{borrow::Cow, fmt::Write};

/// The text as one line. Control characters are escaped, also those that change the direction of
/// writing.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for ch in text.chars() {
        if is_unsafe(ch) {
            escaped.extend(ch.escape_default());
        } else {
            escaped.push(ch);
        }
    }
    escaped.into()
}

/// The same for text of several lines.
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// The same for a line that may have tabs.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    if text.contains('\t') {
        text.split('\t').map(printable).collect::<Vec<_>>().join("\t").into()
    } else {
        printable(text)
    }
}

/// The same for JSON. The escapes are those of JSON, so its strings keep their values. JSON itself
/// requires escapes for the characters below U+0020 only.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let is_raw = |ch: char| ch >= '\u{7f}' && is_unsafe(ch);
    if !json.contains(is_raw) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for ch in json.chars() {
        if is_raw(ch) {
            // Writing to a String does not fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(ch));
        } else {
            escaped.push(ch);
        }
    }
    escaped.into()
}

fn is_unsafe(ch: char) -> bool {
    ch.is_control()
        || matches!(ch, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for (text, expected) in [
            ("tea is Ready, \u{e4}\u{2713}", "tea is Ready, \u{e4}\u{2713}"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\n4 From outside ok", "a\\n4 From outside ok"),
            ("a\r\tb\u{7f}\u{9b}", "a\\r\\tb\\u{7f}\\u{9b}"),
            ("\u{202e}ko", "\\u{202e}ko"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable_lines("a\u{7}\nb"), "a\\u{7}\nb");
        assert_eq!(printable_line("a\tb\n\u{2028}"), "a\tb\\n\\u{2028}");
        assert_eq!(printable_line("a\n"), "a\\n");
    }

    #[test]
    fn json_keeps_its_values_and_has_its_own_escapes() {
        for (json, expected) in [
            ("{\n  \"a\": \"\\u001b\u{e4}\"\n}", "{\n  \"a\": \"\\u001b\u{e4}\"\n}"),
            ("[\"\u{7f}\u{9b}\"]", "[\"\\u007f\\u009b\"]"),
            ("[\"\u{2028}\u{202e}\u{2066}\"]", "[\"\\u2028\\u202e\\u2066\"]"),
        ] {
            assert_eq!(printable_json(json), expected);
        }
    }
}
