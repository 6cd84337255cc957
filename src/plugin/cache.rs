//! `cache [TTL] [ZONES…] { … }`: keeps the replies of upstreams.
//!
//! What is answered here (the cluster's zone above all) is not kept, so a change shows at once; it
//! only gets the TTL bounds.

mod metrics;

use std::{sync::Arc, time::Duration};

use crate::{
    cache::{Cache, CacheBounds, CacheConfig, Lookup, Prefetch, ReplyKind},
    chain::{Back, Cx, Flow, Nested, Plugin, QueryError, Reply},
    corefile::{Arguments, go_duration},
    limits, upstream,
    wire::{Name, Query, Rcode, Response},
};

use super::{PluginContext, Reading, Settings, names};
use metrics::{CacheMetrics, Event};

#[derive(Clone, Debug)]
struct Written {
    zones: Vec<Name>,
    settings: CacheConfig,
    no_success: Vec<Name>,
    no_denial: Vec<Name>,
}

/// `cache` at work in one block.
struct Caching {
    cache: Arc<Cache>,
    written: Written,
    metrics: CacheMetrics,
}

impl Settings for Written {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, String> {
        let written = if self.zones.is_empty() {
            Self { zones: context.zones.to_vec(), ..self.clone() }
        } else {
            self.clone()
        };
        let cache = context.cache(|seed| Cache::new(self.settings.clone(), seed));
        let zones = written.zones.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let caching = Caching {
            cache,
            written,
            metrics: CacheMetrics::new(context.metrics, context.servers, zones),
        };
        Ok(vec![Arc::new(caching)])
    }
}

impl Plugin for Caching {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        if !self.is_mine(query) || cx.refresh {
            return Flow::Next;
        }
        self.metrics.count(cx, Event::Request);
        match self.cache.get(query, cx.now) {
            Lookup::Failed(failure) => {
                self.metrics.count(cx, Event::Hit(ReplyKind::Denial));
                Flow::Answer(self.stale(cx, query).unwrap_or(failure))
            }
            Lookup::Fresh { response, kind, refresh } => {
                self.metrics.count(cx, Event::Hit(kind));
                if refresh {
                    self.metrics.count(cx, Event::Prefetch);
                    cx.refreshes.push(query.clone());
                }
                Flow::Answer(response)
            }
            Lookup::Stale => {
                let patience = self.cache.config().stale.patience;
                match self.stale(cx, query).filter(|_| patience.is_zero()) {
                    Some(response) => {
                        cx.refreshes.push(query.clone());
                        Flow::Answer(response)
                    }
                    None => {
                        cx.wait_at_most(patience);
                        Flow::Next
                    }
                }
            }
            Lookup::Miss => {
                self.metrics.count(cx, Event::Miss);
                Flow::Next
            }
        }
    }

    fn response(
        &self,
        cx: &mut Cx,
        query: &Query,
        _nested: Option<Nested<'_>>,
        reply: Reply,
    ) -> Back {
        if !self.is_mine(query) {
            return Back::Up(reply);
        }
        if cx.answered_by != "forward" {
            return Back::Up(reply.map(|mut response| {
                self.cache.clamp_ttls(query, &mut response);
                response
            }));
        }
        Back::Up(match reply {
            Ok(response) if is_failure(response.rcode) => self.failed(cx, query, Ok(response)),
            Ok(response) => Ok(self.keep(cx, query, response)),
            Err(failure) => self.failed(cx, query, Err(failure)),
        })
    }
}

/// Codes that say nothing of the name.
fn is_failure(rcode: Rcode) -> bool {
    ![Rcode::NOERROR, Rcode::NXDOMAIN].contains(&rcode)
}

impl Caching {
    fn is_mine(&self, query: &Query) -> bool {
        self.written.zones.iter().any(|zone| query.question.name.is_within(zone))
    }

    fn count_entries(&self, cx: &Cx, kind: ReplyKind) {
        self.metrics.set_entries(cx, kind, self.cache.len(kind));
    }

