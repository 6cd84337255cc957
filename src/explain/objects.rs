//! The objects of the API. They have fields that the facts of the zone do not need.

mod index;

use std::{collections::BTreeMap, sync::OnceLock};

use k8s_openapi::{
    Metadata,
    api::{
        apps::v1::Deployment,
        core::v1::{
            ConfigMap, Container, ContainerPort, Event, Namespace, Node, Pod, Secret, Service,
            ServicePort,
        },
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass, NetworkPolicy},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use crate::source::{
    kind::{
        ApiObject, ObjectStore, Workload,
        gateway_api::{Gateway, GatewayClass, ReferenceGrant, Route},
    },
    manifests::parallel,
};

use index::Index;

/// The objects of a cluster. They can be of every kind in `source::kind::ALL`.
#[derive(Default)]
pub struct Objects {
    store: ObjectStore,
    /// Built at the first lookup.
    index: OnceLock<Index>,
}

impl Objects {
    /// # Errors
    /// If a field has another type than in the API. The message names the object.
    pub fn add(&mut self, object: &ApiObject) -> Result<(), String> {
        self.index = OnceLock::new();
        object.store(&mut self.store).map_err(|error| format!("{object}: {error}"))
    }

    /// Adds objects in their order, and returns an error for each that has a field of another type
    /// than in the API.
    pub fn add_all(&mut self, objects: &[ApiObject]) -> Vec<String> {
        let parts = parallel::chunks(objects, |objects| {
            let mut part = Self::default();
            let errors = objects.iter().filter_map(|object| part.add(object).err());
            (errors.collect::<Vec<_>>(), part.store)
        });
        self.index = OnceLock::new();
        let mut errors = Vec::new();
        for (more, store) in parts {
            errors.extend(more);
            self.store.append(store);
        }
        errors
    }

    /// The Deployments of kube-system.
    pub fn deployments(&self) -> &[Deployment] {
        self.store.all()
    }

    pub fn namespaces(&self) -> &[Namespace] {
        self.store.all()
    }

    pub fn services(&self) -> &[Service] {
        self.store.all()
    }

    pub fn slices(&self) -> &[EndpointSlice] {
        self.store.all()
    }

    pub fn pods(&self) -> &[Pod] {
        self.store.all()
    }

    pub fn nodes(&self) -> &[Node] {
        self.store.all()
    }

    pub fn ingresses(&self) -> &[Ingress] {
        self.store.all()
    }

    pub fn ingress_classes(&self) -> &[IngressClass] {
        self.store.all()
    }

    pub fn network_policies(&self) -> &[NetworkPolicy] {
        self.store.all()
    }

    pub fn secrets(&self) -> &[Secret] {
        self.store.all()
    }

    /// The namespace, the name and the texts of each ConfigMap.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str, &BTreeMap<String, String>)> {
        self.config_maps().iter().filter_map(|map| {
            let ObjectMeta { namespace, name, .. } = &map.metadata;
            Some((namespace.as_deref().unwrap_or("default"), name.as_deref()?, map.data.as_ref()?))
        })
    }

    pub fn config_maps(&self) -> &[ConfigMap] {
        self.store.all()
    }

    pub fn workloads(&self) -> &[Workload] {
        self.store.all()
    }

    pub fn events(&self) -> &[Event] {
        self.store.all()
    }

    pub fn gateways(&self) -> &[Gateway] {
        self.store.all()
    }

    pub fn gateway_classes(&self) -> &[GatewayClass] {
        self.store.all()
    }

    pub fn routes(&self) -> &[Route] {
        self.store.all()
    }

    pub fn reference_grants(&self) -> &[ReferenceGrant] {
        self.store.all()
    }

    pub fn cluster_roles(&self) -> &[ClusterRole] {
        self.store.all()
    }

    pub fn cluster_role_bindings(&self) -> &[ClusterRoleBinding] {
        self.store.all()
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services().get(self.index().service(namespace, name)?)
    }

    /// The Service of the cluster's DNS: `kube-system/kube-dns`, or else a Service of kube-system
    /// with the same label, as in RKE2.
    pub fn dns_service(&self) -> Option<&Service> {
        self.services().get(self.index().dns_service?)
    }

    /// The Pods of a namespace, in the order in which they were read.
    pub fn pods_in(&self, namespace: &str) -> impl Iterator<Item = &Pod> {
        let mut places: Vec<usize> = self.index().pods_in(namespace).collect();
        places.sort_unstable();
        places.into_iter().filter_map(|place| self.pods().get(place))
    }

    /// The Pods that the selector matches, in the Service's namespace. Without a selector there are
    /// none.
    pub fn selected<'o>(&'o self, service: &'o Service) -> impl Iterator<Item = &'o Pod> {
        let places = self.index().pods_with_a_label(service).iter();
        places
            .filter_map(|place| self.pods().get(*place))
            .filter(move |pod| selects(service, &pod.metadata))
    }

    /// The workloads whose Pod templates can match the selector: they have one of its labels.
    pub fn near_workloads(&self, service: &Service) -> impl Iterator<Item = &Workload> {
        let places = self.index().workloads_with_a_label(service).iter();
        places.filter_map(|place| self.workloads().get(*place))
    }

    /// The workloads of a namespace.
    pub fn workloads_in(&self, namespace: &str) -> impl Iterator<Item = &Workload> {
        self.workloads().iter().filter(move |it| self::namespace(*it) == namespace)
    }

    /// The namespaces with Pods or workloads that have the rarest label of the selector.
    pub fn near_namespaces(&self, service: &Service) -> Vec<&str> {
        self.index().namespaces_with_a_label(service)
    }

    /// The Ingresses with a path that leads to the Service.
    pub fn ingresses_to(&self, service: &Service) -> impl Iterator<Item = &Ingress> {
        let places = self.index().ingresses(namespace(service), name(service)).iter();
        places.filter_map(|place| self.ingresses().get(*place))
    }

    /// The routes with a rule that leads to the Service.
    pub fn routes_to(&self, service: &Service) -> impl Iterator<Item = &Route> {
        let places = self.index().routes(namespace(service), name(service)).iter();
        places.filter_map(|place| self.routes().get(*place))
    }

    /// The events about a Pod.
    pub fn events_of(&self, pod: &Pod) -> impl Iterator<Item = &Event> {
        let places = self.index().events(namespace(pod), name(pod)).iter();
        places.filter_map(|place| self.events().get(*place))
    }

    /// The message of the last event in the list that says that the Pods of a workload cannot be
    /// created.
    pub fn failure_of(&self, kind: &str, namespace: &str, name: &str) -> Option<&str> {
        let places = self.index().events(namespace, name).iter().rev();
        let mut events = places.filter_map(|place| self.events().get(*place));
        let failed = events.find(|it| {
            it.reason.as_deref() == Some("FailedCreate")
                && it.involved_object.kind.as_deref() == Some(kind)
        });
        failed?.message.as_deref()
    }

    /// The Services with this cluster IP.
    pub fn at_cluster_ip(&self, ip: &str) -> impl Iterator<Item = &Service> {
        let places = self.index().at_cluster_ip(ip).iter();
        places.filter_map(|place| self.services().get(*place))
    }

    /// The Pods of kube-proxy.
    pub fn proxy_pods(&self) -> impl Iterator<Item = &Pod> {
        self.index().proxy_pods.iter().filter_map(|place| self.pods().get(*place))
    }

    /// Whether a Pod has a status, so that the objects show which Pods run.
    pub fn show_pods(&self) -> bool {
        self.index().shows_pods
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::new(&self.store))
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods().get(self.index().pod(namespace, name)?)
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes().get(self.index().node(name)?)
    }

    /// The node that has this address.
    pub fn node_at(&self, address: &str) -> Option<&Node> {
        self.nodes().iter().find(|node| node_addresses(node).contains(&address))
    }

    pub fn ingress(&self, namespace: &str, name: &str) -> Option<&Ingress> {
        self.ingresses().iter().find(|it| is(*it, namespace, name))
    }

    /// `resource` is `httproutes`, for example.
    pub fn route(&self, resource: &str, namespace: &str, name: &str) -> Option<&Route> {
        let mut routes = self.routes().iter();
        routes.find(|it| is_resource(&it.kind, resource) && is(*it, namespace, name))
    }

    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.config_maps().iter().find(|it| is(*it, namespace, name))
    }

    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces().iter().any(|it| self::name(it) == name)
    }

    /// The EndpointSlices of a Service.
    pub fn slices_of(
        &self,
        namespace: &str,
        service: &str,
    ) -> impl Iterator<Item = &EndpointSlice> {
        let places = self.index().slices(namespace, service).iter();
        places.filter_map(|place| self.slices().get(*place))
    }
}

