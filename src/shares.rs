//! Divides a bounded number of permits among clients, so that no client takes them all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A bounded number of permits. A client gets another permit while it holds fewer than are free. So
/// one client alone gets half of them, and two that take turns get a third each. A client that
/// holds none gets one while any is free.
#[derive(Debug)]
pub struct Shares {
    total: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Clients that hold at least one.
    by_client: HashMap<IpAddr, usize>,
}

/// Permits, which are free again when this is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    client: IpAddr,
    count: usize,
}

impl Shares {
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total, taken: Mutex::default() })
    }

    /// `None` if the client holds as many permits as are free.
    pub fn take(self: &Arc<Self>, client: IpAddr) -> Option<Share> {
        self.take_many(client, 1)
    }

    /// Several permits at once. `None` if the client would hold more than were free.
    pub fn take_many(self: &Arc<Self>, client: IpAddr, count: usize) -> Option<Share> {
        let mut taken = self.lock();
        let held = taken.by_client.get(&client).copied().unwrap_or(0);
        if held + count > self.total - taken.all {
            return None;
        }
        taken.all += count;
        taken.by_client.insert(client, held + count);
        Some(Share { shares: Arc::clone(self), client, count })
    }

    /// How many permits are taken.
    pub fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.all -= self.count;
        if let Some(held) = taken.by_client.get_mut(&self.client) {
            *held -= self.count;
            if *held == 0 {
                taken.by_client.remove(&self.client);
            }
        }
        // A flood from many addresses leaves a large table behind. Its memory is freed here.
        if taken.all == 0 {
            taken.by_client.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn take_all(shares: &Arc<Shares>, of: IpAddr) -> Vec<Share> {
        std::iter::from_fn(|| shares.take(of)).collect()
    }

    #[test]
    fn a_client_may_hold_as_many_as_are_free() {
        let shares = Shares::new(12);
        let first = take_all(&shares, client(1));
        assert_eq!(first.len(), 6);
        let second = take_all(&shares, client(2));
        assert_eq!(second.len(), 3);
        assert_eq!(take_all(&shares, client(1)).len(), 0, "the first one has more than are free");
        let third = shares.take(client(3)).unwrap();
        drop((second, third));
        assert!(shares.take(client(1)).is_none() && shares.taken() == 6);
        drop(first);
        assert_eq!((shares.taken(), shares.lock().by_client.len()), (0, 0));
    }

    #[test]
    fn several_permits_are_taken_and_given_back_together() {
        let shares = Shares::new(100);
        let all = |of| std::iter::from_fn(|| shares.take_many(of, 10)).collect::<Vec<_>>();
        let first = all(client(1));
        assert_eq!((first.len(), shares.taken()), (5, 50));
        let second = all(client(2));
        assert_eq!((second.len(), shares.taken()), (3, 80));
        assert!(shares.take_many(client(3), 21).is_none());
        drop(shares.take_many(client(3), 20).unwrap());
        drop((first, second));
        assert_eq!((shares.taken(), shares.lock().by_client.len()), (0, 0));
    }

    #[test]
    fn a_flood_from_many_addresses_takes_all_and_no_more() {
        let shares = Shares::new(40);
        let held: Vec<_> = (0..=255).flat_map(|last| take_all(&shares, client(last))).collect();
        assert_eq!(held.len(), 40);
    }
}
