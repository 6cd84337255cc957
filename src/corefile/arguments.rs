//! Reading a directive's words: each reader says one good sentence where a word is not what it
//! should be.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use super::{Diagnostic, Diagnostics, Line, Span, Token, go_duration, key, nearest, value};

/// A cursor over the arguments of one line, a directive's or an option's.
///
/// ```text
/// let ttl = words.number("the TTL", 0, 3600);          // what is missing or wrong is told, and is `None`
/// words.options(|option| match option.name() {
///     "lameduck" => settings.lameduck = option.duration("the time"),
///     _ => option.unknown(&["lameduck"]),
/// });                                                  // words that an option leaves are told
/// words.end();
/// ```
pub struct Arguments<'w> {
    /// The directive, for messages.
    plugin: &'static str,
    line: &'w Line,
    /// The lines of the same body before this one.
    before: &'w [Line],
    at: usize,
    body_read: bool,
    diagnostics: &'w mut Diagnostics,
}

impl<'w> Arguments<'w> {
    pub fn new(plugin: &'static str, line: &'w Line, diagnostics: &'w mut Diagnostics) -> Self {
        Self { plugin, line, before: &[], at: 0, body_read: false, diagnostics }
    }

    /// The line's own name.
    pub fn name(&self) -> &'w str {
        &self.line.name.text
    }

    /// Where the name stands.
    pub fn span(&self) -> Span {
        self.line.name.span
    }

    /// Whether no word is left.
    pub fn is_empty(&self) -> bool {
        self.at >= self.line.arguments.len()
    }

    /// Reads every line of the body with `read`. Arguments and braces that it leaves are told.
    pub fn options(&mut self, mut read: impl FnMut(&mut Arguments<'_>)) {
        self.body_read = true;
        let line = self.line;
        for (at, option) in line.body.iter().enumerate() {
            let before = &line.body[..at];
            let mut words = Arguments {
                plugin: self.plugin,
                line: option,
                before,
                at: 0,
                body_read: false,
                diagnostics: self.diagnostics,
            };
            read(&mut words);
            words.end();
            words.no_body();
        }
    }

    /// Where the last of several lines with this name counts, says so; the lines of `many` all
    /// count.
    pub fn once_unless(&mut self, many: &[&str]) {
        if !many.contains(&self.name()) {
            self.once();
        }
    }

    /// Where the last of several lines with this name counts, says so.
    pub fn once(&mut self) {
        let name = self.name();
        let Some(first) = self.before.iter().find(|line| line.name.text == name) else { return };
        let (first, span) = (first.name.span, self.span());
        self.warning(span, &format!("`{name}` is written twice"))
            .label("only the last one counts")
            .related(first, "the first one is here");
    }

    pub fn error(&mut self, span: Span, message: &str) -> &mut Diagnostic {
        self.diagnostics.error(span, format!("plugin/{}: {message}", self.plugin))
    }

    pub fn warning(&mut self, span: Span, message: &str) -> &mut Diagnostic {
        self.diagnostics.warning(span, format!("plugin/{}: {message}", self.plugin))
    }

    /// Whether the next word is a number: some directives tell their arguments apart by it.
    pub fn next_is_number(&self) -> bool {
        self.line.arguments.get(self.at).is_some_and(|token| token.text.parse::<i64>().is_ok())
    }

    /// The next word, if there is one.
    pub fn optional(&mut self) -> Option<&'w Token> {
        let token = self.line.arguments.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    /// The next word; where there is none, `what` is missing.
    pub fn required(&mut self, what: &str) -> Option<&'w Token> {
        let token = self.optional();
        if token.is_none() {
            let (span, name) =
                (self.line.arguments.last().map_or(self.span(), |last| last.span), self.name());
            self.error(span, &format!("`{name}` needs {what}")).label("expected it after this");
        }
        token
    }

    /// All words that are left.
    pub fn rest(&mut self) -> &'w [Token] {
        let rest = self.line.arguments.get(self.at..).unwrap_or_default();
        self.at = self.line.arguments.len();
        rest
    }

    /// No word may be left.
    pub fn end(&mut self) {
        let name = self.name();
        if let Some(extra) = self.rest().first() {
            self.error(extra.span, &format!("`{name}` takes no more arguments"))
                .label("unexpected");
        }
    }

    /// There may be no braces.
    pub fn no_body(&mut self) {
        let (line, name) = (self.line, self.name());
        if let Some(first) = line.body.first().filter(|_| !self.body_read) {
            self.error(first.name.span, &format!("`{name}` takes no block")).label("unexpected");
        }
        self.body_read = true;
    }

    /// Nothing more is read of the line.
    pub fn skip(&mut self) {
        self.rest();
        self.body_read = true;
    }

    /// `name` is none of the options that are known.
    pub fn unknown(&mut self, known: &[&str]) {
        let (span, name) = (self.span(), self.name());
        self.error(span, &format!("unknown property '{name}'")).help(suggestion(name, known));
        self.skip();
    }

    /// An option that CoreDNS had once; `help` says what is done now.
    pub fn removed(&mut self, help: &'static str) {
        let (span, name) = (self.span(), self.name());
        self.error(span, &format!("unknown property '{name}'"))
            .label("CoreDNS had this once")
            .help(help);
        self.skip();
    }

    /// An option that CoreDNS has and this server does not have yet.
    pub fn not_yet(&mut self) {
        let (span, name) = (self.span(), self.name());
        self.error(span, &format!("`{name}` is known to CoreDNS, not here yet"))
            .label("not here yet");
        self.skip();
    }

    /// The next word as `parse` reads it; else `message` and `help` are said of it.
    fn parsed<T>(
        &mut self,
        what: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        message: &str,
        help: &'static str,
    ) -> Option<T> {
        let token = self.required(what)?;
        let parsed = parse(&token.text);
        if parsed.is_none() {
            self.error(token.span, &format!("{what} {message}: {}", token.text)).help(help);
        }
        parsed
    }

    /// A number within the range.
    pub fn number<N: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        what: &str,
        low: N,
        high: N,
    ) -> Option<N> {
        let token = self.required(what)?;
        let number = token.text.parse().ok().filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.error(
                token.span,
                &format!("{what} must be in range [{low}, {high}]: {}", token.text),
            );
        }
        number
    }

    /// `10%`, with the sign or without it.
    pub fn percentage(&mut self, what: &str, low: u8, high: u8) -> Option<u8> {
        let token = self.required(what)?;
        let number = token.text.strip_suffix('%').unwrap_or(&token.text);
        let number = number.parse().ok().filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.error(
                token.span,
                &format!("{what} should fall in range [{low}, {high}]: {}", token.text),
            )
            .help("such as `10%`");
        }
        number
    }

    /// A duration in Go's form: `5s`, `1m30s`, `500ms`.
    pub fn duration(&mut self, what: &str) -> Option<Duration> {
        self.duration_between(what, Duration::ZERO, Duration::MAX)
    }

    /// A duration within the range.
    pub fn duration_between(
        &mut self,
        what: &str,
        low: Duration,
        high: Duration,
    ) -> Option<Duration> {
        let token = self.required(what)?;
        let (message, help) = match value::duration(&token.text) {
            Ok(duration) if (low..=high).contains(&duration) => return Some(duration),
            Ok(_) if low == Duration::from_nanos(1) && high == Duration::MAX => {
                ("must be longer than 0".to_owned(), None)
            }
            Ok(_) if high == Duration::MAX => {
                (format!("must be {} or longer", go_duration(low)), None)
            }
            Ok(_) => {
                (format!("must be in range [{}, {}]", go_duration(low), go_duration(high)), None)
            }
            Err(help) => ("is no duration".to_owned(), Some(help)),
        };
        let error = self.error(token.span, &format!("{what} {message}: {}", token.text));
        if let Some(help) = help {
            error.help(help);
        }
        None
    }

    /// The rest as zones, in presentation form with their final dots; address blocks become reverse
    /// zones.
    pub fn zones(&mut self) -> Vec<String> {
        self.rest().iter().flat_map(|token| self.zones_of(token)).collect()
    }

    /// The zones that one word names: several for an address block, none where it is a mistake.
    pub fn zones_of(&mut self, token: &Token) -> Vec<String> {
        key::zones(&token.text).unwrap_or_else(|reason| {
            self.error(token.span, &format!("`{}` is no zone: {reason}", token.text));
            Vec::new()
        })
    }

    pub fn address(&mut self, what: &str) -> Option<IpAddr> {
        self.parsed(
            what,
            |text| text.parse().ok(),
            "is no IP address",
            "such as `10.0.0.10` or `fd00::10`",
        )
    }

    /// An address block: the address as it is written, and the mask's length.
    pub fn network(&mut self, what: &str) -> Option<(IpAddr, u8)> {
        self.parsed(
            what,
            value::network,
            "is no address block",
            "such as `10.0.0.0/8` or `fd00::/8`",
        )
    }

    /// `HOST:PORT` with an empty host for every address, for a page to listen on.
    pub fn listen(&mut self, default: &str) -> Option<String> {
        let Some(token) = self.optional() else { return Some(default.to_owned()) };
        let fits = value::is_listen_address(&token.text);
        if !fits {
            self.error(token.span, &format!("`{}` is no address to listen on", token.text))
                .help("such as `:8080`, `localhost:8080` or `[::1]:8080`");
        }
        fits.then(|| token.text.clone())
    }

    /// One of these words.
    pub fn one_of<T: Copy>(&mut self, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let token = self.required(&format!("one of: {}", names.join(", ")))?;
        let found = choices.iter().find(|(name, _)| *name == token.text);
        if found.is_none() {
            let message = format!(
                "wrong value for {what}: {},  must be one of: {}",
                token.text,
                names.join(", ")
            );
            self.error(token.span, &message).help(suggestion(&token.text, &names));
        }
        found.map(|(_, value)| *value)
    }
}

/// The nearest of the known words, or all of them.
fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are no options".to_owned(),
        None => format!("known are: {}", known.join(", ")),
    }
}
