//! Reading a directive's words: each reader says one good sentence where a word is not what it should be.

use std::{net::IpAddr, time::Duration};

use super::{Diagnostics, Line, Span, Token, arpa, key};

/// A cursor over the arguments of one line.
pub struct Words<'w> {
    /// The directive, for messages; of an option, the directive that it belongs to.
    plugin: &'w str,
    line: &'w Line,
    at: usize,
    diagnostics: &'w mut Diagnostics,
}

impl<'w> Words<'w> {
    pub fn new(plugin: &'w str, line: &'w Line, diagnostics: &'w mut Diagnostics) -> Self {
        Self { plugin, line, at: 0, diagnostics }
    }

    /// The line's own name.
    pub fn name(&self) -> &'w str {
        &self.line.name.text
    }

    pub fn span(&self) -> Span {
        self.line.name.span
    }

    pub fn is_empty(&self) -> bool {
        self.at >= self.line.arguments.len()
    }

    /// Reads every line of the body with `read`.
    pub fn options(&mut self, mut read: impl FnMut(&mut Words<'_>)) {
        let line = self.line;
        for option in &line.body {
            let mut words = Words { plugin: self.plugin, line: option, at: 0, diagnostics: self.diagnostics };
            read(&mut words);
        }
    }

    pub fn error(&mut self, span: Span, message: &str) -> &mut super::Diagnostic {
        self.diagnostics.error(span, format!("plugin/{}: {message}", self.plugin))
    }

    pub fn warning(&mut self, span: Span, message: &str) -> &mut super::Diagnostic {
        self.diagnostics.warning(span, format!("plugin/{}: {message}", self.plugin))
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
            let (span, name) = (self.span(), self.name());
            self.error(span, &format!("`{name}` needs {what}")).label("expected it after this");
        }
        token
    }

    pub fn rest(&mut self) -> &'w [Token] {
        let rest = &self.line.arguments[self.at.min(self.line.arguments.len())..];
        self.at = self.line.arguments.len();
        rest
    }

    /// Nothing may be left: no word, and where `body` is false no braces either.
    pub fn end(&mut self) {
        let name = self.name();
        if let Some(extra) = self.optional() {
            self.rest();
            self.error(extra.span, &format!("`{name}` takes no more arguments")).label("unexpected");
        }
    }

    pub fn no_body(&mut self) {
        let (line, name) = (self.line, self.name());
        if let Some(first) = line.body.first() {
            self.error(first.name.span, &format!("`{name}` takes no block"));
        }
    }

    /// `name` is none of the options that are known.
    pub fn unknown(&mut self, known: &[&str]) {
        let (span, name) = (self.span(), self.name());
        let near = nearest(name, known);
        let error = self.error(span, &format!("unknown property '{name}'"));
        match near {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("known are: {}", known.join(", "))),
        };
    }

    /// An option that CoreDNS has and this server does not have yet.
    pub fn not_yet(&mut self) {
        let (span, name) = (self.span(), self.name());
        self.error(span, &format!("`{name}` is known to CoreDNS, not here yet")).label("not here yet");
    }

    /// A number within the range.
    pub fn number<N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy>(&mut self, what: &str, low: N, high: N) -> Option<N> {
        let token = self.required(what)?;
        match token.text.parse().ok().filter(|number| (low..=high).contains(number)) {
            Some(number) => Some(number),
            None => {
                self.error(token.span, &format!("{what} must be in range [{low}, {high}]: {}", token.text));
                None
            }
        }
    }

    /// A duration in Go's form: `5s`, `1m30s`, `500ms`.
    pub fn duration(&mut self, what: &str) -> Option<Duration> {
        let token = self.required(what)?;
        let duration = duration(&token.text);
        if duration.is_none() {
            let bare = token.text.parse::<u64>().is_ok();
            let help =
                if bare { format!("a number needs its unit: `{}s`?", token.text) } else { "such as `5s`, `1m30s` or `500ms`".to_owned() };
            self.error(token.span, &format!("{what} is no duration: {}", token.text)).help(help);
        }
        duration
    }

    /// The rest as zones, in presentation form with their final dots; address blocks become reverse zones.
    pub fn zones(&mut self) -> Vec<String> {
        let mut zones = Vec::new();
        for token in self.rest() {
            match (arpa::reverse_zones(&token.text), key::normalized(&token.text)) {
                (Some(reverse), _) => zones.extend(reverse),
                (None, Ok(zone)) => zones.push(zone),
                (None, Err(reason)) => drop(self.error(token.span, &format!("`{}` is no zone: {reason}", token.text))),
            }
        }
        zones
    }

    pub fn address(&mut self, what: &str) -> Option<IpAddr> {
        let token = self.required(what)?;
        let address = token.text.parse().ok();
        if address.is_none() {
            self.error(token.span, &format!("{what} is no IP address: {}", token.text));
        }
        address
    }

    /// `HOST:PORT` with an empty host for every address, for a page to listen on.
    pub fn listen(&mut self, default: &str) -> Option<String> {
        let Some(token) = self.optional() else { return Some(default.to_owned()) };
        let fits = token.text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !fits {
            self.error(token.span, &format!("`{}` is no address to listen on", token.text))
                .help("such as `:8080`, `localhost:8080` or `[::1]:8080`");
        }
        fits.then(|| token.text.clone())
    }

    /// One of these words.
    pub fn one_of<T: Copy>(&mut self, what: &str, choices: &[(&str, T)]) -> Option<T> {
        let token = self.required(what)?;
        let found = choices.iter().find(|(name, _)| *name == token.text);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let near = nearest(&token.text, &names);
            let error = self.error(token.span, &format!("wrong value for {what}: {},  must be one of: {}", token.text, names.join(", ")));
            if let Some(near) = near {
                error.help(format!("did you mean `{near}`?"));
            }
        }
        found.map(|(_, value)| *value)
    }
}

/// Go's `time.ParseDuration`, without signs.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    loop {
        let digits = rest.find(|ch: char| !ch.is_ascii_digit() && ch != '.').filter(|length| *length > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(rest.len());
        seconds += number * UNITS.iter().find(|(name, _)| *name == &rest[..unit])?.1;
        rest = &rest[unit..];
        if rest.is_empty() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
    }
}

/// The candidate that a word was most likely meant to be, if one is near.
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let near = candidates.iter().map(|candidate| (distance(word, candidate), *candidate)).min();
    near.filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4).map(|(_, candidate)| candidate)
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (&a.as_bytes()[..a.len().min(64)], b.as_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(!a[i - 1].eq_ignore_ascii_case(&b[j - 1]));
                let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + same);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let check = |text: &str, millis: Option<u64>| assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        check("5s", Some(5000));
        check("1m30s", Some(90_000));
        check("1.5h", Some(5_400_000));
        check("500ms", Some(500));
        check("0", Some(0));
        check("5", None);
        check("s", None);
        check("", None);
        check("-5s", None);
        check("5x", None);
    }

    #[test]
    fn near_words_are_found() {
        let check = |word: &str, expected| assert_eq!(nearest(word, &["forward", "cache", "kubernetes", "log"]), expected, "{word}");
        check("forwrad", Some("forward"));
        check("kubernets", Some("kubernetes"));
        check("proxy", None);
        check("xyz", None);
    }
}
