//! A map from each address to the objects that have it. It is compact, because a large cluster has
//! more than 100,000 addresses.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    slice,
};

use dashmap::DashMap;
use foldhash::fast::RandomState;

type Map<A, O> = DashMap<A, Owners<O>, RandomState>;

/// Owners by address, with a map for each family: an IPv4 address takes a quarter of the octets.
#[derive(Debug)]
pub(super) struct AddressMap<O> {
    v4: Map<Ipv4Addr, O>,
    v6: Map<Ipv6Addr, O>,
}

/// Most addresses have one owner.
#[derive(Debug)]
enum Owners<O> {
    One(O),
    /// Two or more.
    #[expect(clippy::box_collection, reason = "the box takes no more octets than one owner")]
    Several(Box<Vec<O>>),
}

impl<O> Default for AddressMap<O> {
    fn default() -> Self {
        Self { v4: Map::default(), v6: Map::default() }
    }
}

impl<O: Clone + Eq> AddressMap<O> {
    /// Reads the owners of an address, in any order. The same owner may occur several times.
    pub(super) fn read<R>(&self, address: IpAddr, read: impl FnOnce(&[O]) -> R) -> R {
        match address {
            IpAddr::V4(v4) => read(self.v4.get(&v4).as_deref().map_or(&[], Owners::as_slice)),
            IpAddr::V6(v6) => read(self.v6.get(&v6).as_deref().map_or(&[], Owners::as_slice)),
        }
    }

    /// Moves one occurrence of `owner` from the addresses in `old` to those in `new`. An address
    /// can have the same owner several times, for example for two Pods of a namespace on the host's
    /// network. An address that occurs twice in `old` or in `new` counts once.
    pub(super) fn replace(&self, owner: &O, old: &[IpAddr], new: &[IpAddr]) {
        let (old, new) = (distinct(old), distinct(new));
        for address in missing(&new, &old) {
            match *address {
                IpAddr::V4(v4) => add(&self.v4, v4, owner),
                IpAddr::V6(v6) => add(&self.v6, v6, owner),
            }
        }
        for address in missing(&old, &new) {
            match *address {
                IpAddr::V4(v4) => remove(&self.v4, &v4, owner),
                IpAddr::V6(v6) => remove(&self.v6, &v6, owner),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl<O> Owners<O> {
    fn as_slice(&self) -> &[O] {
        match self {
            Self::One(owner) => slice::from_ref(owner),
            Self::Several(owners) => owners,
        }
    }
}

fn add<A: Eq + Hash, O: Clone>(map: &Map<A, O>, address: A, owner: &O) {
    map.entry(address)
        .and_modify(|owners| match owners {
            Owners::One(first) => {
                *owners = Owners::Several(Box::new(vec![first.clone(), owner.clone()]));
            }
            Owners::Several(all) => all.push(owner.clone()),
        })
        .or_insert_with(|| Owners::One(owner.clone()));
}

fn remove<A: Eq + Hash, O: Clone + Eq>(map: &Map<A, O>, address: &A, owner: &O) {
    map.remove_if_mut(address, |_, owners| match owners {
        Owners::One(only) => only == owner,
        Owners::Several(all) => {
            if let Some(at) = all.iter().position(|it| it == owner) {
                all.swap_remove(at);
            }
            if let [last] = &all[..] {
                *owners = Owners::One(last.clone());
            }
            false
        }
    });
}

/// Sorted, without duplicates.
pub(super) fn distinct(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The addresses that are not in `others`, which must be sorted: a Service may have thousands.
fn missing<'a>(addresses: &'a [IpAddr], others: &[IpAddr]) -> impl Iterator<Item = &'a IpAddr> {
    addresses.iter().filter(|address| others.binary_search(address).is_err())
}

#[cfg(test)]
mod tests {
    use std::{mem::size_of, sync::Arc};

    use super::*;

    #[test]
    fn an_address_has_the_owners_that_were_added_and_not_removed() {
        let map = AddressMap::default();
        let (v4, v6): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), "2001:db8::1".parse().unwrap());
        let check = |expected: &[&str]| {
            for address in [v4, v6] {
                let mut owners = map.read(address, <[&str]>::to_vec);
                owners.sort_unstable();
                assert_eq!(owners, expected, "{address}");
            }
        };
        check(&[]);
        map.replace(&"a", &[], &[v4, v6, v4]);
        check(&["a"]);
        map.replace(&"b", &[], &[v6, v4]);
        map.replace(&"b", &[], &[v4, v6]);
        check(&["a", "b", "b"]);
        map.replace(&"x", &[v4, v6], &[]);
        map.replace(&"b", &[v4, v6], &[]);
        check(&["a", "b"]);
        map.replace(&"b", &[v4, v6], &[]);
        check(&["a"]);
        map.replace(&"x", &[v4, v6], &[]);
        check(&["a"]);
        map.replace(&"a", &[v4, v6], &[]);
        assert!(map.is_empty());
    }

    #[test]
    fn an_address_takes_few_octets() {
        assert_eq!(size_of::<(Ipv4Addr, Owners<Arc<[u8]>>)>(), 24);
    }
}
