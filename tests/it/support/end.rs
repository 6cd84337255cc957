//! The end of a loop in another thread. It must come when the test panics, too: a scope waits for
//! its threads, so a loop without an end would keep the whole run from ending.

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

/// What a loop looks at.
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
