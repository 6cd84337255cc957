//! Parses tokens into server blocks.

use crate::limits;

use super::{
    Block, Diagnostics, Key, Line, Scheme, Span, Token,
    braces::{self, Gap},
};

/// Parses all blocks and reports all errors. Of a block with errors the reliable part is returned.
pub(super) fn blocks(tokens: &[Token], diagnostics: &mut Diagnostics) -> Vec<Block> {
    let mut parser = Parser {
        tokens,
        at: 0,
        end: tokens.len(),
        depth: 0,
        diagnostics,
        blocks: Vec::new(),
        early: None,
        without_zone: Vec::new(),
    };
    while parser.at < tokens.len() && !parser.diagnostics.is_full() {
        parser.block();
    }
    parser.finish()
}

/// A `}` that closed a block, although its indentation is not that of the block.
struct Early {
    open: usize,
    close: usize,
    /// The number of blocks up to and including this one.
    blocks: usize,
}

struct Parser<'p> {
    tokens: &'p [Token],
    at: usize,
    /// The end of the current block.
    end: usize,
    depth: usize,
    diagnostics: &'p mut Diagnostics,
    blocks: Vec<Block>,
    early: Option<Early>,
    /// The blocks whose keys are all empty: their indexes in `blocks`, and their positions.
    without_zone: Vec<(usize, Span)>,
}

