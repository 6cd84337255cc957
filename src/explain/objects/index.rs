//! Positions in the lists of objects, so that the frequent lookups do not scan a whole list.

use std::collections::HashMap;

use k8s_openapi::{
    Metadata,
    api::{
        core::v1::{Node, Pod, Service},
        discovery::v1::EndpointSlice,
        networking::v1::Ingress,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::source::kind::{ObjectStore, Workload, gateway_api::Route};

use super::{has_status, name, namespace};

/// Positions by namespace and a name.
type ByName = HashMap<String, HashMap<String, Vec<usize>>>;

#[derive(Default)]
pub(super) struct Index {
    services: ByName,
    /// The key is the cluster IP.
    cluster_ips: HashMap<String, Vec<usize>>,
    /// The key is the name of the Service.
    slices: ByName,
    /// The keys are the names of the Services that are backends.
    ingresses: ByName,
    routes: ByName,
    pods: ByName,
    /// The key is a label, written `key=value`.
    pods_by_label: ByName,
    /// The key is a label of the Pod template.
    workloads_by_label: ByName,
    nodes: HashMap<String, usize>,
    /// The key is the name of the object that the event is about.
    events: ByName,
    pub(super) dns_service: Option<usize>,
    /// Whether the objects show which Pods run.
    pub(super) shows_pods: bool,
    /// The Pods of kube-proxy.
    pub(super) proxy_pods: Vec<usize>,
}

fn put(map: &mut ByName, namespace: &str, name: &str, place: usize) {
    let names = map.entry(namespace.to_owned()).or_default();
    let places = names.entry(name.to_owned()).or_default();
    if places.last() != Some(&place) {
        places.push(place);
    }
}

fn get<'i>(map: &'i ByName, namespace: &str, name: &str) -> &'i [usize] {
    map.get(namespace).and_then(|names| names.get(name)).map_or(&[], Vec::as_slice)
}

fn put_all<T: Metadata<Ty = ObjectMeta>>(map: &mut ByName, objects: &[T]) {
    for (place, it) in objects.iter().enumerate() {
        put(map, namespace(it), name(it), place);
    }
}

fn label((key, value): (&String, &String)) -> String {
    format!("{key}={value}")
}

impl Index {
    pub(super) fn new(store: &ObjectStore) -> Self {
        let mut index = Self::default();
        put_all(&mut index.services, store.all::<Service>());
        for (place, it) in store.all::<Service>().iter().enumerate() {
            for ip in super::cluster_ips(it) {
                index.cluster_ips.entry(ip.to_owned()).or_default().push(place);
            }
        }
        for (place, it) in store.all::<EndpointSlice>().iter().enumerate() {
            let labels = it.metadata.labels.as_ref();
            if let Some(service) = labels.and_then(|it| it.get("kubernetes.io/service-name")) {
                put(&mut index.slices, namespace(it), service, place);
            }
        }
        index.add_pods(store);
        index.add_backends(store);
        for (place, it) in store.all::<Workload>().iter().enumerate() {
            let labels = it.template().and_then(|it| it.metadata.as_ref()?.labels.as_ref());
            for own in labels.into_iter().flatten().map(label) {
                put(&mut index.workloads_by_label, namespace(it), &own, place);
            }
        }
        for (place, it) in store.all::<Node>().iter().enumerate() {
            index.nodes.entry(name(it).to_owned()).or_insert(place);
        }
        for (place, it) in store.all::<k8s_openapi::api::core::v1::Event>().iter().enumerate() {
            let about = &it.involved_object;
            let (namespace, name) = (about.namespace.as_deref(), about.name.as_deref());
            put(&mut index.events, namespace.unwrap_or_default(), name.unwrap_or_default(), place);
        }
        index.dns_service = super::dns_service(store.all::<Service>());
        index
    }

