//! What happened between two samples.

use std::{collections::BTreeMap, time::Duration};

use super::sample::{Sample, Series, Values};

/// What the servers did between two samples. Rates are per second.
#[derive(Debug, Default)]
pub struct Summary {
    /// The addresses of the servers that were read.
    pub(super) servers: Vec<String>,
    /// Why servers could not be read, by their addresses.
    pub(super) unread: Vec<(String, String)>,
    /// Replies a second.
    pub(super) replies: f64,
    /// Shares of the replies by response code, from 0 to 1, the largest first.
    pub(super) codes: Vec<(String, f64)>,
    /// Shares of the queries by type, and by transport.
    pub(super) types: Vec<(String, f64)>,
    pub(super) transports: Vec<(String, f64)>,
    /// Seconds within which half and 99 % of the replies were given.
    pub(super) times: Option<[f64; 2]>,
    pub(super) cache: Option<Cache>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) kinds: Vec<Kind>,
    pub(super) process: Process,
    /// The most frequent ones; `None` if no server counts them.
    pub(super) frequent: Option<Frequent>,
}

#[derive(Debug)]
pub(super) struct Cache {
    /// The share of the lookups that were answered, from 0 to 1; `None` without a lookup.
    pub(super) hits: Option<f64>,
    /// Expired entries that were given, per second.
    pub(super) stale: f64,
    pub(super) entries: f64,
}

#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) address: String,
    pub(super) replies: f64,
    /// The share of the replies with SERVFAIL or REFUSED, from 0 to 1.
    pub(super) failed: f64,
    pub(super) times: Option<[f64; 2]>,
    pub(super) failed_checks: f64,
    pub(super) is_down: bool,
}

/// A kind of Kubernetes objects.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) plural: String,
    pub(super) state: KindState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KindState {
    Read,
    NotYet,
    Refused,
}

#[derive(Debug, Default)]
pub(super) struct Process {
    /// Octets of memory of the largest server.
    pub(super) memory: f64,
    /// Cores in use, all servers together.
    pub(super) cores: f64,
    /// What should be 0: events a second, with a word for each.
    pub(super) faults: Vec<(&'static str, f64)>,
}

/// Replies a second for each namespace, client and name, the most frequent first.
#[derive(Debug)]
pub(super) struct Frequent {
    pub(super) namespaces: Vec<(String, f64)>,
    pub(super) clients: Vec<(String, f64)>,
    pub(super) names: Vec<(String, f64)>,
}

/// Metrics that stay at 0 while all is well.
const FAULTS: &[(&str, &str)] = &[
    ("coredns_panics_total", "panics"),
    ("coredns_udp_dropped_datagrams_total", "datagrams dropped by the kernel"),
    ("coredns_shed_dropped_total", "queries shed"),
    ("coredns_forward_max_concurrent_rejects_total", "queries over max_concurrent"),
    ("coredns_forward_healthcheck_broken_total", "queries while all upstreams were down"),
    ("coredns_log_lines_lost_total", "log lines lost"),
    ("coredns_cpu_throttled_periods_total", "CPU periods throttled"),
    ("coredns_reload_failed_total", "Corefiles rejected"),
];

impl Summary {
    /// `time` is the time between the samples.
    pub fn between(before: &Sample, now: &Sample, time: Duration) -> Self {
        let added = now.since(before);
        let values = now.values();
        let rate = |count: f64| count / time.as_secs_f64().max(0.001);
        let is_unread = |(server, page): (&String, &Result<_, String>)| {
            page.as_ref().err().map(|why| (server.clone(), why.clone()))
        };
        let shares = |metric, label| shares(added.by(metric, label));
        let faults = FAULTS.iter().map(|(metric, word)| (*word, rate(added.sum(metric))));
        Self {
            servers: now.servers.iter().filter(|it| it.1.is_ok()).map(|it| it.0.clone()).collect(),
            unread: now.servers.iter().filter_map(is_unread).collect(),
            replies: rate(added.sum("coredns_dns_responses_total")),
            codes: shares("coredns_dns_responses_total", "rcode"),
            types: shares("coredns_dns_requests_total", "type"),
            transports: shares("coredns_dns_requests_total", "proto"),
            times: added.quantiles("coredns_dns_request_duration_seconds", |_| true, TIMES),
            cache: cache(&added, &values, rate),
            upstreams: upstreams(&added, &values, rate),
            kinds: kinds(now),
            process: Process {
                memory: now.largest("process_resident_memory_bytes"),
                cores: rate(added.sum("process_cpu_seconds_total")),
                faults: faults.filter(|(_, rate)| *rate > 0.).collect(),
            },
            frequent: frequent(&added, &values, rate),
        }
    }
}

const TIMES: [f64; 2] = [0.5, 0.99];

/// Counts as shares of their sum, the largest first; none if nothing was counted.
fn shares(counts: BTreeMap<&str, f64>) -> Vec<(String, f64)> {
    let all: f64 = counts.values().sum();
    let counted = counts.into_iter().filter(|(_, count)| *count > 0.);
    sorted(counted.map(|(of, count)| (of.to_owned(), count / all)))
}

fn sorted(values: impl Iterator<Item = (String, f64)>) -> Vec<(String, f64)> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    values
}

