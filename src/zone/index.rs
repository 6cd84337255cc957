//! The writer: takes changes of facts, and publishes what each of them touches.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::model::{Addressing, Change, EndpointSlice, Key, Kind, Namespace, Object, Pod, Service};

use super::{
    cluster_set::{PerZoneKind, ZoneKind},
    derive::ServiceEntry,
    outside,
    store::{ServiceKey, Store, Touched, lower, service_key},
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
    /// Whether the change that is being taken shows outside of the cluster.
    shows_outside: bool,
    /// Whether it shows among the Services of the cluster set.
    shows_in_set: bool,
    touched: Touched,
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
                false
            }
            Change::Synced(kind) => {
                let news = !self.store.is_synced(kind);
                let swept = self.sweep(kind);
                self.store.mark_synced(kind);
                self.shows_outside |= news;
                self.shows_in_set |= news && kind != Kind::Service;
                news && kind != Kind::ServiceImport || swept
            }
            Change::Caused { .. } => false,
            Change::Refused(kind, reason) => {
                self.store.mark_refused(kind, reason);
                false
            }
            Change::Forget(kind) => {
                self.store.mark_unsynced(kind);
                self.unseen.insert(kind, self.known(kind));
                self.sweep(kind)
            }
        };
        let changed = PerZoneKind { cluster: changed, set: std::mem::take(&mut self.shows_in_set) };
        self.store.commit(&mut self.touched, &changed, unix_seconds);
        if std::mem::take(&mut self.shows_outside) {
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

    /// Takes away what the new list did not have.
    fn sweep(&mut self, kind: Kind) -> bool {
        let mut gone: Vec<_> = self.unseen.remove(&kind).into_iter().flatten().collect();
        gone.sort_unstable();
        gone.iter().fold(false, |changed, key| self.remove(key) | changed)
    }

    fn upsert(&mut self, key: Key, object: Object) -> bool {
        match object {
            Object::Namespace(namespace) => {
                let changed = replaced(&mut self.namespaces, key, namespace, |namespace| {
                    self.store.publish_namespace(
                        &lower(&namespace.name),
                        Some(namespace.clone()),
                        &mut self.touched,
                    );
                });
                self.shows_in_set |= changed;
                changed
            }
            Object::Service(service) => {
                let service = Arc::new(service);
                let changed = self.services.get(&key) != Some(&service);
                if changed {
                    let old = self.services.insert(key, Arc::clone(&service));
                    self.shows_outside = [old.as_ref(), Some(&service)]
                        .into_iter()
                        .flatten()
                        .any(|service| service.shows_outside());
                    self.publish_service(
                        &service.namespace,
                        &service.name,
                        old.as_ref(),
                        Some(&service),
                    );
                }
                changed
            }
            Object::EndpointSlice(slice) => self.upsert_slice(key, slice),
            Object::Pod(pod) => {
                let old = self.pods.get(&key);
                let changed = old != Some(&pod);
                if changed {
                    self.store.publish_pod(old, Some(&pod));
                    self.pods.insert(key, pod);
                }
                changed
            }
            Object::ServiceImport(service) => {
                let service = Arc::new(service);
                if self.services.get(&key) != Some(&service) {
                    self.publish(
                        ZoneKind::ClusterSet,
                        &service.namespace,
                        &service.name,
                        |entry| entry.service = Some(Arc::clone(&service)),
                    );
                    self.services.insert(key, service);
                    self.shows_in_set = true;
                }
                false
            }
            // Every other kind matters only for clients outside of the cluster.
            object => {
                self.shows_outside |= self.outside.upsert(key, object, &self.store.outside);
                false
            }
        }
    }

    fn upsert_slice(&mut self, key: Key, mut slice: EndpointSlice) -> bool {
        for node in slice.endpoints.iter_mut().filter_map(|endpoint| endpoint.node.as_mut()) {
            *node = self.shared(node);
        }
        let slice = Arc::new(slice);
        // What is published is what is kept here: a slice that is told of anew stays the same one.
        if self.slices.get(&key) == Some(&slice) {
            return false;
        }
        let old = self.slices.insert(key, Arc::clone(&slice));
        let mut in_cluster = false;
        for (zone_kind, service) in old
            .iter()
            .flat_map(|old| places(old))
            .filter(|place| !places(&slice).any(|other| other == *place))
        {
            let moved = old.as_ref().expect("it has places");
            self.publish(zone_kind, &moved.namespace, service, |entry| entry.drop_slice(moved));
            in_cluster |= self.shows_in(zone_kind, moved);
        }
        for (zone_kind, service) in places(&slice) {
            self.publish(zone_kind, &slice.namespace, service, |entry| {
                if let Some(old) = &old {
                    entry.drop_slice(old);
                }
                entry.slices.push(Arc::clone(&slice));
            });
            in_cluster |= self.shows_in(zone_kind, &slice);
        }
        in_cluster
    }

    /// Endpoints in this zone_kind have changed; whether it is the cluster's own.
    fn shows_in(&mut self, zone_kind: ZoneKind, slice: &EndpointSlice) -> bool {
        self.shows_in_set |= zone_kind == ZoneKind::ClusterSet;
        self.shows_outside |= zone_kind == ZoneKind::Cluster && self.endpoints_show_outside(slice);
        zone_kind == ZoneKind::Cluster
    }

    /// Whether it matters outside which endpoints the slice's Service has.
    fn endpoints_show_outside(&self, slice: &EndpointSlice) -> bool {
        let Some(service) = &slice.service else { return false };
        let service = self.services.get(&Key::new(Kind::Service, &slice.namespace, service));
        let local =
            |service: &Service| service.outside.as_ref().is_some_and(|outside| outside.local_only);
        service.is_some_and(|service| service.addressing == Addressing::Headless || local(service))
    }

    fn remove(&mut self, key: &Key) -> bool {
        match key.kind {
            Kind::Namespace => {
                let known = self.namespaces.remove(key).is_some();
                self.shows_in_set |= known;
                self.store.publish_namespace(&lower(&key.name), None, &mut self.touched);
                known
            }
            Kind::Service => {
                let old = self.services.remove(key);
                self.shows_outside |= old.as_ref().is_some_and(|service| service.shows_outside());
                self.publish_service(&key.namespace, &key.name, old.as_ref(), None);
                old.is_some()
            }
            Kind::EndpointSlice => {
                let Some(old) = self.slices.remove(key) else { return false };
                let mut in_cluster = false;
                for (zone_kind, service) in places(&old) {
                    self.publish(zone_kind, &old.namespace, service, |entry| {
                        entry.drop_slice(&old)
                    });
                    in_cluster |= self.shows_in(zone_kind, &old);
                }
                in_cluster
            }
            Kind::ServiceImport => {
                self.shows_in_set |= self.services.remove(key).is_some();
                self.publish(ZoneKind::ClusterSet, &key.namespace, &key.name, |entry| {
                    entry.service = None
                });
                false
            }
            Kind::Pod => {
                let old = self.pods.remove(key);
                self.store.publish_pod(old.as_ref(), None);
                old.is_some()
            }
            // Every other kind matters only for clients outside of the cluster.
            _ => {
                self.shows_outside |= self.outside.remove(key, &self.store.outside);
                false
            }
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