    fn stale(&self, cx: &Cx, query: &Query) -> Option<Response> {
        let response = self.cache.stale(query, cx.now)?;
        self.metrics.count(cx, Event::Stale);
        Some(response)
    }

    fn keep(&self, cx: &Cx, query: &Query, mut response: Response) -> Response {
        let within = |zones: &[Name]| zones.iter().any(|zone| query.question.name.is_within(zone));
        let disabled = if response.answer.is_empty() {
            &self.written.no_denial
        } else {
            &self.written.no_success
        };
        if within(disabled) {
            self.cache.clamp_ttls(query, &mut response);
            return response;
        }
        let kept = self.cache.insert(query, response, cx.now);
        if let Some(kind) = kept.kind {
            self.count_entries(cx, kind);
            if kept.evicted > 0 {
                self.metrics.add(cx, Event::Eviction(kind), kept.evicted as u64);
            }
        }
        kept.response
    }

    /// The last good reply, if there is one; else the failure, which is kept for a while if the
    /// upstreams are its reason.
    fn failed(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Reply {
        match &reply {
            // The exchange goes on: this joins it, and its reply comes into the cache.
            Err(QueryError::Impatient) => cx.refreshes.push(query.clone()),
            Err(QueryError::Upstream(upstream::UpstreamError::TooManyInFlight(_))) => {}
            Err(failure @ QueryError::Upstream(reason)) => {
                let response = Response { ede: reason.ede(), ..Response::of(failure.rcode()) };
                self.cache.insert_failure(query, response, cx.now);
            }
            Err(_) => {}
            Ok(response) => self.cache.insert_failure(query, response.clone(), cx.now),
        }
        self.count_entries(cx, ReplyKind::Denial);
        self.stale(cx, query).map_or(reply, Ok)
    }
}

const OPTIONS: [&str; 8] = [
    "success",
    "denial",
    "prefetch",
    "serve_stale",
    "serve_stale_policy",
    "servfail",
    "disable",
    "keepttl",
];

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut written = Written {
        zones: Vec::new(),
        settings: CacheConfig::default(),
        no_success: Vec::new(),
        no_denial: Vec::new(),
    };
    reading.once(|arguments| {
        // The first word is a time only if it is a number; else it is a zone, as in CoreDNS.
        if arguments.next_is_number()
            && let Some(ttl) = arguments.number("the TTL", 1, u32::MAX)
        {
            let longest = Duration::from_secs(ttl.into());
            written.settings.success.max_ttl = longest;
            written.settings.denial.max_ttl = longest;
        }
        for token in arguments.rest() {
            if !token.text.contains(['.', '/']) {
                let message = format!("`{}` is read as a zone, not as a TTL", token.text);
                arguments
                    .warning(token.span, &message)
                    .help("a TTL is a number of seconds, such as `cache 30`");
            }
            written.zones.extend(names(&arguments.zones_of(token)));
        }
        let mut stale = false;
        arguments.options(|option| {
            stale |= option.name() == "serve_stale";
            option.once_unless(&["disable"]);
            written.option(option);
        });
        written.agree(arguments, stale);
    });
    Some(Box::new(written))
}

impl Written {
    fn option(&mut self, option: &mut Arguments<'_>) {
        match option.name() {
            "success" => read_keep(option, &mut self.settings.success),
            "denial" => read_keep(option, &mut self.settings.denial),
            "prefetch" => self.settings.prefetch = read_prefetch(option),
            "serve_stale" => self.read_stale(option),
            "servfail" => {
                let span = option.span();
                self.settings.failure =
                    option.duration("the time").unwrap_or(self.settings.failure);
                if self.settings.failure > limits::FAILURE_TTL {
                    option
                        .error(span, "caching SERVFAIL responses over 5 minutes is not permitted");
                }
            }
            "disable" => {
                let parts = [("success", ReplyKind::Success), ("denial", ReplyKind::Denial)];
                let Some(part) = option.one_of("disable", &parts) else { return };
                let zones = names(&option.zones());
                let zones = if zones.is_empty() { vec![Name::root()] } else { zones };
                match part {
                    ReplyKind::Success => self.no_success.extend(zones),
                    ReplyKind::Denial => self.no_denial.extend(zones),
                }
            }
            "keepttl" => self.settings.keep_ttl = true,
            "serve_stale_policy" => {
                let preferred = option.one_of("serve_stale_policy", &[("prefer_positive", true)]);
                self.settings.stale.prefer_positive = preferred.is_some();
            }
            _ => return option.unknown(&OPTIONS),
        }
        option.end();
        option.no_body();
    }

