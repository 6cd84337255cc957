//! `cache [TTL] [ZONE…] { … }`: keeps the replies of upstreams.
//!
//! Replies of other plugins, such as those from the cluster's zone, are not kept, so that a change
//! shows at once. Only the bounds for TTLs apply to them.

mod metrics;
mod options;

use std::{sync::Arc, time::Duration};

use crate::{
    cache::{Cache, CacheConfig, Lookup, ReplyKind},
    chain::{Back, Cx, Flow, Plugin, QueryError, Reply, ReplySource},
    corefile::Diagnostics,
    upstream,
    wire::{Name, Query, Response},
};

use super::{
    BuildError, Directive, DirectiveLines, Lint, LintContext, PluginContext, PluginSettings, Role,
    names,
};

use metrics::{CacheMetrics, Event};
use options::OPTIONS;

pub(super) static DIRECTIVE: Directive = Directive {
    name: "cache",
    about: "Keeps the replies of upstreams, for at most TTL seconds, so that the next query is answered from memory.",
    arguments: "[TTL] [ZONE…]",
    options: &OPTIONS,
    roles: &[Role::ChangesReplies, Role::DecidesCacheContents],
    example: ".:53 {\n    cache 30 {\n        success 10000\n        serve_stale 1h\n    }\n    forward . 192.0.2.53\n}\n",
    lints: &[Lint::without_errors(keeps_nothing)],
    read,
};

#[derive(Clone, Debug)]
struct CacheSettings {
    zones: Vec<Name>,
    settings: CacheConfig,
    no_success: Vec<Name>,
    no_denial: Vec<Name>,
    serves_stale: bool,
}

struct CachePlugin {
    cache: Arc<Cache>,
    settings: CacheSettings,
    metrics: CacheMetrics,
}

impl PluginSettings for CacheSettings {
    fn build(&self, context: &mut PluginContext<'_>) -> Result<Vec<Arc<dyn Plugin>>, BuildError> {
        let settings = if self.zones.is_empty() {
            Self { zones: context.zones.to_vec(), ..self.clone() }
        } else {
            self.clone()
        };
        let cache = context.cache(|seed| Cache::new(self.settings.clone(), seed));
        let zones = settings.zones.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let metrics = CacheMetrics::new(context.build.metrics, context.servers, zones);
        let plugin = CachePlugin { cache, settings, metrics };
        Ok(vec![Arc::new(plugin)])
    }
}

