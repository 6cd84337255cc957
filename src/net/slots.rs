//! Slots for connections, and which connection is evicted when they are used up.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    limits,
    shares::{Share, Shares},
};

/// The slots of all listeners. If none is free, a new connection takes the slot of the connection
/// that has been idle the longest. If there is no idle connection, the new one is rejected. A
/// client address that has [`limits::TCP_CONNECTIONS_CLIENT`] connections loses its own longest
/// idle one.
pub(super) struct Slots {
    most: usize,
    table: Mutex<SlotTable>,
    /// Octets of incomplete requests.
    incomplete: Arc<Shares>,
}

#[derive(Default)]
struct SlotTable {
    next: u64,
    taken: HashMap<u64, Holder>,
    /// The clients that have connections, or replies that they have not taken.
    clients: HashMap<IpAddr, Client>,
    /// Octets of finished replies that all clients have not taken.
    unsent: usize,
}

/// What a client address has.
#[derive(Clone, Copy, Default)]
struct Client {
    connections: usize,
    /// Octets of finished replies that it has not taken, also on connections that have ended.
    unsent: usize,
}

/// The connection that holds a slot.
struct Holder {
    address: IpAddr,
    /// `None` while a query is being answered.
    idle_since: Option<Instant>,
    /// Octets of finished replies that the client has not taken.
    unsent: usize,
    /// When `unsent` was last zero or became smaller.
    progress: Instant,
    evict: Arc<Notify>,
}

impl Holder {
    fn new(address: IpAddr, evict: Arc<Notify>) -> Self {
        let now = Instant::now();
        Self { address, idle_since: Some(now), unsent: 0, progress: now, evict }
    }
}

/// Octets of a finished reply that its client has not taken yet. They count until this is dropped.
pub(super) struct Unsent {
    slots: Arc<Slots>,
    id: u64,
    address: IpAddr,
    octets: usize,
}

/// A connection's slot, which is free again when this is dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    address: IpAddr,
    evict: Arc<Notify>,
}

/// Whether a connection is answering queries.
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
    pub(super) fn new(most: usize) -> Self {
        let incomplete = Shares::new(limits::INCOMPLETE_OCTETS);
        Self { most: most.clamp(1, limits::TCP_CONNECTIONS), table: Mutex::default(), incomplete }
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a client's new connection. `None` if every connection that could be evicted is
    /// busy, or if the client does not read the replies on its other connections.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let address = address.to_canonical();
        let mut table = self.lock();
        let Client { connections, unsent } = table.client(address);
        if unsent > limits::UNSENT_OCTETS_CROWDED {
            return None;
        }
        let full = table.taken.len() >= self.most;
        if full || connections >= limits::TCP_CONNECTIONS_CLIENT {
            table.evict(|holder| full || holder.address == address)?;
        }
        let (id, evict) = (table.next, Arc::new(Notify::new()));
        table.next += 1;
        table.taken.insert(id, Holder::new(address, Arc::clone(&evict)));
        table.change(address, |client| client.connections += 1);
        Some(Slot { slots: Arc::clone(self), id, address, evict })
    }
}

impl SlotTable {
    /// Evicts the candidate that has been idle the longest.
    fn evict(&mut self, is_candidate: impl Fn(&Holder) -> bool) -> Option<()> {
        let candidates = self.taken.iter().filter(|(_, holder)| is_candidate(holder));
        let idle = candidates.filter_map(|(id, holder)| Some((holder.idle_since?, *id)));
        let (_, id) = idle.min()?;
        self.remove(id)?.evict.notify_one();
        Some(())
    }

    fn remove(&mut self, id: u64) -> Option<Holder> {
        let holder = self.taken.remove(&id)?;
        self.change(holder.address, |client| client.connections -= 1);
        Some(holder)
    }

    fn client(&self, address: IpAddr) -> Client {
        self.clients.get(&address).copied().unwrap_or_default()
    }

    fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut Client)) {
        let client = self.clients.entry(address).or_default();
        change(client);
        if client.connections == 0 && client.unsent == 0 {
            self.clients.remove(&address);
        }
    }
}

impl Slot {
    pub(super) fn set_activity(&self, activity: Activity) {
        if let Some(holder) = self.slots.lock().taken.get_mut(&self.id) {
            holder.idle_since = (activity == Activity::Idle).then(Instant::now);
        }
    }

    /// Counts octets of a reply that the client does not take at once. `None` if these octets would
    /// exceed the bound of the connection, of the client address or of all clients, or if the
    /// connection was evicted.
    pub(super) fn count_unsent(&self, octets: usize) -> Option<Unsent> {
        let mut table = self.slots.lock();
        let (all, of_client) = (table.unsent, table.client(self.address).unsent);
        let holder = table.taken.get_mut(&self.id)?;
        if holder.unsent + octets > limits::UNSENT_OCTETS_CONNECTION
            || of_client + octets > limits::UNSENT_OCTETS_CLIENT
            || all + octets > limits::UNSENT_OCTETS
        {
            return None;
        }
        if holder.unsent == 0 {
            holder.progress = Instant::now();
        }
        holder.unsent += octets;
        table.change(self.address, |client| client.unsent += octets);
        table.unsent += octets;
        let (slots, id, address) = (Arc::clone(&self.slots), self.id, self.address);
        Some(Unsent { slots, id, address, octets })
    }

