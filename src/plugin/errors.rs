//! `errors`: a line for every question that failed.

use std::sync::Arc;

use crate::chain::{Back, Cx, Level, Plugin, Reply};
use crate::wire::Query;

use super::{Reading, Settings, Site};

#[derive(Debug)]
struct Errors;

impl Settings for Errors {
    fn build(&self, _site: &mut Site<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        Ok(vec![Arc::new(Self)])
    }
}

impl Plugin for Errors {
    fn name(&self) -> &'static str {
        "errors"
    }

    /// `plugin/errors: 2 example.com. A: read udp 10.0.0.2:53: i/o timeout`.
    fn response(&self, cx: &mut Cx, query: &Query, _memo: u32, reply: Reply) -> Back {
        if let Err(failure) = &reply {
            cx.say(Level::Error, format!("plugin/errors: {} {}: {failure}", failure.rcode().0, query.question));
        }
        Back::Up(reply)
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    reading.once(|words| {
        if let Some(first) = words.optional().filter(|token| token.text != "stdout") {
            words.error(first.span, "errors go to standard output only").help("write `errors` or `errors stdout`");
        }
        words.end();
        words.options(|option| match option.name() {
            "stacktrace" | "consolidate" => option.not_yet(),
            _ => option.unknown(&["stacktrace", "consolidate"]),
        });
    });
    Some(Box::new(Errors))
}
