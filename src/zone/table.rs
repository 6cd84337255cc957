//! The known objects of a kind, and which of them the current list has contained so far.

use std::{
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    hash,
    model::{EndpointSlice, Key, Kind, Namespace, Service},
};

/// An object that has a namespace and a name, by which a [`Table`] finds it.
pub(super) trait Named {
    /// Empty for an object of the whole cluster.
    fn namespace(&self) -> &str;
    fn name(&self) -> &str;
    /// About how many octets of memory it takes in a zone.
    fn octets(&self) -> usize;
}

impl<T: Named> Named for Arc<T> {
    fn namespace(&self) -> &str {
        T::namespace(self)
    }

    fn name(&self) -> &str {
        T::name(self)
    }

    fn octets(&self) -> usize {
        T::octets(self)
    }
}

impl Named for Service {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn octets(&self) -> usize {
        Self::octets(self)
    }
}

impl Named for EndpointSlice {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn octets(&self) -> usize {
        Self::octets(self)
    }
}

impl Named for Namespace {
    fn namespace(&self) -> &str {
        ""
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn octets(&self) -> usize {
        Self::octets(self)
    }
}

/// Objects by namespace and name. The keys are stored in the objects only. Each entry has the
/// number of the last list that contained the object. So objects that a new list does not contain
/// are found without a copy of the names.
#[derive(Debug)]
pub(super) struct Table<V> {
    entries: HashTable<Known<V>>,
    hasher: RandomState,
    list: u32,
    /// The sum of the hashes of all objects, which does not depend on the order of changes.
    digest: u64,
    /// The sum of [`Known::octets`].
    octets: usize,
}

#[derive(Debug)]
struct Known<V> {
    object: V,
    list: u32,
    /// [`Named::octets`] when it was inserted.
    octets: u32,
}

impl<V: Named> Known<V> {
    fn new(object: V, list: u32) -> Self {
        let octets = u32::try_from(object.octets()).unwrap_or(u32::MAX);
        Self { object, list, octets }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        let (entries, hasher) = (HashTable::new(), RandomState::default());
        Self { entries, hasher, list: 0, digest: 0, octets: 0 }
    }
}

impl<V: Named + Hash> Table<V> {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&V> {
        let hash = hash_of(&self.hasher, namespace, name);
        self.entries.find(hash, has(namespace, name)).map(|known| &known.object)
    }

    /// Returns the known object, and notes that the current list contains it.
    pub(super) fn seen(&mut self, namespace: &str, name: &str) -> Option<&V> {
        self.seen_entry(namespace, name).map(|known| &known.object)
    }

    /// Returns how many octets the known object takes, and notes that the current list contains it.
    pub(super) fn seen_octets(&mut self, namespace: &str, name: &str) -> Option<usize> {
        self.seen_entry(namespace, name).map(|known| known.octets as usize)
    }

    fn seen_entry(&mut self, namespace: &str, name: &str) -> Option<&Known<V>> {
        let hash = hash_of(&self.hasher, namespace, name);
        let known = self.entries.find_mut(hash, has(namespace, name))?;
        known.list = self.list;
        Some(known)
    }

    /// Returns the previous object.
    pub(super) fn insert(&mut self, object: V) -> Option<V> {
        self.digest = self.digest.wrapping_add(hash::of_value(&object));
        let new = Known::new(object, self.list);
        self.octets += new.octets as usize;
        let hasher = &self.hasher;
        let (namespace, name) = (new.object.namespace(), new.object.name());
        let hash = hash_of(hasher, namespace, name);
        match self.entries.entry(hash, has(namespace, name), rehash(hasher)) {
            Entry::Occupied(mut entry) => {
                let old = std::mem::replace(entry.get_mut(), new);
                Some(self.forget(old))
            }
            Entry::Vacant(entry) => {
                entry.insert(new);
                None
            }
        }
    }

    /// Returns the removed object. After many removals, unused memory is given back.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<V> {
        let hash = hash_of(&self.hasher, namespace, name);
        let entry = self.entries.find_entry(hash, has(namespace, name)).ok()?;
        let old = entry.remove().0;
        let old = self.forget(old);
        if self.entries.capacity() / 8 > self.entries.len() {
            self.entries.shrink_to(self.entries.len() * 2, rehash(&self.hasher));
        }
        Some(old)
    }

    /// Takes an object that is not in the table any more out of the sums.
    fn forget(&mut self, old: Known<V>) -> V {
        self.digest = self.digest.wrapping_sub(hash::of_value(&old.object));
        self.octets -= old.octets as usize;
        old.object
    }

