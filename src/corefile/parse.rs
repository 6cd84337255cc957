//! Words to server blocks.

use crate::limits;

use super::{Block, Diagnostics, Key, Line, Token};

pub(super) fn blocks(tokens: &[Token], diagnostics: &mut Diagnostics) -> Vec<Block> {
    let mut parser = Parser { tokens, at: 0, diagnostics };
    let mut blocks = Vec::new();
    while parser.peek().is_some() {
        let first = blocks.is_empty();
        blocks.extend(parser.block(first));
    }
    blocks
}

struct Parser<'p> {
    tokens: &'p [Token],
    at: usize,
    diagnostics: &'p mut Diagnostics,
}

impl<'p> Parser<'p> {
    fn peek(&self) -> Option<&'p Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'p Token> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    fn next_if(&mut self, test: impl Fn(&Token) -> bool) -> Option<&'p Token> {
        self.peek().filter(|token| test(token)).inspect(|_| self.at += 1)
    }

    /// `KEY, KEY { directives }`; a file whose first line has no brace is one block without any.
    fn block(&mut self, first: bool) -> Option<Block> {
        if let Some(stray) = self.next_if(|token| token.is("}")) {
            self.diagnostics.error(stray.span, "unexpected `}`: no block is open here").label("one too many");
            return None;
        }
        let words = self.keys();
        let keys = words.iter().flat_map(|word| Key::read(word, self.diagnostics)).collect();
        let directives = match self.next_if(|token| token.is("{")) {
            Some(open) => self.body(open, 0),
            None if first && words.iter().all(|word| !word.text.ends_with(',')) => self.lines_to_the_end(),
            None => {
                let last = words.last()?;
                self.diagnostics
                    .error(last.span, "expected `{` after the zones of a server block")
                    .label("this block has no `{`")
                    .help("the `{` stands on the line of the last zone; a zone per line needs a comma after it");
                return None;
            }
        };
        Some(Block { keys, directives })
    }

    /// The words up to `{` or to the end of a line that has no comma at its end.
    fn keys(&mut self) -> Vec<Token> {
        let mut words: Vec<Token> = Vec::new();
        while let Some(token) = self.next_if(|token| !token.is("{") && !token.is("}")) {
            words.push(token.clone());
            let continues = token.text.ends_with(',') && !token.quoted;
            match self.peek() {
                Some(next) if next.is("{") && continues => {
                    self.diagnostics.error(token.span, "expected another zone after this comma, but found `{`").label("an extra comma?");
                }
                Some(next) if next.first && !continues => break,
                _ => {}
            }
        }
        words
    }

    fn lines_to_the_end(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        while self.peek().is_some() {
            match self.next_if(|token| token.is("}")) {
                Some(stray) => drop(self.diagnostics.error(stray.span, "unexpected `}`: no `{` stands before it")),
                None => lines.extend(self.line(0)),
            }
        }
        lines
    }

    /// Lines up to the `}` that closes `open`.
    fn body(&mut self, open: &Token, depth: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        loop {
            if self.next_if(|token| token.is("}")).is_some() {
                return lines;
            }
            if self.peek().is_none() {
                self.diagnostics.error(open.span, "this `{` is never closed").label("opened here").help("add a `}` on a line of its own");
                return lines;
            }
            lines.extend(self.line(depth));
        }
    }

    fn line(&mut self, depth: usize) -> Option<Line> {
        let name = self.next()?;
        if name.is("{") {
            self.diagnostics.error(name.span, "unexpected `{`: it must stand on the line of what it belongs to");
            self.body(name, depth + 1);
            return None;
        }
        let mut line = Line { name: name.clone(), arguments: Vec::new(), body: Vec::new() };
        while let Some(token) = self.next_if(|token| !token.first && !token.is("}")) {
            if !token.is("{") {
                line.arguments.push(token.clone());
                continue;
            }
            if depth >= limits::COREFILE_DEPTH {
                self.diagnostics.error(token.span, "braces lie too deep in each other");
                self.at = self.tokens.len();
                return None;
            }
            line.body = self.body(token, depth + 1);
            break;
        }
        Some(line)
    }
}
