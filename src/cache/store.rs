//! Entries in shards, each with a clock hand: what was asked since the hand came by stays for
//! another round.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::quality::SeedableRandomState;

use crate::{
    limits,
    wire::{Class, Name, Owner, Query, RecordSet, Response, Type},
};

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
        Self {
            response,
            ends: now + life,
            given: life,
            last_asked: now,
            asked: 0,
            refreshing: false,
        }
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

    /// What its records take, roughly.
    fn octets(&self) -> usize {
        let owner =
            |set: &RecordSet| if let Owner::Name(name) = &set.owner { name.len() } else { 0 };
        self.response
            .sets()
            .map(|set| size_of::<RecordSet>() + set.rdatas.octets() + owner(set))
            .sum()
    }

    /// Counts a question; true, once, where the reply should be fetched anew.
    pub(super) fn asked(&mut self, prefetch: Prefetch, now: Instant) -> bool {
        self.asked = if now.saturating_duration_since(self.last_asked) < prefetch.gap {
            self.asked + 1
        } else {
            1
        };
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

/// No more entries than `capacity`, and no more octets in all than `room`: replies may be large.
#[derive(Debug)]
struct Shard {
    places: HashMap<Key, usize, SeedableRandomState>,
    slots: Vec<Slot>,
    hand: usize,
    octets: usize,
    capacity: usize,
    room: usize,
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
        let capacity = capacity.div_ceil(SHARDS).max(1);
        let shard = || Shard {
            places: HashMap::with_hasher(hasher.clone()),
            slots: Vec::new(),
            hand: 0,
            octets: 0,
            capacity,
            room: (capacity * limits::CACHE_REPLY_OCTETS).max(limits::REPLY_OCTETS),
        };
        Self { shards: std::array::from_fn(|_| Mutex::new(shard())), hasher }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        lock(&self.shards[(hash >> 57) as usize % SHARDS])
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).slots.len()).sum()
    }

    pub(super) fn with<R>(&self, key: &Key, look: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let mut shard = self.shard(key);
        let place = *shard.places.get(key)?;
        let slot = &mut shard.slots[place];
        slot.used = true;
        Some(look(&mut slot.entry))
    }

    /// Returns how many others had to go.
    pub(super) fn put(&self, key: Key, entry: Entry) -> usize {
        self.shard(&key).put(key, entry)
    }

    pub(super) fn remove(&self, key: &Key) {
        self.shard(key).remove(key);
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn put(&mut self, key: Key, entry: Entry) -> usize {
        self.remove(&key);
        let before = self.slots.len();
        while self.slots.len() >= self.capacity
            || !self.slots.is_empty() && self.octets + entry.octets() > self.room
        {
            self.evict();
        }
        let evicted = before - self.slots.len();
        self.octets += entry.octets();
        self.places.insert(key.clone(), self.slots.len());
        self.slots.push(Slot { key, entry, used: false });
        evicted
    }

    /// The last slot moves to the place that becomes free.
    fn remove(&mut self, key: &Key) {
        let Some(place) = self.places.remove(key) else { return };
        self.octets -= self.slots.swap_remove(place).entry.octets();
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(moved.key.clone(), place);
        }
    }

    /// Removes the next slot that nobody asked for since the hand was here last.
    fn evict(&mut self) {
        loop {
            let place = self.hand % self.slots.len();
            // What moves into the free place is among the newest: the hand is past it.
            self.hand = place + 1;
            let slot = &mut self.slots[place];
            if !std::mem::take(&mut slot.used) {
                let key = slot.key.clone();
                return self.remove(&key);
            }
        }
    }
}
