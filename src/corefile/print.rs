//! Prints blocks as a Corefile that parses to the same blocks.

use std::fmt;

use super::{Corefile, Key, Line, Scheme, lex};

impl fmt::Display for Corefile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, block) in self.blocks.iter().enumerate() {
            let gap = if index > 0 { "\n" } else { "" };
            let keys: Vec<_> = block.keys.iter().map(|key| quoted(&key.to_string())).collect();
            writeln!(f, "{gap}{} {{", keys.join(" "))?;
            block.directives.iter().try_for_each(|directive| line(directive, f, 1))?;
            writeln!(f, "}}")?;
        }
        Ok(())
    }
}

/// `[SCHEME://]ZONE[:PORT]`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme != Scheme::Dns {
            write!(f, "{}://", self.scheme.name())?;
        }
        // The final dot is dropped if the zone cannot be misread without it.
        let plain = self
            .zone
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-_.*".contains(&octet));
        let short = self.zone.strip_suffix('.').filter(|short| plain && !short.is_empty());
        f.write_str(short.unwrap_or(&self.zone))?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn line(it: &Line, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    let words: Vec<_> =
        [&it.name].into_iter().chain(&it.arguments).map(|token| quoted(&token.text)).collect();
    let (indent, words) = ("    ".repeat(depth), words.join(" "));
    if it.body.is_empty() {
        return writeln!(f, "{indent}{words}");
    }
    writeln!(f, "{indent}{words} {{")?;
    it.body.iter().try_for_each(|inner| line(inner, f, depth + 1))?;
    writeln!(f, "{indent}}}")
}

/// Quotes a token so that it is read as itself.
pub fn quoted(text: &str) -> String {
    let special =
        ["import", "}"].contains(&text) || text.ends_with('{') || text.starts_with(['"', '(']);
    let cut = text.contains(|ch: char| ch.is_whitespace() || ch == '#');
    if !text.is_empty() && !special && !cut {
        return text.to_owned();
    }
    let parts = parts(text);
    let nothing = NOTHING.into_iter().find(|nothing| {
        lex::substituted(&parts.join(nothing), |_| String::new()).unwrap_or_else(|| text.to_owned())
            == text
    });
    let Some(nothing) = nothing else {
        // A token without white space needs no quotes: an empty reference before it is enough to
        // make it different from punctuation.
        return format!("{}{text}", NOTHING[1]);
    };
    let parts: Vec<_> = parts.iter().map(|part| part.replace('"', "\\\"")).collect();
    format!("\"{}\"", parts.join(nothing))
}

/// References to a variable that cannot exist, so that they are empty.
const NOTHING: [&str; 2] = ["{%=%}", "{$=}"];

/// Splits a text after each backslash that would escape the quote after it.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut escaped) = (Vec::new(), 0, false);
    for (at, ch) in text.char_indices() {
        if ch == '"' && escaped {
            parts.push(&text[begin..at]);
            begin = at;
        }
        escaped = ch == '\\' && !escaped;
    }
    parts.push(&text[begin..]);
    if escaped {
        parts.push("");
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::{Diagnostics, lex, tests::Memory};

    #[test]
    fn quoted_tokens_are_read_as_themselves() {
        let texts = [
            "a", "", "a b", "\"", "\"a", "a\"", "{", "}", "a{", "import", "(a)", "a,", "#", "a#",
            "\n", "\r", "\\", "a b\\", "a \\\"b",
        ];
        let more = [
            "a \\\\\"b",
            "a b\\\\\\",
            "\\d+ x",
            "x\u{feff}",
            "\u{feff} x",
            "{$}",
            "\\\"",
            "\"\\\"",
            "{{",
            "}}",
            "{ remote }",
            "{$ a\\",
            "{% a\\",
            "{%%} {$ a\\",
        ];
        for text in texts.into_iter().chain(more) {
            let written = quoted(text);
            let mut diagnostics = Diagnostics::default();
            diagnostics.add_file("Corefile", &written);
            let tokens = lex::tokens(0, &written, &Memory::default(), &mut diagnostics);
            assert_eq!(
                tokens.iter().map(|token| &*token.text).collect::<Vec<_>>(),
                [text],
                "{written}"
            );
            assert!(!tokens[0].is_brace() && !tokens[0].is("import"), "{written}");
            assert_eq!(diagnostics.iter().count(), 0, "{written}: {}", diagnostics.render(false));
        }
    }
}
