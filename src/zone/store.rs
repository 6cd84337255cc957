//! The published facts: one writer and any number of readers. A reader never waits for more than
//! one shard of a map.
//!
//! No other file knows the types of these maps. A Service is published as one entry, so a change of
//! its type is one step. Keys are labels in wire form, so a slice of the question's name is a key.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use dashmap::DashMap;
use foldhash::fast::RandomState;

use crate::model::{EndpointSlice, Kind, Namespace};

use super::{
    address_map::{AddressMap, distinct},
    cluster_set::{PerZoneKind, ZoneKind},
    derive::ServiceEntry,
    exposed::ExposedFacts,
    key::{NamespaceKey, ServiceKey, lower},
    pods::{PodFacts, SharedNamespace},
    serial::Serial,
};

type Map<K, V> = DashMap<K, V, RandomState>;

/// Shared by every view of one source.
#[derive(Debug, Default)]
pub struct Store {
    services: PerZoneKind<Map<ServiceKey, Arc<ServiceEntry>>>,
    namespaces: Map<NamespaceKey, Arc<Namespace>>,
    cluster_ips: AddressMap<ServiceKey>,
    endpoints: AddressMap<ServiceKey>,
    /// Addresses at which clients outside of the cluster reach a Service.
    outer_ips: AddressMap<ServiceKey>,
    pods: AddressMap<Tenant>,
    /// One bit for each kind.
    synced: AtomicU32,
    /// One bit for each kind whose facts are from a snapshot and may be out of date.
    stale: AtomicU32,
    /// The age of the snapshot in seconds.
    stale_age: AtomicU32,
    /// The kinds that the source may not read, each with the reason. No answer contains the
    /// reason.
    refused: Mutex<BTreeMap<Kind, Box<str>>>,
    serials: PerZoneKind<Serial>,
    /// The facts for the zones of clients outside of the cluster.
    pub(super) outside: ExposedFacts,
    /// All facts, for zone transfers. Each change is applied to it as a whole.
    snapshot: Mutex<Arc<Snapshot>>,
}

/// The owner of an address: the facts about a Pod that readers need.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tenant {
    namespace: SharedNamespace,
    host_network: bool,
}

/// All facts of one moment, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) serials: PerZoneKind<u32>,
    pub(super) services: PerZoneKind<BTreeMap<ServiceKey, Arc<ServiceEntry>>>,
    pub(super) namespaces: BTreeMap<NamespaceKey, Arc<Namespace>>,
}

/// The entries that a change published.
#[derive(Debug, Default)]
pub(super) struct Batch {
    services: PerZoneKind<Vec<(ServiceKey, Option<Arc<ServiceEntry>>)>>,
    namespaces: Vec<(NamespaceKey, Option<Arc<Namespace>>)>,
}

impl Batch {
    /// How many entries of Services were published.
    #[cfg(test)]
    pub(super) fn services_published(&self) -> usize {
        self.services.cluster.len() + self.services.set.len()
    }
}

impl Store {
    pub(super) fn service(&self, key: &[u8]) -> Option<Arc<ServiceEntry>> {
        self.service_in(ZoneKind::Cluster, key)
    }

    pub(super) fn service_in(&self, zone_kind: ZoneKind, key: &[u8]) -> Option<Arc<ServiceEntry>> {
        self.services.of(zone_kind).get(key).map(|entry| Arc::clone(&entry))
    }

    pub(super) fn namespace(&self, label: &[u8]) -> Option<Arc<Namespace>> {
        self.namespaces.get(label).map(|entry| Arc::clone(&entry))
    }

    /// The Service with this cluster IP; the first by name if two Services claim it.
    pub(super) fn by_cluster_ip(&self, address: IpAddr) -> Option<Arc<ServiceEntry>> {
        let key = self.cluster_ips.read(address, |keys| keys.iter().min().cloned())?;
        self.service(&key)
    }

    /// The Services with a ready endpoint at the address, by name.
    pub(super) fn by_endpoint(&self, address: IpAddr) -> Vec<Arc<ServiceEntry>> {
        self.by_address(&self.endpoints, address)
    }

