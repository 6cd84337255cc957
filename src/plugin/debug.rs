//! `debug`: lines of the level DEBUG are written, and a panic ends the process instead of its one
//! question.

use super::{Need, Reading, Settings};

#[derive(Debug)]
struct Debug;

impl Settings for Debug {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Debug]
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    reading.each(|arguments| {
        arguments.end();
        arguments.no_body();
    });
    Some(Box::new(Debug))
}