    fn add_pods(&mut self, store: &ObjectStore) {
        let pods = store.all::<Pod>();
        put_all(&mut self.pods, pods);
        for (place, it) in pods.iter().enumerate() {
            for own in it.metadata.labels.iter().flatten().map(label) {
                put(&mut self.pods_by_label, namespace(it), &own, place);
            }
            self.shows_pods |= has_status(it);
        }
        self.proxy_pods = get(&self.pods_by_label, "kube-system", "k8s-app=kube-proxy").to_vec();
    }

    fn add_backends(&mut self, store: &ObjectStore) {
        for (place, it) in store.all::<Ingress>().iter().enumerate() {
            let spec = it.spec.as_ref();
            let rules = spec.iter().flat_map(|spec| spec.rules.iter().flatten());
            let paths = rules.filter_map(|rule| rule.http.as_ref()).flat_map(|http| &http.paths);
            for service in paths.filter_map(|path| path.backend.service.as_ref()) {
                put(&mut self.ingresses, namespace(it), &service.name, place);
            }
        }
        for (place, it) in store.all::<Route>().iter().enumerate() {
            for backend in it.spec.rules.iter().flat_map(|rule| &rule.backend_refs) {
                let there = backend.namespace.as_deref().unwrap_or(namespace(it));
                put(&mut self.routes, there, backend.name.as_deref().unwrap_or_default(), place);
            }
        }
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<usize> {
        get(&self.services, namespace, name).first().copied()
    }

    pub(super) fn at_cluster_ip(&self, ip: &str) -> &[usize] {
        self.cluster_ips.get(ip).map_or(&[], Vec::as_slice)
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<usize> {
        get(&self.pods, namespace, name).first().copied()
    }

    pub(super) fn node(&self, name: &str) -> Option<usize> {
        self.nodes.get(name).copied()
    }

    pub(super) fn slices(&self, namespace: &str, service: &str) -> &[usize] {
        get(&self.slices, namespace, service)
    }

    /// The Ingresses with the Service as a backend of a path.
    pub(super) fn ingresses(&self, namespace: &str, service: &str) -> &[usize] {
        get(&self.ingresses, namespace, service)
    }

    /// The routes with the Service as a backend.
    pub(super) fn routes(&self, namespace: &str, service: &str) -> &[usize] {
        get(&self.routes, namespace, service)
    }

    pub(super) fn events(&self, namespace: &str, about: &str) -> &[usize] {
        get(&self.events, namespace, about)
    }

    pub(super) fn pods_in(&self, namespace: &str) -> impl Iterator<Item = usize> {
        self.pods.get(namespace).into_iter().flatten().flat_map(|(_, places)| places).copied()
    }

    /// The Pods that can match the selector of the Service: those with its rarest label.
    pub(super) fn pods_with_a_label(&self, service: &Service) -> &[usize] {
        with_rarest(&self.pods_by_label, namespace(service), service)
    }

    /// The workloads whose Pod templates can match the selector of the Service.
    pub(super) fn workloads_with_a_label(&self, service: &Service) -> &[usize] {
        with_rarest(&self.workloads_by_label, namespace(service), service)
    }

    /// The namespaces with a Pod or a workload that can match the selector.
    pub(super) fn namespaces_with_a_label(&self, service: &Service) -> Vec<&str> {
        let of = |map: &'_ ByName, there: &str| !with_rarest(map, there, service).is_empty();
        let all = self.pods_by_label.keys().filter(|there| of(&self.pods_by_label, there));
        let workloads = self.workloads_by_label.keys();
        let mut found: Vec<&str> = all
            .chain(workloads.filter(|there| of(&self.workloads_by_label, there)))
            .map(String::as_str)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn with_rarest<'i>(map: &'i ByName, namespace: &str, service: &Service) -> &'i [usize] {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let lists = selector.into_iter().flatten().map(|own| get(map, namespace, &label(own)));
    lists.min_by_key(|list| list.len()).unwrap_or_default()
}