    /// Whether the client has room for another reply of any size. Call this before a reply is made,
    /// so that ndots does not prepare a reply that cannot be sent.
    pub(super) fn has_room(&self) -> bool {
        let table = self.slots.lock();
        let of_client = table.client(self.address).unsent;
        let of_connection = table.taken.get(&self.id).map_or(0, |holder| holder.unsent);
        of_client <= limits::UNSENT_OCTETS_CROWDED
            && of_connection + limits::STREAM_OCTETS <= limits::UNSENT_OCTETS_CONNECTION
    }

    /// Counts an incomplete request as these octets until the share is dropped. `None` if the
    /// client has no room for it.
    pub(super) fn count_incomplete(&self, octets: usize) -> Option<Share> {
        self.slots.incomplete.take_many(self.address, octets)
    }

    /// The octets of a reply, which count until they are dropped; `None` as in
    /// [`Slot::count_unsent`].
    pub(super) fn hold(&self, reply: Vec<u8>) -> Option<Bytes> {
        let unsent = self.count_unsent(reply.len())?;
        Some(Bytes::from_owner(UnsentReply { reply, _unsent: unsent }))
    }

    /// Waits until the client has taken nothing of its replies for [`limits::TCP_WRITE_TIME`].
    pub(super) async fn stalled(&self) {
        loop {
            sleep(limits::TCP_WRITE_TIME / 5).await;
            if let Some(holder) = self.slots.lock().taken.get(&self.id)
                && holder.unsent > 0
                && holder.progress.elapsed() >= limits::TCP_WRITE_TIME
            {
                return;
            }
        }
    }

    /// Waits until another connection takes the slot.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

/// The octets of a reply and their count.
struct UnsentReply {
    reply: Vec<u8>,
    _unsent: Unsent,
}

impl AsRef<[u8]> for UnsentReply {
    fn as_ref(&self) -> &[u8] {
        &self.reply
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().remove(self.id);
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let mut table = self.slots.lock();
        if let Some(holder) = table.taken.get_mut(&self.id) {
            holder.unsent -= self.octets;
            holder.progress = Instant::now();
        }
        table.change(self.address, |client| client.unsent -= self.octets);
        table.unsent -= self.octets;
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
        // `newer` has just been answered, so it is now the last to be evicted.
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

    #[tokio::test]
    async fn replies_that_are_not_taken_have_bounds() {
        let slots = Arc::new(Slots::new(usize::MAX));
        let fill = |slot: &Slot| -> Vec<Unsent> {
            std::iter::from_fn(|| slot.count_unsent(limits::STREAM_OCTETS)).take(1000).collect()
        };
        let octets = |unsent: &[Unsent]| unsent.iter().map(|unsent| unsent.octets).sum::<usize>();
        let of_client: Vec<Slot> = (0..100).map(|_| slots.take(ONE).unwrap()).collect();
        let first = fill(&of_client[0]);
        assert!(octets(&first) <= limits::UNSENT_OCTETS_CONNECTION && first.len() > 2);
        let rest: Vec<_> = of_client[1..].iter().flat_map(&fill).collect();
        assert!(octets(&first) + octets(&rest) <= limits::UNSENT_OCTETS_CLIENT);
        assert!(slots.take(ONE).is_none(), "it must read first");
        assert!(!of_client[0].has_room() && !of_client[99].has_room());
        let other = slots.take(OTHER).unwrap();
        assert_eq!(fill(&other).len(), first.len(), "another client has its own share");
        drop((first, rest));
        assert!(slots.take(ONE).is_some() && of_client[0].has_room());
        assert_eq!(slots.lock().unsent, 0);
        let many = |at: u32| slots.take(IpAddr::V4(std::net::Ipv4Addr::from_bits(at))).unwrap();
        let clients: Vec<Slot> = (0..400).map(many).collect();
        let all: Vec<_> = clients.iter().flat_map(fill).collect();
        assert!(octets(&all) <= limits::UNSENT_OCTETS, "all clients together");
        assert!(octets(&all) > limits::UNSENT_OCTETS - limits::STREAM_OCTETS, "all of it is used");
        assert_eq!(slots.lock().unsent, octets(&all));
        // Replies may outlive their connections.
        drop((clients, of_client, other));
        assert!(slots.lock().clients.len() > 60 && slots.lock().taken.is_empty());
        drop(all);
        let table = slots.lock();
        assert_eq!((table.unsent, table.clients.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_stalled() {
        let slots = Arc::new(Slots::new(usize::MAX));
        let slot = slots.take(ONE).unwrap();
        let waited = async |seconds| {
            tokio::time::timeout(std::time::Duration::from_secs(seconds), slot.stalled())
                .await
                .is_ok()
        };
        assert!(!waited(60).await, "it has taken everything");
        let _first = slot.count_unsent(1000).unwrap();
        let second = slot.count_unsent(1000).unwrap();
        assert!(!waited(4).await);
        drop(second);
        assert!(!waited(4).await, "it has taken one of two");
        assert!(waited(10).await);
    }
}
