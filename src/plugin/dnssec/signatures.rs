//! Makes signatures, and keeps them until they are old.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    dnssec::{CanonicalSet, Validity, ZoneKey, sha256},
    limits,
    wire::{Name, Rdatas, RecordSet, Type},
};

/// The keys, and the signatures that they have made.
pub(super) struct Signatures {
    keys: Vec<ZoneKey>,
    /// Whether keys with the bit SEP sign DNSKEY records only, and the others all other records.
    split: bool,
    shards: [Mutex<Shard>; SHARDS],
    /// Entries of one shard.
    capacity: usize,
}

const SHARDS: usize = 16;

/// The key is a hash of the zone and of the signed records, because a set may have 64 kB.
type Shard = HashMap<[u8; 32], Signed>;

struct Signed {
    rdatas: Rdatas,
    validity: Validity,
}

impl Signatures {
    pub(super) fn new(keys: Vec<ZoneKey>, capacity: usize) -> Self {
        let entry_points = keys.iter().filter(|key| key.is_entry_point()).count();
        let split = entry_points > 0 && entry_points < keys.len();
        Self { keys, split, shards: Default::default(), capacity: capacity.div_ceil(SHARDS) }
    }

    /// The signatures over a set, and whether they were made now. `unix` is the time in seconds
    /// since 1970.
    pub(super) fn of(
        &self,
        zone: &Name,
        owner: &Name,
        set: &RecordSet,
        unix: u32,
    ) -> (bool, Rdatas) {
        // The set may come from a cache, so its original TTL is not known.
        let canonical = CanonicalSet::new(owner, set, limits::SIGNED_TTL);
        let key = sha256(&[zone.wire(), canonical.octets()]);
        let shard = &self.shards[usize::from(key[0]) % SHARDS];
        if let Some(known) = locked(shard).get(&key).filter(|known| is_fresh(known.validity, unix))
        {
            return (false, known.rdatas.clone());
        }
        let validity = Validity {
            inception: unix.wrapping_sub(limits::SIGNATURE_INCEPTION),
            expiration: unix.wrapping_add(limits::SIGNATURE_LIFETIME),
        };
        let is_key_set = set.rtype == Type::DNSKEY;
        let signing =
            self.keys.iter().filter(|key| !self.split || key.is_entry_point() == is_key_set);
        let rdatas: Rdatas =
            signing.filter_map(|key| canonical.sign(key, zone, validity)).collect();
        let mut entries = locked(shard);
        if entries.len() >= self.capacity {
            // Any entry will do, because each can be made again.
            let victim = entries.keys().next().copied();
            victim.map(|victim| entries.remove(&victim));
        }
        if self.capacity > 0 {
            entries.insert(key, Signed { rdatas: rdatas.clone(), validity });
        }
        (true, rdatas)
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).len()).sum()
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a signature is valid already, and stays valid for longer than caches keep it. Times are
/// compared as serial numbers (RFC 4034 §3.1.5).
fn is_fresh(Validity { inception, expiration }: Validity, unix: u32) -> bool {
    let left = expiration.wrapping_sub(unix) as i32;
    unix.wrapping_sub(inception) as i32 >= 0 && left >= limits::SIGNATURE_REST
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::{dnssec::Signer, wire::Owner};

    static MADE: AtomicU32 = AtomicU32::new(0);

    struct Counting;

    impl Signer for Counting {
        fn sign(&self, _: &[u8]) -> Option<Vec<u8>> {
            MADE.fetch_add(1, Ordering::Relaxed);
            Some(vec![7; 64])
        }
    }

    /// A key whose flags are 256 or 257.
    fn key(flags: u16) -> ZoneKey {
        let public = format!("example.org. IN DNSKEY {flags} 3 15 AAAA");
        let private = "Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\nPrivateKey: AAAA\n";
        ZoneKey::read(&public, private, |_, _, _| Ok(Arc::new(Counting))).unwrap()
    }

    fn set(rtype: Type, last: u8) -> RecordSet {
        RecordSet::new(Owner::Question, rtype, 60, Rdatas::one(&[192, 0, 2, last]))
    }

    #[test]
    fn signatures_are_made_once_until_they_are_old() {
        const DAY: u32 = 86_400;
        let (zone, owner) = ("example.org".parse().unwrap(), "a.example.org".parse().unwrap());
        let signatures = Signatures::new(vec![key(257)], 1000);
        let made =
            |owner: &Name, last, unix| signatures.of(&zone, owner, &set(Type::A, last), unix).0;
        let start = u32::MAX - DAY;
        assert!(made(&owner, 1, start));
        assert!(!made(&owner, 1, start + 100));
        // Another address or another name has another signature.
        assert!(made(&owner, 2, start));
        assert!(made(&"b.example.org".parse().unwrap(), 1, start));
        // The time wraps around. Six days later the signature has two days left.
        assert!(!made(&owner, 1, start.wrapping_add(6 * DAY)));
        assert!(made(&owner, 1, start.wrapping_add(6 * DAY + 1)));
        // The clock was wrong before, and is set back.
        assert!(made(&owner, 1, start - 30 * DAY));
        assert_eq!(signatures.len(), 3);
    }

    #[test]
    fn the_cache_never_exceeds_its_capacity() {
        let (zone, owner) = ("example.org".parse().unwrap(), "a.example.org".parse().unwrap());
        for (capacity, most) in [(0, 0), (32, 32)] {
            let signatures = Signatures::new(vec![key(257)], capacity);
            for last in 0..200 {
                assert!(signatures.of(&zone, &owner, &set(Type::A, last), 1).0);
            }
            assert!(signatures.len() <= most && signatures.len() >= most / 2);
        }
    }

    /// Only keys with the bit SEP sign DNSKEY records if there are others.
    #[test]
    fn two_kinds_of_keys_share_the_work() {
        let (zone, owner) = ("example.org".parse().unwrap(), "a.example.org".parse().unwrap());
        let check = |flags: &[u16], of_keys: usize, of_others: usize| {
            let keys = flags.iter().map(|flags| key(*flags)).collect();
            let signatures = Signatures::new(keys, 10);
            let count = |rtype| signatures.of(&zone, &owner, &set(rtype, 1), 1).1.iter().count();
            assert_eq!((count(Type::DNSKEY), count(Type::A)), (of_keys, of_others), "{flags:?}");
        };
        check(&[257], 1, 1);
        check(&[256], 1, 1);
        check(&[257, 257], 2, 2);
        check(&[257, 256], 1, 1);
        check(&[256, 257, 256], 1, 2);
    }
}
