//! Logs that the facts are not loaded yet, in CoreDNS's words, which people search for in logs.
//!
//! Nothing waits for the facts: sockets are bound at once, and queries for names whose facts are
//! missing get SERVFAIL.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    chain::{Level, LogLine},
    zone::Zone,
};

use super::super::Timed;

pub(super) struct Startup {
    zone: Arc<Zone>,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    New,
    /// The warning is due at this time.
    Waiting(Instant),
    Done,
}

impl Startup {
    pub(super) fn new(zone: Arc<Zone>, timeout: Duration) -> Self {
        Self { zone, timeout, state: Mutex::new(State::New) }
    }
}

impl Timed for Startup {
    fn due(&self, now: Option<Instant>) -> Vec<LogLine> {
        let Some(now) = now else { return Vec::new() };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let synced = self.zone.unsynced().next().is_none();
        let (next, line) = match *state {
            State::Done => return Vec::new(),
            _ if synced => (State::Done, None),
            State::New => (State::Waiting(now + self.timeout), None),
            State::Waiting(until) if now < until => (
                *state,
                Some(LogLine::new(Level::Info, "kubernetes", "waiting for Kubernetes API")),
            ),
            State::Waiting(_) => (
                State::Done,
                Some(LogLine::new(
                    Level::Warning,
                    "kubernetes",
                    "starting server with unsynced Kubernetes API",
                )),
            ),
        };
        *state = next;
        line.into_iter().collect()
    }
}
