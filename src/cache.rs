//! The cache of upstream replies. An entry lives for its TTL, and can be served stale for a while
//! after that if no upstream answers.
//!
//! The key is the whole question (a keyed hash, then a comparison of the full name), never the
//! owner of a record. So a reply cannot answer a question for another name. The caller passes the
//! time in.

mod store;

use std::time::{Duration, Instant};

use crate::{
    limits,
    wire::{Ede, Query, Rcode, RecordSet, Response, Type},
};

use store::{CacheKey, Entry, EntryStore, Keys};

/// Bounds for the entries of one [`ReplyKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheBounds {
    /// The maximum number of entries.
    pub capacity: usize,
    pub max_ttl: Duration,
    /// If it is above `max_ttl`, every lifetime is `max_ttl`, as in CoreDNS.
    pub min_ttl: Duration,
}

impl CacheBounds {
    fn apply(self, ttl_secs: u32) -> Duration {
        Duration::from_secs(ttl_secs.into()).max(self.min_ttl).min(self.max_ttl)
    }
}

/// When an entry is fetched again before it expires: after `amount` hits in a row, each less than
/// `gap` after the one before, if no more than `percent` of its lifetime is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    pub amount: u32,
    pub gap: Duration,
    /// Percent of the entry's whole lifetime.
    pub percent: u32,
}

/// How expired entries are served (RFC 8767).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServeStale {
    /// How long an expired entry may still be served.
    pub window: Duration,
    /// How long a client waits for the upstreams before it gets the stale entry. With zero, it gets
    /// the stale entry at once, and the upstreams are queried afterwards.
    pub patience: Duration,
    /// The TTL of records in a stale reply, in seconds.
    pub ttl: u32,
    /// After the upstreams failed to replace a stale entry, how long they are not queried for it
    /// again. `None` means [`limits::LAST_KNOWN_GOOD_RETRY`] with `prefer_positive`, else
    /// [`CacheConfig::failure`].
    pub recheck: Option<Duration>,
    /// How long an expired entry with records is served instead of a fresh negative answer. `None`
    /// means never.
    pub prefer_positive: Option<Duration>,
}

impl CacheConfig {
    /// How long the upstreams are not queried again after they failed to replace a stale entry.
    fn retry_pause(&self) -> Duration {
        let default =
            self.stale.prefer_positive.map_or(self.failure, |_| limits::LAST_KNOWN_GOOD_RETRY);
        self.stale.recheck.unwrap_or(default)
    }
}

/// What a cache may hold, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    pub success: CacheBounds,
    pub denial: CacheBounds,
    /// How long a failure is cached. With zero, failures are not cached.
    pub failure: Duration,
    pub prefetch: Option<Prefetch>,
    pub stale: ServeStale,
    /// Serve records with their original TTL rather than with the time that the entry has left.
    pub keep_ttl: bool,
}

impl Default for CacheConfig {
    fn default() -> Self {
        let bounds = |max_ttl_secs| CacheBounds {
            capacity: limits::CACHE_REPLIES,
            max_ttl: Duration::from_secs(max_ttl_secs),
            min_ttl: Duration::from_secs(5),
        };
        Self {
            success: bounds(3600),
            denial: bounds(1800),
            failure: Duration::from_secs(5),
            prefetch: None,
            stale: ServeStale {
                window: Duration::from_secs(3600),
                patience: limits::STALE_PATIENCE,
                ttl: 30,
                recheck: None,
                prefer_positive: None,
            },
            keep_ttl: false,
        }
    }
}

/// The two kinds of replies. Each has its own bounds and its own entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// The reply has records of the type that the client asked for.
    Success,
    /// The reply is a negative answer: NODATA or NXDOMAIN.
    Denial,
}

impl ReplyKind {
    /// The kind of a reply that is no failure. Aliases without a record of the type that the query
    /// asks for are a denial.
    pub fn of(query: &Query, response: &Response) -> Self {
        let qtype = query.question.qtype;
        let answers = |set: &RecordSet| set.rtype == qtype || qtype == Type::ANY;
        match response.rcode {
            Rcode::NOERROR if response.answer.iter().any(answers) => Self::Success,
            _ => Self::Denial,
        }
    }

    /// The value of the label `type` in CoreDNS's cache metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denial => "denial",
        }
    }
}

/// What the cache has for a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// An entry that has not expired. `refresh` is true if the caller should fetch it again now.
    Fresh {
        response: Response,
        kind: ReplyKind,
        refresh: bool,
    },
    /// The upstreams failed a moment ago, or now deny records that the cache still holds. The
    /// caller serves the stale entry if there is one, else this response.
    Failed(Response),
    /// Only an expired entry, which [`Cache::stale`] returns.
    Stale,
    Miss,
}

#[derive(Debug)]
pub struct Cache {
    config: CacheConfig,
    keys: Keys,
    success: EntryStore,
    denial: EntryStore,
    /// Separate from the others, so that a failure never evicts or replaces a reply.
    failures: EntryStore,
}