    /// About how many octets of memory the objects take.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// A value that is equal in two tables with equal objects, and 0 in an empty one.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|known| &known.object)
    }

    /// A new list begins: no object has been seen in it.
    pub(super) fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// The keys of the objects that were not seen since the list began, in order.
    pub(super) fn unseen(&self, kind: Kind) -> Vec<Key> {
        let unseen = self.entries.iter().filter(|known| known.list != self.list);
        let key = |known: &Known<V>| Key::new(kind, known.object.namespace(), known.object.name());
        let mut keys: Vec<Key> = unseen.map(key).collect();
        keys.sort_unstable();
        keys
    }
}

fn hash_of(hasher: &RandomState, namespace: &str, name: &str) -> u64 {
    hasher.hash_one((namespace, name))
}

fn rehash<V: Named>(hasher: &RandomState) -> impl Fn(&Known<V>) -> u64 {
    |known| hash_of(hasher, known.object.namespace(), known.object.name())
}

fn has<V: Named>(namespace: &str, name: &str) -> impl Fn(&Known<V>) -> bool {
    move |known| known.object.name() == name && known.object.namespace() == namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Thing(&'static str, u32);

    impl Named for Thing {
        fn namespace(&self) -> &str {
            "ns"
        }

        fn name(&self) -> &str {
            self.0
        }

        fn octets(&self) -> usize {
            self.1 as usize
        }
    }

    fn unseen(table: &Table<Thing>) -> Vec<String> {
        table.unseen(Kind::Service).iter().map(Key::to_string).collect()
    }

    #[test]
    fn removed_objects_leave_no_memory() {
        let mut table = Table::default();
        let names: Vec<&'static str> =
            (0..1000).map(|number| &*format!("n{number}").leak()).collect();
        for name in &names {
            table.insert(Thing(name, 0));
        }
        assert!(names[..999].iter().all(|name| table.remove("ns", name).is_some()));
        assert_eq!(table.get("ns", "n999"), Some(&Thing("n999", 0)));
        assert_eq!(table.get("other", "n999"), None);
        assert!(table.entries.capacity() < 64, "{}", table.entries.capacity());
    }

    #[test]
    fn equal_tables_have_equal_digests() {
        let (mut one, mut other) = (Table::default(), Table::default());
        assert_eq!(one.digest(), 0);
        one.insert(Thing("a", 1));
        one.insert(Thing("b", 2));
        other.insert(Thing("b", 1));
        other.insert(Thing("a", 1));
        assert_ne!(one.digest(), other.digest());
        other.insert(Thing("b", 2));
        assert_eq!(one.digest(), other.digest());
        other.insert(Thing("a", 2));
        other.insert(Thing("b", 1));
        assert_ne!(one.digest(), other.digest(), "the values belong to their names");
        for table in [&mut one, &mut other] {
            for name in ["a", "b", "c"] {
                table.remove("ns", name);
            }
            assert_eq!(table.digest(), 0);
        }
    }

    #[test]
    fn the_octets_are_those_of_the_objects() {
        let mut table = Table::default();
        for (change, expected) in
            [(Thing("a", 7), 7), (Thing("b", 5), 12), (Thing("a", 1), 6), (Thing("b", 9), 10)]
        {
            table.insert(change);
            assert_eq!(table.octets(), expected);
        }
        assert_eq!(table.seen_octets("ns", "b"), Some(9));
        assert_eq!(table.seen_octets("ns", "c"), None);
        table.remove("ns", "b");
        assert_eq!(table.octets(), 1);
    }

    #[test]
    fn a_list_finds_what_it_did_not_show() {
        let mut table = Table::default();
        for thing in [Thing("a", 1), Thing("b", 2), Thing("c", 3)] {
            assert_eq!(table.insert(thing), None);
        }
        assert_eq!(unseen(&table), [""; 0]);
        table.begin_list();
        assert_eq!(table.seen("ns", "a"), Some(&Thing("a", 1)));
        assert_eq!(table.seen("ns", "x"), None);
        assert_eq!(table.insert(Thing("b", 4)), Some(Thing("b", 2)));
        assert!(table.get("ns", "c").is_some(), "it is known until the list is complete");
        assert_eq!(unseen(&table), ["Service ns/c"]);
        assert_eq!(table.remove("ns", "c"), Some(Thing("c", 3)));
        assert_eq!(unseen(&table), [""; 0]);
        // A list that is not completed, and the next one.
        table.begin_list();
        table.seen("ns", "a");
        table.begin_list();
        table.seen("ns", "b");
        assert_eq!(unseen(&table), ["Service ns/a"]);
    }
}
