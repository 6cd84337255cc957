//! The log: lines go through a bounded queue to one thread, so that a reader who is slow or gone
//! never holds up an answer.
#![expect(
    clippy::disallowed_methods,
    reason = "the writing thread is made here, and lines in JSON tell the time"
)]

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    chain::{Answered, Level, Line},
    limits,
    metrics::{CounterFamily, Family, IntCounter, Metrics},
};

static LOST_LINES: CounterFamily<0> = Family::new(
    "log_lines_lost_total",
    "Log lines that were dropped because standard output is read too slowly.",
    [],
);

#[derive(Clone, Debug)]
pub struct Log {
    entries: SyncSender<Entry>,
    lost: IntCounter,
    debug: Arc<AtomicBool>,
    pub format: Format,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `[INFO] plugin/reload: Running configuration SHA512 = …`
    Text,
    /// An object each, with CoreDNS's names.
    Json,
}

#[derive(Debug)]
enum Entry {
    Line(Line),
    /// To be answered when all before it is written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn start(metrics: &Metrics, format: Format) -> std::io::Result<Self> {
        let (entries, receiver) = sync_channel(limits::LOG_LINES);
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for entry in receiver {
                // Where nobody reads, nothing is to be done about it.
                let _ = match entry {
                    Entry::Line(line) => writeln!(
                        std::io::stdout().lock(),
                        "{}",
                        format.written(&line, Timestamp::now())
                    ),
                    Entry::Flush(done) => done.send(()).map_err(std::io::Error::other),
                };
            }
        })?;
        Ok(Self { entries, lost: LOST_LINES.with(metrics, []), debug: Arc::default(), format })
    }

    /// Whether lines of the level DEBUG are written.
    pub fn debug(&self, written: bool) {
        self.debug.store(written, Ordering::Relaxed);
    }

    pub fn write(&self, line: Line) {
        if line.level == Level::Debug && !self.debug.load(Ordering::Relaxed) {
            return;
        }
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.lost.inc();
        }
    }

    pub fn say(&self, level: Level, text: impl Into<String>) {
        self.write(Line::new(level, text));
    }

    /// Waits until what was said is written, but not for a reader who does not read.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.entries.try_send(Entry::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(limits::LOG_FLUSH_TIME);
        }
    }
}

impl Format {
    fn written(self, line: &Line, now: Timestamp) -> String {
        match self {
            Self::Text => format!("[{}] {}", name(line.level), printable(&line.text)),
            Self::Json => object(line, now).to_string(),
        }
    }
}

/// As CoreDNS 1.15 writes it: the plugin stands by itself, and a question with its reply in fields.
fn object(line: &Line, now: Timestamp) -> Value {
    let level = if line.level == Level::Warning { "WARN" } else { name(line.level) };
    let prefixed = line.text.strip_prefix("plugin/").and_then(|rest| rest.split_once(": "));
    let (plugin, text) =
        prefixed.map_or((None, &*line.text), |(plugin, text)| (Some(plugin), text));
    let mut object = Map::from_iter(
        [("time", json!(now.to_string())), ("level", json!(level)), ("msg", json!(text))]
            .map(named),
    );
    object.extend(plugin.map(|plugin| named(("plugin", json!(plugin)))));
    object.extend(line.answered.iter().flat_map(|answered| fields(answered)));
    Value::Object(object)
}

fn fields(answered: &Answered) -> impl Iterator<Item = (String, Value)> {
    let Answered { peer, transport, query, sent } = answered;
    let fields = [
        ("plugin", json!("log")),
        ("client_ip", json!(peer.ip().to_canonical().to_string())),
        ("client_port", json!(peer.port())),
        ("qname", json!(query.question.name.to_string())),
        ("qtype", json!(query.question.qtype.to_string())),
        ("qclass", json!(query.question.class.to_string())),
        ("protocol", json!(transport.proto())),
        ("id", json!(query.id)),
        ("opcode", json!(0)),
        ("request_size", json!(sent.request_octets)),
        ("dnssec_ok", json!(query.dnssec_ok())),
        ("bufsize", json!(query.edns.map_or(limits::UDP_OCTETS_PLAIN, |edns| edns.size))),
        ("rcode", json!(sent.rcode.to_string())),
        ("response_size", json!(sent.reply_octets)),
        ("duration_seconds", json!(sent.took.as_secs_f64())),
    ];
    fields.into_iter().map(named)
}

fn named((name, value): (&str, Value)) -> (String, Value) {
    (name.to_owned(), value)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        chain::{Sent, Transport},
        wire::{Query, Question, Rcode, Type},
    };

    #[test]
    fn lines_are_written_in_both_formats() {
        let check = |line: &Line, text: &str, json: &str| {
            assert_eq!(Format::Text.written(line, Timestamp::UNIX_EPOCH), text);
            assert_eq!(
                Format::Json
                    .written(line, Timestamp::UNIX_EPOCH)
                    .replace("\"time\":\"1970-01-01T00:00:00Z\"", "T"),
                json
            );
        };
        let say = Line::new;
        check(
            &say(Level::Info, "Reloading"),
            "[INFO] Reloading",
            r#"{"level":"INFO","msg":"Reloading",T}"#,
        );
        let text = "plugin/loop: no \u{1b}[1m \"name\"\n";
        let shown = "[WARNING] plugin/loop: no \u{fffd}[1m \"name\"\u{fffd}";
        check(
            &say(Level::Warning, text),
            shown,
            r#"{"level":"WARN","msg":"no \u001b[1m \"name\"\n","plugin":"loop",T}"#,
        );

        let sent = Sent {
            rcode: Rcode::NXDOMAIN,
            flags: 0x8503,
            answers: 0,
            request_octets: 33,
            reply_octets: 126,
            took: Duration::from_micros(250),
        };
        let query = Query {
            id: 7,
            ..Query::internal(Question::new("a.example.".parse().unwrap(), Type::AAAA))
        };
        let answered = Answered {
            peer: ([192, 0, 2, 1], 4242).into(),
            transport: Transport::Tcp,
            query,
            sent,
        };
        let line =
            Line { answered: Some(Box::new(answered)), ..say(Level::Info, "192.0.2.1:4242 - 7") };
        let written = Format::Json.written(&line, Timestamp::UNIX_EPOCH);
        let read: Value = serde_json::from_str(&written).unwrap();
        let expected = json!({
            "time": "1970-01-01T00:00:00Z", "level": "INFO", "msg": "192.0.2.1:4242 - 7", "plugin": "log",
            "client_ip": "192.0.2.1", "client_port": 4242, "qname": "a.example.", "qtype": "AAAA", "qclass": "IN",
            "protocol": "tcp", "id": 7, "opcode": 0, "request_size": 33, "dnssec_ok": false, "bufsize": 1232,
            "rcode": "NXDOMAIN", "response_size": 126, "duration_seconds": 0.000_25,
        });
        assert_eq!(read, expected);
    }
}