    /// The Services that clients outside of the cluster reach at the address, by name.
    pub(super) fn by_outer_ip(&self, address: IpAddr) -> Vec<Arc<ServiceEntry>> {
        self.by_address(&self.outer_ips, address)
    }

    fn by_address(&self, map: &AddressMap<ServiceKey>, address: IpAddr) -> Vec<Arc<ServiceEntry>> {
        let mut keys = map.read(address, <[ServiceKey]>::to_vec);
        keys.sort_unstable();
        keys.iter().filter_map(|key| self.service(key)).collect()
    }

    /// Whether a Pod in the namespace has the address.
    pub(super) fn has_pod(&self, namespace: &[u8], address: IpAddr) -> bool {
        self.pods.read(address, |tenants| {
            tenants.iter().any(|it| it.namespace.as_bytes().eq_ignore_ascii_case(namespace))
        })
    }

    /// The namespace of the only Pod with the address; `None` if several Pods or a whole node have
    /// it.
    pub(super) fn namespace_of(&self, address: IpAddr) -> Option<NamespaceKey> {
        self.pods.read(address, |tenants| match tenants {
            [Tenant { namespace, host_network: false }] => Some(lower(namespace).into()),
            _ => None,
        })
    }

    /// Whether a complete list of the kind has been read.
    pub fn is_synced(&self, kind: Kind) -> bool {
        self.synced.load(Ordering::Acquire) & bit(kind) != 0
    }

    /// Whether the kind is synced. Facts from a snapshot are not enough if the API server refuses
    /// the kind: the snapshot is for the time in which the API server is away.
    pub(super) fn is_ready(&self, kind: Kind) -> bool {
        self.is_synced(kind) && !(self.is_stale(kind) && self.refusal(kind).is_some())
    }

    /// Whether the facts of the kind are those of a snapshot.
    pub fn is_stale(&self, kind: Kind) -> bool {
        self.stale.load(Ordering::Acquire) & bit(kind) != 0
    }

    /// The age of the snapshot in seconds; `None` if all facts are current.
    pub fn stale_age(&self) -> Option<u32> {
        (self.stale.load(Ordering::Acquire) != 0).then(|| self.stale_age.load(Ordering::Relaxed))
    }

    pub fn set_stale_age(&self, seconds: u32) {
        self.stale_age.store(seconds, Ordering::Relaxed);
    }

    /// Continues from the serial of a snapshot.
    pub(super) fn resume_serial(&self, zone_kind: ZoneKind, earlier: u32) {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        self.serial(zone_kind).resume(earlier);
        *Arc::make_mut(&mut snapshot).serials.of_mut(zone_kind) = self.serial(zone_kind).peek();
    }

    /// The serial of the cluster's zones, or of the set's.
    pub(super) fn serial(&self, zone_kind: ZoneKind) -> &Serial {
        self.serials.of(zone_kind)
    }

