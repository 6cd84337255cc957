//! Who is connected, and who must leave when someone else comes.
#![expect(clippy::disallowed_methods, reason = "here is the clock")]

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

use crate::limits;

/// The connections there are. A newcomer for whom there is no room takes the place of the one that
/// is idle the longest.
pub(in crate::net) struct Clients {
    most: usize,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    next: u64,
    taken: HashMap<u64, Occupant>,
}

struct Occupant {
    address: IpAddr,
    /// `None` while a question is being answered.
    idle_since: Option<Instant>,
    leave: Arc<Notify>,
}

/// A connection's place, given back when it is dropped.
pub(super) struct Place {
    clients: Arc<Clients>,
    id: u64,
    leave: Arc<Notify>,
}

impl Clients {
    /// Room for `most` connections, and for no more than [`limits::TCP_CONNECTIONS`].
    pub(in crate::net) fn new(most: usize) -> Self {
        Self { most: most.clamp(1, limits::TCP_CONNECTIONS), places: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` where everyone whose place could be taken is busy.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        let mut places = self.lock();
        let full = places.taken.len() >= self.most;
        let of_client =
            || places.taken.values().filter(|occupant| occupant.address == address).count();
        if full || of_client() >= limits::TCP_CONNECTIONS_CLIENT {
            places.evict(|occupant| full || occupant.address == address)?;
        }
        let (id, leave) = (places.next, Arc::new(Notify::new()));
        places.next += 1;
        places.taken.insert(
            id,
            Occupant { address, idle_since: Some(Instant::now()), leave: Arc::clone(&leave) },
        );
        Some(Place { clients: Arc::clone(self), id, leave })
    }
}

impl Places {
    /// Sends away whoever is idle the longest.
    fn evict(&mut self, may_go: impl Fn(&Occupant) -> bool) -> Option<()> {
        let candidates = self.taken.iter().filter(|(_, occupant)| may_go(occupant));
        let idle = candidates.filter_map(|(id, occupant)| Some((occupant.idle_since?, *id)));
        let (_, id) = idle.min()?;
        self.taken.remove(&id)?.leave.notify_one();
        Some(())
    }
}

impl Place {
    pub(super) fn set_idle(&self, idle: bool) {
        if let Some(occupant) = self.clients.lock().taken.get_mut(&self.id) {
            occupant.idle_since = idle.then(Instant::now);
        }
    }

    /// Until someone else takes the place.
    pub(super) async fn taken(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.lock().taken.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    async fn must_leave(place: &Place) -> bool {
        tokio::select! {
            biased;
            () = place.taken() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn the_longest_idle_leaves_when_it_is_full() {
        let clients = Arc::new(Clients::new(3));
        let [busy, older, newer] = [ONE, ONE, OTHER].map(|address| clients.enter(address).unwrap());
        busy.set_idle(false);
        let fourth = clients.enter(OTHER).unwrap();
        assert!(must_leave(&older).await);
        // Having answered makes it the youngest.
        newer.set_idle(true);
        let fifth = clients.enter(OTHER).unwrap();
        assert!(must_leave(&fourth).await && !must_leave(&newer).await && !must_leave(&busy).await);
        newer.set_idle(false);
        fifth.set_idle(false);
        assert!(clients.enter(ONE).is_none(), "everyone is busy");
        drop(fifth);
        assert!(clients.enter(ONE).is_some());
    }

    #[tokio::test]
    async fn a_client_with_too_many_loses_its_own() {
        let clients = Arc::new(Clients::new(usize::MAX));
        let others = clients.enter(OTHER).unwrap();
        let mapped = IpAddr::V6(std::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        let places: Vec<_> =
            (0..limits::TCP_CONNECTIONS_CLIENT).map(|_| clients.enter(ONE).unwrap()).collect();
        assert!(!must_leave(&places[0]).await);
        let _newcomer = clients.enter(mapped).unwrap();
        assert!(
            must_leave(&places[0]).await
                && !must_leave(&places[1]).await
                && !must_leave(&others).await
        );
    }
}
