//! Simulates the controllers of a cluster over the objects of manifests: cluster IPs, node ports,
//! EndpointSlices, Namespaces.
//!
//! An object that a controller would make becomes an API object here. Every fact is decoded from an
//! API object, by the decoders that the API source uses. `serve` takes the facts and `explain`
//! takes the objects, so the two cannot disagree. The same files give the same result.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use serde_json::{Map, Value, json};

use crate::{
    model::{self, Addressing, Key, Kind, Object, Selector},
    source::kind::{
        self, ApiObject, Decoded, DnsUse, ENDPOINT_SLICE, ENDPOINTS, Endpoints, FieldError,
        KindDescriptor, LabelSelector, NAMESPACE, NODE, POD, SERVICE, SERVICE_NAME, Service,
    },
};

use super::{
    Location, ManifestError,
    allocate::{self, Allocation, Services},
    fields::map,
    parallel,
    parse::ListedObject,
    slices::{self, RunningPod, RunningPods, Zones},
};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// The label that the API server puts on every Namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// The label with a Node's topology zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The cluster that the manifests describe.
#[derive(Default)]
pub(super) struct Simulated {
    pub(super) objects: Vec<ApiObject>,
    /// The facts of these objects.
    pub(super) facts: BTreeMap<Key, Object>,
}

pub(super) fn simulate(
    listed: Vec<ListedObject>,
    selector: Option<&Selector>,
    errors: &mut Vec<ManifestError>,
) -> Simulated {
    let mut cluster = Cluster::default();
    let decoded = parallel::map(&listed, |it| decode(&it.object));
    for (it, decoded) in listed.into_iter().zip(decoded) {
        cluster.add_listed(it, decoded, errors);
    }
    cluster.add_api_server();
    cluster.allocate(errors);
    cluster.mirror_endpoints(errors);
    cluster.add_slices();
    cluster.add_namespaces();
    cluster.select(selector);
    cluster.finish()
}

/// `None` for an object that DNS does not read.
fn decode(object: &ApiObject) -> Option<Result<Decoded, FieldError>> {
    if matches!(object.kind.dns, DnsUse::None) {
        return None;
    }
    let decoded = object.decode();
    Some(decoded.and_then(|it| match it.fact {
        Ok(_) => Ok(it),
        Err(error) => Err(error),
    }))
}

