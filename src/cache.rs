//! Replies of upstreams, kept by question until they expire, and a while longer for when nobody
//! answers.
//!
//! Keyed by the whole question (a keyed hash, the full name compared), never by the owners of
//! records, so no reply can answer another name. The clock is an argument.

mod store;

use std::time::{Duration, Instant};

use crate::{
    limits,
    wire::{Ede, Query, Rcode, Response, Type},
};

use store::{Entry, Key, Store};

/// Bounds of one kind of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How many.
    pub capacity: usize,
    pub longest: Duration,
    pub shortest: Duration,
}

/// When a reply is fetched anew before it ends: asked `amount` times with less than `gap` between,
/// and little time left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    pub amount: u32,
    pub gap: Duration,
    /// Percent of the time it was given.
    pub percent: u32,
}

/// What happens to expired replies (RFC 8767).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// How long after its end a reply may still be served.
    pub window: Duration,
    /// How long the upstreams are waited for; zero answers at once and asks afterwards.
    pub patience: Duration,
    /// Seconds that a stale reply is told to live.
    pub ttl: u32,
    /// After upstreams failed to replace a stale reply, how long they are not asked for it;
    /// [`Settings::failure`] where unset.
    pub recheck: Option<Duration>,
    /// A stale reply with records stays ahead of one that says there are none.
    pub prefer_positive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub success: Keep,
    pub denial: Keep,
    /// Zero keeps no failures.
    pub failure: Duration,
    pub prefetch: Option<Prefetch>,
    pub stale: Stale,
    pub keep_ttl: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let keep = |longest| Keep {
            capacity: limits::CACHE_REPLIES,
            longest: Duration::from_secs(longest),
            shortest: Duration::from_secs(5),
        };
        Self {
            success: keep(3600),
            denial: keep(1800),
            failure: Duration::from_secs(5),
            prefetch: None,
            stale: Stale {
                window: Duration::from_secs(3600),
                patience: limits::STALE_PATIENCE,
                ttl: 30,
                recheck: None,
                prefer_positive: false,
            },
            keep_ttl: false,
        }
    }
}

/// Which of its two parts a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Success,
    Denial,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denial => "denial",
        }
    }
}

/// What the cache has for a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Hit {
    /// A reply that still lives; `refresh` where it should be fetched anew now.
    Fresh {
        response: Response,
        part: Part,
        refresh: bool,
    },
    /// The upstreams failed a moment ago, or denied what was there before; there may be a stale
    /// reply.
    Failed(Response),
    /// Only a reply whose time is over.
    Stale,
    Miss,
}

#[derive(Debug)]
pub struct Cache {
    settings: Settings,
    success: Store,
    denial: Store,
    /// By themselves, so that no failure takes a reply's place.
    failures: Store,
}

/// What became of a reply.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    pub response: Response,
    /// Where it is kept, if it is.
    pub part: Option<Part>,
    /// Replies that had to go for it.
    pub evicted: usize,
}

impl Cache {
    /// `seed` must not be known to clients: it keys the hash of their names.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let [success, denial, failures] = [settings.success, settings.denial, settings.denial]
            .map(|keep| Store::new(keep.capacity, seed));
        Self { settings, success, denial, failures }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replies held of a part.
    pub fn len(&self, part: Part) -> usize {
        match part {
            Part::Success => self.success.len(),
            Part::Denial => self.denial.len() + self.failures.len(),
        }
    }

    fn part(&self, part: Part) -> &Store {
        match part {
            Part::Success => &self.success,
            Part::Denial => &self.denial,
        }
    }

    /// Looks the question up. A failure gives way to a reply that still lives.
    pub fn get(&self, query: &Query, now: Instant) -> Hit {
        let key = Key::of(query);
        let look = |part| {
            self.part(part).with(&key, |entry| {
                let left = entry.ends.saturating_duration_since(now);
                if left.is_zero() {
                    return if self.is_usable(entry, now) { Hit::Stale } else { Hit::Miss };
                }
                let refresh =
                    self.settings.prefetch.is_some_and(|prefetch| entry.asked(prefetch, now));
                Hit::Fresh { response: entry.lived(left, self.settings.keep_ttl), part, refresh }
            })
        };
        let found = |part| look(part).filter(|hit| *hit != Hit::Miss);
        let hit = match found(Part::Success) {
            // Only a denial that gave way can be there, too.
            Some(Hit::Stale) => match found(Part::Denial) {
                Some(Hit::Fresh { response, .. }) => return Hit::Failed(response),
                _ => Hit::Stale,
            },
            Some(hit) => hit,
            None => found(Part::Denial).unwrap_or(Hit::Miss),
        };
        if matches!(hit, Hit::Fresh { .. }) {
            return hit;
        }
        let failure =
            self.failures.with(&key, |entry| (now < entry.ends).then(|| entry.response.clone()));
        failure.flatten().map_or(hit, Hit::Failed)
    }

