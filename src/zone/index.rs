//! The writer: takes changes of facts, and publishes what each of them touches.

mod draft;
mod objects;
mod room;

use std::{ops::BitOrAssign, sync::Arc};

use crate::model::{
    Addressing, Change, EndpointFields, EndpointPort, EndpointSlice, Key, Kind, Namespace, Object,
    Pod, Service, ServicePort,
};

use super::{
    cluster_set::{PerZoneKind, ZoneKind},
    exposed::ExposedObjects,
    key::{lower, service_key},
    pods::PodFacts,
    shared::SharedValues,
    store::{Batch, Store},
    table::{Named, Table},
};

use draft::{Draft, Drafts};
pub use room::LeftOut;
use room::Room;

/// The zones whose records a change altered. Each of them has a serial of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The cluster's own zones.
    pub cluster: bool,
    /// The zones of the Services that a set of clusters shares.
    pub cluster_set: bool,
    /// The zones for clients outside of the cluster.
    pub outside: bool,
}

impl Changed {
    fn in_zone_kind(zone_kind: ZoneKind) -> Self {
        Self {
            cluster: zone_kind == ZoneKind::Cluster,
            cluster_set: zone_kind == ZoneKind::ClusterSet,
            outside: false,
        }
    }
}

impl BitOrAssign for Changed {
    fn bitor_assign(&mut self, other: Self) {
        self.cluster |= other.cluster;
        self.cluster_set |= other.cluster_set;
        self.outside |= other.outside;
    }
}

/// Owned by the one task that reads a source's changes.
#[derive(Debug, Default)]
pub struct Index {
    store: Arc<Store>,
    /// The known objects of each kind.
    slices: Table<Arc<EndpointSlice>>,
    pods: Table<PodFacts>,
    services: Table<Arc<Service>>,
    imports: Table<Arc<Service>>,
    namespaces: Table<Namespace>,
    /// Objects that only the zones for clients outside of the cluster use.
    outside: ExposedObjects,
    /// Names of Nodes and of Namespaces.
    names: SharedValues<str>,
    /// Names of the Namespaces that have Pods.
    pod_namespaces: SharedValues<Box<str>>,
    ports: SharedValues<[ServicePort]>,
    endpoint_ports: SharedValues<[EndpointPort]>,
    /// The details of endpoints that are stored; `None` for all.
    endpoint_fields: Option<EndpointFields>,
    /// Entries that are published and not yet in the store's snapshot.
    batch: Batch,
    /// Services whose staged facts are not published yet.
    drafts: Drafts,
    /// The zones that the staged changes alter.
    staged: Changed,
    room: Room,
}

impl Index {
    /// Sets which details of endpoints are kept from now on. If this adds details that were not
    /// kept before, the source must list the slices again.
    pub fn keep_endpoint_fields(&mut self, endpoint_fields: EndpointFields) {
        self.endpoint_fields = Some(endpoint_fields);
    }

    /// The facts as readers see them.
    pub fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// Whether a Service is headless; `None` if there is no such Service.
    pub fn is_headless(&self, namespace: &str, service: &str) -> Option<bool> {
        let service = self.services.get(namespace, service)?;
        Some(service.addressing == Addressing::Headless)
    }

    /// Applies and publishes a change. `unix_seconds` becomes the serial of the zones that the
    /// change alters, which are returned.
    pub fn apply(&mut self, change: Change, unix_seconds: u32) -> Changed {
        self.stage(change);
        self.publish_staged(unix_seconds)
    }

    /// Whether a change may be staged and published together with the next ones. Other changes must
    /// be visible in the order in which they happened.
    pub fn may_wait(change: &Change) -> bool {
        match change {
            Change::Upsert(Object::EndpointSlice(_)) | Change::Caused { .. } => true,
            Change::Remove(key) => key.kind == Kind::EndpointSlice,
            _ => false,
        }
    }

