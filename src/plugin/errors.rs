//! `errors [stdout] { stacktrace | consolidate DURATION PATTERN [LEVEL] [show_first] }`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use regex::Regex;

use crate::{
    chain::{Back, Cx, Level, LogLine, Plugin, Reply},
    corefile::{Arguments, go_duration},
    wire::Query,
};

use super::{
    BuildError, Directive, DirectiveLines, Need, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role, Timed,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "errors",
    about: "Logs a line for each query that failed, or one line for many similar failures.",
    arguments: "[stdout]",
    options: &OPTIONS,
    roles: &[Role::Observes],
    example: ".:53 {\n    errors {\n        consolidate 5m \"^read udp .* i/o timeout$\" warning\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<ErrorsSettings> = OptionTable(&[
    OptionSpec::repeated(
        "consolidate",
        "DURATION PATTERN [LEVEL] [show_first]",
        "Counts failures that match the pattern, and logs one line with their number after the duration; the default LEVEL is `error`. `show_first` also logs the first failure at once.",
        |errors, option| errors.consolidate.extend(consolidate(option)),
    ),
    OptionSpec::new("stacktrace", "", "Writes the stack trace of a panic.", |errors, _| {
        errors.stacktrace = true;
    }),
]);

#[derive(Clone, Debug, Default)]
struct ErrorsSettings {
    consolidate: Vec<Consolidate>,
    stacktrace: bool,
}

#[derive(Clone, Debug)]
struct Consolidate {
    window: Duration,
    pattern: Regex,
    level: Level,
    /// Whether the first failure of a window is logged at once.
    show_first: bool,
}

/// The first pattern that matches a failure counts it.
struct Errors(Vec<FailureCounter>);

struct FailureCounter {
    settings: Consolidate,
    window: Mutex<Option<Window>>,
}

struct Window {
    ends: Instant,
    failures: u64,
}

impl PluginSettings for ErrorsSettings {
    fn needs(&self) -> Vec<Need> {
        self.stacktrace.then_some(Need::Stacktrace).into_iter().collect()
    }

    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let counter = |settings: &Consolidate| FailureCounter {
            settings: settings.clone(),
            window: Mutex::default(),
        };
        let errors = Arc::new(Errors(self.consolidate.iter().map(counter).collect()));
        if !errors.0.is_empty() {
            context.outputs.timed.push(Arc::clone(&errors) as Arc<dyn Timed>);
        }
        Ok(vec![errors])
    }
}

impl Plugin for Errors {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    /// `plugin/errors: 2 example.com. A: read udp 10.0.0.2:53: i/o timeout`.
    fn response(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        if let Err(failure) = &reply {
            let text = failure.to_string();
            let counter = self.0.iter().find(|counter| counter.settings.pattern.is_match(&text));
            if counter.is_none_or(|counter| counter.count(cx) == Logging::Now) {
                let level = counter.map_or(Level::Error, |counter| counter.settings.level);
                cx.log(
                    level,
                    "errors",
                    format!("{} {}: {text}", failure.rcode().0, query.question),
                );
            }
        }
        Back::Up(reply)
    }
}

impl Timed for Errors {
    fn due(&self, now: Option<Instant>) -> Vec<LogLine> {
        self.0.iter().filter_map(|counter| counter.due(now)).collect()
    }
}

/// When a counted failure is logged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Logging {
    Now,
    AtEndOfWindow,
}

impl FailureCounter {
    fn count(&self, cx: &mut Cx) -> Logging {
        let due = self.due(Some(cx.now));
        cx.lines.extend(due);
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let first = window.is_none();
        window
            .get_or_insert(Window { ends: cx.now + self.settings.window, failures: 0 })
            .failures += 1;
        if first && self.settings.show_first { Logging::Now } else { Logging::AtEndOfWindow }
    }