impl Plugin for CachePlugin {
    fn name(&self) -> &'static str {
        DIRECTIVE.name
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
                    cx.refresh_later(query.clone());
                }
                Flow::Answer(response)
            }
            Lookup::Stale => {
                let patience = self.cache.config().stale.patience;
                match self.stale(cx, query).filter(|_| patience.is_zero()) {
                    Some(response) => {
                        cx.refresh_later(query.clone());
                        Flow::Answer(response)
                    }
                    None => {
                        cx.wait_with_stale_reply(patience);
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

    fn response(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Back {
        if !self.is_mine(query) {
            return Back::Up(reply);
        }
        if cx.reply_source() != ReplySource::Upstream {
            return Back::Up(reply.map(|mut response| {
                self.cache.clamp_ttls(query, &mut response);
                response
            }));
        }
        Back::Up(match reply {
            Ok(response) if response.rcode.is_failure() => self.failed(cx, query, Ok(response)),
            Ok(response) => Ok(self.keep(cx, query, response)),
            Err(failure) => self.failed(cx, query, Err(failure)),
        })
    }
}

impl CachePlugin {
    fn is_mine(&self, query: &Query) -> bool {
        self.settings.zones.iter().any(|zone| query.question.name.is_within(zone))
    }

    /// Whether replies of this kind are not kept for the name of the query.
    fn is_disabled(&self, query: &Query, kind: ReplyKind) -> bool {
        let zones = match kind {
            ReplyKind::Success => &self.settings.no_success,
            ReplyKind::Denial => &self.settings.no_denial,
        };
        zones.iter().any(|zone| query.question.name.is_within(zone))
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
        if self.is_disabled(query, ReplyKind::of(query, &response)) || response.truncated {
            self.cache.clamp_ttls(query, &mut response);
            return response;
        }
        let kept = self.cache.insert(query, response, cx.now, cx.unix);
        if let Some(kind) = kept.kind {
            self.count_entries(cx, kind);
            if kept.evicted > 0 {
                self.metrics.add(cx, Event::Eviction(kind), kept.evicted as u64);
            }
        }
        kept.response
    }

    /// The last valid reply if there is one, else the failure. A failure of upstreams is kept for a
    /// while.
    fn failed(&self, cx: &mut Cx, query: &Query, reply: Reply) -> Reply {
        let stale = self.stale(cx, query);
        // Clients get a stale entry instead of the failure, so that one is kept for it.
        let is_disabled = stale.is_none() && self.is_disabled(query, ReplyKind::Denial);
        match &reply {
            // The exchange continues. The refresh shares it, so that its reply gets into the cache.
            Err(QueryError::Impatient) if cx.refresh => {}
            Err(QueryError::Impatient) => cx.refresh_later(query.clone()),
            Err(QueryError::Upstream(upstream::UpstreamError::TooManyInFlight(_))) => {}
            _ if is_disabled => {}
            // The failure is not kept, because the next attempt may succeed. If there is a stale
            // entry, the failure is kept: clients get the entry meanwhile.
            Err(QueryError::Upstream(reason)) if !reason.is_certain() && stale.is_none() => {}
            Err(failure @ QueryError::Upstream(reason)) => {
                let response = Response { ede: reason.ede(), ..Response::of(failure.rcode()) };
                self.cache.insert_failure(query, response, cx.now);
            }
            Err(_) => {}
            Ok(response) => self.cache.insert_failure(query, response.clone(), cx.now),
        }
        self.count_entries(cx, ReplyKind::Denial);
        stale.map_or(reply, Ok)
    }
}

fn read(lines: &mut DirectiveLines<'_>) -> Option<Box<dyn PluginSettings>> {
    let mut cache = CacheSettings {
        zones: Vec::new(),
        settings: CacheConfig::default(),
        no_success: Vec::new(),
        no_denial: Vec::new(),
        serves_stale: false,
    };
    lines.once(|arguments| {
        // As in CoreDNS, the first argument is a TTL only if it is a number; else it is a zone.
        if arguments.next_is_number()
            && let Some(ttl) = arguments.number("the TTL", 1, u32::MAX)
        {
            let longest = Duration::from_secs(ttl.into());
            cache.settings.success.max_ttl = longest;
            cache.settings.denial.max_ttl = longest;
        }
        for token in arguments.rest() {
            if !token.text.contains(['.', '/']) {
                let message = format!("`{}` is read as a zone, not as a TTL", token.text);
                arguments
                    .warning(token.span, &message)
                    .help("a TTL is a number of seconds, such as `cache 30`");
            }
            cache.zones.extend(names(&arguments.zones_of(token)));
        }
        OPTIONS.read(arguments, &mut cache);
        cache.check(arguments);
    });
    Some(Box::new(cache))
}

/// A block with `cache` and without a plugin whose replies may be kept.
fn keeps_nothing(context: &LintContext<'_>, diagnostics: &mut Diagnostics) {
    if let Some(cache) = context.block.lines(DIRECTIVE.name).next()
        && !context.block.has_role(Role::AsksUpstreams)
    {
        let message =
            "plugin/cache: the cache of this block stays empty: it keeps only replies of upstreams";
        diagnostics.warning(cache.name.span, message).help(
            "answers from memory need no cache and would be stale in it; `cache` only keeps their TTLs within the bounds",
        );
    }
}
