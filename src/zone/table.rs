//! The known objects of a kind, with what a new list has shown of them.

use std::{collections::HashMap, hash::Hash};

use foldhash::fast::RandomState;

use crate::hash;

/// Objects by key. Each has the number of the list that was the current one when it was last seen.
/// So objects that a new list does not contain are found without a copy of the keys.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    entries: HashMap<K, (V, u32), RandomState>,
    list: u32,
    /// The sum of the hashes of all entries, which does not depend on the order of changes.
    digest: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::default(), list: 0, digest: 0 }
    }
}

impl<K: Clone + Eq + Hash + Ord, V: Hash> Table<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// The known value of an object that the source has shown again.
    pub(super) fn seen(&mut self, key: &K) -> Option<&V> {
        let (value, list) = self.entries.get_mut(key)?;
        *list = self.list;
        Some(value)
    }

    /// Returns the value before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let added = hash::of_value(&(&key, &value));
        if let Some(old) = self.get(&key) {
            self.digest = self.digest.wrapping_sub(hash::of_value(&(&key, old)));
        }
        self.digest = self.digest.wrapping_add(added);
        self.entries.insert(key, (value, self.list)).map(|(old, _)| old)
    }

    /// Returns the value before. Memory that many removed objects have left is given back.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.entries.remove(key).map(|(old, _)| old);
        if let Some(old) = &old {
            self.digest = self.digest.wrapping_sub(hash::of_value(&(key, old)));
        }
        if self.entries.capacity() / 8 > self.entries.len() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        old
    }

    /// A value that is equal in two tables with equal entries, and 0 in an empty one.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (value, _))| (key, value))
    }

    /// A new list begins: no object has been seen in it.
    pub(super) fn begin_list(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    /// The objects that were not seen since the list began, in order.
    pub(super) fn unseen(&self) -> Vec<K> {
        let unseen = self.entries.iter().filter(|(_, (_, list))| *list != self.list);
        let mut keys: Vec<K> = unseen.map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_objects_leave_no_memory() {
        let mut table = Table::default();
        for number in 0..1000 {
            table.insert(number, ());
        }
        assert!((0..999).all(|number| table.remove(&number).is_some()));
        assert_eq!(table.get(&999), Some(&()));
        assert!(table.entries.capacity() < 64, "{}", table.entries.capacity());
    }

    #[test]
    fn equal_tables_have_equal_digests() {
        let (mut one, mut other) = (Table::default(), Table::default());
        assert_eq!(one.digest(), 0);
        one.insert("a", 1);
        one.insert("b", 2);
        other.insert("b", 1);
        other.insert("a", 1);
        assert_ne!(one.digest(), other.digest());
        other.insert("b", 2);
        assert_eq!(one.digest(), other.digest());
        other.insert("a", 2);
        other.insert("b", 1);
        assert_ne!(one.digest(), other.digest(), "the values belong to their keys");
        for table in [&mut one, &mut other] {
            table.remove(&"a");
            table.remove(&"b");
            table.remove(&"c");
            assert_eq!(table.digest(), 0);
        }
    }

    #[test]
    fn a_list_finds_what_it_did_not_show() {
        let mut table = Table::default();
        assert_eq!(
            (table.insert("a", 1), table.insert("b", 2), table.insert("c", 3)),
            (None, None, None)
        );
        assert_eq!(table.unseen(), [""; 0]);
        table.begin_list();
        assert_eq!(table.seen(&"a"), Some(&1));
        assert_eq!(table.seen(&"x"), None);
        assert_eq!(table.insert("b", 4), Some(2));
        assert_eq!(table.get(&"c"), Some(&3), "it is known until the list is complete");
        assert_eq!(table.unseen(), ["c"]);
        assert_eq!(table.remove(&"c"), Some(3));
        assert_eq!(table.unseen(), [""; 0]);
        // A list that breaks off, and the next one.
        table.begin_list();
        table.seen(&"a");
        table.begin_list();
        table.seen(&"b");
        assert_eq!(table.unseen(), ["a"]);
    }
}
