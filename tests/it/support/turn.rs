//! Turns for heavy tests. All tests run in one process and in parallel threads, but at most one
//! control plane may run at a time, and a test that measures time needs the processors for itself.
//!
//! A test waits for its turn in one of two ways:
//! - `turn::alone()` waits until no other heavy test runs, and stops a shared control plane;
//! - `turn::shared(module_path!(), start)` gives all tests of a module the same value, such as a
//!   started control plane. They run side by side. The value is dropped when another module gets
//!   its turn.
//!
//! The run ends with an error when a turn takes longer than `LIMIT`, so that a test that hangs is
//! named.

use std::{
    any::Any,
    collections::HashSet,
    ops::Deref,
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError},
    thread,
    time::{Duration, Instant},
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
    /// When the latest of them got its turn, and the test's name.
    latest: Option<(Instant, String)>,
    /// Modules whose `start` panicked. Their other tests fail at once.
    failed: HashSet<&'static str>,
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
/// Longer than the comparison with every Corefile takes (`make diff`).
const LIMIT: Duration = Duration::from_secs(45 * 60);
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

fn begin(mut state: MutexGuard<'static, State>) {
    static WATCH: Once = Once::new();
    state.tests += 1;
    let test = thread::current().name().unwrap_or_default().to_owned();
    state.latest = Some((Instant::now(), test));
    WATCH.call_once(|| drop(thread::spawn(watch)));
}

fn watch() {
    loop {
        thread::sleep(Duration::from_secs(10));
        let state = state();
        if let Some((begun, test)) = &state.latest
            && state.tests > 0
            && begun.elapsed() > LIMIT
        {
            eprintln!("{test} has had its turn for {} minutes: the run ends", LIMIT.as_secs() / 60);
            std::process::exit(101);
        }
    }
}

/// A turn that no other heavy test shares; it ends when this is dropped.
pub(crate) struct Alone(Turn);

pub(crate) fn alone() -> Alone {
    begin(wait_for(NOBODY));
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
    begin(state);
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