/// Kind, namespace and name.
type ObjectId = (&'static str, String, String);

fn id(object: &ApiObject) -> ObjectId {
    (object.kind.name, object.namespace.clone(), object.name.clone())
}

#[derive(Default)]
struct Cluster {
    entries: BTreeMap<ObjectId, Entry>,
    /// Objects of kinds that only `explain` reads.
    others: Vec<ApiObject>,
    /// The namespaces that objects are in.
    namespaces: BTreeSet<String>,
}

/// An object that DNS reads, with what it reads.
struct Entry {
    object: ApiObject,
    decoded: Decoded,
    /// `None` for an object that a controller makes.
    location: Option<Location>,
}

impl Entry {
    fn fact(&self) -> Option<&Object> {
        self.decoded.fact.as_ref().ok()?.as_ref()
    }
}

impl Cluster {
    /// Adds an object of a file. Of two objects with the same name the first one is used, in the
    /// order of the files.
    fn add_listed(
        &mut self,
        listed: ListedObject,
        decoded: Option<Result<Decoded, FieldError>>,
        errors: &mut Vec<ManifestError>,
    ) {
        let ListedObject { location, object } = listed;
        let Some(decoded) = decoded else { return self.others.push(object) };
        if !self.namespaces.contains(&object.namespace) {
            self.namespaces.insert(object.namespace.clone());
        }
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                let message = format!("{} {}: {error}", object.kind.name, object.name);
                return errors.push(ManifestError { location, message });
            }
        };
        match self.entries.entry(id(&object)) {
            btree_map::Entry::Vacant(place) => {
                place.insert(Entry { object, decoded, location: Some(location) });
            }
            btree_map::Entry::Occupied(first) => {
                let first = first.get().location.as_ref();
                let first = first.map_or_else(String::new, |first| format!(" at {first}"));
                let message =
                    format!("{object} is already defined{first}; the first definition is used");
                errors.push(ManifestError { location, message });
            }
        }
    }

    /// Adds or replaces an object that a controller makes.
    fn insert(&mut self, kind: &'static KindDescriptor, fields: Map<String, Value>) {
        let object = ApiObject::new(kind, kind.newest(), fields);
        if let Ok(decoded) = object.decode() {
            self.entries.insert(id(&object), Entry { object, decoded, location: None });
        }
    }

    /// Replaces an object with an edited one.
    fn edit(&mut self, id: &ObjectId, edit: impl FnOnce(&mut Map<String, Value>)) {
        if let Some(entry) = self.entries.get_mut(id) {
            let object = entry.object.edited(edit);
            if let Ok(decoded) = object.decode() {
                (entry.object, entry.decoded) = (object, decoded);
            }
        }
    }

    fn of_kind(&self, kind: &'static KindDescriptor) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |entry| entry.object.kind.name == kind.name)
    }

    /// `kubernetes.default`, which the API server makes for itself.
    fn add_api_server(&mut self) {
        let name = (SERVICE.name, "default".to_owned(), "kubernetes".to_owned());
        if !self.entries.contains_key(&name) {
            let service = json!({
                "metadata": {
                    "name": "kubernetes",
                    "namespace": "default",
                    "labels": { "component": "apiserver", "provider": "kubernetes" },
                },
                "spec": {
                    "clusterIP": "10.96.0.1",
                    "clusterIPs": ["10.96.0.1"],
                    "ports": [{ "name": "https", "protocol": "TCP", "port": 443 }],
                },
            });
            self.insert(&SERVICE, fields(service));
        }
    }

    /// Gives Services their cluster IPs and node ports.
    fn allocate(&mut self, errors: &mut Vec<ManifestError>) {
        let mut services = Services::new();
        for entry in self.of_kind(&SERVICE) {
            if let (Some(Object::Service(fact)), Ok(service)) =
                (entry.fact(), entry.object.typed::<Service>())
            {
                let key = Key::new(Kind::Service, &fact.namespace, &fact.name);
                services.insert(key, Allocation::new(service, fact, entry.location.clone()));
            }
        }
        let known: Vec<Key> = services.keys().cloned().collect();
        allocate::cluster_ips(&mut services, errors);
        allocate::node_ports(&mut services);
        for key in known {
            let id = (SERVICE.name, key.namespace.to_string(), key.name.to_string());
            match services.get(&key) {
                Some(allocation) if allocation.is_new() => {
                    self.edit(&id, |fields| allocation.write(fields));
                }
                Some(_) => {}
                None => drop(self.entries.remove(&id)),
            }
        }
    }

    /// Services that have EndpointSlices, by namespace and name.
    fn with_slices(&self) -> BTreeSet<(String, String)> {
        let service = |entry: &Entry| {
            let service = entry.decoded.meta.labels.get(SERVICE_NAME)?;
            Some((entry.object.namespace.clone(), service.clone()))
        };
        self.of_kind(&ENDPOINT_SLICE).filter_map(service).collect()
    }

    /// Endpoints become EndpointSlices, unless the manifests have EndpointSlices of the Service.
    fn mirror_endpoints(&mut self, errors: &mut Vec<ManifestError>) {
        let with_slices = self.with_slices();
        let mut made = Vec::new();
        for entry in self.of_kind(&ENDPOINTS) {
            let ApiObject { namespace, name, .. } = &entry.object;
            let slices = match entry.object.typed::<Endpoints>() {
                Ok(_) if with_slices.contains(&(namespace.clone(), name.clone())) => continue,
                Ok(endpoints) => endpoints.slices(),
                Err(error) => {
                    errors.extend(entry.error(&error));
                    continue;
                }
            };
            for slice in slices.into_iter().map(fields) {
                let object =
                    ApiObject::new(&ENDPOINT_SLICE, ENDPOINT_SLICE.newest(), slice.clone());
                match object.decode().and_then(|decoded| decoded.fact) {
                    Ok(_) => made.push(slice),
                    Err(error) => errors.extend(entry.error(&error)),
                }
            }
        }
        made.into_iter().for_each(|slice| self.insert(&ENDPOINT_SLICE, slice));
    }

    /// EndpointSlices of Services with a selector.
    fn add_slices(&mut self) {
        let (pods, zones, with_slices) = (self.running_pods(), self.zones(), self.with_slices());
        let mut made = Vec::new();
        for entry in self.of_kind(&SERVICE) {
            let ApiObject { namespace, name, .. } = &entry.object;
            let (Some(Object::Service(fact)), Ok(service), Some(pods)) =
                (entry.fact(), entry.object.typed::<Service>(), pods.get(namespace.as_str()))
            else {
                continue;
            };
            if !service.spec.selector.is_empty()
                && service.kind() != "ExternalName"
                && !with_slices.contains(&(namespace.clone(), name.clone()))
            {
                made.extend(slices::of_service(&service, fact, pods, &zones));
            }
        }
        made.into_iter().for_each(|slice| self.insert(&ENDPOINT_SLICE, fields(slice)));
    }

    /// Pods with an address, by namespace and sorted by name, so that the order of the files does
    /// not matter.
    fn running_pods(&self) -> BTreeMap<&str, RunningPods> {
        let mut pods: BTreeMap<&str, RunningPods> = BTreeMap::new();
        for entry in self.of_kind(&POD) {
            if let (Some(Object::Pod(fact)), Ok(pod)) =
                (entry.fact(), entry.object.typed::<kind::Pod>())
            {
                let running = RunningPod { pod, addresses: fact.addresses.clone() };
                pods.entry(&entry.object.namespace).or_default().add(running);
            }
        }
        pods
    }

    fn zones(&self) -> Zones {
        let zone = |entry: &Entry| {
            let zone = entry.decoded.meta.labels.get(ZONE)?;
            Some((entry.object.name.clone(), zone.clone()))
        };
        self.of_kind(&NODE).filter_map(zone).collect()
    }

    /// Namespaces that only other objects name, and those that every cluster has.
    fn add_namespaces(&mut self) {
        let named = std::mem::take(&mut self.namespaces);
        for name in named.into_iter().chain(NAMESPACES.map(Into::into)) {
            let id = (NAMESPACE.name, String::new(), name.clone());
            if !name.is_empty() && !self.entries.contains_key(&id) {
                self.insert(&NAMESPACE, fields(json!({ "metadata": { "name": name } })));
            }
        }
        let all: Vec<ObjectId> = self.of_kind(&NAMESPACE).map(|entry| id(&entry.object)).collect();
        for id in all {
            self.edit(&id, |fields| {
                let labels = map(map(fields, "metadata"), "labels");
                labels.insert(NAMESPACE_NAME.to_owned(), id.2.as_str().into());
            });
        }
    }

    /// Leaves out the objects that the Corefile's `labels` does not select.
    fn select(&mut self, selector: Option<&Selector>) {
        let Some(selector) = selector else { return };
        self.entries.retain(|_, Entry { object, decoded, .. }| {
            let labels: Vec<_> = decoded.meta.labels.iter().collect();
            object.kind.watched().is_none_or(|it| it.labels == LabelSelector::Ignored)
                || selector.matches(&labels)
        });
    }

    /// The objects that only `explain` reads come first, then the others in the order of the files,
    /// and then those that controllers make.
    fn finish(self) -> Simulated {
        let mut simulated = Simulated { objects: self.others, ..Simulated::default() };
        let mut entries: Vec<Entry> = self.entries.into_values().collect();
        entries.sort_by_cached_key(|entry| (entry.location.is_none(), entry.location.clone()));
        for Entry { object, decoded, .. } in entries {
            simulated.objects.push(object);
            if let Ok(Some(fact)) = decoded.fact {
                simulated.facts.insert(fact.key(), fact);
            }
        }
        simulated
    }
}

