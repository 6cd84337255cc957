//! Slots for connections, and which connection is evicted when they are used up.
#![expect(clippy::disallowed_methods, reason = "the clock is read here")]

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

use crate::limits;

/// The slots of all listeners. If none is free, a new connection takes the slot of the connection
/// that has been idle the longest.
pub(in crate::net) struct Slots {
    most: usize,
    table: Mutex<SlotTable>,
}

#[derive(Default)]
struct SlotTable {
    next: u64,
    taken: HashMap<u64, Holder>,
}

/// The connection that holds a slot.
struct Holder {
    address: IpAddr,
    /// `None` while a query is being answered.
    idle_since: Option<Instant>,
    evict: Arc<Notify>,
}

/// A connection's slot, which is free again when this is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    evict: Arc<Notify>,
}

/// Whether a connection has queries in work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Busy,
    Idle,
}

impl Activity {
    pub(super) fn of(queries: usize) -> Self {
        if queries == 0 { Self::Idle } else { Self::Busy }
    }
}

impl Slots {
    /// `most` slots, but no more than [`limits::TCP_CONNECTIONS`].
    pub(in crate::net) fn new(most: usize) -> Self {
        Self { most: most.clamp(1, limits::TCP_CONNECTIONS), table: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a client's new connection. `None` if every connection that could be evicted is
    /// busy.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let address = address.to_canonical();
        let mut table = self.lock();
        let full = table.taken.len() >= self.most;
        let of_client = || table.taken.values().filter(|holder| holder.address == address).count();
        if full || of_client() >= limits::TCP_CONNECTIONS_CLIENT {
            table.evict(|holder| full || holder.address == address)?;
        }
        let (id, evict) = (table.next, Arc::new(Notify::new()));
        table.next += 1;
        table.taken.insert(
            id,
            Holder { address, idle_since: Some(Instant::now()), evict: Arc::clone(&evict) },
        );
        Some(Slot { slots: Arc::clone(self), id, evict })
    }
}

impl SlotTable {
    /// Evicts the candidate that has been idle the longest.
    fn evict(&mut self, is_candidate: impl Fn(&Holder) -> bool) -> Option<()> {
        let candidates = self.taken.iter().filter(|(_, holder)| is_candidate(holder));
        let idle = candidates.filter_map(|(id, holder)| Some((holder.idle_since?, *id)));
        let (_, id) = idle.min()?;
        self.taken.remove(&id)?.evict.notify_one();
        Some(())
    }
}

impl Slot {
    pub(super) fn set_activity(&self, activity: Activity) {
        if let Some(holder) = self.slots.lock().taken.get_mut(&self.id) {
            holder.idle_since = (activity == Activity::Idle).then(Instant::now);
        }
    }

    /// Waits until another connection takes the slot.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().taken.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    async fn is_evicted(slot: &Slot) -> bool {
        tokio::select! {
            biased;
            () = slot.evicted() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn the_longest_idle_connection_is_evicted() {
        let slots = Arc::new(Slots::new(3));
        let [busy, older, newer] = [ONE, ONE, OTHER].map(|address| slots.take(address).unwrap());
        busy.set_activity(Activity::Busy);
        let fourth = slots.take(OTHER).unwrap();
        assert!(is_evicted(&older).await);
        // Its answer makes it the one that was idle for the shortest time.
        newer.set_activity(Activity::Idle);
        let fifth = slots.take(OTHER).unwrap();
        assert!(is_evicted(&fourth).await && !is_evicted(&newer).await && !is_evicted(&busy).await);
        newer.set_activity(Activity::Busy);
        fifth.set_activity(Activity::Busy);
        assert!(slots.take(ONE).is_none(), "all are busy");
        drop(fifth);
        assert!(slots.take(ONE).is_some());
    }

    #[tokio::test]
    async fn a_client_with_too_many_connections_loses_one_of_its_own() {
        let slots = Arc::new(Slots::new(usize::MAX));
        let others = slots.take(OTHER).unwrap();
        let mapped = IpAddr::V6(std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        let own: Vec<_> =
            (0..limits::TCP_CONNECTIONS_CLIENT).map(|_| slots.take(ONE).unwrap()).collect();
        assert!(!is_evicted(&own[0]).await);
        let _newcomer = slots.take(mapped).unwrap();
        assert!(
            is_evicted(&own[0]).await && !is_evicted(&own[1]).await && !is_evicted(&others).await
        );
    }
}
