//! The API's objects as they are, with the fields that the zone's facts leave out on purpose.

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
use serde::de::DeserializeOwned;
use serde_json::Value;

#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub namespaces: Vec<Namespace>,
    pub services: Vec<Service>,
    pub slices: Vec<EndpointSlice>,
    pub pods: Vec<Pod>,
    pub nodes: Vec<Node>,
    pub ingresses: Vec<Ingress>,
    pub ingress_classes: Vec<IngressClass>,
    pub secrets: Vec<Secret>,
    pub config_maps: Vec<ConfigMap>,
    pub deployments: Vec<Deployment>,
    pub cluster_roles: Vec<ClusterRole>,
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
}

impl Objects {
    /// Adds an object of a kind that is looked at; others are passed over.
    ///
    /// # Errors
    /// Why it is none.
    pub fn add(&mut self, value: Value) -> Result<(), String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let group = text("apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
        match (group, text("kind")) {
            ("", "Namespace") => push(&mut self.namespaces, value),
            ("", "Service") => push(&mut self.services, value),
            ("", "Pod") => push(&mut self.pods, value),
            ("", "Node") => push(&mut self.nodes, value),
            ("", "Secret") => push(&mut self.secrets, value),
            ("", "ConfigMap") => push(&mut self.config_maps, value),
            ("discovery.k8s.io", "EndpointSlice") => push(&mut self.slices, value),
            ("networking.k8s.io", "Ingress") => push(&mut self.ingresses, value),
            ("networking.k8s.io", "IngressClass") => push(&mut self.ingress_classes, value),
            ("apps", "Deployment") => push(&mut self.deployments, value),
            ("rbac.authorization.k8s.io", "ClusterRole") => push(&mut self.cluster_roles, value),
            ("rbac.authorization.k8s.io", "ClusterRoleBinding") => {
                push(&mut self.cluster_role_bindings, value)
            }
            _ => Ok(()),
        }
    }

    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.iter().find(|it| is(*it, namespace, name))
    }

    pub fn pod(&self, namespace: &str, name: &str) -> Option<&Pod> {
        self.pods.iter().find(|it| is(*it, namespace, name))
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|it| self::name(*it) == name)
    }

    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.config_maps.iter().find(|it| is(*it, namespace, name))
    }

    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.iter().any(|it| self::name(it) == name)
    }

    /// Slices of a Service.
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
        self.slices.iter().filter(move |slice| self::namespace(*slice) == namespace && named(slice))
    }
}

fn push<T: DeserializeOwned>(list: &mut Vec<T>, value: Value) -> Result<(), String> {
    let named = |value: &Value| {
        let text = |pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned()
        };
        format!("{} {}", text("/kind"), text("/metadata/name"))
    };
    let name = named(&value);
    list.push(serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))?);
    Ok(())
}

pub(super) fn name<T: Metadata<Ty = ObjectMeta>>(it: &T) -> &str {
    it.metadata().name.as_deref().unwrap_or_default()
}

/// `default` where a manifest names none.
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

/// `ClusterIP` where the type is absent.
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

/// Addresses inside the cluster; none for a headless Service.
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

/// `TCP` where it is absent.
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

/// The port at the Pods, as it is written: a number or a name.
pub(super) fn target(port: &ServicePort) -> String {
    match &port.target_port {
        Some(IntOrString::String(name)) => name.clone(),
        Some(IntOrString::Int(number)) if *number != 0 => number.to_string(),
        _ => port.port.to_string(),
    }
}
