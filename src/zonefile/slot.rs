//! The place of a zone whose records are replaced while the server runs.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use super::Zone;

/// Holds the zone that is served now; empty until its records are known.
#[derive(Default)]
pub struct ZoneSlot {
    zone: RwLock<Option<Arc<Zone>>>,
    /// Whether a primary server says that it has a newer version.
    check: AtomicBool,
}

impl ZoneSlot {
    pub fn new(zone: Option<Arc<Zone>>) -> Self {
        Self { zone: RwLock::new(zone), check: AtomicBool::new(false) }
    }

    pub fn get(&self) -> Option<Arc<Zone>> {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, zone: Option<Arc<Zone>>) {
        *self.zone.write().unwrap_or_else(PoisonError::into_inner) = zone;
    }

    /// Asks for a check of the primary servers.
    pub fn request_check(&self) {
        self.check.store(true, Ordering::Relaxed);
    }

    /// Whether a check was asked for since the last call.
    pub fn take_check(&self) -> bool {
        self.check.swap(false, Ordering::Relaxed)
    }
}
