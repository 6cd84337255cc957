//! The log: lines go through a bounded queue to one thread, so that a reader who is slow or gone never holds up an answer.
#![expect(clippy::disallowed_methods, reason = "the writing thread is made here")]

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use prometheus::IntCounter;

use crate::{
    chain::{Level, Line},
    limits,
};

#[derive(Clone, Debug)]
pub struct Log {
    lines: SyncSender<Line>,
    lost: IntCounter,
    debug: Arc<AtomicBool>,
}

impl Log {
    /// Starts the writing thread; `lost` counts lines for which there was no room.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn start(lost: IntCounter) -> std::io::Result<Self> {
        let (lines, receiver) = sync_channel::<Line>(limits::LOG_LINES);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for line in receiver {
                let mut out = std::io::stdout().lock();
                // Nobody reads: nothing is to be done about it.
                let _ = writeln!(out, "[{}] {}", name(line.level), printable(&line.text));
            }
        })?;
        Ok(Self { lines, lost, debug: Arc::default() })
    }

    /// Whether lines of the level DEBUG are written.
    pub fn debug(&self, written: bool) {
        self.debug.store(written, Ordering::Relaxed);
    }

    pub fn write(&self, line: Line) {
        if line.level == Level::Debug && !self.debug.load(Ordering::Relaxed) {
            return;
        }
        if self.lines.try_send(line).is_err() {
            self.lost.inc();
        }
    }

    pub fn say(&self, level: Level, text: impl Into<String>) {
        self.write(Line { level, text: text.into() });
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Error => "ERROR",
    }
}

/// One line is one line, and no terminal takes orders from it (RUSTSEC-2025-0055).
fn printable(text: &str) -> String {
    text.chars().map(|ch| if ch.is_control() && ch != '\t' { '\u{fffd}' } else { ch }).collect()
}
