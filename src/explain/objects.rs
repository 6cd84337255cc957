//! The API's objects, with the fields that the zone's facts leave out on purpose.

use k8s_openapi::{
    Metadata,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service, ServicePort},
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use crate::source::kind::{ApiObject, ObjectStore};

/// The objects of a cluster. An object of any kind in `source::kind::ALL` is among them.
#[derive(Default)]
pub struct Objects(ObjectStore);

impl Objects {
    /// # Errors
    /// If a field has another type than in the API. The message names the object.
    pub fn add(&mut self, object: &ApiObject) -> Result<(), String> {
        object
            .store(&mut self.0)
            .map_err(|error| format!("{} {}: {error}", object.kind.name, object.name))
    }

    pub fn namespaces(&self) -> &[Namespace] {
        self.0.all()
    }

    pub fn services(&self) -> &[Service] {
        self.0.all()
    }

    pub fn slices(&self) -> &[EndpointSlice] {
        self.0.all()
    }

    pub fn pods(&self) -> &[Pod] {
        self.0.all()
    }

    pub fn nodes(&self) -> &[Node] {
        self.0.all()
    }

    pub fn ingresses(&self) -> &[Ingress] {
        self.0.all()
    }

    pub fn ingress_classes(&self) -> &[IngressClass] {
        self.0.all()
    }

    pub fn secrets(&self) -> &[Secret] {
        self.0.all()
    }

    pub fn config_maps(&self) -> &[ConfigMap] {
        self.0.all()
    }

    pub fn deployments(&self) -> &[Deployment] {
        self.0.all()
    }

    pub fn cluster_roles(&self) -> &[ClusterRole] {
        self.0.all()
    }

    pub fn cluster_role_bindings(&self) -> &[ClusterRoleBinding] {
        self.0.all()
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services().iter().find(|it| is(*it, namespace, name))
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods().iter().find(|it| is(*it, namespace, name))
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes().iter().find(|it| self::name(*it) == name)
    }

    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.config_maps().iter().find(|it| is(*it, namespace, name))
    }

    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces().iter().any(|it| self::name(it) == name)
    }

    /// The EndpointSlices of a Service.
    pub fn slices_of<'o>(
        &'o self,
        namespace: &'o str,
        service: &'o str,
    ) -> impl Iterator<Item = &'o EndpointSlice> {
        let named = move |slice: &EndpointSlice| {
            let labels = slice.metadata.labels.as_ref();
            labels
                .and_then(|labels| labels.get("kubernetes.io/service-name"))
                .is_some_and(|name| name == service)
        };
        self.slices()
            .iter()
            .filter(move |slice| self::namespace(*slice) == namespace && named(slice))
    }
}

pub(super) fn name<T: Metadata<Ty = ObjectMeta>>(it: &T) -> &str {
    it.metadata().name.as_deref().unwrap_or_default()
}

/// `default` if the object names none.
pub(super) fn namespace<T: Metadata<Ty = ObjectMeta>>(it: &T) -> &str {
    it.metadata()
        .namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or("default")
}

pub(super) fn is<T: Metadata<Ty = ObjectMeta>>(it: &T, namespace: &str, name: &str) -> bool {
    self::name(it) == name && self::namespace(it) == namespace
}

/// `NAMESPACE/NAME`.
pub(super) fn path<T: Metadata<Ty = ObjectMeta>>(it: &T) -> String {
    format!("{}/{}", namespace(it), name(it))
}

/// The type, which is `ClusterIP` if it is absent.
pub(super) fn kind(service: &Service) -> &str {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.type_.as_deref())
        .filter(|kind| !kind.is_empty())
        .unwrap_or("ClusterIP")
}

pub(super) fn is_headless(service: &Service) -> bool {
    kind(service) != "ExternalName"
        && service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

/// The cluster IPs; none for a headless Service.
pub(super) fn cluster_ips(service: &Service) -> Vec<&str> {
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

pub(super) fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// The protocol, which is `TCP` if it is absent.
pub(super) fn protocol(text: Option<&String>) -> &str {
    text.map(String::as_str).filter(|text| !text.is_empty()).unwrap_or("TCP")
}

/// `http 80/TCP`.
pub(super) fn port_name(port: &ServicePort) -> String {
    let name = port
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .map_or(String::new(), |name| format!("{name} "));
    format!("{name}{}/{}", port.port, protocol(port.protocol.as_ref()))
}

/// `targetPort`: a number or a name. It is the Service's port if it is absent.
pub(super) fn target(port: &ServicePort) -> String {
    match &port.target_port {
        Some(IntOrString::String(name)) => name.clone(),
        Some(IntOrString::Int(number)) if *number != 0 => number.to_string(),
        _ => port.port.to_string(),
    }
}
