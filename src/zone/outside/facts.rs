//! What is published for clients outside of the cluster besides the Services themselves.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::{
    limits,
    model::{Addressing, Exposure, Key, Kind, Node, NodeAddress, Object, Service},
    zone::key::ServiceKey,
};

use super::names::{Claim, Names, Path};

#[derive(Debug, Default)]
pub struct Facts {
    /// By the names that objects give themselves.
    pub(super) hosts: Names,
    /// Services by `svc.ns`, under whatever zone.
    pub(super) services: Names,
    gateways: DashMap<Key, Arc<Object>, RandomState>,
    /// By name.
    nodes: RwLock<BTreeMap<Box<str>, Arc<Object>>>,
    serial: AtomicU32,
    /// Whether somebody has seen the serial since it was set.
    seen: AtomicBool,
}

/// Which addresses of a Node clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAddressType {
    External,
    Internal,
}

impl Facts {
    /// The serial of what clients outside are told; 0 before the first change.
    pub(in crate::zone) fn serial(&self) -> u32 {
        self.seen.store(true, Ordering::Release);
        self.serial.load(Ordering::Acquire)
    }

    /// What clients outside are told has changed. The serial is the time, and it moves with every
    /// change that a secondary could tell apart: two within a second have different ones if the
    /// first was seen (RFC 1982).
    pub(in crate::zone) fn changed(&self, unix_seconds: u32) {
        let serial = self.serial.load(Ordering::Acquire);
        if unix_seconds > serial {
            self.serial.store(unix_seconds, Ordering::Release);
            self.seen.store(false, Ordering::Release);
        } else if self.seen.swap(false, Ordering::AcqRel) {
            self.serial.store(serial + 1, Ordering::Release);
        }
    }

    pub(super) fn gateway(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.gateways
            .get(&Key::new(Kind::Gateway, namespace, name))
            .map(|gateway| Arc::clone(&gateway))
    }

    /// Addresses of the ready Nodes, of those in `only` where it is given: of each family the first
    /// type that a Node has.
    pub(super) fn node_addresses(
        &self,
        only: Option<&HashSet<&str>>,
        types: &[NodeAddressType],
    ) -> Vec<IpAddr> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        let wanted = |name: &str| only.is_none_or(|only| only.contains(name));
        let ready =
            nodes.iter().filter(|(name, _)| wanted(name)).filter_map(
                |(_, object)| match &**object {
                    Object::Node(node) if node.ready => Some(node),
                    _ => None,
                },
            );
        let ready: Vec<&Node> = ready.collect();
        // Of very many some, spread over all.
        let step = ready.len().div_ceil(limits::OUTSIDE_NODES).max(1);
        ready.iter().step_by(step).flat_map(|node| preferred(&node.addresses, types)).collect()
    }

    /// A Service is `new` instead of `old`.
    pub(in crate::zone) fn publish_service(
        &self,
        key: &ServiceKey,
        old: Option<&Service>,
        new: Option<&Service>,
    ) {
        let claim = Claim::Service(key.clone());
        let own = |service: Option<&Service>| {
            if service.is_some_and(is_reachable) { vec![Path::new(key)] } else { Vec::new() }
        };
        let hosts = |service: Option<&Service>| {
            let outside = service
                .filter(|service| is_reachable(service))
                .and_then(|service| service.outside.as_ref());
            paths(outside.map(|outside| &*outside.hosts).unwrap_or_default())
        };
        for (names, old, new) in
            [(&self.services, own(old), own(new)), (&self.hosts, hosts(old), hosts(new))]
        {
            if old != new {
                names.replace(Some((old, claim.clone())), Some((new, claim.clone())));
            }
        }
    }

    fn publish(&self, key: &Key, old: Option<Arc<Object>>, new: Option<Arc<Object>>) {
        match (key.kind, new) {
            (Kind::Node, Some(new)) => drop(
                self.nodes
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(key.name.clone(), new),
            ),
            (Kind::Node, None) => {
                drop(self.nodes.write().unwrap_or_else(PoisonError::into_inner).remove(&key.name));
            }
            (Kind::Gateway, Some(new)) => drop(self.gateways.insert(key.clone(), new)),
            (Kind::Gateway, None) => drop(self.gateways.remove(key)),
            (_, new) => {
                let claimed = |object: Arc<Object>| (paths(hosts(&object)), Claim::Object(object));
                self.hosts.replace(old.map(claimed), new.map(claimed));
            }
        }
    }
}

/// The addresses of a Node that clients are told: of each family those of the first type that it
/// has.
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

/// Whether there is, or will be, a way to it from outside.
fn is_reachable(service: &Service) -> bool {
    let outside = |service: &Service| {
        service
            .outside
            .as_ref()
            .is_some_and(|it| it.exposure != Exposure::None || !it.external_ips.is_empty())
    };
    let ignored = service.outside.as_ref().is_some_and(|outside| outside.ignored);
    !ignored && (matches!(service.addressing, Addressing::ExternalName(_)) || outside(service))
}

fn hosts(object: &Object) -> &[Box<str>] {
    match object {
        Object::Ingress(ingress) => &ingress.hosts,
        Object::Route(route) => &route.hosts,
        _ => &[],
    }
}

fn paths(hosts: &[Box<str>]) -> Vec<Path> {
    hosts.iter().filter_map(|host| Path::of_host(host)).collect()
}

/// The writer's memory of the objects that only clients outside are told of.
#[derive(Debug, Default)]
pub(in crate::zone) struct Objects(HashMap<Key, Arc<Object>, RandomState>);

impl Objects {
    pub(in crate::zone) fn keys(&self, kind: Kind) -> impl Iterator<Item = &Key> {
        self.0.keys().filter(move |key| key.kind == kind)
    }

    /// Whether it is news.
    pub(in crate::zone) fn upsert(&mut self, key: Key, object: Object, facts: &Facts) -> bool {
        if self.0.get(&key).is_some_and(|known| **known == object) {
            return false;
        }
        let object = Arc::new(object);
        facts.publish(&key, self.0.get(&key).cloned(), Some(Arc::clone(&object)));
        self.0.insert(key, object);
        true
    }

    pub(in crate::zone) fn remove(&mut self, key: &Key, facts: &Facts) -> bool {
        let old = self.0.remove(key);
        let known = old.is_some();
        if known {
            facts.publish(key, old, None);
        }
        known
    }
}
