//! Bounds the memory that the facts of an API server take.

use std::{sync::Arc, time::Instant};

use crate::{
    limits,
    model::Kind,
    source::{Notice, api::Access},
    zone::Index,
};

use super::facts::report;

/// Tells the source how much its facts take, and the operator what was left out.
pub(super) struct FactsMemory {
    access: Arc<Access>,
    /// Changes that were left out and not reported yet.
    left_out: usize,
    reported: Option<Instant>,
}

impl FactsMemory {
    pub(super) fn new(access: Arc<Access>) -> Self {
        Self { access, left_out: 0, reported: None }
    }

    /// Reads the memory limit again.
    pub(super) fn refresh(&self) {
        self.access.memory.refresh();
    }

    /// Sets the bound for the next changes.
    pub(super) fn bound(&self, index: &mut Index) {
        index.bound_octets(self.access.memory.most());
    }

    /// Takes the result of the last changes.
    pub(super) fn measure(&mut self, index: &mut Index) {
        let memory = &self.access.memory;
        for kind in Kind::ALL {
            memory.set_known(kind, index.octets(kind));
        }
        let Some(left_out) = index.take_left_out() else { return };
        left_out.kinds.iter().for_each(|kind| memory.leave_out(*kind));
        self.left_out += left_out.count;
        if self.reported.is_none_or(|at| at.elapsed() >= limits::API_LOG_INTERVAL) {
            let count = std::mem::take(&mut self.left_out);
            report(Notice::Problem(format!(
                "{count} changes of objects are left out, the last one of {}: {memory}",
                left_out.last
            )));
            self.reported = Some(Instant::now());
        }
    }
}
