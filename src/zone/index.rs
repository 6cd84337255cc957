//! The writer: takes changes of facts, and publishes what each of them touches.

use std::{
    collections::{HashMap, HashSet},
    ops::BitOr,
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::model::{Addressing, Change, EndpointSlice, Key, Kind, Namespace, Object, Pod, Service};

use super::{
    cluster_set::{PerZoneKind, ZoneKind},
    derive::ServiceEntry,
    key::{ServiceKey, lower, service_key},
    outside,
    store::{Store, Touched},
};

/// Owned by the one task that reads a source's changes.
#[derive(Debug, Default)]
pub struct Index {
    store: Arc<Store>,
    /// What is known of each kind, for the sweep after a full list.
    slices: HashMap<Key, Arc<EndpointSlice>, RandomState>,
    pods: HashMap<Key, Pod, RandomState>,
    services: HashMap<Key, Arc<Service>, RandomState>,
    namespaces: HashMap<Key, Namespace, RandomState>,
    /// What only clients outside of the cluster are told of.
    outside: outside::Objects,
    /// Names of Nodes, each held once: every endpoint has one.
    nodes: HashSet<Arc<str>, RandomState>,
    /// Kinds that are being listed anew, with the keys that were known and not yet seen again.
    unseen: HashMap<Kind, HashSet<Key, RandomState>, RandomState>,
    touched: Touched,
}

/// The zones whose answers a change may alter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Changed {
    cluster: bool,
    cluster_set: bool,
    /// The zones for clients outside of the cluster.
    outside: bool,
}

impl Changed {
    const NOTHING: Self = Self { cluster: false, cluster_set: false, outside: false };

    fn cluster(cluster: bool) -> Self {
        Self { cluster, ..Self::NOTHING }
    }

    fn cluster_set(cluster_set: bool) -> Self {
        Self { cluster_set, ..Self::NOTHING }
    }

    fn outside(outside: bool) -> Self {
        Self { outside, ..Self::NOTHING }
    }
}

impl BitOr for Changed {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            cluster: self.cluster | other.cluster,
            cluster_set: self.cluster_set | other.cluster_set,
            outside: self.outside | other.outside,
        }
    }
}

impl Index {
    /// What readers read.
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Whether a Service is headless; `None` where there is none.
    pub fn is_headless(&self, namespace: &str, service: &str) -> Option<bool> {
        let service = self.services.get(&Key::new(Kind::Service, namespace, service))?;
        Some(service.addressing == Addressing::Headless)
    }

    /// Takes a change; `unix_seconds` becomes the zone's serial if DNS shows it.
    pub fn apply(&mut self, change: Change, unix_seconds: u32) {
        let changed = match change {
            Change::Upsert(object) => {
                let key = object.key();
                if let Some(unseen) = self.unseen.get_mut(&key.kind) {
                    unseen.remove(&key);
                }
                self.upsert(key, object)
            }
            Change::Remove(key) => self.remove(&key),
            Change::Relist(kind) => {
                self.unseen.insert(kind, self.known(kind));
                Changed::NOTHING
            }
            Change::Synced(kind) => {
                let news = !self.store.is_synced(kind);
                let swept = self.sweep(kind);
                self.store.mark_synced(kind);
                swept
                    | Changed {
                        cluster: news && kind != Kind::ServiceImport,
                        cluster_set: news && kind != Kind::Service,
                        outside: news,
                    }
            }
            Change::Caused { .. } => Changed::NOTHING,
            Change::Refused(kind, reason) => {
                self.store.mark_refused(kind, reason);
                Changed::NOTHING
            }
            Change::Forget(kind) => {
                self.store.mark_unsynced(kind);
                self.unseen.insert(kind, self.known(kind));
                self.sweep(kind)
            }
        };
        let zones = PerZoneKind { cluster: changed.cluster, set: changed.cluster_set };
        self.store.commit(&mut self.touched, &zones, unix_seconds);
        if changed.outside {
            self.store.outside.changed(unix_seconds);
        }
    }

    fn known(&self, kind: Kind) -> HashSet<Key, RandomState> {
        match kind {
            Kind::Namespace => self.namespaces.keys().cloned().collect(),
            Kind::Service | Kind::ServiceImport => {
                self.services.keys().filter(|key| key.kind == kind).cloned().collect()
            }
            Kind::EndpointSlice => self.slices.keys().cloned().collect(),
            Kind::Pod => self.pods.keys().cloned().collect(),
            // Every other kind matters only for clients outside of the cluster.
            _ => self.outside.keys(kind).cloned().collect(),
        }
    }