    /// Applies a change that [`Index::publish_staged`] publishes.
    pub fn stage(&mut self, mut change: Change) {
        if !Self::may_wait(&change) {
            self.publish_drafts();
        }
        if let (Change::Upsert(Object::EndpointSlice(slice)), Some(needed)) =
            (&mut change, self.endpoint_fields)
        {
            slice.endpoints.reduce(needed);
        }
        let changed = match change {
            Change::Upsert(object) if self.leaves_out(&object) => Changed::default(),
            Change::Upsert(object) => self.upsert(object),
            Change::Remove(key) => self.remove(&key),
            Change::Relist(kind) => {
                self.begin_list(kind);
                Changed::default()
            }
            Change::Synced(kind) => self.synced(kind),
            Change::Caused { .. } => Changed::default(),
            Change::Refused(kind, reason) => {
                self.store.mark_refused(kind, reason);
                Changed::default()
            }
            Change::Forget(kind) => {
                self.store.mark_unsynced(kind);
                self.begin_list(kind);
                self.sweep(kind)
            }
            Change::Abandon(kind) if self.store.is_synced(kind) => Changed::default(),
            Change::Abandon(kind) => {
                self.begin_list(kind);
                self.sweep(kind)
            }
        };
        self.staged |= changed;
    }

    /// Publishes the staged changes. `unix_seconds` becomes the serial of the zones that they
    /// alter, which are returned.
    pub fn publish_staged(&mut self, unix_seconds: u32) -> Changed {
        self.publish_drafts();
        let changed = std::mem::take(&mut self.staged);
        let zones = PerZoneKind { cluster: changed.cluster, set: changed.cluster_set };
        self.store.commit(&mut self.batch, &zones, unix_seconds);
        if changed.outside {
            self.store.outside.changed(unix_seconds);
        }
        changed
    }

    /// Says that the facts so far are from a snapshot, which contains all objects of these kinds.
    /// Answers from a kind are stale until the source has listed it. `serials` are from the
    /// snapshot, too.
    pub fn restored(&mut self, kinds: &[Kind], serials: [u32; 3]) {
        let [cluster, set, outside] = serials;
        self.store.resume_serial(ZoneKind::Cluster, cluster);
        self.store.resume_serial(ZoneKind::ClusterSet, set);
        self.store.outside.serial().resume(outside);
        kinds.iter().for_each(|kind| self.store.mark_stale(*kind));
    }

    /// The serials of the zones, for [`Index::restored`].
    pub fn serials(&self) -> [u32; 3] {
        [
            self.store.serial(ZoneKind::Cluster).peek(),
            self.store.serial(ZoneKind::ClusterSet).peek(),
            self.store.outside.serial().peek(),
        ]
    }

    /// A value that is equal in two processes which hold equal facts. It does not depend on the
    /// order in which they arrived.
    pub fn digest(&self) -> u64 {
        let digests = [
            self.slices.digest(),
            self.pods.digest(),
            self.services.digest(),
            self.imports.digest(),
            self.namespaces.digest(),
            self.outside.digest(),
        ];
        // A Service and a ServiceImport can be equal, so the digests of the tables are rotated by
        // different numbers of bits.
        digests.into_iter().fold(0, |sum, digest| sum.rotate_left(8).wrapping_add(digest))
    }

    /// Ends a list that has been read completely. After the first list of a kind, names that need
    /// it are answered.
    fn synced(&mut self, kind: Kind) -> Changed {
        let first = !self.store.is_synced(kind);
        let mut changed = self.sweep(kind);
        // The kind is complete only when all of its facts are visible.
        self.publish_drafts();
        self.store.mark_synced(kind);
        changed |= Changed {
            cluster: first && kind != Kind::ServiceImport,
            cluster_set: first && kind != Kind::Service,
            outside: first,
        };
        changed
    }

    fn begin_list(&mut self, kind: Kind) {
        match kind {
            Kind::Namespace => self.namespaces.begin_list(),
            Kind::Service => self.services.begin_list(),
            Kind::ServiceImport => self.imports.begin_list(),
            Kind::EndpointSlice => self.slices.begin_list(),
            Kind::Pod => self.pods.begin_list(),
            // Every other kind matters only for clients outside of the cluster.
            _ => self.outside.table(kind).begin_list(),
        }
    }