    /// The reason why the source may not read a kind.
    pub fn refusal(&self, kind: Kind) -> Option<Box<str>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }

    pub(super) fn mark_synced(&self, kind: Kind) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).remove(&kind);
        self.synced.fetch_or(bit(kind), Ordering::Release);
        self.stale.fetch_and(!bit(kind), Ordering::Release);
    }

    /// The facts of the kind are complete, and are from a snapshot.
    pub(super) fn mark_stale(&self, kind: Kind) {
        self.stale.fetch_or(bit(kind), Ordering::Release);
        self.synced.fetch_or(bit(kind), Ordering::Release);
    }

    pub(super) fn mark_unsynced(&self, kind: Kind) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).remove(&kind);
        self.synced.fetch_and(!bit(kind), Ordering::Release);
        self.stale.fetch_and(!bit(kind), Ordering::Release);
    }

    pub(super) fn mark_refused(&self, kind: Kind, reason: Box<str>) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, reason);
    }

    /// A copy of the facts that the zones for clients outside answer from, except the hosts of
    /// objects. Later changes do not alter it.
    pub(super) fn copy_for_outside(&self) -> Self {
        let copy = Self { outside: self.outside.copy(), ..Self::default() };
        let snapshot = Arc::clone(&*self.snapshot.lock().unwrap_or_else(PoisonError::into_inner));
        for (key, entry) in &snapshot.services.cluster {
            if entry.service.as_ref().is_some_and(|service| service.shows_outside()) {
                copy.services.cluster.insert(key.clone(), Arc::clone(entry));
            }
        }
        copy.synced.store(self.synced.load(Ordering::Acquire), Ordering::Release);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *copy.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        copy
    }

    /// The facts of this moment, for a client that remembers the serial of this kind of zone.
    pub(super) fn snapshot(&self, zone_kind: ZoneKind) -> Arc<Snapshot> {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        // The next change waits for the lock, and then gets a new serial.
        self.serial(zone_kind).read();
        Arc::clone(&snapshot)
    }

    /// Commits a change. If a transfer holds the [`Snapshot`], the maps are copied first, so that
    /// the transfer keeps the old facts.
    pub(super) fn commit(&self, batch: &mut Batch, changed: &PerZoneKind<bool>, unix_seconds: u32) {
        let Batch { services, namespaces } = mem::take(batch);
        let untouched =
            services.cluster.is_empty() && services.set.is_empty() && namespaces.is_empty();
        if untouched && !changed.cluster && !changed.set {
            return;
        }
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = Arc::make_mut(&mut snapshot);
        namespaces.into_iter().for_each(|(key, entry)| put(&mut snapshot.namespaces, key, entry));
        services
            .cluster
            .into_iter()
            .for_each(|(key, entry)| put(&mut snapshot.services.cluster, key, entry));
        services
            .set
            .into_iter()
            .for_each(|(key, entry)| put(&mut snapshot.services.set, key, entry));
        for zone_kind in [ZoneKind::Cluster, ZoneKind::ClusterSet]
            .into_iter()
            .filter(|zone_kind| *changed.of(*zone_kind))
        {
            *snapshot.serials.of_mut(zone_kind) = self.serial(zone_kind).advance(unix_seconds);
        }
    }

    /// Publishes a Service, or removes it if `entry` is `None`. Updates the maps of addresses.
    pub(super) fn publish(
        &self,
        zone_kind: ZoneKind,
        key: &ServiceKey,
        entry: Option<ServiceEntry>,
        batch: &mut Batch,
    ) {
        let new = entry.map(Arc::new);
        batch.services.of_mut(zone_kind).push((key.clone(), new.clone()));
        let services = self.services.of(zone_kind);
        let old = match &new {
            Some(new) => services.insert(key.clone(), Arc::clone(new)),
            None => services.remove(key).map(|(_, old)| old),
        };
        // PTR records use the names of this cluster's own Services.
        if zone_kind == ZoneKind::ClusterSet {
            return;
        }
        let addresses = |entry: &Option<Arc<ServiceEntry>>| {
            entry.as_ref().map(|entry| entry.cluster_ips().to_vec()).unwrap_or_default()
        };
        self.cluster_ips.replace(key, &addresses(&old), &addresses(&new));
        let addresses = |entry: &Option<Arc<ServiceEntry>>| {
            entry.as_ref().map(|entry| entry.outer_ips()).unwrap_or_default()
        };
        self.outer_ips.replace(key, &addresses(&old), &addresses(&new));
        let [before, after] = [&old, &new].map(|it| it.as_ref().map_or(&[][..], |it| &it.slices));
        replace_endpoints(&self.endpoints, key, before, after);
    }

    pub(super) fn publish_namespace(
        &self,
        label: &[u8],
        namespace: Option<Namespace>,
        batch: &mut Batch,
    ) {
        let new = namespace.map(Arc::new);
        batch.namespaces.push((label.into(), new.clone()));
        match new {
            Some(namespace) => drop(self.namespaces.insert(label.into(), namespace)),
            None => drop(self.namespaces.remove(label)),
        }
    }

    /// Publishes the change of a Pod from `old` to `new`.
    pub(super) fn publish_pod(
        &self,
        namespace: &SharedNamespace,
        old: Option<&PodFacts>,
        new: Option<&PodFacts>,
    ) {
        let tenant = |pod: &PodFacts| Tenant {
            namespace: Arc::clone(namespace),
            host_network: pod.host_network(),
        };
        let addresses = |pod: Option<&PodFacts>| pod.map(PodFacts::addresses).unwrap_or_default();
        let (before, after) = (addresses(old), addresses(new));
        match (old.map(tenant), new.map(tenant)) {
            (Some(old), Some(new)) if old != new => {
                self.pods.replace(&old, &before, &[]);
                self.pods.replace(&new, &[], &after);
            }
            (Some(tenant), _) | (None, Some(tenant)) => {
                self.pods.replace(&tenant, &before, &after);
            }
            (None, None) => {}
        }
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

fn bit(kind: Kind) -> u32 {
    1 << kind as u32
}

/// Moves `key` from the endpoints of the old slices to those of the new ones. A Service may have
/// thousands of slices of which one has changed, so only the addresses of that one are looked up.
fn replace_endpoints(
    map: &AddressMap<ServiceKey>,
    key: &ServiceKey,
    old: &[Arc<EndpointSlice>],
    new: &[Arc<EndpointSlice>],
) {
    let set = |slices: &[Arc<EndpointSlice>]| slices.iter().map(Arc::as_ptr).collect();
    let (in_old, in_new): (HashSet<_>, HashSet<_>) = (set(old), set(new));
    let is_new = |slice: &&Arc<EndpointSlice>| !in_old.contains(&Arc::as_ptr(slice));
    let gone = old.iter().filter(|slice| !in_new.contains(&Arc::as_ptr(slice)));
    let mut before = endpoint_addresses(gone);
    let mut after = endpoint_addresses(new.iter().filter(is_new));
    if before.is_empty() && after.is_empty() {
        return;
    }
    // Slices that stay may have the same addresses.
    let touched = distinct(&[&before[..], &after[..]].concat());
    let kept = endpoint_addresses(new.iter().filter(|slice| !is_new(slice)));
    let kept: Vec<IpAddr> =
        kept.into_iter().filter(|address| touched.binary_search(address).is_ok()).collect();
    before.extend(&kept);
    after.extend(&kept);
    map.replace(key, &before, &after);
}

fn endpoint_addresses<'s>(slices: impl Iterator<Item = &'s Arc<EndpointSlice>>) -> Vec<IpAddr> {
    slices.flat_map(|slice| slice.endpoints.iter()).map(|endpoint| endpoint.address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pod;

    #[test]
    fn an_address_has_a_namespace_while_only_one_pod_has_it() {
        let store = Store::default();
        let address: IpAddr = [10, 244, 0, 1].into();
        type Found = Option<(&'static str, bool)>;
        let facts = |namespace: &SharedNamespace, host_network| {
            let pod = Pod {
                namespace: Box::clone(namespace),
                name: "pod".into(),
                addresses: Box::new([address, [10, 244, 0, 2].into()]),
                host_network,
            };
            PodFacts::new(pod, Arc::clone(namespace))
        };
        let check = |old: Found, new: Found, expected: Option<&[u8]>| {
            let (namespace, _) = old.or(new).unwrap();
            let namespace = Arc::new(namespace.into());
            let [before, after] =
                [old, new].map(|pod| pod.map(|(_, on_host)| facts(&namespace, on_host)));
            store.publish_pod(&namespace, before.as_ref(), after.as_ref());
            assert_eq!(store.namespace_of(address).as_deref(), expected, "{old:?} {new:?}");
        };
        let (a, twin, b, host) = (("a", false), ("a", false), ("b", false), ("a", true));
        check(None, Some(a), Some(b"a"));
        check(None, Some(b), None);
        check(Some(b), None, Some(b"a"));
        // The namespace is the same, but the Pod of the client is not known.
        check(None, Some(twin), None);
        check(Some(twin), None, Some(b"a"));
        check(Some(a), Some(host), None);
        assert!(store.has_pod(b"a", address));
        check(Some(host), Some(a), Some(b"a"));
        check(Some(a), None, None);
        assert!(!store.has_pod(b"a", address) && store.pods.is_empty());
    }
}