fn cache(added: &Values, values: &Values, rate: impl Fn(f64) -> f64) -> Option<Cache> {
    if values.by("coredns_cache_entries", "type").is_empty() {
        return None;
    }
    let [hits, misses] =
        ["hits", "misses"].map(|it| added.sum(&format!("coredns_cache_{it}_total")));
    Some(Cache {
        hits: (hits + misses > 0.).then(|| hits / (hits + misses)),
        stale: rate(added.sum("coredns_cache_served_stale_total")),
        entries: values.sum("coredns_cache_entries"),
    })
}

/// The upstreams, the busiest first.
fn upstreams(added: &Values, values: &Values, rate: impl Fn(f64) -> f64) -> Vec<Upstream> {
    const HISTOGRAM: &str = "coredns_proxy_request_duration_seconds";
    let count = format!("{HISTOGRAM}_count");
    let down = values.by("coredns_forward_upstream_down", "to");
    let failed_checks = added.by("coredns_proxy_healthcheck_failures_total", "to");
    let mut addresses = values.by(&count, "to");
    addresses.extend(down.keys().map(|address| (*address, 0.)));
    let upstream = |(address, _): (&str, f64)| {
        let is_its = |series: &Series| series.label("to") == address;
        let is_failure = |series: &Series| ["SERVFAIL", "REFUSED"].contains(&series.label("rcode"));
        let replies = added.sum_of(&count, is_its);
        let failed = added.sum_of(&count, |series| is_its(series) && is_failure(series));
        Upstream {
            address: address.to_owned(),
            replies: rate(replies),
            failed: if replies > 0. { failed / replies } else { 0. },
            times: added.quantiles(HISTOGRAM, is_its, TIMES),
            failed_checks: rate(failed_checks.get(address).copied().unwrap_or_default()),
            is_down: down.get(address).is_some_and(|blocks| *blocks > 0.),
        }
    };
    let mut upstreams: Vec<_> = addresses.into_iter().map(upstream).collect();
    upstreams.sort_by(|one, other| other.replies.total_cmp(&one.replies));
    upstreams
}

fn kinds(now: &Sample) -> Vec<Kind> {
    let synced = now.least("coredns_kubernetes_synced", "resource");
    let values = now.values();
    let refused = values.by("coredns_kubernetes_refused", "resource");
    let kind = |(plural, synced): (&str, f64)| {
        let is_refused = refused.get(plural).is_some_and(|count| *count > 0.);
        let state = match synced {
            _ if is_refused => KindState::Refused,
            0. => KindState::NotYet,
            _ => KindState::Read,
        };
        Kind { plural: plural.to_owned(), state }
    };
    synced.into_iter().map(kind).collect()
}

fn frequent(added: &Values, values: &Values, rate: impl Fn(f64) -> f64) -> Option<Frequent> {
    if values.by("client", "of").is_empty() {
        return None;
    }
    let of = |metric, label| {
        let rates = added.by(metric, label).into_iter();
        let rates = rates.map(|(of, count)| (of.to_owned(), rate(count)));
        sorted(rates.filter(|(_, rate)| *rate > 0.))
    };
    Some(Frequent {
        namespaces: of("coredns_dns_namespace_responses_total", "namespace"),
        clients: of("client", "of"),
        names: of("name", "of"),
    })
}
