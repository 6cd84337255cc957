//! What plugins have to say beside the answers: lines that are due, and how a panic is told.

use std::{
    backtrace::Backtrace,
    panic::{set_hook, take_hook},
    sync::Arc,
    time::Instant,
};

use crate::{net::log::Log, plugin::Timed};

/// Writes the lines that are due; at the end, where `now` is `None`, all that are held back.
pub(super) fn write_due(timed: &[Arc<dyn Timed>], now: Option<Instant>, log: &Log) {
    timed.iter().flat_map(|timed| timed.due(now)).for_each(|line| log.write(line));
}

/// Whether a panic is told with its way through the program; its place is told anyway.
pub(super) fn trace_panics(trace: bool) {
    drop(take_hook());
    if trace {
        set_hook(Box::new(|panic| eprintln!("{panic}\n{}", Backtrace::force_capture())));
    }
}