/// The Service of the cluster's DNS: `kube-system/kube-dns`, or else a Service of kube-system with
/// the same label and port 53, as in RKE2. A Service for metrics can have the label, too.
pub(in crate::explain) fn dns_service(services: &[Service]) -> Option<usize> {
    let is_labelled = |service: &Service| {
        let labels = service.metadata.labels.as_ref();
        namespace(service) == "kube-system"
            && labels.and_then(|it| it.get("k8s-app")).is_some_and(|it| it == "kube-dns")
            && ports(service).iter().any(|port| port.port == 53)
    };
    let usual = services.iter().position(|it| is(it, "kube-system", "kube-dns"));
    usual.or_else(|| services.iter().position(is_labelled))
}

/// Whether the objects of a kind are this resource: `Deployment` and `deployments`.
pub(in crate::explain) fn is_resource(kind: &str, resource: &str) -> bool {
    resource.strip_suffix('s').is_some_and(|it| it.eq_ignore_ascii_case(kind))
}

/// Whether the selector of the Service matches an object with these labels. An empty selector
/// matches nothing.
pub(in crate::explain) fn selects(service: &Service, metadata: &ObjectMeta) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = metadata.labels.as_ref();
    selector.is_some_and(|selector| {
        !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| labels.is_some_and(|labels| labels.get(key) == Some(value)))
    })
}

