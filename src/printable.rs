//! Text from outside for a terminal or a line of the log. Objects of a cluster, replies and files
//! may hold escape sequences, and lines that look like our own.

use std::borrow::Cow;

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
    }
}