    /// Removes the objects that the new list did not have.
    fn sweep(&mut self, kind: Kind) -> Changed {
        let gone = match kind {
            Kind::Namespace => self.namespaces.unseen(kind),
            Kind::Service => self.services.unseen(kind),
            Kind::ServiceImport => self.imports.unseen(kind),
            Kind::EndpointSlice => self.slices.unseen(kind),
            Kind::Pod => self.pods.unseen(kind),
            // Every other kind matters only for clients outside of the cluster.
            _ => self.outside.table(kind).unseen(kind),
        };
        let mut changed = Changed::default();
        for key in &gone {
            changed |= self.remove(key);
        }
        changed
    }

    fn upsert(&mut self, object: Object) -> Changed {
        match object {
            Object::Namespace(namespace) => self.upsert_namespace(namespace),
            Object::Service(service) => self.upsert_service(service),
            Object::ServiceImport(service) => self.upsert_import(service),
            Object::EndpointSlice(slice) => self.upsert_slice(slice),
            Object::Pod(pod) => self.upsert_pod(pod),
            // Every other kind matters only for clients outside of the cluster.
            object => {
                let outside = self.outside.upsert(object, &self.store.outside);
                Changed { outside, ..Changed::default() }
            }
        }
    }

    fn upsert_namespace(&mut self, namespace: Namespace) -> Changed {
        let changed = self.namespaces.seen("", &namespace.name) != Some(&namespace);
        if changed {
            let label = lower(&namespace.name);
            self.store.publish_namespace(&label, Some(namespace.clone()), &mut self.batch);
            self.namespaces.insert(namespace);
        }
        Changed { cluster: changed, cluster_set: changed, outside: false }
    }

    fn upsert_service(&mut self, service: Service) -> Changed {
        let known = self.services.seen(&service.namespace, &service.name);
        if known.is_some_and(|known| **known == service) {
            return Changed::default();
        }
        let service = self.compact(service);
        let old = self.services.insert(Arc::clone(&service));
        self.publish_service(&service.namespace, &service.name, old.as_ref(), Some(&service));
        let outside = [old.as_ref(), Some(&service)]
            .into_iter()
            .flatten()
            .any(|service| service.shows_outside());
        Changed { cluster: true, cluster_set: false, outside }
    }

    fn upsert_import(&mut self, service: Service) -> Changed {
        let known = self.imports.seen(&service.namespace, &service.name);
        if known.is_some_and(|known| **known == service) {
            return Changed::default();
        }
        let service = self.compact(service);
        self.publish(ZoneKind::ClusterSet, &service.namespace, &service.name, |entry| {
            entry.service = Some(Arc::clone(&service));
        });
        self.imports.insert(service);
        Changed::in_zone_kind(ZoneKind::ClusterSet)
    }

    fn upsert_pod(&mut self, pod: Pod) -> Changed {
        let namespace = self.pod_namespaces.share(Arc::new(pod.namespace.clone()));
        let facts = PodFacts::new(pod, namespace);
        let old = self.pods.seen(facts.namespace(), facts.name());
        if old == Some(&facts) {
            return Changed::default();
        }
        self.store.publish_pod(&facts.namespace, old, Some(&facts));
        self.pods.insert(facts);
        Changed::in_zone_kind(ZoneKind::Cluster)
    }

    fn upsert_slice(&mut self, mut slice: EndpointSlice) -> Changed {
        // An equal slice keeps the published allocation, by which `Draft::drop_slice` finds it.
        let known = self.slices.seen(&slice.namespace, &slice.name);
        if known.is_some_and(|known| **known == slice) {
            return Changed::default();
        }
        for node in slice.endpoints.details_mut().filter_map(|details| details.node.as_mut()) {
            *node = self.names.share(Arc::clone(node));
        }
        slice.namespace = self.names.share(slice.namespace);
        slice.ports = self.endpoint_ports.share(slice.ports);
        let slice = Arc::new(slice);
        let old = self.slices.insert(Arc::clone(&slice));
        let mut changed = Changed::default();
        for (zone_kind, service) in old
            .iter()
            .flat_map(|old| services_of(old))
            .filter(|service| !services_of(&slice).any(|other| other == *service))
        {
            let moved = old.as_ref().expect("only an old slice has Services to leave");
            self.publish(zone_kind, &moved.namespace, service, |entry| entry.drop_slice(moved));
            changed |= self.endpoints_changed(zone_kind, moved);
        }
        for (zone_kind, service) in services_of(&slice) {
            self.publish(zone_kind, &slice.namespace, service, |entry| {
                if let Some(old) = &old {
                    entry.drop_slice(old);
                }
                entry.slices.push(Arc::clone(&slice));
            });
            changed |= self.endpoints_changed(zone_kind, &slice);
        }
        changed
    }