impl Entry {
    /// An error in an object of a file.
    fn error(&self, error: &FieldError) -> Option<ManifestError> {
        let message = format!("{} {}: {error}", self.object.kind.name, self.object.name);
        Some(ManifestError { location: self.location.clone()?, message })
    }
}

/// The fields of an object that is written as `json!({…})`.
fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Names to try: the API server, another Service with a cluster IP, a Service of type ExternalName.
pub(super) fn examples(facts: &BTreeMap<Key, Object>) -> Vec<String> {
    let services = || {
        facts.values().filter_map(|object| {
            if let Object::Service(service) = object { Some(service) } else { None }
        })
    };
    let name = |service: &model::Service| format!("{}.{}.svc", service.name, service.namespace);
    let with_address = |service: &&model::Service| {
        matches!(service.addressing, Addressing::ClusterIps(_)) && &*service.name != "kubernetes"
    };
    let alias =
        |service: &&model::Service| matches!(service.addressing, Addressing::ExternalName(_));
    let preferred =
        |service: &&model::Service| with_address(service) && &*service.namespace == "default";
    let first = services().find(preferred).or_else(|| services().find(with_address));
    let found =
        [services().find(|service| &*service.name == "kubernetes"), first, services().find(alias)];
    found.into_iter().flatten().map(name).collect()
}
