//! Values that many objects have, each stored once.

use std::{collections::HashSet, hash::Hash, sync::Arc};

use foldhash::fast::RandomState;

/// The values that are in use.
#[derive(Debug)]
pub(super) struct SharedValues<T: ?Sized>(HashSet<Arc<T>, RandomState>);

impl<T: ?Sized> Default for SharedValues<T> {
    fn default() -> Self {
        Self(HashSet::default())
    }
}

impl<T: ?Sized + Eq + Hash> SharedValues<T> {
    /// The stored copy of an equal value, or this one, which is stored now.
    pub(super) fn share(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.0.get(&*value) {
            return Arc::clone(known);
        }
        // At each power of two, drop the values that nothing uses any more.
        if self.0.len().is_power_of_two() {
            self.0.retain(|known| Arc::strong_count(known) > 1);
        }
        self.0.insert(Arc::clone(&value));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_stored_once_and_unused_ones_are_dropped() {
        let mut values = SharedValues::<str>::default();
        let first = values.share("a".into());
        assert!(Arc::ptr_eq(&first, &values.share("a".into())));
        for number in 0..1000 {
            values.share(number.to_string().into());
        }
        assert!(values.0.len() < 5, "{}", values.0.len());
        assert!(Arc::ptr_eq(&first, &values.share("a".into())));
    }
}