    /// `serve_stale [DURATION [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]]`.
    fn read_stale(&mut self, option: &mut Arguments<'_>) {
        let stale = &mut self.settings.stale;
        // Asked for in so many words, a stale reply has CoreDNS's TTL and its ways.
        (stale.ttl, stale.patience) = (0, Duration::ZERO);
        if option.is_empty() {
            return;
        }
        if let Some(window) = option.duration("the time that a reply may be stale") {
            stale.window = window;
        }
        if option.is_empty() {
            return;
        }
        if option.one_of("serve_stale", &[("immediate", false), ("verify", true)]) == Some(true) {
            let timeout = if option.is_empty() { None } else { option.duration("the timeout") };
            // Without a time of its own the upstreams have theirs, which ends before the client's.
            stale.patience =
                timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(limits::QUERY_TIME);
        }
        if !option.is_empty() {
            let ttl = option.duration_between(
                "the TTL of stale replies",
                Duration::ZERO,
                Duration::from_secs(u32::MAX.into()),
            );
            if ttl.is_some_and(|ttl| ttl.subsec_nanos() > 0) {
                let span = option.span();
                option.error(span, "the TTL of stale replies must be a whole number of seconds");
            }
            stale.ttl = ttl.map_or(0, |ttl| ttl.as_secs() as u32);
        }
        if !option.is_empty() {
            let recheck = option.duration_between(
                "the pause after a failure",
                Duration::ZERO,
                limits::FAILURE_TTL,
            );
            stale.recheck = recheck.filter(|recheck| !recheck.is_zero());
        }
    }

    /// What the options say must fit together.
    fn agree(&self, arguments: &mut Arguments<'_>, stale: bool) {
        let span = arguments.span();
        if self.settings.stale.prefer_positive && !stale {
            arguments.error(span, "serve_stale_policy requires serve_stale");
        }
        for (name, keep) in [("success", self.settings.success), ("denial", self.settings.denial)] {
            if keep.min_ttl > keep.max_ttl {
                let message = format!(
                    "`{name}` replies live {} at least, so their TTL of at most {} has no effect",
                    go_duration(keep.min_ttl),
                    go_duration(keep.max_ttl)
                );
                arguments
                    .warning(span, &message)
                    .help(format!("`{name} CAPACITY TTL MINTTL` sets both"));
            }
        }
    }
}

fn read_keep(option: &mut Arguments<'_>, keep: &mut CacheBounds) {
    if let Some(capacity) = option.number("the capacity", 0, 100_000_000) {
        keep.capacity = capacity;
    }
    if !option.is_empty()
        && let Some(ttl) = option.number("the TTL", 1, u32::MAX)
    {
        keep.max_ttl = Duration::from_secs(ttl.into());
    }
    if !option.is_empty()
        && let Some(ttl) = option.number("the minimum TTL", 0, u32::MAX)
    {
        keep.min_ttl = Duration::from_secs(ttl.into());
    }
}

fn read_prefetch(option: &mut Arguments<'_>) -> Option<Prefetch> {
    let mut prefetch = Prefetch {
        amount: option.number("the amount", 0, u32::MAX)?,
        gap: Duration::from_secs(60),
        percent: 10,
    };
    if !option.is_empty() {
        prefetch.gap = option.duration("the time between questions")?;
    }
    if !option.is_empty() {
        prefetch.percent = option.percentage("the percentage", 10, 90)?.into();
    }
    (prefetch.amount > 0).then_some(prefetch)
}