/// The outcome of [`Cache::insert`].
#[derive(Debug, PartialEq, Eq)]
pub struct Inserted {
    /// The reply for the client, with the TTLs that the cache decided on.
    pub response: Response,
    /// The kind that the reply is cached as; `None` if it is not cached.
    pub kind: Option<ReplyKind>,
    /// How many other entries were evicted for it.
    pub evicted: usize,
}

impl Cache {
    /// `seed` keys the hash of names. It must be secret, else clients could choose names that
    /// collide.
    pub fn new(config: CacheConfig, seed: u64) -> Self {
        let [success, denial, failures] = [config.success, config.denial, config.denial]
            .map(|bounds| EntryStore::new(bounds.capacity));
        Self { config, keys: Keys::new(seed), success, denial, failures }
    }

    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    /// The number of entries of a kind. Failures count as denials, as in CoreDNS.
    pub fn len(&self, kind: ReplyKind) -> usize {
        match kind {
            ReplyKind::Success => self.success.len(),
            ReplyKind::Denial => self.denial.len() + self.failures.len(),
        }
    }

    fn entries(&self, kind: ReplyKind) -> &EntryStore {
        match kind {
            ReplyKind::Success => &self.success,
            ReplyKind::Denial => &self.denial,
        }
    }

    /// Looks up the question. An entry that has not expired wins over a failure.
    pub fn get(&self, query: &Query, now: Instant) -> Lookup {
        let key = self.keys.of(query);
        let look_up = |kind| {
            self.entries(kind).with(&key, |entry| {
                let left = entry.expires.saturating_duration_since(now);
                if left.is_zero() {
                    let usable = self.may_be_served(entry, now);
                    return if usable { Lookup::Stale } else { Lookup::Miss };
                }
                let refresh = self
                    .config
                    .prefetch
                    .is_some_and(|prefetch| entry.count_hit_and_check(prefetch, now));
                let response = entry.response_with_ttl(left, self.config.keep_ttl);
                Lookup::Fresh { response, kind, refresh }
            })
        };
        let find = |kind| look_up(kind).filter(|found| *found != Lookup::Miss);
        let found = match find(ReplyKind::Success) {
            // Both kinds have an entry only if `prefer_positive` kept the stale one.
            Some(Lookup::Stale) => match find(ReplyKind::Denial) {
                Some(Lookup::Fresh { response, .. }) if self.holds_positive(&key, now) => {
                    return Lookup::Failed(response);
                }
                Some(denial @ Lookup::Fresh { .. }) => {
                    self.success.remove(&key);
                    denial
                }
                _ => Lookup::Stale,
            },
            Some(found) => found,
            None => find(ReplyKind::Denial).unwrap_or(Lookup::Miss),
        };
        if matches!(found, Lookup::Fresh { .. }) {
            return found;
        }
        let failure =
            self.failures.with(&key, |entry| (now < entry.expires).then(|| entry.response.clone()));
        failure.flatten().map_or(found, Lookup::Failed)
    }

    /// The cached reply, even if it has expired, for a client that would get nothing better. It has
    /// the TTL of stale replies and EDE 3 (Stale Answer) or 19 (Stale NXDOMAIN Answer).
    pub fn stale(&self, query: &Query, now: Instant) -> Option<Response> {
        let key = self.keys.of(query);
        let usable =
            |entry: &mut Entry| self.may_be_served(entry, now).then(|| entry.response.clone());
        let mut response = [ReplyKind::Success, ReplyKind::Denial]
            .into_iter()
            .find_map(|kind| self.entries(kind).with(&key, usable).flatten())?;
        set_ttl(&mut response, self.config.stale.ttl);
        response.ede = Some(match response.rcode {
            Rcode::NXDOMAIN => Ede::STALE_NXDOMAIN,
            _ => Ede::STALE_ANSWER,
        });
        Some(response)
    }

    /// Whether there is an entry with records that is served instead of a negative answer.
    fn holds_positive(&self, key: &CacheKey, now: Instant) -> bool {
        self.config.stale.prefer_positive.is_some_and(|hold| {
            let held = |entry: &mut Entry| {
                now.saturating_duration_since(entry.expires) < hold
                    && self.may_be_served(entry, now)
            };
            self.success.with(key, held) == Some(true)
        })
    }

    fn may_be_served(&self, entry: &Entry, now: Instant) -> bool {
        now < entry.expires + self.config.stale.window
    }

