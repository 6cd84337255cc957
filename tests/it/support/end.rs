//! Ends a loop in another thread, also when the test panics. A scope waits for its threads, so a
//! loop that goes on would keep the whole run from ending.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The loops end when this is dropped.
pub(crate) struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The flag that a loop checks.
#[derive(Clone)]
pub(crate) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(crate) fn is_true(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

pub(crate) fn end() -> (End, Ended) {
    let flag = Arc::new(AtomicBool::new(false));
    (End(Arc::clone(&flag)), Ended(flag))
}
