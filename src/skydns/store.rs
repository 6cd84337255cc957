//! The keys of one etcd cluster below a prefix, in memory.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

use crate::limits;

use super::{KeyPath, Match, Service};

/// The TTL of a record whose value and lease have none, in seconds, as in SkyDNS.
const DEFAULT_TTL: u32 = 300;
const DEFAULT_PRIORITY: i64 = 10;

/// The keys that are known. One task writes, and every query reads.
#[derive(Default)]
pub struct SkydnsStore(RwLock<State>);

#[derive(Default)]
struct State {
    is_loaded: bool,
    /// The revision of etcd's data, which grows with each change.
    revision: u64,
    entries: BTreeMap<String, Entry>,
    /// When each lease ends, as etcd said last.
    expires: HashMap<i64, Instant>,
}

/// The value of a key, or why it is not a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub service: Result<Service, String>,
    /// The lease that the key ends with; 0 if there is none.
    pub lease: i64,
}

/// Which keys belong to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Its own key.
    Exact,
    /// The keys below it, or its own one if there are none.
    Below,
}

/// The range of TTLs that come from leases, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseBounds {
    pub min: u32,
    pub max: u32,
}

/// A service of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub key: String,
    /// The service with the TTL of its record, and with a priority.
    pub service: Service,
}

/// Why a name has no services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    NoName,
    /// Nothing is known yet.
    NotLoaded,
    /// All values are malformed.
    Malformed,
    /// Too many keys must be looked at.
    TooMany,
}

impl SkydnsStore {
    /// Replaces all entries.
    pub fn load(&self, entries: BTreeMap<String, Entry>, revision: u64) {
        let mut state = self.write();
        (state.is_loaded, state.revision) = (true, revision);
        let old = std::mem::replace(&mut state.entries, entries);
        // Queries wait for the lock, and a drop of many entries takes long.
        drop(state);
        drop(old);
    }

    /// Applies changes of one revision; a key without an entry is deleted. Returns false if there
    /// are too many keys now.
    pub fn change(&self, changes: Vec<(String, Option<Entry>)>, revision: u64) -> bool {
        let mut state = self.write();
        for (key, entry) in changes {
            match entry {
                Some(entry) => drop(state.entries.insert(key, entry)),
                None => drop(state.entries.remove(&key)),
            }
        }
        state.revision = revision;
        state.entries.len() <= limits::ETCD_KEYS
    }

    pub fn is_loaded(&self) -> bool {
        self.read().is_loaded
    }

    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    /// The leases of all keys.
    pub fn leases(&self) -> Vec<i64> {
        let state = self.read();
        let mut leases: Vec<_> =
            state.entries.values().map(|entry| entry.lease).filter(|lease| *lease != 0).collect();
        leases.sort_unstable();
        leases.dedup();
        leases
    }

    /// Replaces what is known about leases.
    pub fn set_expiry(&self, expires: HashMap<i64, Instant>) {
        self.write().expires = expires;
    }

    /// The services of a name that have a host. With `with_text`, also those that have a text.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub fn services(
        &self,
        path: &KeyPath,
        scope: Scope,
        with_text: bool,
        (now, bounds): (Instant, LeaseBounds),
    ) -> Result<Vec<Found>, LookupError> {
        let state = self.read();
        if !state.is_loaded {
            return Err(LookupError::NotLoaded);
        }
        let keys = state.keys(path, scope)?;
        let readable = keys
            .iter()
            .filter_map(|(key, entry)| Some((key, *entry, entry.service.as_ref().ok()?)));
        let mut found = Vec::new();
        let mut is_malformed = !keys.is_empty();
        for (key, entry, service) in readable {
            is_malformed = false;
            let has_text = with_text && !service.text.is_empty();
            if service.host.is_empty() && !has_text {
                continue;
            }
            let mut service = service.clone();
            service.ttl = state.ttl(entry.lease, service.ttl, now, bounds);
            if service.priority == 0 {
                service.priority = DEFAULT_PRIORITY;
            }
            found.push(Found { key: (*key).to_owned(), service });
        }
        if is_malformed { Err(LookupError::Malformed) } else { Ok(of_one_group(found)) }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The keys of a name, at most [`limits::ETCD_SERVICES`]. There may be none if keys exist, but
    /// do not match the path.
    fn keys(&self, path: &KeyPath, scope: Scope) -> Result<Vec<(&str, &Entry)>, LookupError> {
        let below = if scope == Scope::Below { self.below(path)? } else { None };
        if let Some(below) = below {
            return Ok(below);
        }
        let own = self.entries.get_key_value(&path.key).ok_or(LookupError::NoName)?;
        let matches = path.compare(own.0) == Match::Yes;
        Ok(matches.then_some((own.0.as_str(), own.1)).into_iter().collect())
    }

    /// The keys below a path that match it; `None` if there are no keys below it.
    fn below(&self, path: &KeyPath) -> Result<Option<Vec<(&str, &Entry)>>, LookupError> {
        let prefix = format!("{}/", path.key);
        let from =
            |key: &str| self.entries.range::<str, _>((Bound::Included(key), Bound::Unbounded));
        let (mut rest, mut found) = (from(&prefix), None);
        for _ in 0..limits::ETCD_LOOKED_AT {
            let Some((key, entry)) = rest.next().filter(|(key, _)| key.starts_with(&prefix)) else {
                return Ok(found);
            };
            let matching = found.get_or_insert_with(Vec::new);
            match path.compare(key) {
                Match::Yes => matching.push((key.as_str(), entry)),
                Match::No => {}
                Match::NotBefore(next) => rest = from(&next),
            }
            if matching.len() == limits::ETCD_SERVICES {
                return Ok(found);
            }
        }
        Err(LookupError::TooMany)
    }

    /// The TTL of the value, or the remaining time of its lease if that is lower.
    fn ttl(&self, lease: i64, ttl: u32, now: Instant, bounds: LeaseBounds) -> u32 {
        let expires = self.expires.get(&lease);
        let left = expires.map(|expires| expires.saturating_duration_since(now).as_secs());
        let left = left.map(|left| u32::try_from(left).unwrap_or(u32::MAX));
        let left = left.map(|left| left.max(bounds.min).min(bounds.max.max(bounds.min)));
        match (left, ttl) {
            (None, 0) => DEFAULT_TTL,
            (None, ttl) => ttl,
            (Some(left), 0) => left,
            (Some(left), ttl) => left.min(ttl),
        }
    }
}

/// Selects the services of one group, and those without a group. The shortest key decides about the
/// group. If several keys have the shortest length and different groups, returns all services.
fn of_one_group(found: Vec<Found>) -> Vec<Found> {
    let depth = |found: &Found| found.key.matches('/').count();
    let Some(first) = found.first() else { return found };
    let (mut group, mut shortest) = (&first.service.group, depth(first));
    for other in &found {
        if depth(other) < shortest {
            if other.service.group.is_empty() {
                break;
            }
            (group, shortest) = (&other.service.group, depth(other));
        }
    }
    let disagrees = |other: &Found| {
        let theirs = &other.service.group;
        depth(other) == shortest && !theirs.is_empty() && theirs != group
    };
    if group.is_empty() || found.iter().any(disagrees) {
        return found;
    }
    let group = group.clone();
    found
        .into_iter()
        .filter(|found| found.service.group.is_empty() || found.service.group == group)
        .collect()
}
