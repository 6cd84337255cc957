//! Text to words.

use super::{Reader, Span};

/// A word of a Corefile.
#[derive(Clone, Debug)]
pub struct Token {
    /// With quotes, escapes and environment variables resolved.
    pub text: String,
    pub span: Span,
    /// Whether it stood in quotes: then it is never a brace or `import`.
    pub quoted: bool,
    /// Whether it is the first of its line.
    pub first: bool,
}

impl Token {
    /// Whether it is this piece of punctuation.
    pub(super) fn is(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }
}

/// Where a word stands does not make it another word.
impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Token {}

/// Words are separated by white space; a `"` that begins a word quotes up to the next unescaped one; `#` begins a comment
/// anywhere outside of quotes.
pub(super) fn tokens(file: usize, text: &str, reader: &dyn Reader) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut chars = text.char_indices().peekable();
    let mut first = true;
    while let Some((start, ch)) = chars.next() {
        match ch {
            '\n' => first = true,
            '\u{feff}' if start == 0 => {}
            '#' => while chars.next_if(|(_, ch)| *ch != '\n').is_some() {},
            ch if ch.is_whitespace() => {}
            ch => {
                let quoted = ch == '"';
                let mut word = String::new();
                let end = if quoted {
                    quoted_word(&mut chars, text.len(), &mut word)
                } else {
                    word.push(ch);
                    bare_word(&mut chars, text.len(), &mut word)
                };
                let text = substituted(&word, reader);
                tokens.push(Token { text, span: Span { file, start, end }, quoted, first });
                first = false;
            }
        }
    }
    tokens
}

type Chars<'t> = std::iter::Peekable<std::str::CharIndices<'t>>;

/// Reads up to the closing quote and past it; only `\"` is an escape. Returns where the word ends.
fn quoted_word(chars: &mut Chars<'_>, end: usize, word: &mut String) -> usize {
    while let Some((at, ch)) = chars.next() {
        match ch {
            '"' => return at + 1,
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                word.push('"');
                chars.next();
            }
            '\r' => {}
            ch => word.push(ch),
        }
    }
    end
}

fn bare_word(chars: &mut Chars<'_>, end: usize, word: &mut String) -> usize {
    loop {
        match chars.peek() {
            Some((_, '\r')) => drop(chars.next()),
            Some((at, ch)) if ch.is_whitespace() || *ch == '#' => return *at,
            Some((_, ch)) => {
                word.push(*ch);
                chars.next();
            }
            None => return end,
        }
    }
}

/// Puts in `{$NAME}` and `{%NAME%}`; a variable that is not set is empty, and its value is not read again.
fn substituted(word: &str, reader: &dyn Reader) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find("{$").into_iter().chain(rest.find("{%")).min() {
        let close = if rest[at..].starts_with("{$") { "}" } else { "%}" };
        let Some(length) = rest[at + 2..].find(close).filter(|length| *length > 0) else {
            out.push_str(&rest[..at + 2]);
            rest = &rest[at + 2..];
            continue;
        };
        out.push_str(&rest[..at]);
        out.push_str(&reader.env(&rest[at + 2..at + 2 + length]).unwrap_or_default());
        rest = &rest[at + 2 + length + close.len()..];
    }
    out + rest
}