    /// The reply to give where nothing better comes: the last good one, told to live shortly, with
    /// the error that says so.
    pub fn stale(&self, query: &Query, now: Instant) -> Option<Response> {
        let key = Key::of(query);
        let usable = |entry: &mut Entry| self.is_usable(entry, now).then(|| entry.response.clone());
        let mut response = [Part::Success, Part::Denial]
            .into_iter()
            .find_map(|part| self.part(part).with(&key, usable).flatten())?;
        set_ttl(&mut response, self.settings.stale.ttl);
        response.ede = Some(Ede::STALE_ANSWER);
        Some(response)
    }

    fn is_usable(&self, entry: &Entry, now: Instant) -> bool {
        now < entry.ends + self.settings.stale.window
    }

    /// Keeps a reply if it may be kept, in the place of what was known before, and gives every
    /// record the time that the whole reply lives. A denial gives way to a stale reply where that
    /// is preferred.
    pub fn put(&self, query: &Query, mut response: Response, now: Instant) -> Kept {
        let Some((part, life)) = self.life(query, &response) else {
            return Kept { response, part: None, evicted: 0 };
        };
        set_ttl(&mut response, life.as_secs() as u32);
        if life.is_zero() {
            return Kept { response, part: None, evicted: 0 };
        }
        let key = Key::of(query);
        self.failures.remove(&key);
        let other = if part == Part::Success { Part::Denial } else { Part::Success };
        let preferred = if part == Part::Denial && self.settings.stale.prefer_positive {
            self.stale(query, now)
        } else {
            None
        };
        if preferred.is_none() {
            self.part(other).remove(&key);
        }
        let evicted = self.part(part).put(key, Entry::new(response.clone(), now, life));
        Kept { response: preferred.unwrap_or(response), part: Some(part), evicted }
    }

    /// Keeps a failure for a short while, so that a dead upstream is not asked by everyone at once
    /// (RFC 9520).
    pub fn put_failure(&self, query: &Query, response: Response, now: Instant) {
        let recheck = self.settings.stale.recheck.filter(|_| self.stale(query, now).is_some());
        let life = recheck.unwrap_or(self.settings.failure);
        if may_keep(query) && !life.is_zero() {
            self.failures.put(Key::of(query), Entry::new(response, now, life));
        }
    }

    /// Where a reply is kept and for how long; `None` for what may not be kept.
    fn life(&self, query: &Query, response: &Response) -> Option<(Part, Duration)> {
        if !may_keep(query) {
            return None;
        }
        let soa = response.authority.iter().find(|set| set.rtype == Type::SOA);
        let lowest = response.sets().map(|set| set.ttl).min();
        match (response.rcode, has_answer(query, response)) {
            (Rcode::NOERROR, true) => {
                Some((Part::Success, clamp(lowest.unwrap_or(0), self.settings.success)))
            }
            // RFC 2308 §5: no longer than the SOA's minimum; without an SOA as shortly as a failure
            // (RFC 9520 §3.2).
            (Rcode::NOERROR | Rcode::NXDOMAIN, _) => {
                let Some(soa) = soa else { return Some((Part::Denial, self.settings.failure)) };
                let minimum = soa
                    .rdatas
                    .iter()
                    .next()
                    .and_then(|rdata| rdata.last_chunk())
                    .map_or(0, |bytes| u32::from_be_bytes(*bytes));
                Some((Part::Denial, clamp(lowest.unwrap_or(0).min(minimum), self.settings.denial)))
            }
            _ => None,
        }
    }

    /// The time that a local reply may live: the bounds hold for what is answered here too.
    pub fn bound(&self, query: &Query, response: &mut Response) {
        let keep =
            if has_answer(query, response) { self.settings.success } else { self.settings.denial };
        if let Some(lowest) = response.sets().map(|set| set.ttl).min() {
            let bounded = Duration::from_secs(lowest.into())
                .clamp(keep.shortest, keep.longest.max(keep.shortest));
            set_ttl(response, bounded.as_secs() as u32);
        }
    }
}

/// A reply to a question without RD is what an upstream happens to know: nothing to tell others.
fn may_keep(query: &Query) -> bool {
    query.recursion_desired && !query.question.qtype.is_transfer()
}

/// Whether the chain of aliases reaches records of the type.
fn has_answer(query: &Query, response: &Response) -> bool {
    let qtype = query.question.qtype;
    response.answer.iter().any(|set| set.rtype == qtype || qtype == Type::ANY)
}

/// What says 0 is not kept (RFC 1035 §3.2.1); all else lives within the bounds.
fn clamp(ttl: u32, keep: Keep) -> Duration {
    match ttl {
        0 => Duration::ZERO,
        ttl => {
            Duration::from_secs(ttl.into()).clamp(keep.shortest, keep.longest.max(keep.shortest))
        }
    }
}

fn set_ttl(response: &mut Response, ttl: u32) {
    for set in response.sections_mut().into_iter().flatten() {
        set.ttl = ttl;
    }
}

#[cfg(test)]
mod tests;