    /// The effect of a change of the slice's endpoints in one kind of zone.
    fn endpoints_changed(&self, zone_kind: ZoneKind, slice: &EndpointSlice) -> Changed {
        let outside = zone_kind == ZoneKind::Cluster && self.endpoints_show_outside(slice);
        Changed { outside, ..Changed::in_zone_kind(zone_kind) }
    }

    /// Whether the zones for clients outside depend on the endpoints of the slice's Service.
    fn endpoints_show_outside(&self, slice: &EndpointSlice) -> bool {
        let Some(service) = &slice.service else { return false };
        let service = self.services.get(&slice.namespace, service);
        let local =
            |service: &Service| service.outside.as_ref().is_some_and(|outside| outside.local_only);
        service.is_some_and(|service| service.addressing == Addressing::Headless || local(service))
    }

    fn remove(&mut self, key: &Key) -> Changed {
        match key.kind {
            Kind::Namespace => {
                let known = self.namespaces.remove("", &key.name).is_some();
                self.store.publish_namespace(&lower(&key.name), None, &mut self.batch);
                Changed { cluster: known, cluster_set: known, outside: false }
            }
            Kind::Service => {
                let old = self.services.remove(&key.namespace, &key.name);
                self.publish_service(&key.namespace, &key.name, old.as_ref(), None);
                let outside = old.as_ref().is_some_and(|service| service.shows_outside());
                Changed { cluster: old.is_some(), cluster_set: false, outside }
            }
            Kind::EndpointSlice => self.remove_slice(key),
            Kind::ServiceImport => {
                let known = self.imports.remove(&key.namespace, &key.name).is_some();
                self.publish(ZoneKind::ClusterSet, &key.namespace, &key.name, |entry| {
                    entry.service = None;
                });
                Changed { cluster_set: known, ..Changed::default() }
            }
            Kind::Pod => {
                let old = self.pods.remove(&key.namespace, &key.name);
                if let Some(old) = &old {
                    self.store.publish_pod(&old.namespace, Some(old), None);
                }
                Changed { cluster: old.is_some(), ..Changed::default() }
            }
            // Every other kind matters only for clients outside of the cluster.
            _ => {
                let outside = self.outside.remove(key, &self.store.outside);
                Changed { outside, ..Changed::default() }
            }
        }
    }

    fn remove_slice(&mut self, key: &Key) -> Changed {
        let mut changed = Changed::default();
        let Some(old) = self.slices.remove(&key.namespace, &key.name) else { return changed };
        for (zone_kind, service) in services_of(&old) {
            self.publish(zone_kind, &old.namespace, service, |entry| entry.drop_slice(&old));
            changed |= self.endpoints_changed(zone_kind, &old);
        }
        changed
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

    /// The Service as it is stored: it shares its namespace and ports with equal ones of others.
    fn compact(&mut self, mut service: Service) -> Arc<Service> {
        service.namespace = self.names.share(service.namespace);
        service.ports = self.ports.share(service.ports);
        Arc::new(service)
    }

    /// Applies `change` to a Service's facts, which [`Index::publish_drafts`] publishes.
    fn publish(
        &mut self,
        zone_kind: ZoneKind,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut Draft),
    ) {
        // No query can ask for a name that is not a valid label.
        let Some(key) = service_key(namespace, name) else { return };
        change(self.drafts.draft(zone_kind, key, &self.store));
    }

    fn publish_drafts(&mut self) {
        for (zone_kind, key, draft) in self.drafts.take() {
            self.store.publish(zone_kind, &key, draft.finish(&key), &mut self.batch);
        }
    }
}

/// The Services that the endpoints of a slice belong to.
fn services_of(slice: &EndpointSlice) -> impl Iterator<Item = (ZoneKind, &str)> {
    let own = slice.service.as_deref().map(|service| (ZoneKind::Cluster, service));
    own.into_iter()
        .chain(slice.import.as_ref().map(|import| (ZoneKind::ClusterSet, &*import.service)))
}

#[cfg(test)]
mod tests;
