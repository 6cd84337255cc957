//! Reads the arguments of a directive. Each reader reports a missing or invalid argument.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use super::{Diagnostic, Diagnostics, Line, Span, Token, go_duration, key, nearest, value};

/// A cursor over the arguments of one line, a directive's or an option's.
///
/// ```text
/// let ttl = arguments.number("the TTL", 0, 3600);  // `None` after an error, which is reported
/// arguments.options(|option| match option.name() {
///     "lameduck" => settings.lameduck = option.duration("the time"),
///     _ => option.unknown(&["lameduck"], &[]),
/// });                                              // reports arguments that are left unread
/// arguments.end();
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

    /// The position of the name.
    pub fn span(&self) -> Span {
        self.line.name.span
    }

    /// Whether all arguments have been read.
    pub fn is_empty(&self) -> bool {
        self.at >= self.line.arguments.len()
    }

    /// Reads every line of the body with `read`. Arguments and braces that it leaves unread are
    /// errors.
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

    /// Warns if an earlier line of the body has the same name, because only the last one counts.
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

    /// Whether the next argument is a number, by which some directives distinguish their arguments.
    pub fn next_is_number(&self) -> bool {
        self.line.arguments.get(self.at).is_some_and(|token| token.text.parse::<i64>().is_ok())
    }

    /// The next argument, if there is one.
    pub fn optional(&mut self) -> Option<&'w Token> {
        let token = self.line.arguments.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    /// The next argument. If there is none, `what` is reported as missing.
    pub fn required(&mut self, what: &str) -> Option<&'w Token> {
        let token = self.optional();
        if token.is_none() {
            let (span, name) =
                (self.line.arguments.last().map_or(self.span(), |last| last.span), self.name());
            self.error(span, &format!("`{name}` needs {what}")).label("expected it after this");
        }
        token
    }

    /// All arguments that are left.
    pub fn rest(&mut self) -> &'w [Token] {
        let rest = self.line.arguments.get(self.at..).unwrap_or_default();
        self.at = self.line.arguments.len();
        rest
    }

    /// Skips arguments that CoreDNS ignores, with a warning.
    pub fn ignore_rest(&mut self) {
        let name = self.name();
        if let Some(extra) = self.rest().first() {
            self.warning(extra.span, &format!("`{name}` takes no more arguments"))
                .label("ignored, as in CoreDNS");
        }
    }

    /// All words of the body in their order, for a directive that uses braces only to continue its
    /// arguments on further lines.
    pub fn body_words(&mut self) -> Vec<&'w Token> {
        self.body_read = true;
        let line = self.line;
        line.body
            .iter()
            .flat_map(|line| std::iter::once(&line.name).chain(&line.arguments))
            .collect()
    }

    /// Reports an argument that was not read.
    pub fn end(&mut self) {
        let name = self.name();
        if let Some(extra) = self.rest().first() {
            self.error(extra.span, &format!("`{name}` takes no more arguments"))
                .label("unexpected");
        }
    }

    /// Reports braces that were not read.
    pub fn no_body(&mut self) {
        let (line, name) = (self.line, self.name());
        if let Some(first) = line.body.first().filter(|_| !self.body_read) {
            self.error(first.name.span, &format!("`{name}` takes no block")).label("unexpected");
        }
        self.body_read = true;
    }

    /// Skips the rest of the line, for example after an error.
    pub fn skip(&mut self) {
        self.rest();
        self.body_read = true;
    }

    /// Reports an unknown option. The help suggests the nearest name among `available` and
    /// `not_yet`, or lists those that are available.
    pub fn unknown(&mut self, available: &[&str], not_yet: &[&str]) {
        let (span, name) = (self.span(), self.name());
        let help = match nearest(name, &[available, not_yet].concat()) {
            Some(near) => did_you_mean(near),
            None => valid(available),
        };
        self.error(span, &format!("unknown property '{name}'")).help(help);
        self.skip();
    }

    /// Reports an option that an older CoreDNS had. `instead` says what to write today.
    pub fn removed(&mut self, instead: &'static str) {
        let (span, name) = (self.span(), self.name());
        self.error(span, &format!("unknown property '{name}'"))
            .label("removed from CoreDNS")
            .help(instead);
        self.skip();
    }

    /// Reports an option that CoreDNS has and ndots does not have yet.
    pub fn not_yet(&mut self) {
        let (span, name) = (self.span(), self.name());
        self.error(span, &format!("ndots does not have CoreDNS's `{name}` yet"))
            .label("not supported yet");
        self.skip();
    }

    /// Parses the next argument. On failure `message` and `help` are reported.
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

    /// Like [`Self::duration_between`]. A number without a unit stands for seconds.
    pub fn duration_or_seconds(
        &mut self,
        what: &str,
        low: Duration,
        high: Duration,
    ) -> Option<Duration> {
        let seconds = self.line.arguments.get(self.at).and_then(|token| token.text.parse().ok());
        match seconds.map(Duration::from_secs).filter(|time| (low..=high).contains(time)) {
            Some(time) => {
                self.at += 1;
                Some(time)
            }
            None => self.duration_between(what, low, high),
        }
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
            Err(help) => ("is not a duration".to_owned(), Some(help)),
        };
        let error = self.error(token.span, &format!("{what} {message}: {}", token.text));
        if let Some(help) = help {
            error.help(help);
        }
        None
    }

    /// The remaining arguments as zones, in presentation form with their final dots. Address blocks
    /// become reverse zones. An empty argument, such as an unset environment variable, is left out.
    /// If at least one argument is a zone, those that are not are left out, as in CoreDNS, and
    /// ndots warns about them.
    pub fn zones(&mut self) -> Vec<String> {
        let written: Vec<_> = self.rest().iter().filter(|token| !token.text.is_empty()).collect();
        let zones = |token: &&Token| key::zones(&token.text);
        if !written.iter().any(|token| zones(token).is_ok()) {
            return written.into_iter().flat_map(|token| self.zones_of(token)).collect();
        }
        let mut found = Vec::new();
        for token in &written {
            match zones(token) {
                Ok(zones) => found.extend(zones),
                Err(reason) => {
                    let text = &token.text;
                    let message =
                        format!("`{text}` is left out, because it is not a zone: {reason}");
                    self.warning(token.span, &message);
                }
            }
        }
        found
    }

    /// The zones of one argument: several for an address block, none after an error.
    pub fn zones_of(&mut self, token: &Token) -> Vec<String> {
        key::zones(&token.text).unwrap_or_else(|reason| {
            self.error(token.span, &format!("`{}` is not a zone: {reason}", token.text));
            Vec::new()
        })
    }

    pub fn address(&mut self, what: &str) -> Option<IpAddr> {
        self.parsed(
            what,
            |text| text.parse().ok(),
            "is not an IP address",
            "such as `10.0.0.10` or `fd00::10`",
        )
    }

    /// An address block: the address and the length of its mask. Host bits may be set.
    pub fn network(&mut self, what: &str) -> Option<(IpAddr, u8)> {
        self.parsed(
            what,
            value::network,
            "is not an address block",
            "such as `10.0.0.0/8` or `fd00::/8`",
        )
    }

    /// `HOST:PORT` with an empty host for every address, for a page to listen on.
    pub fn listen(&mut self, default: &str) -> Option<String> {
        let Some(token) = self.optional() else { return Some(default.to_owned()) };
        // An unset environment variable leaves the port empty. Go then lets the system choose one.
        if token.text.ends_with(':') {
            let chosen = token.text.clone() + "0";
            if value::is_listen_address(&chosen) {
                self.warning(token.span, "the port is missing, and the system chooses one")
                    .help("write a port, such as `:8080`");
                return Some(chosen);
            }
        }
        let fits = value::is_listen_address(&token.text);
        if !fits {
            self.error(token.span, &format!("`{}` is not an address to listen on", token.text))
                .help("such as `:8080`, `localhost:8080` or `[::1]:8080`");
        }
        fits.then(|| token.text.clone())
    }

    /// One of the choices, in any letter case.
    pub fn one_of<T: Copy>(&mut self, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let token = self.required(&format!("one of: {}", names.join(", ")))?;
        let found = choices.iter().find(|(name, _)| token.text.eq_ignore_ascii_case(name));
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

/// Suggests the nearest of the choices, or lists all of them.
fn suggestion(word: &str, choices: &[&str]) -> String {
    nearest(word, choices).map_or_else(|| valid(choices), did_you_mean)
}

fn did_you_mean(near: &str) -> String {
    format!("did you mean `{near}`?")
}

fn valid(choices: &[&str]) -> String {
    format!("valid options: {}", choices.join(", "))
}
