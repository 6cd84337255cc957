//! The log: a `tracing` subscriber whose lines go through a bounded queue to one thread, so that a
//! slow reader of standard output never delays an answer.
#![expect(
    clippy::disallowed_methods,
    reason = "the writing thread is made here, lines in JSON have the time, and a flush ends in time"
)]

mod format;

use std::{
    io::Write,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread,
    time::Instant,
};

use anyhow::Context;
use jiff::Timestamp;
use tracing::{Event, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{self, SubscriberExt},
    reload,
};

use crate::{
    chain::{self, LogLine},
    limits,
    metrics::{CounterFamily, Family, IntCounter, Metrics},
};

pub use format::Format;

static LOST_LINES: CounterFamily<0> = Family::new(
    "log_lines_lost_total",
    "Log lines that were dropped because the reader of standard output was too slow, or writing failed.",
    [],
);

/// The target of this crate's own events. The targets of its modules begin with it.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// The log of the process.
#[derive(Clone, Debug)]
pub struct Log {
    queue: SyncSender<Entry>,
    filter: reload::Handle<Targets, Registry>,
    levels: Levels,
}

/// Which events become lines.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// The level of our own lines; `None` for INFO, or DEBUG with the plugin `debug`.
    pub own: Option<LevelFilter>,
    /// The levels of `RUST_LOG`. Without it the events of other crates are not written.
    pub others: Targets,
}

#[derive(Debug)]
enum Entry {
    Line(String),
    /// The receiver replies when all lines before it are written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts the writing thread, and takes the events of the whole process.
    ///
    /// # Errors
    /// No thread can be started, or the process has a log already.
    pub fn install(metrics: &Metrics, format: Format, levels: Levels) -> anyhow::Result<Self> {
        let (queue, receiver) = sync_channel(limits::LOG_LINES);
        let lost = LOST_LINES.with(metrics, []);
        let unwritten = lost.clone();
        let write = move || {
            for entry in receiver {
                match entry {
                    Entry::Line(line) => {
                        // The reader may be gone, or the disk of a redirection full.
                        if writeln!(std::io::stdout().lock(), "{line}").is_err() {
                            unwritten.inc();
                        }
                    }
                    // The caller may have stopped waiting.
                    Entry::Flush(done) => drop(done.send(())),
                }
            }
        };
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(write)
            .context("cannot start the thread of the log")?;
        let (filter, handle) = reload::Layer::new(levels.targets(DebugPlugin::Absent));
        let lines = Lines { format, queue: queue.clone(), lost };
        tracing::subscriber::set_global_default(
            tracing_subscriber::registry().with(lines.with_filter(filter)),
        )?;
        Ok(Self { queue, filter: handle, levels })
    }

    /// Sets the levels for a configuration with or without the plugin `debug`.
    pub fn set_debug(&self, debug: DebugPlugin) {
        let targets = self.levels.targets(debug);
        // This fails only if the subscriber is gone, and it lives as long as the process.
        let _ = self.filter.modify(|filter| *filter = targets);
    }

    /// Waits until the queued lines are written, for [`limits::LOG_FLUSH_TIME`] at most.
    pub fn flush(&self) {
        flush(&self.queue, Instant::now() + limits::LOG_FLUSH_TIME);
    }
}

fn flush(queue: &SyncSender<Entry>, deadline: Instant) {
    let (done, wait) = sync_channel(1);
    let mut entry = Entry::Flush(done);
    // The queue is full if the reader of the log is slow.
    while let Err(TrySendError::Full(unsent)) = queue.try_send(entry) {
        if Instant::now() >= deadline {
            return;
        }
        thread::sleep(limits::LOG_FLUSH_POLL);
        entry = unsent;
    }
    let _ = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
}

/// Whether the Corefile has the plugin `debug`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugPlugin {
    Present,
    Absent,
}

impl DebugPlugin {
    pub fn present_if(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

impl Levels {
    fn targets(&self, debug: DebugPlugin) -> Targets {
        let named = self.others.default_level().is_some()
            || self.others.iter().any(|(target, _)| target.starts_with(OWN));
        let default = match debug {
            DebugPlugin::Present => LevelFilter::DEBUG,
            DebugPlugin::Absent => LevelFilter::INFO,
        };
        match self.own {
            Some(level) => self.others.clone().with_target(OWN, level),
            None if named => self.others.clone(),
            None => self.others.clone().with_target(OWN, default),
        }
    }
}

/// The layer that makes a line of each event.
struct Lines {
    format: Format,
    queue: SyncSender<Entry>,
    lost: IntCounter,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: layer::Context<'_, S>) {
        let line = self.format.line(event, Timestamp::now());
        if self.queue.try_send(Entry::Line(line)).is_err() {
            self.lost.inc();
        }
    }
}

/// Emits a line that the pure layers returned. Its fields are those of CoreDNS.
pub fn emit(line: &LogLine) {
    let LogLine { level, plugin, text, query } = line;
    let Some(logged) = query else {
        return match level {
            chain::Level::Debug => tracing::debug!(plugin, "{text}"),
            chain::Level::Info => tracing::info!(plugin, "{text}"),
            chain::Level::Warning => tracing::warn!(plugin, "{text}"),
            chain::Level::Error => tracing::error!(plugin, "{text}"),
        };
    };
    let took = logged.started.elapsed();
    let text = logged.with_duration(text, took);
    let chain::LoggedQuery { peer, transport, query, sent, .. } = &**logged;
    tracing::info!(
        plugin,
        client_ip = %peer.ip().to_canonical(),
        client_port = peer.port(),
        qname = %query.question.name,
        qtype = %query.question.qtype,
        qclass = %query.question.class,
        protocol = transport.proto(),
        id = query.id,
        opcode = query.opcode.number(),
        request_size = sent.request_octets,
        dnssec_ok = query.dnssec_ok(),
        bufsize = query.edns.map_or(limits::UDP_OCTETS_PLAIN, |edns| edns.size),
        rcode = %sent.rcode,
        response_size = sent.reply_octets,
        duration_seconds = took.as_secs_f64(),
        "{text}"
    );
}

#[cfg(test)]
mod tests;
