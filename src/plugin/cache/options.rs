//! The options of `cache`.

use std::time::Duration;

use crate::{
    cache::{CacheBounds, Prefetch, ReplyKind},
    corefile::Arguments,
    limits,
    wire::Name,
};

use super::{
    super::{OptionSpec, OptionTable, names},
    CacheSettings,
};

pub(super) static OPTIONS: OptionTable<CacheSettings> = OptionTable(&[
    OptionSpec::new(
        "success",
        "CAPACITY [TTL [MINTTL]]",
        "Limits the number of positive replies (9984), and the seconds that they are kept: at most TTL (3600) and at least MINTTL (5).",
        |cache, option| read_bounds(option, &mut cache.settings.success),
    ),
    OptionSpec::new(
        "denial",
        "CAPACITY [TTL [MINTTL]]",
        "Limits the number of negative replies (9984), and the seconds that they are kept: at most TTL (1800) and at least MINTTL (5).",
        |cache, option| read_bounds(option, &mut cache.settings.denial),
    ),
    OptionSpec::new(
        "prefetch",
        "AMOUNT [DURATION [PERCENTAGE]]",
        "Fetches a reply again when PERCENTAGE (10%) of its TTL is left, if AMOUNT queries asked for it with less than DURATION (1m) between them.",
        |cache, option| cache.settings.prefetch = read_prefetch(option),
    ),
    OptionSpec::new(
        "serve_stale",
        "[DURATION [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]]",
        "Answers with an expired reply for at most DURATION (1h) after its TTL ended. `immediate`, the default, answers at once and then queries the upstreams; `verify` first waits for their reply, at most TIMEOUT. The TTL of the records is TTL (0). After a failure the upstreams are not queried again for RECHECK. Without this option, an expired reply is used for 1h if no upstream answers within 1.8s, with the TTL 30.",
        |cache, option| {
            cache.serves_stale = true;
            cache.read_stale(option);
        },
    ),
    OptionSpec::repeated(
        "serve_stale_policy",
        "prefer_positive [HOLD]",
        "Answers with an expired positive reply when the upstreams deny the name, for at most HOLD after its TTL ended; the default is the time of serve_stale.",
        |cache, option| {
            let span = option.span();
            let stale = &mut cache.settings.stale;
            if stale.prefer_positive.is_some() {
                option.error(span, "serve_stale_policy can only be specified once");
            }
            // Without HOLD, the time of `serve_stale` is the only limit.
            let named = option.one_of("serve_stale_policy", &[("prefer_positive", Duration::MAX)]);
            let hold = if option.is_empty() {
                None
            } else {
                option.duration("the time that an expired reply is preferred")
            };
            stale.prefer_positive = named.map(|longest| hold.unwrap_or(longest));
        },
    ),
    OptionSpec::new(
        "servfail",
        "DURATION",
        "Keeps SERVFAIL replies for this long, at most 5m; 0 does not keep them. The default is 5s.",
        |cache, option| {
            let span = option.span();
            let failure = &mut cache.settings.failure;
            *failure = option.duration("the time").unwrap_or(*failure);
            if *failure > limits::FAILURE_TTL {
                option.error(span, "caching SERVFAIL responses over 5 minutes is not permitted");
            }
        },
    ),
    OptionSpec::repeated(
        "disable",
        "success|denial [ZONE…]",
        "Does not keep positive or negative replies for these zones.",
        read_disable,
    ),
    OptionSpec::new(
        "keepttl",
        "",
        "Answers with the original TTL instead of the time that is left.",
        |cache, _| cache.settings.keep_ttl = true,
    ),
]);

impl CacheSettings {
    /// Reads the arguments of `serve_stale`.
    fn read_stale(&mut self, option: &mut Arguments<'_>) {
        let stale = &mut self.settings.stale;
        // With the option the defaults are CoreDNS's: the TTL is 0, and the stale reply is sent
        // before the upstreams are queried.
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
            // Without a timeout, the stale reply is sent shortly before the client gives up.
            stale.patience =
                timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(limits::EXCHANGE_TIME);
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

    /// Checks options that depend on each other.
    pub(super) fn check(&self, arguments: &mut Arguments<'_>) {
        let span = arguments.span();
        if self.settings.stale.prefer_positive.is_some() && !self.serves_stale {
            arguments.error(span, "serve_stale_policy requires serve_stale");
        }
    }
}

fn read_bounds(option: &mut Arguments<'_>, bounds: &mut CacheBounds) {
    if let Some(capacity) = option.number("the capacity", 0, 100_000_000) {
        bounds.capacity = capacity;
    }
    if !option.is_empty()
        && let Some(ttl) = option.number("the TTL", 1, u32::MAX)
    {
        bounds.max_ttl = Duration::from_secs(ttl.into());
    }
    if !option.is_empty()
        && let Some(ttl) = option.number("the minimum TTL", 0, u32::MAX)
    {
        bounds.min_ttl = Duration::from_secs(ttl.into());
    }
    option.ignore_rest();
}

fn read_prefetch(option: &mut Arguments<'_>) -> Option<Prefetch> {
    let mut prefetch = Prefetch {
        amount: option.number("the amount", 0, u32::MAX)?,
        gap: Duration::from_secs(60),
        percent: 10,
    };
    if !option.is_empty() {
        prefetch.gap = option.duration("the time between queries")?;
    }
    if !option.is_empty() {
        prefetch.percent = option.percentage("the percentage", 10, 90)?.into();
    }
    (prefetch.amount > 0).then_some(prefetch)
}

fn read_disable(cache: &mut CacheSettings, option: &mut Arguments<'_>) {
    let parts = [("success", ReplyKind::Success), ("denial", ReplyKind::Denial)];
    let Some(kind) = option.one_of("disable", &parts) else { return };
    let zones = names(&option.zones());
    let zones = if zones.is_empty() { vec![Name::root()] } else { zones };
    match kind {
        ReplyKind::Success => cache.no_success.extend(zones),
        ReplyKind::Denial => cache.no_denial.extend(zones),
    }
}
