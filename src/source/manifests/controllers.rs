//! The controllers of a cluster, played over what is written: addresses, node ports, namespaces,
//! endpoints. The same files give the same result.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use crate::{
    model::{self, Addressing, Key, Kind, Object, Selector},
    source::kind::{Decoded, Endpoints, SERVICE_NAME},
};

use super::{
    Fault, Place,
    allocate::{self, Listed},
    parse::Written,
    slices::{self, Running, Zones},
};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// The label that the API server puts on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// The label that says where a Node is.
const ZONE: &str = "topology.kubernetes.io/zone";

type Labels = BTreeMap<String, String>;

/// All facts of what is written.
pub(super) fn play(
    written: Vec<Written>,
    selector: Option<&Selector>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<Key, Object> {
    let mut cluster = Cluster::default();
    for Written { place, object } in first_of_each(written, faults) {
        cluster.add(object, place, faults);
    }
    cluster.add_api_server();
    allocate::cluster_ips(&mut cluster.services, &mut cluster.objects, faults);
    allocate::node_ports(&cluster.services, &mut cluster.objects);
    cluster.mirror_endpoints();
    cluster.make_slices();
    cluster.make_namespaces();
    cluster.select(selector);
    cluster.objects
}

/// The same object twice is a mistake: the first one, in the order of the files, counts.
fn first_of_each(written: Vec<Written>, faults: &mut Vec<Fault>) -> Vec<Written> {
    let mut seen: BTreeMap<(&'static str, String, String), Place> = BTreeMap::new();
    let mut kept = Vec::new();
    for it in written {
        let (kind, meta) = (it.object.kind(), it.object.meta());
        let key = (kind, meta.namespace.clone(), meta.name.clone());
        match seen.get(&key) {
            Some(first) => {
                let name = if meta.namespace.is_empty() {
                    meta.name.clone()
                } else {
                    format!("{}/{}", meta.namespace, meta.name)
                };
                faults.push(Fault {
                    place: it.place,
                    sentence: format!("{kind} {name} stands at {first} already; that one counts"),
                });
            }
            None => {
                seen.insert(key, it.place.clone());
                kept.push(it);
            }
        }
    }
    kept
}

#[derive(Default)]
struct Cluster {
    services: Listed,
    /// By namespace, then by name: a slice has its Pods in this order, in whatever files they
    /// stand.
    pods: BTreeMap<String, BTreeMap<String, Running>>,
    zones: Zones,
    endpoints: Vec<(Endpoints, Vec<model::EndpointSlice>)>,
    /// Services whose endpoints are written down.
    with_endpoints: BTreeSet<Key>,
    namespaces: BTreeSet<String>,
    objects: BTreeMap<Key, Object>,
    /// Labels of what a selector may leave out.
    labels: BTreeMap<Key, Labels>,
}

impl Cluster {
    fn add(&mut self, object: Decoded, place: Place, faults: &mut Vec<Fault>) {
        let name = format!("{} {}", object.kind(), object.meta().name);
        let labels = object.meta().labels.clone();
        self.namespaces.insert(object.meta().namespace.clone());
        match self.fact(object, &place) {
            Ok(Some(object)) => self.insert(object, labels),
            Ok(None) => {}
            Err(sentence) => faults.push(Fault { place, sentence: format!("{name}: {sentence}") }),
        }
    }

    fn insert(&mut self, object: Object, labels: Labels) {
        self.labels.insert(object.key(), labels);
        self.objects.insert(object.key(), object);
    }

    /// The object as a fact, if it is one; what the controllers need of it is kept.
    fn fact(&mut self, object: Decoded, place: &Place) -> Result<Option<Object>, String> {
        Ok(match object {
            Decoded::Namespace(mut it) => {
                it.metadata.labels.insert(NAMESPACE_NAME.to_owned(), it.metadata.name.clone());
                Some(Object::Namespace(it.fact()))
            }
            Decoded::Node(it) => {
                let zone = it
                    .metadata
                    .labels
                    .get(ZONE)
                    .map(|zone| (it.metadata.name.clone(), zone.as_str().into()));
                self.zones.extend(zone);
                Some(Object::Node(it.fact()?))
            }
            Decoded::Ingress(it) => Some(Object::Ingress(it.fact()?)),
            Decoded::Gateway(it) => Some(Object::Gateway(it.fact()?)),
            Decoded::HttpRoute(it) => Some(Object::Route(it.fact(Kind::HttpRoute))),
            Decoded::TlsRoute(it) => Some(Object::Route(it.fact(Kind::TlsRoute))),
            Decoded::ServiceImport(it) => Some(Object::ServiceImport(it.fact()?)),
            Decoded::GrpcRoute(it) => Some(Object::Route(it.fact(Kind::GrpcRoute))),
            Decoded::Pod(pod) => pod.fact()?.map(|fact| {
                let of_namespace = self.pods.entry(pod.metadata.namespace.clone()).or_default();
                of_namespace.insert(pod.metadata.name.clone(), Running { pod, fact: fact.clone() });
                Object::Pod(fact)
            }),
            Decoded::EndpointSlice(it) => {
                let fact = it.fact()?;
                self.with_endpoints.extend(
                    it.service()
                        .map(|service| Key::new(Kind::Service, &it.metadata.namespace, service)),
                );
                fact.map(Object::EndpointSlice)
            }
            Decoded::Endpoints(it) => {
                let facts = it.facts()?;
                self.endpoints.push((it, facts));
                None
            }
            Decoded::Service(it) => {
                let object = Object::Service(it.fact()?);
                self.services.insert(object.key(), (it, place.clone()));
                Some(object)
            }
        })
    }

    /// `kubernetes.default`, which the API server makes for itself.
    fn add_api_server(&mut self) {
        let ports = Box::new([model::ServicePort {
            name: "https".into(),
            protocol: model::Protocol::Tcp,
            port: 443,
            node_port: None,
        }]);
        let addressing = Addressing::ClusterIps(Box::new([Ipv4Addr::new(10, 96, 0, 1).into()]));
        let object = Object::Service(model::Service {
            namespace: "default".into(),
            name: "kubernetes".into(),
            addressing,
            ports,
            outside: None,
        });
        if !self.objects.contains_key(&object.key()) {
            let labels = [("component", "apiserver"), ("provider", "kubernetes")];
            self.insert(
                object,
                labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            );
        }
    }

    /// Endpoints become slices where no slices of the Service are written down.
    fn mirror_endpoints(&mut self) {
        for (endpoints, slices) in std::mem::take(&mut self.endpoints) {
            let meta = endpoints.metadata;
            let service = Key::new(Kind::Service, &meta.namespace, &meta.name);
            if self.with_endpoints.insert(service) {
                slices.into_iter().for_each(|slice| self.insert_slice(slice, &meta.labels));
            }
        }
    }

    fn make_slices(&mut self) {
        let mut made = Vec::new();
        for (key, (service, _)) in &self.services {
            let selects = !service.spec.selector.is_empty()
                && service.kind() != "ExternalName"
                && !self.with_endpoints.contains(key);
            if let (true, Some(object), Some(pods)) =
                (selects, self.objects.get(key), self.pods.get(&service.metadata.namespace))
            {
                made.push((
                    slices::of_service(service, object, pods.values(), &self.zones),
                    service.metadata.labels.clone(),
                ));
            }
        }
        for (slices, labels) in made {
            slices.into_iter().for_each(|slice| self.insert_slice(slice, &labels));
        }
    }

    /// A slice has the labels of what it is made from, and its Service's name.
    fn insert_slice(&mut self, slice: model::EndpointSlice, labels: &Labels) {
        let mut labels = labels.clone();
        labels.extend(
            slice.service.as_ref().map(|service| (SERVICE_NAME.to_owned(), service.to_string())),
        );
        self.insert(Object::EndpointSlice(slice), labels);
    }

    fn make_namespaces(&mut self) {
        let named =
            std::mem::take(&mut self.namespaces).into_iter().filter(|name| !name.is_empty());
        for name in named.chain(NAMESPACES.map(Into::into)) {
            let labels = Box::new([(NAMESPACE_NAME.into(), name.as_str().into())]);
            let object = Object::Namespace(model::Namespace { name: name.into(), labels });
            self.objects.entry(object.key()).or_insert(object);
        }
    }

    fn select(&mut self, selector: Option<&Selector>) {
        let Some(selector) = selector else { return };
        let no_labels = BTreeMap::new();
        self.objects.retain(|key, _| {
            let labels: Vec<_> = self.labels.get(key).unwrap_or(&no_labels).iter().collect();
            !matches!(key.kind, Kind::Service | Kind::EndpointSlice | Kind::Pod)
                || selector.matches(&labels)
        });
    }
}

/// Names to try: the API server, another Service with an address, an alias.
pub(super) fn examples(objects: &BTreeMap<Key, Object>) -> Vec<String> {
    let services = || {
        objects.values().filter_map(|object| {
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
