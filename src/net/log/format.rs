//! How an event becomes a line.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use crate::printable::{printable_json, printable_line};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `[INFO] plugin/reload: Running configuration SHA512 = …`
    Text,
    /// One object a line, with CoreDNS's names.
    Json,
}

/// CoreDNS writes the lines of this plugin without its name.
const UNNAMED: &str = "log";

impl Format {
    pub(super) fn line(self, event: &Event<'_>, now: Timestamp) -> String {
        let level = *event.metadata().level();
        match self {
            Self::Text => {
                let mut text = Text::default();
                event.record(&mut text);
                text.line(level)
            }
            Self::Json => {
                let mut object = Object(Map::new());
                object.insert("time", json!(now.to_string()));
                // CoreDNS's JSON has `WARN`; lines of text have `WARNING`.
                object.insert("level", json!(level.as_str()));
                event.record(&mut object);
                printable_json(&Value::Object(object.0).to_string()).into_owned()
            }
        }
    }
}

/// The two fields of an event that a line of text shows.
#[derive(Default)]
struct Text {
    plugin: String,
    message: String,
}

impl Text {
    fn line(self, level: Level) -> String {
        let level = if level == Level::WARN { "WARNING" } else { level.as_str() };
        // A message stays one line, and cannot control a terminal (RUSTSEC-2025-0055).
        let message = printable_line(&self.message);
        match &*self.plugin {
            "" | UNNAMED => format!("[{level}] {message}"),
            plugin => format!("[{level}] plugin/{plugin}: {message}"),
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            "plugin" => value.clone_into(&mut self.plugin),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

struct Object(Map<String, Value>);

impl Object {
    fn insert(&mut self, name: &str, value: Value) {
        let name = if name == "message" { "msg" } else { name };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Object {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field.name(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field.name(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field.name(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field.name(), json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field.name(), json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field.name(), json!(format!("{value:?}")));
    }
}
