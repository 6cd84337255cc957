//! `prometheus [ADDRESS]`.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use crate::{
    chain::{Cx, Plugin, Sent},
    limits,
    metrics::{
        CounterFamily, Family, Histogram, HistogramFamily, IntCounter, Metrics, SeriesCache,
        query_seconds,
    },
    wire::{Name, Query, Rcode, Type},
};

use super::{
    BuildError, Directive, DirectiveLines, OptionSpec, OptionTable, Page, PageReply, PluginContext,
    PluginSettings, Role, ServerLabels, Top,
};

pub(super) static DIRECTIVE: Directive = Directive {
    name: "prometheus",
    about: "Counts queries and replies, and serves all metrics on the page /metrics; the default address is localhost:9153.",
    arguments: "[ADDRESS]",
    options: &OPTIONS,
    roles: &[Role::Observes, Role::ServesPage],
    example: ".:53 {\n    prometheus :9153\n    forward . 192.0.2.53\n}\n",
    lints: &[],
    read,
};

static OPTIONS: OptionTable<PrometheusSettings> = OptionTable(&[
    OptionSpec::new(
        "runtime_metrics",
        "",
        "Has no effect, because there is no Go runtime.",
        |_, option| {
            let span = option.span();
            option.warning(
                span,
                "`runtime_metrics` has no effect: ndots has no Go runtime to measure",
            );
        },
    ),
    OptionSpec::new(
        "tls",
        "FILE",
        "Serves the metrics over HTTPS with the `tls_server_config` of this file, which has the form of Prometheus' web configuration. It is read for each connection. Unknown keys, `basic_auth_users` and `client_allowed_sans` are errors; `cipher_suites`, `curve_preferences`, `http_server_config` and `rate_limit` have no effect.",
        |prometheus, option| {
            prometheus.tls = option.required("a file").map(|file| file.text.clone());
        },
    ),
    OptionSpec::new(
        "top",
        "[SIZE]",
        "Counts the most frequent clients and names, at most SIZE (100) of each, and serves them at \
         `/top`. Anybody who reaches the address sees them. Also counts replies by namespace.",
        |prometheus, option| {
            let [default, most] = limits::TOP_SIZES;
            prometheus.top =
                if option.next_is_number() { option.number("top", 1, most) } else { Some(default) };
        },
    ),
]);

static REQUESTS: CounterFamily<6> = Family::new(
    "dns_requests_total",
    "DNS requests by zone, protocol, family and type.",
    ["server", "zone", "view", "proto", "family", "type"],
);
static DURATION: HistogramFamily<3> = Family::histogram(
    "dns_request_duration_seconds",
    "Time from a request to its reply.",
    ["server", "zone", "view"],
    query_seconds,
);
static REQUEST_SIZE: HistogramFamily<4> = Family::histogram(
    "dns_request_size_bytes",
    "Bytes of requests.",
    ["server", "zone", "view", "proto"],
    message_bytes,
);
static RESPONSE_SIZE: HistogramFamily<4> = Family::histogram(
    "dns_response_size_bytes",
    "Bytes of replies.",
    ["server", "zone", "view", "proto"],
    message_bytes,
);
static DO_REQUESTS: CounterFamily<3> =
    Family::new("dns_do_requests_total", "Requests with the DO bit.", ["server", "zone", "view"]);
static RESPONSES: CounterFamily<5> = Family::new(
    "dns_responses_total",
    "Replies by response code, and by the plugin that gave them.",
    ["server", "zone", "view", "rcode", "plugin"],
);

fn message_bytes() -> Vec<f64> {
    vec![0., 100., 200., 300., 400., 511., 1023., 2047., 4095., 8291., 16e3, 32e3, 48e3, 64e3]
}

#[derive(Debug)]
struct PrometheusSettings {
    address: String,
    /// How many clients and names are counted.
    top: Option<usize>,
    /// The file with the TLS settings.
    tls: Option<String>,
}

/// Counts what a block answers.
struct QueryMetrics {
    registry: Arc<Metrics>,
    servers: ServerLabels,
    /// The block's zones, the longest first, with the values of the label `zone`; the last is for
    /// queries of no zone.
    zones: Vec<(Name, String)>,
    /// The value of the label `view`.
    view: String,
    /// The series of each server and zone: `server * zones.len() + zone`.
    series: Box<[OnceLock<Box<ZoneSeries>>]>,
    top: Option<Arc<Top>>,
}

/// The series of one server and zone, each from its first use.
struct ZoneSeries {
    duration: Histogram,
    do_requests: OnceLock<IntCounter>,
    responses: SeriesCache<(Rcode, &'static str), IntCounter>,
    udp: OnceLock<ProtoSeries>,
    tcp: OnceLock<ProtoSeries>,
}

struct ProtoSeries {
    /// The key is the pair of the labels `family` and `type`.
    requests: SeriesCache<(&'static str, &'static str), IntCounter>,
    request_size: Histogram,
    response_size: Histogram,
}

/// The registry, which a series is looked up in at its first use, and the values of the labels
/// `server`, `zone` and `view`.
#[derive(Clone, Copy)]
struct Labels<'l>(&'l Metrics, [&'l str; 3]);

impl PluginSettings for PrometheusSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let metrics = Arc::clone(context.build.metrics);
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        let render = move || PageReply { content_type, ..PageReply::text(200, metrics.render()) };
        context.outputs.pages.push(Page {
            address: self.address.clone(),
            path: "/metrics",
            render: Arc::new(render),
            polled: false,
            essential: false,
            tls: self.tls.clone(),
        });
        let top = self.top.map(|size| self.share_top(size, context));
        let of_no_zone = QueryMetrics::new(context.build.metrics, context.all_servers, &[]);
        context.outputs.unrouted = Some(Arc::new(of_no_zone));
        let of_block = QueryMetrics::new(context.build.metrics, context.servers, context.zones);
        let of_block = QueryMetrics { view: context.view.to_owned(), top, ..of_block };
        Ok(vec![Arc::new(of_block)])
    }
}

