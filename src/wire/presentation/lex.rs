//! Words and entries of text in presentation form (RFC 1035 §5.1): comments, quotes, and
//! parentheses that join lines.

use super::Word;

/// The words of one entry: a line, or several that parentheses join.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'t> {
    /// The number of its first line, from 1.
    pub line: usize,
    /// Whether the line begins with white space, so that it has the owner of the entry before it.
    pub indented: bool,
    pub words: Vec<Word<'t>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LexError {
    #[error("the quote that begins here is not closed")]
    OpenQuote,
    #[error("the parenthesis that opens here is not closed")]
    OpenParenthesis,
    #[error("`)` closes a parenthesis that was not opened")]
    ExtraParenthesis,
}

/// The entries of a text, without empty ones. The number of a line comes with an error.
pub struct Entries<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Entries<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, line: 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The text between quotes, after the first one.
    fn quoted(&mut self) -> Result<Word<'t>, (usize, LexError)> {
        let (start, line) = (self.at, self.line);
        while let Some(octet) = self.peek() {
            match octet {
                b'"' => {
                    let text = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Word { text, quoted: true });
                }
                b'\\' => self.at += 1,
                b'\n' => self.line += 1,
                _ => {}
            }
            self.at += 1;
        }
        Err((line, LexError::OpenQuote))
    }

    fn bare(&mut self) -> Word<'t> {
        let start = self.at;
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        // An escape may have been the last character, or have more than one octet.
        self.at = self.at.min(self.text.len());
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
        Word { text: &self.text[start..self.at], quoted: false }
    }

    fn skip_comment(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(|octet| *octet == b'\n').unwrap_or(rest.len());
    }

    fn entry(&mut self) -> Result<Entry<'t>, (usize, LexError)> {
        let indented = matches!(self.peek(), Some(b' ' | b'\t'));
        let mut entry = Entry { line: self.line, indented, words: Vec::new() };
        let mut opened = Vec::new();
        while let Some(octet) = self.peek() {
            match octet {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    if opened.is_empty() {
                        return Ok(entry);
                    }
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b';' => self.skip_comment(),
                b'(' => {
                    opened.push(self.line);
                    self.at += 1;
                }
                b')' => {
                    opened.pop().ok_or((self.line, LexError::ExtraParenthesis))?;
                    self.at += 1;
                }
                b'"' => {
                    self.at += 1;
                    entry.words.push(self.quoted()?);
                }
                _ => entry.words.push(self.bare()),
            }
        }
        match opened.first() {
            Some(line) => Err((*line, LexError::OpenParenthesis)),
            None => Ok(entry),
        }
    }
}

impl<'t> Iterator for Entries<'t> {
    type Item = Result<Entry<'t>, (usize, LexError)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.text.len() {
            match self.entry() {
                Ok(entry) if entry.words.is_empty() => {}
                Ok(entry) => return Some(Ok(entry)),
                Err(error) => {
                    self.at = self.text.len();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
