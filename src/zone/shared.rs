//! Values that many objects have, each stored once.

use std::{collections::HashSet, hash::Hash, sync::Arc};

use foldhash::fast::RandomState;

/// The values that are in use.
#[derive(Debug)]
pub(super) struct SharedValues<T: ?Sized> {
    values: HashSet<Arc<T>, RandomState>,
    /// The number of values at which those that nothing uses any more are dropped.
    sweep_at: usize,
}

impl<T: ?Sized> Default for SharedValues<T> {
    fn default() -> Self {
        Self { values: HashSet::default(), sweep_at: 0 }
    }
}

impl<T: ?Sized + Eq + Hash> SharedValues<T> {
    /// The stored copy of an equal value, or this one, which is stored now.
    pub(super) fn share(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(&*value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|known| Arc::strong_count(known) > 1);
            // A sweep reads every value, so the next one waits until their number has doubled.
            self.sweep_at = (2 * self.values.len()).max(2);
        }
        self.values.insert(Arc::clone(&value));
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
        assert!(values.values.len() < 5, "{}", values.values.len());
        assert!(Arc::ptr_eq(&first, &values.share("a".into())));
    }

    #[test]
    fn a_sweep_does_not_follow_each_insert() {
        for used in [1022, 1023, 1024] {
            let mut values = SharedValues::<str>::default();
            let kept: Vec<_> =
                (0..used).map(|it| values.share(format!("kept {it}").into())).collect();
            let (mut sweeps, mut length) = (0, values.values.len());
            for number in 0..4000 {
                values.share(number.to_string().into());
                sweeps += usize::from(values.values.len() <= length);
                length = values.values.len();
                assert!(length <= 2 * used, "{length}");
            }
            assert!(sweeps < 6, "{sweeps} sweeps with {} values in use", kept.len());
        }
    }
}