impl PrometheusSettings {
    /// The counts that all blocks share, with their page. They live through reloads.
    fn share_top(&self, size: usize, context: &mut PluginContext<'_>) -> Arc<Top> {
        let known = context.outputs.reload_state.top.clone();
        let previous = || context.build.previous.top.clone().filter(|top| top.size() == size);
        let top = known
            .or_else(previous)
            .unwrap_or_else(|| Arc::new(Top::new(context.build.metrics, size)));
        context.outputs.reload_state.top = Some(Arc::clone(&top));
        let page = Arc::clone(&top);
        context.outputs.pages.push(Page {
            address: self.address.clone(),
            path: "/top",
            render: Arc::new(move || PageReply::text(200, page.page())),
            polled: false,
            essential: false,
            tls: self.tls.clone(),
        });
        top
    }
}

impl QueryMetrics {
    fn new(registry: &Arc<Metrics>, servers: &ServerLabels, zones: &[Name]) -> Self {
        let mut zones: Vec<_> = zones.iter().map(|zone| (zone.clone(), zone.to_string())).collect();
        zones.sort_by_key(|(zone, _)| std::cmp::Reverse(zone.wire().len()));
        // Every name is within the root.
        zones.push((Name::root(), "dropped".to_owned()));
        let count = servers.labels().count().max(1) * zones.len();
        Self {
            registry: Arc::clone(registry),
            servers: servers.clone(),
            zones,
            view: String::new(),
            series: (0..count).map(|_| OnceLock::new()).collect(),
            top: None,
        }
    }
}

impl Plugin for QueryMetrics {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
    }

    fn sent(&self, cx: &mut Cx, query: &Query, sent: &Sent) {
        let within = |(zone, _): &(Name, String)| query.question.name.is_within(zone);
        let zone = self.zones.iter().position(within).unwrap_or(self.zones.len() - 1);
        let server = self.servers.index(cx);
        let values = [self.servers.label(server), &*self.zones[zone].1, &*self.view];
        let labels = Labels(&self.registry, values);
        self.series[server * self.zones.len() + zone]
            .get_or_init(|| Box::new(ZoneSeries::new(labels)))
            .count(labels, cx, query, sent);
        if let Some(top) = &self.top {
            top.count(cx, query, sent);
        }
    }
}

impl ZoneSeries {
    fn new(Labels(registry, zone): Labels<'_>) -> Self {
        Self {
            duration: DURATION.with(registry, zone),
            do_requests: OnceLock::new(),
            responses: SeriesCache::new(limits::CACHED_SERIES),
            udp: OnceLock::new(),
            tcp: OnceLock::new(),
        }
    }

    fn count(&self, labels: Labels<'_>, cx: &mut Cx, query: &Query, sent: &Sent) {
        let Labels(registry, zone) = labels;
        let proto = cx.transport.proto();
        let by_proto = if proto == "udp" { &self.udp } else { &self.tcp };
        by_proto.get_or_init(|| ProtoSeries::new(labels, proto)).count(labels, cx, query, sent);
        if query.dnssec_ok() {
            self.do_requests.get_or_init(|| DO_REQUESTS.with(registry, zone)).inc();
        }
        cx.timer = Some(self.duration.clone());
        let [server, zone, view] = zone;
        let find = || {
            let values = [server, zone, view, &sent.rcode.to_string(), cx.answered_by()];
            RESPONSES.with(registry, values)
        };
        self.responses.count((sent.rcode, cx.answered_by()), find, IntCounter::inc);
    }
}

impl ProtoSeries {
    fn new(Labels(registry, [server, zone, view]): Labels<'_>, proto: &str) -> Self {
        Self {
            requests: SeriesCache::new(limits::CACHED_SERIES),
            request_size: REQUEST_SIZE.with(registry, [server, zone, view, proto]),
            response_size: RESPONSE_SIZE.with(registry, [server, zone, view, proto]),
        }
    }

    fn count(&self, labels: Labels<'_>, cx: &Cx, query: &Query, sent: &Sent) {
        let Labels(registry, [server, zone, view]) = labels;
        let family = match cx.peer.ip().to_canonical() {
            IpAddr::V4(_) => "1",
            IpAddr::V6(_) => "2",
        };
        let qtype = type_label(query.question.qtype);
        let find = || {
            let values = [server, zone, view, cx.transport.proto(), family, qtype];
            REQUESTS.with(registry, values)
        };
        self.requests.count((family, qtype), find, IntCounter::inc);
        self.request_size.observe(sent.request_octets as f64);
        self.response_size.observe(sent.reply_octets as f64);
    }
}

/// Only these types have a value of their own. Clients choose the type, so the number of series
/// would have no bound otherwise.
fn type_label(qtype: Type) -> &'static str {
    match qtype.0 {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        43 => "DS",
        46 => "RRSIG",
        47 => "NSEC",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        251 => "IXFR",
        252 => "AXFR",
        255 => "ANY",
        _ => "other",
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    const DEFAULT: &str = "localhost:9153";
    let mut prometheus = PrometheusSettings { address: DEFAULT.to_owned(), top: None, tls: None };
    lines.once(|arguments| {
        if let Some(address) = arguments.listen(DEFAULT) {
            prometheus.address = address;
        }
        OPTIONS.read(arguments, &mut prometheus);
    });
    Some(Box::new(prometheus))
}