    /// The line about a window that has ended. If `now` is `None`, the current window ends.
    fn due(&self, now: Option<Instant>) -> Option<LogLine> {
        let over = |window: &mut Window| now.is_none_or(|now| window.ends <= now);
        let Window { failures, .. } =
            self.window.lock().unwrap_or_else(PoisonError::into_inner).take_if(over)?;
        let Consolidate { window, pattern, level, show_first } = &self.settings;
        let text =
            format!("{failures} errors like '{pattern}' occurred in last {}", go_duration(*window));
        (failures > 1 || !show_first).then(|| LogLine::new(*level, "errors", text))
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut errors = ErrorsSettings::default();
    lines.once(|arguments| {
        if let Some(first) = arguments.optional().filter(|token| token.text != "stdout") {
            arguments
                .error(first.span, "errors go to standard output only")
                .help("write `errors` or `errors stdout`");
        }
        arguments.end();
        OPTIONS.read(arguments, &mut errors);
    });
    Some(Box::new(errors))
}

const LEVELS: [(&str, Level); 4] = [
    ("warning", Level::Warning),
    ("error", Level::Error),
    ("info", Level::Info),
    ("debug", Level::Debug),
];

fn consolidate(option: &mut Arguments<'_>) -> Option<Consolidate> {
    let window = option.duration("the time");
    let pattern = pattern(option);
    let (mut level, mut show_first) = (None, false);
    for token in option.rest() {
        match LEVELS.iter().find(|(name, _)| *name == token.text) {
            Some(_) if level.is_some() => {
                option.error(token.span, "multiple log levels specified in consolidate");
            }
            Some(_) if show_first => {
                option.error(token.span, "log level must come before show_first in consolidate");
            }
            Some((_, found)) => level = Some(*found),
            None if token.text == "show_first" => show_first = true,
            None => {
                let message = format!("unknown option in consolidate: {}", token.text);
                option
                    .error(token.span, &message)
                    .help("valid options: warning, error, info, debug, show_first");
            }
        }
    }
    Some(Consolidate {
        window: window?,
        pattern: pattern?,
        level: level.unwrap_or(Level::Error),
        show_first,
    })
}

fn pattern(option: &mut Arguments<'_>) -> Option<Regex> {
    let token = option.required("a pattern of errors")?;
    super::pattern::read(option, token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::{QueryError, Transport},
        upstream,
        wire::{Question, Type},
    };

    /// The lines that failures at these seconds cause, with the lines that are due at second 400.
    fn lines(settings: Consolidate, seconds: &[u64]) -> Vec<(Level, String)> {
        #[expect(clippy::disallowed_methods, reason = "any time will do as the first")]
        let start = Instant::now();
        let errors = Errors(vec![FailureCounter { settings, window: Mutex::default() }]);
        let query = Query::internal(Question::new("example.com.".parse().unwrap(), Type::A));
        let address = ([192, 0, 2, 1], 53).into();
        let mut lines = Vec::new();
        for second in seconds {
            let mut cx =
                Cx::new(start + Duration::from_secs(*second), 1, address, address, Transport::Udp);
            let failure = QueryError::Upstream(upstream::UpstreamError::NoAnswer(
                upstream::UpstreamTransport::Udp,
                address,
            ));
            assert!(matches!(errors.response(&mut cx, &query, Err(failure)), Back::Up(Err(_))));
            lines.append(&mut cx.lines);
        }
        lines.extend(errors.due(Some(start + Duration::from_secs(400))));
        assert_eq!(errors.due(None), [], "no line is repeated");
        lines.into_iter().map(|line| (line.level, line.text)).collect()
    }

    #[test]
    fn similar_failures_are_logged_together() {
        let written = |pattern: &str, level, show_first| Consolidate {
            window: Duration::from_secs(90),
            pattern: Regex::new(pattern).unwrap(),
            level,
            show_first,
        };
        let check = |written: Consolidate, seconds: &[u64], expected: &[(Level, &str)]| {
            let expected: Vec<_> =
                expected.iter().map(|(level, text)| (*level, (*text).to_owned())).collect();
            assert_eq!(lines(written, seconds), expected);
        };
        let alone = "2 example.com. A: read udp 192.0.2.1:53: i/o timeout";
        let of = |count| {
            format!("{count} errors like '^read udp .* i/o timeout$' occurred in last 1m30s")
        };
        let pattern = "^read udp .* i/o timeout$";
        check(
            written("refused", Level::Warning, false),
            &[0, 1],
            &[(Level::Error, alone), (Level::Error, alone)],
        );
        check(written(pattern, Level::Warning, false), &[0], &[(Level::Warning, &of(1))]);
        check(written(pattern, Level::Warning, false), &[0, 1, 89], &[(Level::Warning, &of(3))]);
        check(
            written(pattern, Level::Info, false),
            &[0, 1, 90, 120],
            &[(Level::Info, &of(2)), (Level::Info, &of(2))],
        );
        check(written(pattern, Level::Debug, true), &[0], &[(Level::Debug, alone)]);
        check(
            written(pattern, Level::Error, true),
            &[0, 1],
            &[(Level::Error, alone), (Level::Error, &of(2))],
        );
    }

    #[test]
    fn pending_counts_are_logged_at_shutdown() {
        let written = Consolidate {
            window: Duration::from_secs(90),
            pattern: Regex::new("").unwrap(),
            level: Level::Error,
            show_first: false,
        };
        #[expect(clippy::disallowed_methods, reason = "any time will do as the first")]
        let now = Instant::now();
        let counter = FailureCounter { settings: written, window: Mutex::default() };
        let address = ([192, 0, 2, 1], 53).into();
        counter.count(&mut Cx::new(now, 1, address, address, Transport::Udp));
        assert_eq!(counter.due(Some(now + Duration::from_secs(89))), None);
        assert_eq!(counter.due(None).unwrap().text, "1 errors like '' occurred in last 1m30s");
    }
}