    /// Removes the objects that the new list did not have.
    fn sweep(&mut self, kind: Kind) -> Changed {
        let mut gone: Vec<_> = self.unseen.remove(&kind).into_iter().flatten().collect();
        gone.sort_unstable();
        gone.iter().fold(Changed::NOTHING, |changed, key| changed | self.remove(key))
    }

    fn upsert(&mut self, key: Key, object: Object) -> Changed {
        match object {
            Object::Namespace(namespace) => {
                let changed = replaced(&mut self.namespaces, key, namespace, |namespace| {
                    self.store.publish_namespace(
                        &lower(&namespace.name),
                        Some(namespace.clone()),
                        &mut self.touched,
                    );
                });
                Changed { cluster: changed, cluster_set: changed, outside: false }
            }
            Object::Service(service) => {
                let service = Arc::new(service);
                if self.services.get(&key) == Some(&service) {
                    return Changed::NOTHING;
                }
                let old = self.services.insert(key, Arc::clone(&service));
                let outside = [old.as_ref(), Some(&service)]
                    .into_iter()
                    .flatten()
                    .any(|service| service.shows_outside());
                self.publish_service(
                    &service.namespace,
                    &service.name,
                    old.as_ref(),
                    Some(&service),
                );
                Changed { cluster: true, cluster_set: false, outside }
            }
            Object::EndpointSlice(slice) => self.upsert_slice(key, slice),
            Object::Pod(pod) => {
                let old = self.pods.get(&key);
                let changed = old != Some(&pod);
                if changed {
                    self.store.publish_pod(old, Some(&pod));
                    self.pods.insert(key, pod);
                }
                Changed::cluster(changed)
            }
            Object::ServiceImport(service) => {
                let service = Arc::new(service);
                if self.services.get(&key) == Some(&service) {
                    return Changed::NOTHING;
                }
                self.publish(ZoneKind::ClusterSet, &service.namespace, &service.name, |entry| {
                    entry.service = Some(Arc::clone(&service));
                });
                self.services.insert(key, service);
                Changed::cluster_set(true)
            }
            // Every other kind matters only for clients outside of the cluster.
            object => Changed::outside(self.outside.upsert(key, object, &self.store.outside)),
        }
    }

    fn upsert_slice(&mut self, key: Key, mut slice: EndpointSlice) -> Changed {
        for node in slice.endpoints.iter_mut().filter_map(|endpoint| endpoint.node.as_mut()) {
            *node = self.shared(node);
        }
        let slice = Arc::new(slice);
        // What is published is what is kept here: a slice that is told of anew stays the same one.
        if self.slices.get(&key) == Some(&slice) {
            return Changed::NOTHING;
        }
        let old = self.slices.insert(key, Arc::clone(&slice));
        let mut changed = Changed::NOTHING;
        for (zone_kind, service) in old
            .iter()
            .flat_map(|old| places(old))
            .filter(|place| !places(&slice).any(|other| other == *place))
        {
            let moved = old.as_ref().expect("it has places");
            self.publish(zone_kind, &moved.namespace, service, |entry| entry.drop_slice(moved));
            changed = changed | self.endpoints_changed(zone_kind, moved);
        }
        for (zone_kind, service) in places(&slice) {
            self.publish(zone_kind, &slice.namespace, service, |entry| {
                if let Some(old) = &old {
                    entry.drop_slice(old);
                }
                entry.slices.push(Arc::clone(&slice));
            });
            changed = changed | self.endpoints_changed(zone_kind, &slice);
        }
        changed
    }

    /// The effect of changed endpoints of a Service in a zone of this kind.
    fn endpoints_changed(&self, zone_kind: ZoneKind, slice: &EndpointSlice) -> Changed {
        match zone_kind {
            ZoneKind::Cluster => Changed {
                cluster: true,
                cluster_set: false,
                outside: self.endpoints_show_outside(slice),
            },
            ZoneKind::ClusterSet => Changed::cluster_set(true),
        }
    }

    /// Whether it matters outside which endpoints the slice's Service has.
    fn endpoints_show_outside(&self, slice: &EndpointSlice) -> bool {
        let Some(service) = &slice.service else { return false };
        let service = self.services.get(&Key::new(Kind::Service, &slice.namespace, service));
        let local =
            |service: &Service| service.outside.as_ref().is_some_and(|outside| outside.local_only);
        service.is_some_and(|service| service.addressing == Addressing::Headless || local(service))
    }

