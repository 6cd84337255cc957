use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use super::*;
use crate::{
    chain::{LoggedQuery, Sent, Transport},
    wire::{Query, Question, Rcode, Type},
};

/// The lines that a piece of code logs, with a fixed time.
fn logged(format: Format, levels: &Levels, debug: DebugPlugin, log: impl FnOnce()) -> Vec<String> {
    #[derive(Clone)]
    struct Capture(Format, Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Capture {
        fn on_event(&self, event: &Event<'_>, _context: layer::Context<'_, S>) {
            let line = self.0.line(event, Timestamp::UNIX_EPOCH);
            self.1.lock().unwrap().push(line);
        }
    }

    let capture = Capture(format, Arc::default());
    let layer = capture.clone().with_filter(levels.targets(debug));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);

    capture.1.lock().unwrap().clone()
}

fn line(format: Format, line: &LogLine) -> String {
    logged(format, &Levels::default(), DebugPlugin::Absent, || emit(line)).concat()
}

#[test]
fn lines_have_both_formats() {
    let check = |log: &dyn Fn(), text: &str, json: &str| {
        let of = |format| logged(format, &Levels::default(), DebugPlugin::Absent, log).concat();
        assert_eq!(of(Format::Text), text);
        assert_eq!(of(Format::Json).replace(r#""time":"1970-01-01T00:00:00Z""#, "T"), json);
    };
    check(
        &|| tracing::info!("Reloading"),
        "[INFO] Reloading",
        r#"{"level":"INFO","msg":"Reloading",T}"#,
    );
    check(
        &|| tracing::warn!(plugin = "loop", "no {} \"name\"\n", "\u{1b}[1m"),
        "[WARNING] plugin/loop: no \\u{1b}[1m \"name\"\\n",
        r#"{"level":"WARN","msg":"no \u001b[1m \"name\"\n","plugin":"loop",T}"#,
    );
    check(
        &|| tracing::info!(name = "\u{9b}", "a\tb {}", "\u{7f}\u{202e}\u{2066}\u{2028}"),
        "[INFO] a\tb \\u{7f}\\u{202e}\\u{2066}\\u{2028}",
        r#"{"level":"INFO","msg":"a\tb \u007f\u202e\u2066\u2028","name":"\u009b",T}"#,
    );
    let failure = LogLine::new(chain::Level::Error, "errors", "2 a.example. A: i/o timeout");
    check(
        &|| emit(&failure),
        "[ERROR] plugin/errors: 2 a.example. A: i/o timeout",
        r#"{"level":"ERROR","msg":"2 a.example. A: i/o timeout","plugin":"errors",T}"#,
    );
}

#[test]
fn a_logged_query_has_the_fields_of_coredns() {
    let sent = Sent {
        rcode: Rcode::NXDOMAIN,
        flags: 0x8503,
        answers: 0,
        has_soa: true,
        has_name_servers: false,
        request_octets: 33,
        reply_octets: 126,
    };
    let query = Query {
        id: 7,
        ..Query::internal(Question::new("a.example.".parse().unwrap(), Type::AAAA))
    };
    let logged = LoggedQuery {
        peer: ([192, 0, 2, 1], 4242).into(),
        transport: Transport::Tcp,
        query,
        sent,
        started: Instant::now(),
        duration_at: vec![18],
    };
    let logged = LogLine {
        query: Some(Box::new(logged)),
        ..LogLine::new(chain::Level::Info, "log", "192.0.2.1:4242 - 7")
    };
    let text = line(Format::Text, &logged);
    let took = text.strip_prefix("[INFO] 192.0.2.1:4242 - 7").and_then(|it| it.strip_suffix('s'));
    assert!((1e-9..1.).contains(&took.unwrap().parse::<f64>().unwrap()), "{text}");
    let mut object: Value = serde_json::from_str(&line(Format::Json, &logged)).unwrap();
    let took = object["duration_seconds"].take().as_f64().unwrap();
    let message = object["msg"].take();
    let seconds = message.as_str().unwrap().strip_prefix("192.0.2.1:4242 - 7").unwrap();
    assert_eq!(seconds, format!("{took:.9}s"));
    let expected = json!({
        "time": "1970-01-01T00:00:00Z", "level": "INFO", "msg": null, "plugin": "log",
        "client_ip": "192.0.2.1", "client_port": 4242, "qname": "a.example.", "qtype": "AAAA", "qclass": "IN",
        "protocol": "tcp", "id": 7, "opcode": 0, "request_size": 33, "dnssec_ok": false, "bufsize": 1232,
        "rcode": "NXDOMAIN", "response_size": 126, "duration_seconds": null,
    });
    assert_eq!(object, expected);
}

#[test]
fn levels_come_from_the_flag_the_debug_plugin_and_rust_log() {
    let check = |own: Option<LevelFilter>, others: &str, debug, expected: &[&str]| {
        let others = if others.is_empty() { Targets::new() } else { others.parse().unwrap() };
        let lines = logged(Format::Text, &Levels { own, others }, debug, || {
            tracing::error!("e");
            tracing::info!("i");
            tracing::debug!("d");
            tracing::warn!(target: "hyper::proto", "hyper");
        });
        let messages: Vec<_> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(messages, expected);
    };
    let (present, absent) = (DebugPlugin::Present, DebugPlugin::Absent);
    check(None, "", absent, &["e", "i"]);
    check(None, "", present, &["e", "i", "d"]);
    check(Some(LevelFilter::ERROR), "", present, &["e"]);
    check(Some(LevelFilter::DEBUG), "", absent, &["e", "i", "d"]);
    check(None, "hyper=warn", absent, &["e", "i", "hyper"]);
    check(Some(LevelFilter::ERROR), "hyper=info", absent, &["e", "hyper"]);
    check(None, "error", absent, &["e"]);
    check(None, "ndots=debug", absent, &["e", "i", "d"]);
}

#[test]
fn a_flush_waits_for_a_full_queue_but_not_for_ever() {
    let (queue, receiver) = sync_channel(2);
    let line = || Entry::Line(String::new());
    queue.try_send(line()).unwrap();
    queue.try_send(line()).unwrap();
    let begun = Instant::now();
    flush(&queue, begun + Duration::from_millis(100));
    assert!(begun.elapsed() >= Duration::from_millis(100), "nobody reads the lines");
    let written = Arc::new(Mutex::new(0));
    let lines = Arc::clone(&written);
    thread::spawn(move || {
        for entry in receiver {
            thread::sleep(Duration::from_millis(50));
            match entry {
                Entry::Line(_) => *lines.lock().unwrap() += 1,
                Entry::Flush(done) => drop(done.send(())),
            }
        }
    });
    flush(&queue, Instant::now() + Duration::from_secs(10));
    assert_eq!(*written.lock().unwrap(), 2);
}
