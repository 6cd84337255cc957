//! The facts that only clients outside of the cluster need: hosts, Gateways and Nodes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::model::{Addressing, Exposure, Key, Kind, Object, Service};

use super::{
    claims::{Claim, ClaimMap, ClaimedNames, Path},
    key::ServiceKey,
    nodes::Nodes,
    serial::Serial,
    table::{Named, Table},
};

#[derive(Debug, Default)]
pub(super) struct ExposedFacts {
    /// Objects by the host names in them.
    pub(super) hosts: ClaimedNames,
    /// Services by `svc.ns`, in any zone.
    pub(super) services: ClaimMap,
    gateways: DashMap<Key, Arc<Object>, RandomState>,
    pub(super) nodes: Nodes,
    serial: Serial,
    /// Counts changes. Unlike the serial, it advances with each change.
    changes: AtomicU64,
}

impl ExposedFacts {
    /// The serial of the zones for clients outside; 0 before the first change.
    pub(super) fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Sets the serial and counts the change. Called after the change was published.
    pub(super) fn changed(&self, unix_seconds: u32) {
        self.serial.advance(unix_seconds);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// How many changes were published.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn gateway(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.gateways
            .get(&Key::new(Kind::Gateway, namespace, name))
            .map(|gateway| Arc::clone(&gateway))
    }

    /// Publishes the change of a Service from `old` to `new`.
    pub(super) fn publish_service(
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
        let claimed = |paths| Some((paths, claim.clone()));
        let (own_old, own_new) = (own(old), own(new));
        if own_old != own_new {
            self.services.replace(claimed(own_old), claimed(own_new));
        }
        let (hosts_old, hosts_new) = (hosts(old), hosts(new));
        if hosts_old != hosts_new {
            self.hosts.replace(claimed(hosts_old), claimed(hosts_new));
        }
    }

    /// A copy that does not change with this one. It has no [`ExposedFacts::hosts`]: a view has
    /// those that count.
    pub(super) fn copy(&self) -> Self {
        let gateways = self.gateways.iter().map(|it| (it.key().clone(), Arc::clone(it.value())));
        Self {
            services: self.services.copy(),
            gateways: gateways.collect(),
            nodes: self.nodes.copy(),
            ..Self::default()
        }
    }

    fn publish(&self, key: &Key, old: Option<Arc<Object>>, new: Option<Arc<Object>>) {
        match (key.kind, new) {
            (Kind::Node, new) => self.nodes.put(&key.name, new),
            (Kind::Gateway, Some(new)) => drop(self.gateways.insert(key.clone(), new)),
            (Kind::Gateway, None) => drop(self.gateways.remove(key)),
            (_, new) => {
                let claimed = |object: Arc<Object>| (paths(hosts(&object)), Claim::Object(object));
                self.hosts.replace(old.map(claimed), new.map(claimed));
            }
        }
    }
}

/// Whether clients outside can reach the Service now or later.
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

/// The known objects that only clients outside of the cluster need.
#[derive(Debug, Default)]
pub(super) struct ExposedObjects(BTreeMap<Kind, Table<Arc<Object>>>);

impl ExposedObjects {
    pub(super) fn objects(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.0.get(&kind).into_iter().flat_map(Table::objects).map(|object| &**object)
    }

    pub(super) fn table(&mut self, kind: Kind) -> &mut Table<Arc<Object>> {
        self.0.entry(kind).or_default()
    }

    /// About how many octets of memory the objects of a kind take.
    pub(super) fn octets(&self, kind: Kind) -> usize {
        self.0.get(&kind).map_or(0, Table::octets)
    }

    /// The sum of [`Table::digest`] of all tables.
    pub(super) fn digest(&self) -> u64 {
        self.0.values().map(Table::digest).fold(0, u64::wrapping_add)
    }

    /// Returns whether the object is new or changed.
    pub(super) fn upsert(&mut self, object: Object, facts: &ExposedFacts) -> bool {
        let key = object.key();
        let table = self.table(key.kind);
        let old = table.seen(&key.namespace, &key.name).cloned();
        if old.as_ref().is_some_and(|known| **known == object) {
            return false;
        }
        let object = Arc::new(object);
        facts.publish(&key, old, Some(Arc::clone(&object)));
        table.insert(object);
        true
    }

    pub(super) fn remove(&mut self, key: &Key, facts: &ExposedFacts) -> bool {
        let old = self.table(key.kind).remove(&key.namespace, &key.name);
        let known = old.is_some();
        if known {
            facts.publish(key, old, None);
        }
        known
    }
}

impl Named for Object {
    fn namespace(&self) -> &str {
        Self::namespace(self)
    }

    fn name(&self) -> &str {
        Self::name(self)
    }

    fn octets(&self) -> usize {
        Self::octets(self)
    }
}