    fn remove(&mut self, key: &Key) -> Changed {
        match key.kind {
            Kind::Namespace => {
                let known = self.namespaces.remove(key).is_some();
                self.store.publish_namespace(&lower(&key.name), None, &mut self.touched);
                Changed { cluster: known, cluster_set: known, outside: false }
            }
            Kind::Service => {
                let old = self.services.remove(key);
                self.publish_service(&key.namespace, &key.name, old.as_ref(), None);
                Changed {
                    cluster: old.is_some(),
                    cluster_set: false,
                    outside: old.is_some_and(|service| service.shows_outside()),
                }
            }
            Kind::EndpointSlice => {
                let Some(old) = self.slices.remove(key) else { return Changed::NOTHING };
                let mut changed = Changed::NOTHING;
                for (zone_kind, service) in places(&old) {
                    self.publish(zone_kind, &old.namespace, service, |entry| {
                        entry.drop_slice(&old);
                    });
                    changed = changed | self.endpoints_changed(zone_kind, &old);
                }
                changed
            }
            Kind::ServiceImport => {
                let known = self.services.remove(key).is_some();
                self.publish(ZoneKind::ClusterSet, &key.namespace, &key.name, |entry| {
                    entry.service = None;
                });
                Changed::cluster_set(known)
            }
            Kind::Pod => {
                let old = self.pods.remove(key);
                self.store.publish_pod(old.as_ref(), None);
                Changed::cluster(old.is_some())
            }
            // Every other kind matters only for clients outside of the cluster.
            _ => Changed::outside(self.outside.remove(key, &self.store.outside)),
        }
    }

    fn publish_service(
        &mut self,
        namespace: &str,
        name: &str,
        old: Option<&Arc<Service>>,
        new: Option<&Arc<Service>>,
    ) {
        self.publish(ZoneKind::Cluster, namespace, name, |entry| entry.service = new.cloned());
        if let Some(key) = service_key(namespace, name) {
            self.store.outside.publish_service(
                &key,
                old.map(|service| &**service),
                new.map(|service| &**service),
            );
        }
    }

    /// The name as it is held already.
    fn shared(&mut self, name: &Arc<str>) -> Arc<str> {
        if let Some(held) = self.nodes.get(name) {
            return Arc::clone(held);
        }
        // Names of Nodes that are gone are let go of now and then.
        if self.nodes.len().is_power_of_two() {
            self.nodes.retain(|held| Arc::strong_count(held) > 1);
        }
        self.nodes.insert(Arc::clone(name));
        Arc::clone(name)
    }

    /// Publishes a Service as `change` makes it of what was published before.
    fn publish(
        &mut self,
        zone_kind: ZoneKind,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Draft),
    ) {
        // A name that is no label cannot be asked for.
        let Some(key) = service_key(namespace, name) else { return };
        let old = self.store.service_in(zone_kind, &key);
        let mut draft = old.map_or_else(Draft::default, |old| Draft {
            service: old.service.clone(),
            slices: old.slices.to_vec(),
        });
        change(&mut draft);
        self.store.publish(zone_kind, &key, draft.finish(zone_kind, &key), &mut self.touched);
    }
}

/// The Services that a slice is of.
fn places(slice: &EndpointSlice) -> impl Iterator<Item = (ZoneKind, &str)> {
    let own = slice.service.as_deref().map(|service| (ZoneKind::Cluster, service));
    own.into_iter()
        .chain(slice.import.as_ref().map(|import| (ZoneKind::ClusterSet, &*import.service)))
}

/// Inserts, and tells `publish` where the value is a new one.
fn replaced<T: PartialEq>(
    map: &mut HashMap<Key, T, RandomState>,
    key: Key,
    value: T,
    publish: impl FnOnce(&T),
) -> bool {
    let changed = map.get(&key) != Some(&value);
    if changed {
        publish(&value);
        map.insert(key, value);
    }
    changed
}

/// A Service's facts while they change.
#[derive(Default)]
struct Draft {
    service: Option<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
}

impl Draft {
    fn drop_slice(&mut self, slice: &Arc<EndpointSlice>) {
        self.slices.retain(|it| !Arc::ptr_eq(it, slice));
    }

    fn finish(mut self, zone_kind: ZoneKind, key: &ServiceKey) -> Option<ServiceEntry> {
        // The order of answers is the slices' own, not that of their arrival.
        self.slices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let anything = self.service.is_some() || !self.slices.is_empty();
        anything
            .then(|| ServiceEntry::new(zone_kind, key.clone(), self.service, self.slices.into()))
    }
}
