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
}

impl<T: Named> Named for Arc<T> {
    fn namespace(&self) -> &str {
        T::namespace(self)
    }

    fn name(&self) -> &str {
        T::name(self)
    }
}

impl Named for Service {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for EndpointSlice {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Namespace {
    fn namespace(&self) -> &str {
        ""
    }

    fn name(&self) -> &str {
        &self.name
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
}

#[derive(Debug)]
struct Known<V> {
    object: V,
    list: u32,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { entries: HashTable::new(), hasher: RandomState::default(), list: 0, digest: 0 }
    }
}

impl<V: Named + Hash> Table<V> {
    pub(super) fn get(&self, namespace: &str, name: &str) -> Option<&V> {
        let hash = hash_of(&self.hasher, namespace, name);
        self.entries.find(hash, has(namespace, name)).map(|known| &known.object)
    }

    /// Returns the known object, and notes that the current list contains it.
    pub(super) fn seen(&mut self, namespace: &str, name: &str) -> Option<&V> {
        let hash = hash_of(&self.hasher, namespace, name);
        let known = self.entries.find_mut(hash, has(namespace, name))?;
        known.list = self.list;
        Some(&known.object)
    }

    /// Returns the previous object.
    pub(super) fn insert(&mut self, object: V) -> Option<V> {
        self.digest = self.digest.wrapping_add(hash::of_value(&object));
        let hasher = &self.hasher;
        let hash = hash_of(hasher, object.namespace(), object.name());
        let entry =
            self.entries.entry(hash, has(object.namespace(), object.name()), rehash(hasher));
        match entry {
            Entry::Occupied(mut entry) => {
                let new = Known { object, list: self.list };
                let old = std::mem::replace(entry.get_mut(), new).object;
                self.digest = self.digest.wrapping_sub(hash::of_value(&old));
                Some(old)
            }
            Entry::Vacant(entry) => {
                entry.insert(Known { object, list: self.list });
                None
            }
        }
    }

    /// Returns the removed object. After many removals, unused memory is given back.
    pub(super) fn remove(&mut self, namespace: &str, name: &str) -> Option<V> {
        let hash = hash_of(&self.hasher, namespace, name);
        let entry = self.entries.find_entry(hash, has(namespace, name)).ok()?;
        let old = entry.remove().0.object;
        self.digest = self.digest.wrapping_sub(hash::of_value(&old));
        if self.entries.capacity() / 8 > self.entries.len() {
            self.entries.shrink_to(self.entries.len() * 2, rehash(&self.hasher));
        }
        Some(old)
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