/// Whether the Service selects Pods. An empty selector selects none.
pub(in crate::explain) fn has_selector(service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| !selector.is_empty())
}

pub(in crate::explain) fn name<T: Metadata<Ty = ObjectMeta>>(it: &T) -> &str {
    it.metadata().name.as_deref().unwrap_or_default()
}

/// `default` if the object names none.
pub(in crate::explain) fn namespace<T: Metadata<Ty = ObjectMeta>>(it: &T) -> &str {
    it.metadata()
        .namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or("default")
}

pub(in crate::explain) fn is<T: Metadata<Ty = ObjectMeta>>(
    it: &T,
    namespace: &str,
    name: &str,
) -> bool {
    self::name(it) == name && self::namespace(it) == namespace
}

/// `NAMESPACE/NAME`.
pub(in crate::explain) fn path<T: Metadata<Ty = ObjectMeta>>(it: &T) -> String {
    format!("{}/{}", namespace(it), name(it))
}

/// The type, which is `ClusterIP` if it is absent.
pub(in crate::explain) fn kind(service: &Service) -> &str {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.type_.as_deref())
        .filter(|kind| !kind.is_empty())
        .unwrap_or("ClusterIP")
}

pub(in crate::explain) fn is_headless(service: &Service) -> bool {
    kind(service) != "ExternalName"
        && service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

/// The cluster IPs; none for a headless Service.
pub(in crate::explain) fn cluster_ips(service: &Service) -> Vec<&str> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let several = spec.cluster_ips.iter().flatten().map(String::as_str);
    let mut ips = Vec::new();
    for ip in several.chain(spec.cluster_ip.as_deref()) {
        if !ip.is_empty() && ip != "None" && !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips
}

pub(in crate::explain) fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// The protocol, which is `TCP` if it is absent.
pub(in crate::explain) fn protocol(text: Option<&String>) -> &str {
    text.map(String::as_str).filter(|text| !text.is_empty()).unwrap_or("TCP")
}

/// `http 80/TCP`.
pub(in crate::explain) fn port_name(port: &ServicePort) -> String {
    let name = port
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .map_or(String::new(), |name| format!("{name} "));
    format!("{name}{}/{}", port.port, protocol(port.protocol.as_ref()))
}

/// `targetPort`: a number or a name. It is the Service's port if it is absent.
pub(in crate::explain) fn target(port: &ServicePort) -> String {
    match &port.target_port {
        Some(IntOrString::String(name)) => name.clone(),
        Some(IntOrString::Int(number)) if *number != 0 => number.to_string(),
        _ => port.port.to_string(),
    }
}

/// Whether the text can be a host name. Underscores are accepted, as DNS servers do.
pub(in crate::explain) fn is_host_name(text: &str) -> bool {
    let fits = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    };
    text.strip_suffix('.').unwrap_or(text).split('.').all(fits)
}

