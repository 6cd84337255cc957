//! Turns for heavy tests. All tests run in one process and in parallel threads, but at most one
//! control plane may run at a time, and a test that measures time needs the processors for itself.
//!
//! A test waits for its turn in one of two ways:
//! - `turn::alone()` waits until no other heavy test runs, and stops a shared control plane;
//! - `turn::shared(module_path!(), start)` gives all tests of a module the same value, such as a
//!   started control plane. They run side by side. The value is dropped when another module gets
//!   its turn.

use std::{
    any::Any,
    collections::HashSet,
    ops::Deref,
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
};

/// The right to start a control plane.
pub(crate) struct Turn(());

#[derive(Default)]
struct State {
    /// The module whose value is shared now.
    owner: &'static str,
    value: Option<Arc<dyn Any + Send + Sync>>,
    /// The tests that have a turn now: several of `owner`, or one that is alone.
    tests: usize,
    /// Modules whose `start` panicked. Their other tests fail at once.
    failed: HashSet<&'static str>,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
/// The owner for a test that is alone: `State::owner` never has this value.
const NOBODY: &str = "alone";
static CHANGED: Condvar = Condvar::new();

/// A failed test poisons the lock, but leaves the state valid.
fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until only tests of `owner` have a turn, and drops the value of any other module.
fn wait_for(owner: &str) -> MutexGuard<'static, State> {
    let mut state = CHANGED
        .wait_while(state(), |state| state.tests > 0 && state.owner != owner)
        .unwrap_or_else(PoisonError::into_inner);
    if state.owner != owner {
        state.owner = "";
        state.value = None;
    }
    state
}

/// A turn that no other heavy test shares; it ends when this is dropped.
pub(crate) struct Alone(Turn);

pub(crate) fn alone() -> Alone {
    wait_for(NOBODY).tests = 1;
    Alone(Turn(()))
}

impl Deref for Alone {
    type Target = Turn;

    fn deref(&self) -> &Turn {
        &self.0
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        end();
    }
}

/// A turn together with the other tests of a module; it ends when this is dropped.
pub(crate) struct Shared<T>(Option<Arc<T>>);

/// The value that `start` made for `owner`; the first test of each turn starts it.
pub(crate) fn shared<T: Send + Sync + 'static>(
    owner: &'static str,
    start: impl FnOnce(&Turn) -> T,
) -> Shared<T> {
    let mut state = wait_for(owner);
    let value = match &state.value {
        Some(value) => Arc::clone(value),
        None => {
            assert!(state.failed.insert(owner), "{owner} did not start for an earlier test");
            let value: Arc<dyn Any + Send + Sync> = Arc::new(start(&Turn(())));
            state.failed.remove(owner);
            state.owner = owner;
            state.value = Some(Arc::clone(&value));
            value
        }
    };
    state.tests += 1;
    Shared(Some(value.downcast().expect("a module shares values of one type")))
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("the value is there until the drop")
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        self.0 = None;
        end();
    }
}

fn end() {
    state().tests -= 1;
    CHANGED.notify_all();
}
