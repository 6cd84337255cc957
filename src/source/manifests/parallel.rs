//! Runs a function for many items, on several threads.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::limits;

/// Fewer items than this are not worth a thread.
const FEW: usize = 64;

/// The results are in the order of the items.
pub(super) fn map<T: Sync, R: Send>(items: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let parts = chunks(items, |items| items.iter().map(&run).collect::<Vec<R>>());
    parts.into_iter().flatten().collect()
}

/// One result for each group of items, in their order. All groups together are the items.
pub fn chunks<T: Sync, R: Send>(items: &[T], run: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(limits::MANIFESTS_THREADS).min(items.len() / FEW);
    if threads < 2 {
        return vec![run(items)];
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let begin = next.fetch_add(FEW, Ordering::Relaxed);
            let Some(rest) = items.get(begin..).filter(|rest| !rest.is_empty()) else {
                return done;
            };
            done.push((begin, run(&rest[..rest.len().min(FEW)])));
        }
    };
    let mut parts: Vec<(usize, R)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut parts = work();
        for other in others {
            match other.join() {
                Ok(more) => parts.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        parts
    });
    parts.sort_unstable_by_key(|(begin, _)| *begin);
    parts.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, 63, 64, 1_000] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(
                super::map(&items, |it| it * 2),
                (0..count).map(|it| it * 2).collect::<Vec<_>>()
            );
        }
    }
}
