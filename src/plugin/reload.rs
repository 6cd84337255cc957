//! `reload [INTERVAL] [JITTER]`: a Corefile that changes is taken over.

use std::time::Duration;

use super::{Need, Reading, Settings};

/// The times that are written are CoreDNS's way to spread its work. Looking costs nothing here, so
/// a change shows within two seconds whatever they say.
#[derive(Debug)]
struct Reload;

impl Settings for Reload {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Reload]
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    const LEAST: Duration = Duration::from_secs(2);
    reading.each(|arguments| {
        if !arguments.is_empty() {
            arguments.duration_between("the interval", LEAST, Duration::MAX);
        }
        if !arguments.is_empty() {
            let span = arguments.span();
            if arguments
                .duration("the jitter")
                .is_some_and(|jitter| !jitter.is_zero() && jitter < Duration::from_secs(1))
            {
                arguments.error(span, "jitter value must be 0 or greater or equal to 1s");
            }
        }
        arguments.end();
        arguments.no_body();
    });
    Some(Box::new(Reload))
}
