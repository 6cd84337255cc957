//! Cache entries in shards. Each shard evicts by the CLOCK algorithm: an entry that was used since
//! the hand passed it last stays for another round.

use std::{
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::{SharedSeed, quality::SeedableRandomState};
use hashbrown::HashTable;

use crate::{
    limits,
    wire::{Class, Name, Owner, Query, Question, RecordSet, Response, Type},
};

use super::{Prefetch, set_ttl};

const SHARDS: usize = 16;

/// The question, with the fields of the query that can change the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CacheKey {
    /// The hash of the other fields.
    hash: u64,
    name: Name,
    qtype: Type,
    class: Class,
    dnssec_ok: bool,
    checking_disabled: bool,
}

/// Makes the keys of all stores of a cache, so that a key is hashed once.
#[derive(Debug)]
pub(super) struct Keys(SeedableRandomState);

impl Keys {
    pub(super) fn new(seed: u64) -> Self {
        Self(SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()))
    }

    pub(super) fn of(&self, query: &Query) -> CacheKey {
        let Question { name, qtype, class, .. } = &query.question;
        let (dnssec_ok, checking_disabled) = (query.dnssec_ok(), query.checking_disabled);
        let hash = self.0.hash_one((name, qtype, class, dnssec_ok, checking_disabled));
        let (name, qtype, class) = (name.clone(), *qtype, *class);
        CacheKey { hash, name, qtype, class, dnssec_ok, checking_disabled }
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
}

/// Holds at most `capacity` entries, whose records take at most `max_octets` together.
#[derive(Debug)]
struct Shard {
    /// Where in `slots` the entries are, by the hashes of their keys.
    indexes: HashTable<usize>,
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
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.div_ceil(SHARDS).max(1);
        let shard = || Shard {
            indexes: HashTable::new(),
            slots: Vec::new(),
            hand: 0,
            octets: 0,
            capacity,
            max_octets: (capacity * limits::CACHE_REPLY_OCTETS).max(limits::REPLY_OCTETS),
        };
        Self { shards: std::array::from_fn(|_| Mutex::new(shard())), len: AtomicUsize::new(0) }
    }

    fn shard(&self, key: &CacheKey) -> MutexGuard<'_, Shard> {
        lock(&self.shards[shard_of(key.hash)])
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
        let index = shard.find(key)?;
        let slot = &mut shard.slots[index];
        slot.used = true;
        Some(use_entry(&mut slot.entry))
    }

    /// Returns how many other entries were evicted.
    pub(super) fn insert(&self, key: CacheKey, entry: Entry) -> usize {
        self.change(&mut self.shard(&key), |shard| shard.insert(key, entry))
    }

    pub(super) fn remove(&self, key: &CacheKey) {
        self.change(&mut self.shard(key), |shard| {
            if let Some(index) = shard.find(key) {
                shard.remove(index);
            }
        });
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

/// The shard of a hash. The tables of the shards use the highest and the lowest bits. If those bits
/// also chose the shard, they would be equal in a shard, and more keys would have to be compared.
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn find(&self, key: &CacheKey) -> Option<usize> {
        self.indexes.find(key.hash, |index| self.slots[*index].key == *key).copied()
    }

    fn insert(&mut self, key: CacheKey, entry: Entry) -> usize {
        if let Some(index) = self.find(&key) {
            self.remove(index);
        }
        let before = self.slots.len();
        while self.slots.len() >= self.capacity
            || !self.slots.is_empty() && self.octets + entry.octets() > self.max_octets
        {
            self.evict();
        }
        let evicted = before - self.slots.len();
        self.octets += entry.octets();
        let slots = &self.slots;
        self.indexes.insert_unique(key.hash, slots.len(), |index| slots[*index].key.hash);
        self.slots.push(Slot { key, entry, used: false });
        evicted
    }

    /// The last slot moves to the index that becomes free.
    fn remove(&mut self, index: usize) {
        let last = self.slots.len() - 1;
        self.point(index, None);
        if index < last {
            self.point(last, Some(index));
        }
        self.octets -= self.slots.swap_remove(index).entry.octets();
    }

    /// Lets the table find the entry of the slot `from` at the index `to`, or not at all.
    fn point(&mut self, from: usize, to: Option<usize>) {
        let hash = self.slots[from].key.hash;
        let found = self.indexes.find_entry(hash, |index| *index == from);
        match (found, to) {
            (Ok(mut entry), Some(to)) => *entry.get_mut() = to,
            (Ok(entry), None) => drop(entry.remove()),
            (Err(_), _) => {}
        }
    }

    /// Removes the next entry that was not used since the hand passed it.
    fn evict(&mut self) {
        loop {
            let index = self.hand % self.slots.len();
            // `remove` moves the last slot here, which is one of the newest. The hand skips it.
            self.hand = index + 1;
            if !std::mem::take(&mut self.slots[index].used) {
                return self.remove(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// hashbrown compares the highest seven bits before it compares keys, and begins to search at
    /// the place that the lowest bits say.
    #[test]
    fn the_bits_that_choose_the_shard_are_not_those_that_the_table_uses() {
        for bit in (0..20).chain(57..64) {
            assert_eq!(shard_of(1 << bit), 0, "bit {bit}");
        }
        let mut shards: Vec<_> = (0..64).map(|bit| shard_of(1 << bit)).collect();
        shards.sort_unstable();
        shards.dedup();
        assert_eq!(shards, [0, 1, 2, 4, 8], "all shards are in use");
    }
}
