//! Spans of traces in the form of OpenTelemetry's protocol (OTLP).

use std::time::Instant;

use crate::{
    protobuf::Message,
    send_queue::{SendQueue, WallClock},
};

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub trace: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub name: &'static str,
    pub kind: SpanKind,
    pub begun: Instant,
    pub ended: Instant,
    pub attributes: Vec<(&'static str, String)>,
    pub failed: bool,
}

/// The numbers are those of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    Server = 2,
    Client = 3,
}

/// The body of a request to a collector: the message `ExportTraceServiceRequest` of the schema.
pub fn request(service: &str, spans: &[Span], clock: WallClock) -> Vec<u8> {
    let resource = Message::default().octets(1, &attribute("service.name", service)).finish();
    let scope = Message::default().octets(1, b"ndots").finish();
    let mut of_scope = Message::default().octets(1, &scope);
    for span in spans {
        of_scope = of_scope.octets(2, &span.encode(clock));
    }
    let of_resource = Message::default().octets(1, &resource).octets(2, &of_scope.finish());
    Message::default().octets(1, &of_resource.finish()).finish()
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    let value = Message::default().octets(1, value.as_bytes()).finish();
    Message::default().octets(1, key.as_bytes()).octets(2, &value).finish()
}

impl Span {
    fn encode(&self, clock: WallClock) -> Vec<u8> {
        /// The status of a span that failed.
        const ERROR: u64 = 2;
        let nanos = |at: Instant| clock.time(at).as_nanos() as u64;
        let mut span = Message::default().octets(1, &self.trace).octets(2, &self.id);
        if let Some(parent) = &self.parent {
            span = span.octets(4, parent);
        }
        span = span
            .octets(5, self.name.as_bytes())
            .number(6, self.kind as u64)
            .fixed_long(7, nanos(self.begun))
            .fixed_long(8, nanos(self.ended));
        for (key, value) in &self.attributes {
            span = span.octets(9, &attribute(key, value));
        }
        if self.failed {
            span = span.octets(15, &Message::default().number(3, ERROR).finish());
        }
        span.finish()
    }
}

/// The spans that wait for a collector.
pub type SpanQueue = SendQueue<Span>;

impl SpanQueue {
    /// Adds the spans of a trace.
    pub fn push(&self, spans: Vec<Span>) {
        self.add(spans, 0);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any time will do")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        limits,
        metrics::{CounterFamily, Family, Metrics},
        protobuf::{Value, fields},
    };

    static DROPPED: CounterFamily<0> = Family::new("dropped_total", "Dropped.", []);

    fn span(now: Instant) -> Span {
        Span {
            trace: [1; 16],
            id: [2; 8],
            parent: Some([3; 8]),
            name: "servedns",
            kind: SpanKind::Server,
            begun: now,
            ended: now + Duration::from_millis(2),
            attributes: vec![("coredns.io/name", "a.test.".to_owned())],
            failed: true,
        }
    }

    #[test]
    fn a_request_has_the_fields_of_the_schema() {
        let now = Instant::now();
        let clock = WallClock { now, since_1970: Duration::from_secs(1) };
        let request = request("dns", &[span(now)], clock);
        let inner = |message: &[u8], wanted: u32| {
            let fields = fields(message).unwrap();
            let found = fields.iter().find(|(field, _)| *field == wanted);
            found.map(|(_, value)| value.octets().to_vec()).unwrap()
        };
        let of_resource = inner(&request, 1);
        let resource = inner(&inner(&of_resource, 1), 1);
        assert_eq!(inner(&resource, 1), b"service.name");
        assert_eq!(inner(&inner(&resource, 2), 1), b"dns");
        let encoded = inner(&inner(&of_resource, 2), 2);
        let read = fields(&encoded).unwrap();
        let numbers: Vec<_> = read.iter().map(|(field, _)| *field).collect();
        assert_eq!(numbers, [1, 2, 4, 5, 6, 7, 8, 9, 15]);
        assert_eq!(read[0].1, Value::Octets(&[1; 16]));
        assert_eq!(read[4].1, Value::Number(2));
        // The time after the tag, in nanoseconds.
        let begin = 1_000_000_000_u64.to_le_bytes();
        assert!(encoded.windows(9).any(|part| part[0] == 7 << 3 | 1 && part[1..] == begin));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let dropped = DROPPED.with(&Metrics::default(), []);
        let queue = SpanQueue::new(limits::TRACE_SPANS, usize::MAX, dropped.clone());
        let spans = vec![span(Instant::now()); limits::TRACE_SPANS - 1];
        queue.push(spans);
        queue.push(vec![span(Instant::now()); 2]);
        assert_eq!((queue.take().len(), dropped.get()), (limits::TRACE_SPANS - 1, 2));
    }
}
