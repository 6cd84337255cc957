//! The Nodes, for clients outside of the cluster that connect to node ports.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    limits,
    model::{Node, NodeAddress, Object},
};

/// The type of a Node's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAddressType {
    External,
    Internal,
}

#[derive(Debug, Default)]
pub(super) struct Nodes {
    by_name: RwLock<BTreeMap<Box<str>, Arc<Object>>>,
    /// Counts the changes of Nodes.
    changes: AtomicU64,
    /// The addresses of all Nodes.
    of_all: NodeAddresses,
}

/// Addresses that were collected from many Nodes. They stay valid until a Node changes.
#[derive(Debug, Default)]
pub(super) struct NodeAddresses(Mutex<Vec<Collected>>);

#[derive(Debug)]
struct Collected {
    /// [`Nodes::changes`] before the Nodes were read.
    changes: u64,
    types: Box<[NodeAddressType]>,
    addresses: Arc<[IpAddr]>,
}

impl Nodes {
    pub(super) fn put(&self, name: &str, node: Option<Arc<Object>>) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        match node {
            Some(node) => drop(by_name.insert(name.into(), node)),
            None => drop(by_name.remove(name)),
        }
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The addresses of the ready Nodes. For each IP family, `types` has the types of addresses in
    /// order of preference, and the first type that the Node has counts.
    pub(super) fn addresses(&self, types: &[NodeAddressType]) -> Arc<[IpAddr]> {
        self.of_all.collect(self.changes(), types, || {
            let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
            spread(&by_name.values().filter_map(ready).collect::<Vec<_>>(), types)
        })
    }

    /// Like [`Nodes::addresses`], of the Nodes with these names only. `known` belongs to these
    /// names.
    pub(super) fn addresses_of<'n>(
        &self,
        known: &NodeAddresses,
        types: &[NodeAddressType],
        names: impl FnOnce() -> BTreeSet<&'n str>,
    ) -> Arc<[IpAddr]> {
        known.collect(self.changes(), types, || {
            let names = names();
            let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
            let nodes = names.into_iter().filter_map(|name| by_name.get(name));
            spread(&nodes.filter_map(ready).collect::<Vec<_>>(), types)
        })
    }

    /// A copy that does not change with this one.
    pub(super) fn copy(&self) -> Self {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner).clone();
        Self { by_name: RwLock::new(by_name), ..Self::default() }
    }

    fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

impl NodeAddresses {
    /// The known addresses if no Node has changed since, or else new ones.
    fn collect(
        &self,
        changes: u64,
        types: &[NodeAddressType],
        read: impl FnOnce() -> Vec<IpAddr>,
    ) -> Arc<[IpAddr]> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|it| it.changes == changes);
        if let Some(it) = known.iter().find(|it| *it.types == *types) {
            return Arc::clone(&it.addresses);
        }
        let addresses: Arc<[IpAddr]> = read().into();
        known.push(Collected { changes, types: types.into(), addresses: Arc::clone(&addresses) });
        addresses
    }
}

fn ready(object: &Arc<Object>) -> Option<&Node> {
    match &**object {
        Object::Node(node) if node.ready => Some(node),
        _ => None,
    }
}

/// The addresses of the Nodes. If there are more Nodes than an answer has room for, only those of
/// every nth one.
fn spread(nodes: &[&Node], types: &[NodeAddressType]) -> Vec<IpAddr> {
    let step = nodes.len().div_ceil(limits::OUTSIDE_NODES).max(1);
    nodes.iter().step_by(step).flat_map(|node| preferred(&node.addresses, types)).collect()
}

/// The addresses of the first type that the Node has, for each IP family.
fn preferred(addresses: &[NodeAddress], types: &[NodeAddressType]) -> Vec<IpAddr> {
    let of = |address: &NodeAddress, wanted: NodeAddressType, v4: bool| match (address, wanted) {
        (NodeAddress::External(ip), NodeAddressType::External)
        | (NodeAddress::Internal(ip), NodeAddressType::Internal) => {
            Some(*ip).filter(|ip| ip.is_ipv4() == v4)
        }
        _ => None,
    };
    let family = |v4: bool| {
        let each = types.iter().map(|wanted| {
            addresses.iter().filter_map(|address| of(address, *wanted, v4)).collect::<Vec<_>>()
        });
        each.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
    };
    [family(true), family(false)].concat()
}