impl<'p> Parser<'p> {
    fn peek(&self) -> Option<&'p Token> {
        self.tokens[..self.end].get(self.at)
    }

    fn next_if(&mut self, test: impl Fn(&Token) -> bool) -> Option<&'p Token> {
        self.peek().filter(|token| test(token)).inspect(|_| self.at += 1)
    }

    /// `KEY, KEY { directives }`.
    fn block(&mut self) {
        let begin = self.at;
        let keys = self.keys();
        if let Some(open) = self.peek().filter(|token| token.is("{")) {
            self.note_without_zone(begin, open.span);
            self.braced(keys);
        } else if begin < self.at {
            self.note_without_zone(begin, self.tokens[begin].span);
            self.unbraced(keys);
        } else {
            self.at += 1;
            self.stray(begin);
        }
    }

    /// The tokens up to a brace, or to the end of a line without a comma at its end.
    fn keys(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        while let Some(token) = self.next_if(|token| !token.is_brace()) {
            keys.extend(Key::read(token, self.diagnostics));
            let continues = token.text.ends_with(',');
            match self.peek() {
                None => self.comma(token, continues, "the end of the file"),
                Some(next) if next.is("{") => self.comma(token, continues, "`{`"),
                Some(next) if next.is("}") => self.comma(token, continues, "`}`"),
                Some(next) if next.first && !continues => break,
                Some(_) => {}
            }
        }
        keys
    }

    /// Notes the next block if it has no zone, for example because a variable is not set.
    fn note_without_zone(&mut self, begin: usize, span: Span) {
        let keys = &self.tokens[begin..self.at];
        if keys.iter().all(|token| token.text.trim_matches(',').is_empty()) {
            self.without_zone.push((self.blocks.len(), span));
        }
    }

    /// A block without a zone is ignored, as in CoreDNS. If no block has a zone, the first one is
    /// for the root zone.
    fn finish(mut self) -> Vec<Block> {
        self.without_zone.retain(|(at, _)| *at < self.blocks.len());
        let without_zone = std::mem::take(&mut self.without_zone);
        let only = without_zone.len() == self.blocks.len();
        for (count, (at, span)) in without_zone.iter().enumerate().rev() {
            let warning = self.diagnostics.warning(*span, "this server block has no zone");
            warning.help("`.` stands for all names: `.:53 {`");
            if only && count == 0 {
                warning.label("read as `.`");
                let (zone, span) = (".".to_owned(), *span);
                self.blocks[*at].keys = vec![Key { scheme: Scheme::Dns, zone, port: None, span }];
            } else {
                warning.label("the block is ignored, as in CoreDNS");
                self.blocks.remove(*at);
            }
        }
        self.blocks
    }

    fn comma(&mut self, token: &Token, continues: bool, found: &'static str) {
        if continues {
            self.diagnostics
                .error(
                    token.span,
                    format!("expected another zone after this comma, but found {found}"),
                )
                .label("an extra comma?");
        }
    }

    fn braced(&mut self, keys: Vec<Key>) {
        let open = self.at;
        let (end, next) = match braces::close(self.tokens, open) {
            Ok(close) => {
                self.note_early(open, close);
                (close, close + 1)
            }
            Err(gap) if gap.at_end(self.tokens) => {
                let warning =
                    self.diagnostics.warning(self.tokens[open].span, "this `{` is never closed");
                warning
                    .label("closed by the end of the file, as in CoreDNS")
                    .help("put its `}` at the start of a line of its own");
                (self.tokens.len(), self.tokens.len())
            }
            Err(gap) => {
                self.unclosed(&gap);
                (gap.trusted, gap.next)
            }
        };
        self.at += 1;
        self.directives(keys, end);
        self.at = next;
    }

    /// The lines of a block, up to `end`.
    fn directives(&mut self, keys: Vec<Key>, end: usize) {
        self.end = end;
        let directives = self.lines();
        self.end = self.tokens.len();
        self.blocks.push(Block { keys, directives });
    }

    fn note_early(&mut self, open: usize, close: usize) {
        let (opened, closed) = (&self.tokens[open], &self.tokens[close]);
        if closed.first && closed.indent != opened.indent {
            self.early = Some(Early { open, close, blocks: self.blocks.len() + 1 });
        }
    }

    fn unclosed(&mut self, gap: &Gap) {
        for &open in &gap.unclosed {
            let error = self.diagnostics.error(self.tokens[open].span, "this `{` is never closed");
            error.label("opened here").help("put its `}` at the start of a line of its own");
            if let Some(taken) = gap.taken {
                error.related(
                    self.tokens[taken].span,
                    "this `}` closes it, but its indentation is that of an outer one",
                );
            }
        }
    }

    /// Keys without `{`. The lines up to the next `}`, or else the rest of the file, are the
    /// block's directives, as in CoreDNS. Only a file of one block may do without its braces.
    fn unbraced(&mut self, keys: Vec<Key>) {
        let Some(close) = braces::unopened(self.tokens, self.at) else {
            if !self.blocks.is_empty() {
                self.missing_brace();
            }
            self.rest_of_file(keys);
            return;
        };
        if self.early.is_some() {
            self.stray(close);
        } else {
            self.missing_brace();
            self.directives(keys, close);
        }
        self.at = close + 1;
    }

    fn rest_of_file(&mut self, keys: Vec<Key>) {
        for open in braces::unclosed(self.tokens, self.at) {
            self.diagnostics
                .error(self.tokens[open].span, "this `{` is never closed")
                .label("opened here");
        }
        self.directives(keys, self.tokens.len());
    }

    fn missing_brace(&mut self) {
        let last = &self.tokens[self.at - 1];
        if last.text.ends_with(',') {
            // The comma was reported already.
            return;
        }
        let message = "expected `{` after the zones of a server block";
        // In a file that may not be shown, any words would become zones, and messages print zones.
        let missing = if self.diagnostics.files.may_quote(last.span.file) {
            let warning = self.diagnostics.warning(last.span, message);
            warning.label("this block has no `{`; the next lines are its directives, as in CoreDNS")
        } else {
            self.diagnostics.error(last.span, message).label("this block has no `{`")
        };
        missing.help("a list of zones goes on in the next line only after a comma");
    }

    /// Reports that `tokens[at]` closes no block, or that an earlier `}` closed its block too
    /// early.
    fn stray(&mut self, at: usize) {
        let stray = self.tokens[at].span;
        let Some(early) = self.early.take() else {
            self.diagnostics
                .error(stray, "unexpected `}`: no block is open here")
                .label("one too many");
            return;
        };
        // What was read as blocks after that `}` are lines of the block that it closed.
        self.blocks.truncate(early.blocks);
        let error = self.diagnostics.error(
            self.tokens[early.close].span,
            "one `}` too many: it closes the whole server block",
        );
        error.label("this one, by its indentation");
        error
            .related(self.tokens[early.open].span, "the block begins here")
            .related(stray, "so this `}` closes nothing");
    }

    /// The lines of a block or of a directive's body, up to its `}`.
    fn lines(&mut self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        while let Some(token) = self.peek().filter(|token| !token.is("}")) {
            if token.is("{") {
                let body = self.unexpected_body(token);
                if let Some(line) = lines.last_mut() {
                    line.body.extend(body);
                }
            } else {
                lines.push(self.line(token));
            }
        }
        lines
    }

    /// Reports a `{` at the start of a line, which most likely belongs to the line before it.
    fn unexpected_body(&mut self, open: &Token) -> Vec<Line> {
        let error = self.diagnostics.error(open.span, "unexpected `{`");
        error
            .label("belongs to no directive")
            .help("a `{` stands at the end of the line that it belongs to");
        self.body()
    }

    fn line(&mut self, name: &Token) -> Line {
        self.at += 1;
        let mut line = Line { name: name.clone(), arguments: Vec::new(), body: Vec::new() };
        while let Some(token) = self.next_if(|token| !token.first && !token.is_brace()) {
            line.arguments.push(token.clone());
        }
        if self.peek().is_some_and(|token| token.is("{") && !token.first) {
            line.body = self.body();
            self.nothing_after();
        }
        line
    }

    /// The lines between `{` and `}`.
    fn body(&mut self) -> Vec<Line> {
        if self.depth == limits::COREFILE_DEPTH {
            self.diagnostics.error(self.tokens[self.at].span, "braces are nested too deeply");
            self.at = self.end;
            return Vec::new();
        }
        self.at += 1;
        self.depth += 1;
        let lines = self.lines();
        self.depth -= 1;
        self.next_if(|token| token.is("}"));
        lines
    }

    /// Reports arguments after a `}`, which CoreDNS would read as a new line.
    fn nothing_after(&mut self) {
        let Some(token) = self.peek().filter(|token| !token.first && !token.is_brace()) else {
            return;
        };
        self.diagnostics
            .error(token.span, "expected the end of the line after `}`")
            .label("unexpected");
        while self.next_if(|token| !token.first && !token.is_brace()).is_some() {}
    }
}
