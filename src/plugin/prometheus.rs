//! `prometheus [ADDR]`: counts questions and replies, and serves every metric.

use std::{net::IpAddr, sync::Arc};

use crate::{
    chain::{Cx, Plugin, Sent},
    metrics::Metrics,
    wire::{Name, Query, Type},
};

use super::{Page, PageReply, PluginContext, Reading, Servers, Settings};

#[derive(Debug)]
struct Prometheus {
    address: String,
}

/// Counts what a block answers; `zones` are the values of the label.
struct Counting {
    metrics: Arc<Metrics>,
    servers: Servers,
    zones: Vec<(Name, String)>,
}

impl Settings for Prometheus {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let metrics = Arc::clone(context.metrics);
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        let render = move || PageReply { content_type, ..PageReply::text(200, metrics.render()) };
        context.pages.push(Page {
            address: self.address.clone(),
            path: "/metrics",
            render: Arc::new(render),
            polled: false,
        });
        let counting = |servers: &Servers, zones| Counting {
            metrics: Arc::clone(context.metrics),
            servers: servers.clone(),
            zones,
        };
        *context.unrouted = Some(Arc::new(counting(context.all_servers, Vec::new())));
        let mut zones: Vec<_> =
            context.zones.iter().map(|zone| (zone.clone(), zone.to_string())).collect();
        zones.sort_by_key(|(zone, _)| std::cmp::Reverse(zone.wire().len()));
        Ok(vec![Arc::new(counting(context.servers, zones))])
    }
}

impl Plugin for Counting {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn sent(&self, cx: &mut Cx, query: &Query, sent: &Sent) {
        let zone = self
            .zones
            .iter()
            .find(|(zone, _)| query.question.name.is_within(zone))
            .map_or("dropped", |(_, text)| text);
        let (server, view, proto) = (self.servers.label(cx), "", cx.transport.name());
        let family = match cx.peer.ip().to_canonical() {
            IpAddr::V4(_) => "1",
            IpAddr::V6(_) => "2",
        };
        let metrics = &self.metrics;
        metrics
            .requests
            .with_label_values(&[
                server,
                zone,
                view,
                proto,
                family,
                type_label(query.question.qtype),
            ])
            .inc();
        if query.dnssec_ok() {
            metrics.do_requests.with_label_values(&[server, zone, view]).inc();
        }
        metrics
            .request_size
            .with_label_values(&[server, zone, view, proto])
            .observe(sent.request_octets as f64);
        metrics
            .response_size
            .with_label_values(&[server, zone, view, proto])
            .observe(sent.reply_octets as f64);
        metrics
            .request_duration
            .with_label_values(&[server, zone, view])
            .observe(sent.took.as_secs_f64());
        let number;
        let rcode = match sent.rcode.name() {
            Some(name) => name,
            None => {
                number = sent.rcode.to_string();
                &number
            }
        };
        metrics.responses.with_label_values(&[server, zone, view, rcode, cx.answered_by]).inc();
    }
}

/// The types that have a label of their own; a client cannot make more.
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

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    const DEFAULT: &str = "localhost:9153";
    let mut prometheus = Prometheus { address: DEFAULT.to_owned() };
    reading.once(|arguments| {
        if let Some(address) = arguments.listen(DEFAULT) {
            prometheus.address = address;
        }
        arguments.end();
        arguments.options(|option| {
            option.once();
            match option.name() {
                "runtime_metrics" => {
                    let span = option.span();
                    option.warning(
                        span,
                        "`runtime_metrics` has no effect: there is no Go runtime to tell of",
                    );
                }
                "tls" => option.not_yet(),
                _ => option.unknown(&["runtime_metrics", "tls"]),
            }
        });
    });
    Some(Box::new(prometheus))
}