    /// Caches a reply if it is cacheable. It replaces the entries that the question had, and every
    /// record gets the lifetime of the whole reply as its TTL. With `prefer_positive`, a negative
    /// answer does not replace a stale entry with records, and the client gets the stale entry.
    ///
    /// A signed reply lives no longer than its signatures (RFC 4035 §5.3.3), so it is not cached if
    /// one of them is not valid at `unix`, in seconds since 1970.
    pub fn insert(
        &self,
        query: &Query,
        mut response: Response,
        now: Instant,
        unix: u32,
    ) -> Inserted {
        let Some((kind, lifetime)) = self.kind_and_lifetime(query, &response) else {
            return Inserted { response, kind: None, evicted: 0 };
        };
        let signed_for =
            response.signatures_left(unix).map(|secs| Duration::from_secs(secs.into()));
        let lifetime = signed_for.map_or(lifetime, |signed_for| lifetime.min(signed_for));
        set_ttl(&mut response, lifetime.as_secs() as u32);
        let key = self.keys.of(query);
        self.failures.remove(&key);
        if lifetime.is_zero() {
            // The previous entries would otherwise be served as stale, although the name has
            // changed.
            if !(kind == ReplyKind::Denial && self.holds_positive(&key, now)) {
                self.success.remove(&key);
                self.denial.remove(&key);
            }
            return Inserted { response, kind: None, evicted: 0 };
        }
        let other = match kind {
            ReplyKind::Success => ReplyKind::Denial,
            ReplyKind::Denial => ReplyKind::Success,
        };
        let preferred = (kind == ReplyKind::Denial && self.holds_positive(&key, now))
            .then(|| self.stale(query, now))
            .flatten();
        let mut lifetime = lifetime;
        if preferred.is_some() {
            lifetime = lifetime.min(self.config.retry_pause());
        } else {
            self.entries(other).remove(&key);
        }
        let evicted = self.entries(kind).insert(key, Entry::new(response.clone(), now, lifetime));
        Inserted { response: preferred.unwrap_or(response), kind: Some(kind), evicted }
    }

    /// Caches a failure for a short time, so that clients that retry do not all reach an upstream
    /// that does not work (RFC 9520).
    pub fn insert_failure(&self, query: &Query, response: Response, now: Instant) {
        let lifetime = if self.stale(query, now).is_some() {
            self.config.retry_pause()
        } else {
            self.config.failure
        };
        if is_cacheable(query) && !lifetime.is_zero() {
            self.failures.insert(self.keys.of(query), Entry::new(response, now, lifetime));
        }
    }

    /// The kind of a reply and how long it is cached; `None` if it must not be cached.
    fn kind_and_lifetime(
        &self,
        query: &Query,
        response: &Response,
    ) -> Option<(ReplyKind, Duration)> {
        if !is_cacheable(query) {
            return None;
        }
        let soa = response.authority.iter().find(|set| set.rtype == Type::SOA);
        let lowest = response.sets().map(|set| set.ttl).min();
        match (response.rcode, ReplyKind::of(query, response)) {
            (_, kind @ ReplyKind::Success) => {
                Some((kind, clamp(lowest.unwrap_or(0), self.config.success)))
            }
            // RFC 2308 §5: a negative answer lives no longer than the SOA's minimum. Without an SOA
            // it lives as long as a failure (RFC 9520 §3.2).
            (Rcode::NOERROR | Rcode::NXDOMAIN, ReplyKind::Denial) => {
                let Some(soa) = soa else { return Some((ReplyKind::Denial, self.config.failure)) };
                let minimum = soa
                    .rdatas
                    .iter()
                    .next()
                    .and_then(|rdata| rdata.last_chunk())
                    .map_or(0, |bytes| u32::from_be_bytes(*bytes));
                let ttl = lowest.unwrap_or(0).min(minimum);
                Some((ReplyKind::Denial, clamp(ttl, self.config.denial)))
            }
            _ => None,
        }
    }

    /// Applies the TTL bounds to a reply that is not cached, such as one from the cluster's zone.
    pub fn clamp_ttls(&self, query: &Query, response: &mut Response) {
        let bounds = match ReplyKind::of(query, response) {
            ReplyKind::Success => self.config.success,
            ReplyKind::Denial => self.config.denial,
        };
        if let Some(lowest) = response.sets().map(|set| set.ttl).min() {
            set_ttl(response, bounds.apply(lowest).as_secs() as u32);
        }
    }
}

/// A reply to a query without RD holds only what the upstream had in its own cache, so it is not
/// cached for clients that set RD.
fn is_cacheable(query: &Query) -> bool {
    query.recursion_desired && !query.question.qtype.is_transfer()
}

/// The lifetime of a reply whose lowest TTL is `ttl` seconds. Zero means "do not cache" (RFC 1035
/// §3.2.1), whatever the bounds are.
fn clamp(ttl: u32, bounds: CacheBounds) -> Duration {
    match ttl {
        0 => Duration::ZERO,
        ttl => bounds.apply(ttl),
    }
}

fn set_ttl(response: &mut Response, ttl: u32) {
    for set in response.sections_mut().into_iter().flatten() {
        set.ttl = ttl;
    }
}

#[cfg(test)]
mod tests;
