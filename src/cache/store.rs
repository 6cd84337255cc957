//! Cache entries in shards. Each shard evicts by the CLOCK algorithm: an entry that was used since
//! the hand passed it last stays for another round.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::quality::SeedableRandomState;

use crate::{
    limits,
    wire::{Class, Name, Owner, Query, RecordSet, Response, Type},
};

use super::{Prefetch, set_ttl};

const SHARDS: usize = 16;

/// The question, with the fields of the query that can change the reply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    name: Name,
    qtype: Type,
    class: Class,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl CacheKey {
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
    pub(super) expires: Instant,
    lifetime: Duration,
    last_hit: Instant,
    /// Hits in a row that were less than [`Prefetch::gap`] apart.
    hits: u32,
    refreshing: bool,
}

impl Entry {
    pub(super) fn new(response: Response, now: Instant, lifetime: Duration) -> Self {
        Self {
            response,
            expires: now + lifetime,
            lifetime,
            last_hit: now,
            hits: 0,
            refreshing: false,
        }
    }

    /// The reply, with the time `left` as the TTL of its records unless `keep_ttl` is set.
    pub(super) fn response_with_ttl(&self, left: Duration, keep_ttl: bool) -> Response {
        let mut response = self.response.clone();
        if !keep_ttl {
            // Rounded up, so that an entry that has not expired never has a TTL of zero.
            set_ttl(&mut response, left.as_secs_f64().ceil() as u32);
        }
        response
    }

    /// Roughly the memory that the records take, in octets.
    fn octets(&self) -> usize {
        let owner =
            |set: &RecordSet| if let Owner::Name(name) = &set.owner { name.len() } else { 0 };
        self.response
            .sets()
            .map(|set| size_of::<RecordSet>() + set.rdatas.octets() + owner(set))
            .sum()
    }

    /// Counts a hit. Returns true once in the entry's life: when it is due to be fetched again.
    pub(super) fn count_hit_and_check(&mut self, prefetch: Prefetch, now: Instant) -> bool {
        let in_a_row = now.saturating_duration_since(self.last_hit) < prefetch.gap;
        self.hits = if in_a_row { self.hits + 1 } else { 1 };
        self.last_hit = now;
        let left = self.expires.saturating_duration_since(now);
        let late = left * 100 <= self.lifetime * prefetch.percent;
        let due = self.hits >= prefetch.amount && late && !self.refreshing;
        self.refreshing |= due;
        due
    }
}

#[derive(Debug)]
pub(super) struct EntryStore {
    shards: [Mutex<Shard>; SHARDS],
    /// The entries of all shards, which are counted at each change.
    len: AtomicUsize,
    hasher: SeedableRandomState,
}

/// Holds at most `capacity` entries, whose records take at most `max_octets` together.
#[derive(Debug)]
struct Shard {
    /// Where in `slots` the entry of a key is.
    indexes: HashMap<CacheKey, usize, SeedableRandomState>,
    slots: Vec<Slot>,
    hand: usize,
    octets: usize,
    capacity: usize,
    max_octets: usize,
}

#[derive(Debug)]
struct Slot {
    key: CacheKey,
    entry: Entry,
    /// Whether the entry was used since the hand passed it.
    used: bool,
}

impl EntryStore {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        let hasher = SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_fixed());
        let capacity = capacity.div_ceil(SHARDS).max(1);
        let shard = || Shard {
            indexes: HashMap::with_hasher(hasher.clone()),
            slots: Vec::new(),
            hand: 0,
            octets: 0,
            capacity,
            max_octets: (capacity * limits::CACHE_REPLY_OCTETS).max(limits::REPLY_OCTETS),
        };
        let shards = std::array::from_fn(|_| Mutex::new(shard()));
        Self { shards, len: AtomicUsize::new(0), hasher }
    }

    fn shard(&self, key: &CacheKey) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(key);
        lock(&self.shards[(hash >> 57) as usize % SHARDS])
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Runs `use_entry` on the entry of `key`, if there is one, and marks the entry as used.
    pub(super) fn with<R>(
        &self,
        key: &CacheKey,
        use_entry: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let mut shard = self.shard(key);
        let index = *shard.indexes.get(key)?;
        let slot = &mut shard.slots[index];
        slot.used = true;
        Some(use_entry(&mut slot.entry))
    }

    /// Returns how many other entries were evicted.
    pub(super) fn insert(&self, key: CacheKey, entry: Entry) -> usize {
        self.change(&mut self.shard(&key), |shard| shard.insert(key, entry))
    }

    pub(super) fn remove(&self, key: &CacheKey) {
        self.change(&mut self.shard(key), |shard| shard.remove(key));
    }

    fn change<R>(&self, shard: &mut Shard, change: impl FnOnce(&mut Shard) -> R) -> R {
        let before = shard.slots.len();
        let result = change(shard);
        // If the shard has fewer entries than before, the difference wraps. The addition wraps,
        // too, so the sum is right.
        self.len.fetch_add(shard.slots.len().wrapping_sub(before), Ordering::Relaxed);
        result
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn insert(&mut self, key: CacheKey, entry: Entry) -> usize {
        self.remove(&key);
        let before = self.slots.len();
        while self.slots.len() >= self.capacity
            || !self.slots.is_empty() && self.octets + entry.octets() > self.max_octets
        {
            self.evict();
        }
        let evicted = before - self.slots.len();
        self.octets += entry.octets();
        self.indexes.insert(key.clone(), self.slots.len());
        self.slots.push(Slot { key, entry, used: false });
        evicted
    }

    /// The last slot moves to the index that becomes free.
    fn remove(&mut self, key: &CacheKey) {
        let Some(index) = self.indexes.remove(key) else { return };
        self.octets -= self.slots.swap_remove(index).entry.octets();
        if let Some(moved) = self.slots.get(index) {
            self.indexes.insert(moved.key.clone(), index);
        }
    }

    /// Removes the next entry that was not used since the hand passed it.
    fn evict(&mut self) {
        loop {
            let index = self.hand % self.slots.len();
            // `remove` moves the last slot here, which is one of the newest. The hand skips it.
            self.hand = index + 1;
            let slot = &mut self.slots[index];
            if !std::mem::take(&mut slot.used) {
                let key = slot.key.clone();
                return self.remove(&key);
            }
        }
    }
}
