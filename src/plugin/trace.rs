//! `trace [otlp|zipkin|datadog] [ENDPOINT] { … }`: spans of queries for a collector.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    chain::{AtSending, Cx, Exchanged, Plugin, Tap, TapEvent, Trace},
    corefile::Arguments,
    trace::{Span, SpanKind, SpanQueue},
    wire::{Query, Rcode},
};

use super::{
    BuildError, Collector, Directive, DirectiveLines, OptionSpec, OptionTable, PluginContext,
    PluginSettings, Role, TraceSink,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "trace",
    about: "Sends a span for each query, with the queries to upstreams as its children, to a collector of OpenTelemetry (OTLP over HTTP). No query waits for the collector. Spans without room in the queue are dropped, and counted in `coredns_trace_dropped_spans_total`. With `metadata`, `trace/traceid` is the id of the trace. Lines for Zipkin and Datadog are accepted and send nothing.",
    arguments: "[otlp|zipkin|datadog] [ENDPOINT]",
    options: &OPTIONS,
    roles: &[Role::Observes],
    example: ".:53 {\n    trace otlp http://192.0.2.9:4318 {\n        every 100\n        service cluster-dns\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<TraceSettings> = OptionTable(&[
    OptionSpec::new(
        "every",
        "AMOUNT",
        "Traces one query of each AMOUNT; the default is 1, and 0 means none.",
        |trace, option| trace.every = option.number("the amount", 0, u64::MAX).unwrap_or(1),
    ),
    OptionSpec::new(
        "service",
        "NAME",
        "The name of this service in traces; the default is coredns.",
        |trace, option| {
            if let Some(name) = option.required("a name") {
                trace.service.clone_from(&name.text);
            }
        },
    ),
    unused("client_server", "[BOOL]"),
    unused("datadog_analytics_rate", "RATE"),
    unused("zipkin_max_backlog_size", "SIZE"),
    unused("zipkin_max_batch_size", "SIZE"),
    unused("zipkin_max_batch_interval", "DURATION"),
]);

const fn unused(name: &'static str, arguments: &'static str) -> OptionSpec<TraceSettings> {
    OptionSpec::new(name, arguments, "Has no effect.", |_, option| {
        option.rest();
    })
}

#[derive(Clone, Debug)]
struct TraceSettings {
    /// `None` for a collector that ndots sends nothing to.
    collector: Option<Collector>,
    every: u64,
    service: String,
}

struct Tracer {
    every: u64,
    count: AtomicU64,
    queue: Arc<SpanQueue>,
}

impl PluginSettings for TraceSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let Some(collector) = self.collector.clone().filter(|_| self.every > 0) else {
            return Ok(Vec::new());
        };
        let queue = context.trace(TraceSink { collector, service: self.service.clone() });
        Ok(vec![Arc::new(Tracer { every: self.every, count: AtomicU64::new(0), queue })])
    }
}

impl Plugin for Tracer {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn tap(&self) -> Option<&dyn Tap> {
        Some(self)
    }
}

impl Tap for Tracer {
    fn tap(&self, cx: &mut Cx, query: &Query, event: TapEvent<'_>) {
        match event {
            TapEvent::Received(_) => self.begin(cx),
            TapEvent::Exchanged(exchanged) => remember(cx, exchanged),
            TapEvent::Sent(packet) => self.end(cx, query, packet),
        }
    }
}

impl Tracer {
    fn begin(&self, cx: &mut Cx) {
        let number = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if !number.is_multiple_of(self.every) {
            return;
        }
        let mut words = || cx.random.next_u64().to_be_bytes();
        let id: [u8; 16] = [words(), words()].concat().try_into().unwrap_or_default();
        let trace = Trace { id, span: words(), exchanges: Vec::new() };
        let text = || id.iter().map(|octet: &u8| format!("{octet:02x}")).collect::<String>();
        cx.metadata.set_with("trace/traceid", text);
        cx.trace = Some(trace);
    }

    fn end(&self, cx: &mut Cx, query: &Query, packet: &[u8]) {
        let Some(Trace { id, span, exchanges }) = cx.trace.take() else { return };
        let rcode = Rcode(u16::from(packet.get(3).copied().unwrap_or_default() & 15));
        let question = &query.question;
        let mut random = cx.random;
        let own = Span {
            trace: id,
            id: span,
            parent: None,
            name: "servedns",
            kind: SpanKind::Server,
            begun: cx.started,
            ended: cx.started,
            attributes: vec![
                ("coredns.io/name", question.name.to_string()),
                ("coredns.io/type", question.qtype.to_string()),
                ("coredns.io/rcode", rcode.to_string()),
                ("coredns.io/proto", cx.transport.proto().to_owned()),
                ("coredns.io/remote", cx.peer.ip().to_string()),
            ],
            failed: rcode == Rcode::SERVFAIL,
        };
        let mut spans: Vec<_> = exchanges
            .iter()
            .map(|sent| Span {
                trace: id,
                id: random.next_u64().to_be_bytes(),
                parent: Some(span),
                name: "connect",
                kind: SpanKind::Client,
                begun: sent.sent,
                // Without a reply, the span ends with the query.
                ended: sent.replied.unwrap_or(cx.now.max(sent.sent)),
                attributes: vec![("peer.address", sent.upstream.to_string())],
                failed: sent.replied.is_none(),
            })
            .collect();
        let queue = Arc::clone(&self.queue);
        cx.at_sending.push(AtSending::new(move |at| {
            spans.push(Span { ended: at, ..own });
            queue.push(spans);
        }));
    }
}

fn remember(cx: &mut Cx, exchanged: &Exchanged) {
    if let Some(trace) = &mut cx.trace {
        trace.exchanges.extend_from_slice(&exchanged.sent);
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut settings = None;
    lines.each(|arguments| settings = Some(read_line(arguments)));
    settings.map(|settings| Box::new(settings) as Box<dyn PluginSettings>)
}

fn read_line(arguments: &mut Arguments<'_>) -> TraceSettings {
    let span = arguments.span();
    let (first, second) = (arguments.optional(), arguments.optional());
    let (kind, endpoint) = match (first, second) {
        (Some(kind), Some(endpoint)) => (kind.text.to_ascii_lowercase(), Some(endpoint)),
        (Some(kind), None) if kind.text.eq_ignore_ascii_case("otlp") => ("otlp".to_owned(), None),
        (endpoint, _) => ("zipkin".to_owned(), endpoint),
    };
    let mut settings = TraceSettings { collector: None, every: 1, service: "coredns".to_owned() };
    match kind.as_str() {
        "otlp" => {
            let text = endpoint.map_or("localhost", |endpoint| &endpoint.text);
            settings.collector = Collector::parse(text);
            if settings.collector.is_none() {
                arguments
                    .error(endpoint.map_or(span, |endpoint| endpoint.span), "not a collector")
                    .help("write HOST:PORT, or a URL such as http://192.0.2.9:4318/v1/traces");
            }
        }
        "zipkin" | "datadog" => {
            arguments
                .warning(
                    span,
                    "no traces are sent: ndots sends them to collectors of OpenTelemetry only",
                )
                .help("write `trace otlp http://HOST:4318`; collectors pass traces on to others");
        }
        other => {
            let message = format!("tracing endpoint type '{other}' is not supported");
            arguments.error(span, &message).help("write `trace otlp http://HOST:4318`");
        }
    }
    OPTIONS.read(arguments, &mut settings);
    settings
}
