//! Every metric family, with CoreDNS's names, labels and buckets, so that its dashboards and alerts
//! read on.

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec,
    Opts, Registry, TextEncoder, core::Collector, exponential_buckets,
};

/// One registry a process: families live through reloads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub build_info: IntGaugeVec,
    pub plugin_enabled: IntGaugeVec,
    pub panics: IntCounter,
    pub requests: IntCounterVec,
    pub request_duration: HistogramVec,
    pub request_size: HistogramVec,
    pub response_size: HistogramVec,
    pub do_requests: IntCounterVec,
    pub responses: IntCounterVec,
    pub https_responses: IntCounterVec,
    pub quic_responses: IntCounterVec,
    pub cache_entries: IntGaugeVec,
    pub cache_hits: IntCounterVec,
    pub cache_requests: IntCounterVec,
    pub cache_misses: IntCounterVec,
    pub cache_prefetches: IntCounterVec,
    pub cache_stale: IntCounterVec,
    pub cache_evictions: IntCounterVec,
    pub proxy_duration: HistogramVec,
    pub proxy_probe_failures: IntCounterVec,
    pub proxy_conn_hits: IntCounterVec,
    pub proxy_conn_misses: IntCounterVec,
    pub forward_requests: IntCounterVec,
    pub forward_responses: IntCounterVec,
    pub forward_duration: HistogramVec,
    pub forward_probe_failures: IntCounterVec,
    pub forward_all_down: IntCounter,
    pub forward_rejects: IntCounter,
    pub forward_strays: IntCounterVec,
    pub kubernetes_requests: IntCounterVec,
    pub kubernetes_duration: HistogramVec,
    pub kubernetes_heard: IntGaugeVec,
    pub kubernetes_refused: IntGaugeVec,
    pub kubernetes_programming: HistogramVec,
    pub kubernetes_limiter: HistogramVec,
    pub hosts_entries: IntGaugeVec,
    pub hosts_modified: Gauge,
    pub autopath_successes: IntCounterVec,
    pub health_duration: Histogram,
    pub health_failures: IntCounter,
    pub reload_failures: IntCounter,
    pub reload_version: IntGaugeVec,
    pub log_lost: IntCounter,
}

const ZONE: [&str; 3] = ["server", "zone", "view"];
const CACHE: [&str; 3] = ["server", "zones", "view"];
const CACHE_TYPE: [&str; 4] = ["server", "type", "zones", "view"];