/// The ports of the containers, and of init containers that keep running (sidecars).
pub(in crate::explain) fn declared(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.iter()).into_iter().flatten();
    let sidecars = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let sidecars = sidecars.filter(|container| is_sidecar(container));
    containers.chain(sidecars).filter_map(|container| container.ports.as_ref()).flatten()
}

/// Whether an init container keeps running beside the others.
pub(in crate::explain) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The number of the Service's port at a Pod; `None` if it is a name that no container has.
pub(in crate::explain) fn at_pod(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        Some(IntOrString::String(name)) => declared(pod)
            .find(|it| {
                it.name.as_deref() == Some(name)
                    && protocol(it.protocol.as_ref()) == protocol(port.protocol.as_ref())
            })
            .map(|it| it.container_port),
        Some(IntOrString::Int(number)) if *number != 0 => Some(*number),
        _ => Some(port.port),
    }
}

/// Whether the Pod has a status. In a repository of manifests, Pods have none.
pub(in crate::explain) fn has_status(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|it| it.phase.is_some() || it.pod_ip.is_some())
}

/// The addresses in the Pod's status.
pub(in crate::explain) fn pod_addresses(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else { return Vec::new() };
    let several: Vec<&str> = status.pod_ips.iter().flatten().map(|it| it.ip.as_str()).collect();
    if several.is_empty() { status.pod_ip.as_deref().into_iter().collect() } else { several }
}

/// The addresses in `spec.externalIPs`.
pub(in crate::explain) fn external_ips(service: &Service) -> &[String] {
    service.spec.as_ref().and_then(|spec| spec.external_ips.as_deref()).unwrap_or_default()
}

/// The addresses that clients outside use, each with kube-proxy's word for it: `external IP` or
/// `loadbalancer IP`.
pub(in crate::explain) fn outside_addresses(service: &Service) -> Vec<(&str, &'static str)> {
    let external = external_ips(service).iter().map(|ip| (ip.as_str(), "external IP"));
    let balancer = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref())
        .unwrap_or_default();
    // A load balancer with ipMode Proxy sends to the node ports, so kube-proxy has no rule for its
    // address.
    let balanced = balancer
        .iter()
        .filter(|it| it.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|it| it.ip.as_deref())
        .map(|ip| (ip, "loadbalancer IP"));
    external.chain(balanced).collect()
}

/// The addresses of a node that are not host names.
pub(in crate::explain) fn node_addresses(node: &Node) -> Vec<&str> {
    let addresses =
        node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    addresses
        .iter()
        .map(|it| it.address.as_str())
        .filter(|text| text.parse::<std::net::IpAddr>().is_ok())
        .collect()
}

/// Whether the node has the condition Ready.
pub(in crate::explain) fn is_node_ready(node: &Node) -> bool {
    let conditions =
        node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True")
}
