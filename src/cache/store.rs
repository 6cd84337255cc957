//! Entries in shards, each with a clock hand: what was asked since the hand came by stays for another round.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use foldhash::quality::SeedableRandomState;

use crate::wire::{Class, Name, Query, Response, Type};

use super::{Prefetch, set_ttl};

const SHARDS: usize = 16;

/// A question, with what of the request changes its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    name: Name,
    qtype: Type,
    class: Class,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Key {
    pub(super) fn of(query: &Query) -> Self {
        let question = &query.question;
        Self {
            name: question.name.clone(),
            qtype: question.qtype,
            class: question.class,
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.checking_disabled,
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) response: Response,
    pub(super) ends: Instant,
    given: Duration,
    last_asked: Instant,
    asked: u32,
    refreshing: bool,
}

impl Entry {
    pub(super) fn new(response: Response, now: Instant, life: Duration) -> Self {
        Self { response, ends: now + life, given: life, last_asked: now, asked: 0, refreshing: false }
    }

    /// The reply with the time that it has left.
    pub(super) fn lived(&self, left: Duration, keep_ttl: bool) -> Response {
        let mut response = self.response.clone();
        if !keep_ttl {
            // A part of a second counts as a whole one: what is served is never told to be over.
            set_ttl(&mut response, left.as_secs_f64().ceil() as u32);
        }
        response
    }

    /// Counts a question; true, once, where the reply should be fetched anew.
    pub(super) fn asked(&mut self, prefetch: Prefetch, now: Instant) -> bool {
        self.asked = if now.saturating_duration_since(self.last_asked) < prefetch.gap { self.asked + 1 } else { 1 };
        self.last_asked = now;
        let late = self.ends.saturating_duration_since(now) * 100 <= self.given * prefetch.percent;
        let due = self.asked >= prefetch.amount && late && !self.refreshing;
        self.refreshing |= due;
        due
    }
}

#[derive(Debug)]
pub(super) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    hasher: SeedableRandomState,
}

#[derive(Debug)]
struct Shard {
    places: HashMap<Key, usize, SeedableRandomState>,
    slots: Vec<Slot>,
    hand: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    entry: Entry,
    used: bool,
}

impl Store {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_fixed());
        let shard = || Shard {
            places: HashMap::with_hasher(hasher.clone()),
            slots: Vec::new(),
            hand: 0,
            capacity: capacity.div_ceil(SHARDS).max(1),
        };
        Self { shards: std::array::from_fn(|_| Mutex::new(shard())), hasher }
    }

    fn shard(&self, key: &Key) -> std::sync::MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        self.shards[(hash >> 57) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).slots.len()).sum()
    }

    pub(super) fn with<R>(&self, key: &Key, look: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let mut shard = self.shard(key);
        let place = *shard.places.get(key)?;
        let slot = &mut shard.slots[place];
        slot.used = true;
        Some(look(&mut slot.entry))
    }

    pub(super) fn put(&self, key: Key, entry: Entry) {
        self.shard(&key).put(key, entry);
    }

    /// As `put`, but a good reply that still lives, or may be served stale, is not replaced.
    pub(super) fn put_unless_fresh(&self, key: Key, entry: Entry, now: Instant) {
        let mut shard = self.shard(&key);
        let lives = shard.places.get(&key).is_some_and(|&place| {
            let known = &shard.slots[place].entry;
            known.ends > now && known.response.rcode != entry.response.rcode
        });
        if !lives {
            shard.put(key, entry);
        }
    }
}

impl Shard {
    fn put(&mut self, key: Key, entry: Entry) {
        if let Some(&place) = self.places.get(&key) {
            self.slots[place].entry = entry;
            return;
        }
        let slot = Slot { key: key.clone(), entry, used: false };
        let place = if self.slots.len() < self.capacity {
            self.slots.push(slot);
            self.slots.len() - 1
        } else {
            let place = self.victim();
            self.places.remove(&self.slots[place].key);
            self.slots[place] = slot;
            place
        };
        self.places.insert(key, place);
    }

    /// The next slot that nobody asked for since the hand was here last.
    fn victim(&mut self) -> usize {
        loop {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            if !std::mem::take(&mut self.slots[place].used) {
                return place;
            }
        }
    }
}