impl Default for Metrics {
    #[expect(clippy::too_many_lines, reason = "a table: one line a family")]
    fn default() -> Self {
        let registry = Registry::new();
        let add = Adder(&registry);
        let octets = || {
            vec![
                0., 100., 200., 300., 400., 511., 1023., 2047., 4095., 8291., 16e3, 32e3, 48e3,
                64e3,
            ]
        };
        let durations = || {
            exponential_buckets(0.000_25, 2., 16).expect("a positive start and a factor above one")
        };
        let proxy = ["proxy_name", "to"];
        Self {
            build_info: add.gauges(
                "build_info",
                "A metric with a constant '1' value labelled by version, revision, and goversion.",
                &["version", "revision", "goversion"],
            ),
            plugin_enabled: add.gauges(
                "plugin_enabled",
                "Plugins that are in use, by server and zone.",
                &["server", "zone", "view", "name"],
            ),
            panics: add.counter("panics_total", "Panics while a question was answered."),
            requests: add.counters(
                "dns_requests_total",
                "DNS requests by zone, protocol, family and type.",
                &["server", "zone", "view", "proto", "family", "type"],
            ),
            request_duration: add.histograms("dns_request_duration_seconds", "Time from a request to its reply.", &ZONE, durations()),
            request_size: add.histograms("dns_request_size_bytes", "Octets of requests.", &["server", "zone", "view", "proto"], octets()),
            response_size: add.histograms("dns_response_size_bytes", "Octets of replies.", &["server", "zone", "view", "proto"], octets()),
            do_requests: add.counters("dns_do_requests_total", "Requests with the DO bit.", &ZONE),
            responses: add.counters(
                "dns_responses_total",
                "Replies by response code, and the plugin that gave them.",
                &["server", "zone", "view", "rcode", "plugin"],
            ),
            https_responses: add.counters("dns_https_responses_total", "HTTP responses by status code.", &["server", "status"]),
            quic_responses: add.counters("dns_quic_responses_total", "Replies over QUIC by DoQ error code.", &["server", "status"]),
            cache_entries: add.gauges("cache_entries", "Replies in the cache.", &CACHE_TYPE),
            cache_hits: add.counters("cache_hits_total", "Questions answered from the cache.", &CACHE_TYPE),
            cache_requests: add.counters("cache_requests_total", "Questions that the cache was asked.", &CACHE),
            cache_misses: add.counters("cache_misses_total", "Questions that the cache could not answer.", &CACHE),
            cache_prefetches: add.counters("cache_prefetch_total", "Replies fetched anew before their end.", &CACHE),
            cache_stale: add.counters("cache_served_stale_total", "Questions answered with an expired reply.", &CACHE),
            cache_evictions: add.counters("cache_evictions_total", "Replies thrown out for others.", &CACHE_TYPE),
            proxy_duration: add.histograms(
                "proxy_request_duration_seconds",
                "Time of an upstream's reply.",
                &["proxy_name", "to", "rcode"],
                durations(),
            ),
            proxy_probe_failures: add.counters("proxy_healthcheck_failures_total", "Failed health checks of an upstream.", &proxy),
            proxy_conn_hits: add.counters(
                "proxy_conn_cache_hits_total",
                "Connections to an upstream used again.",
                &["proxy_name", "to", "proto"],
            ),
            proxy_conn_misses: add.counters(
                "proxy_conn_cache_misses_total",
                "Connections to an upstream opened.",
                &["proxy_name", "to", "proto"],
            ),
            forward_requests: add.counters("forward_requests_total", "Questions sent to an upstream.", &["to"]),
            forward_responses: add.counters("forward_responses_total", "Replies of an upstream.", &["to", "rcode"]),
            forward_duration: add.histograms(
                "forward_request_duration_seconds",
                "Time of an upstream's reply.",
                &["to", "rcode"],
                durations(),
            ),
            forward_probe_failures: add.counters("forward_healthcheck_failures_total", "Failed health checks of an upstream.", &["to"]),
            forward_all_down: add.counter("forward_healthcheck_broken_total", "Questions for which every upstream was down."),
            forward_rejects: add
                .counter("forward_max_concurrent_rejects_total", "Questions refused because max_concurrent others were on their way."),
            forward_strays: add.counters(
                "forward_stray_replies_total",
                "Datagrams of an upstream's address that were not the reply.",
                &["to"],
            ),
            kubernetes_requests: add.counters(
                "kubernetes_rest_client_requests_total",
                "Requests to an API server, by status code.",
                &["code", "method", "host"],
            ),
            kubernetes_duration: add.histograms(
                "kubernetes_rest_client_request_duration_seconds",
                "Time until an API server begins to answer.",
                &["verb", "host"],
                prometheus::DEFAULT_BUCKETS.to_vec(),
            ),
            kubernetes_limiter: add.histograms(
                "kubernetes_rest_client_rate_limiter_duration_seconds",
                "Time that a request to an API server waits before it is sent.",
                &["verb", "host"],
                prometheus::DEFAULT_BUCKETS.to_vec(),
            ),
            kubernetes_programming: add.histograms(
                "kubernetes_dns_programming_duration_seconds",
                "Time from a change of a Service's endpoints, by the controller's clock, until it is answered.",
                &["service_kind"],
                exponential_buckets(0.001, 2., 20).expect("a positive start and a factor above one"),
            ),
            kubernetes_heard: add.gauges(
                "kubernetes_heard_timestamp_seconds",
                "When an API server last said something of a kind of objects.",
                &["resource", "host"],
            ),
            hosts_entries: add.gauges("hosts_entries", "Addresses and reverse names of a hosts file and its block.", &["hostsfile"]),
            hosts_modified: add
                .add(Gauge::with_opts(opts("hosts_reload_timestamp_seconds", "When the hosts file that was read last was written."))),
            kubernetes_refused: add.gauges(
                "kubernetes_refused",
                "Whether an API server does not let a kind of objects be read.",
                &["resource", "host"],
            ),
            autopath_successes: add.counters(
                "autopath_success_total",
                "Questions whose search list was walked to a name that exists.",
                &["server"],
            ),
            health_duration: add.histogram(
                "health_request_duration_seconds",
                "Time of the own request to /health.",
                vec![0.000_25, 0.002_5, 0.025, 0.25, 2.5],
            ),
            health_failures: add.counter("health_request_failures_total", "Own requests to /health that failed."),
            reload_failures: add.counter("reload_failed_total", "Corefiles that were not taken over."),
            reload_version: add.gauges(
                "reload_version_info",
                "The hash of the configuration that was taken over last.",
                &["hash", "value"],
            ),
            log_lost: add.counter("log_lines_lost_total", "Log lines dropped because nobody reads fast enough."),
            registry,
        }
    }
}

impl Metrics {
    /// Adds a collector of another module, such as the process's own figures.
    pub fn register(&self, collector: Box<dyn Collector>) {
        self.registry.register(collector).expect("families have names of their own");
    }

    /// The page in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // A family that cannot be written leaves the others readable.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

struct Adder<'r>(&'r Registry);

impl Adder<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = collector.expect("names and labels of this file are well formed");
        self.0
            .register(Box::new(collector.clone()))
            .expect("each family of this file has its own name");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(opts(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(opts(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::from(opts(name, help)).buckets(buckets)))
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::from(opts(name, help)).buckets(buckets), labels))
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("coredns")
}
