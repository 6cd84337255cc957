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

use super::child::kill_all;

/// The right to start a control plane.
pub(crate) struct Turn(());

#[derive(Default)]
struct State {
    /// The module whose value is shared now.
    owner: &'static str,
    value: Option<Arc<dyn Any + Send + Sync>>,
    /// The tests that have a turn now: several of `owner`, or one that is alone.
    tests: usize,
    /// One of them ends the value of an earlier module, or starts that of its own. No other test
    /// gets a turn meanwhile.
    is_changing: bool,
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

/// A turn, which ends when this is dropped.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        state().tests -= 1;
        CHANGED.notify_all();
    }
}

/// No other test gets a turn until this is dropped.
struct Changing;

impl Drop for Changing {
    fn drop(&mut self) {
        state().is_changing = false;
        CHANGED.notify_all();
    }
}

/// Waits until only tests of `owner` have a turn, and takes one. If the shared value is that of
/// another module, it drops the value and returns `Changing`. It holds no lock meanwhile, because
/// `watch` must see if that takes too long.
fn take(owner: &str) -> (Held, Option<Changing>) {
    static WATCH: Once = Once::new();
    let mut state = CHANGED
        .wait_while(state(), |state| state.is_changing || state.tests > 0 && state.owner != owner)
        .unwrap_or_else(PoisonError::into_inner);
    state.tests += 1;
    let test = thread::current().name().unwrap_or_default().to_owned();
    state.latest = Some((Instant::now(), test));
    WATCH.call_once(|| drop(thread::spawn(watch)));
    if state.owner == owner {
        return (Held, None);
    }
    state.owner = "";
    state.is_changing = true;
    let (turn, value) = ((Held, Some(Changing)), state.value.take());
    drop(state);
    drop(value);
    turn
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
            // The end runs no destructors. Network namespaces have a shell that removes them.
            kill_all();
            std::process::exit(101);
        }
    }
}

/// A turn that no other heavy test shares; it ends when this is dropped.
pub(crate) struct Alone {
    turn: Turn,
    _held: Held,
}

pub(crate) fn alone() -> Alone {
    let (held, _) = take(NOBODY);
    Alone { turn: Turn(()), _held: held }
}

impl Deref for Alone {
    type Target = Turn;

    fn deref(&self) -> &Turn {
        &self.turn
    }
}

/// A turn together with the other tests of a module; it ends when this is dropped.
pub(crate) struct Shared<T> {
    // The fields are dropped in this order, so the value is dropped before the turn ends.
    value: Arc<T>,
    _held: Held,
}

/// The value that `start` made for `owner`; the first test of each turn starts it.
pub(crate) fn shared<T: Send + Sync + 'static>(
    owner: &'static str,
    start: impl FnOnce(&Turn) -> T,
) -> Shared<T> {
    let (held, changing) = take(owner);
    if changing.is_some() {
        let is_first = state().failed.insert(owner);
        assert!(is_first, "{owner} did not start for an earlier test");
        let value = Arc::new(start(&Turn(())));
        let mut state = state();
        state.failed.remove(owner);
        state.owner = owner;
        state.value = Some(value);
    }
    drop(changing);
    let value = state().value.clone().expect("the module has a value");
    let value = value.downcast().expect("a module shares values of one type");
    Shared { value, _held: held }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
