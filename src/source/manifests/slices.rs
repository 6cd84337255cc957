//! EndpointSlices from Pods, as the endpointslice controller makes them for Services with a
//! selector.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Value, json};

use crate::{
    limits,
    model::{self, Addressing, Protocol},
    source::kind::{Pod, PortRef, SERVICE_NAME, Service, ServicePort, protocol},
};

use super::allocate::{Family, families};

/// A Pod that is not finished and has addresses.
pub(super) struct RunningPod {
    pub(super) pod: Pod,
    pub(super) addresses: Box<[IpAddr]>,
}

/// The Pods of one namespace.
#[derive(Default)]
pub(super) struct RunningPods {
    all: Vec<RunningPod>,
    /// Positions by key and value of a label.
    by_label: BTreeMap<(String, String), Vec<usize>>,
}

impl RunningPods {
    pub(super) fn add(&mut self, pod: RunningPod) {
        for (key, value) in &pod.pod.metadata.labels {
            let label = (key.clone(), value.clone());
            self.by_label.entry(label).or_default().push(self.all.len());
        }
        self.all.push(pod);
    }

    /// The Pods that the selector matches. Only the Pods with the rarest label of the selector are
    /// compared.
    fn selected(&self, service: &Service) -> Vec<&RunningPod> {
        let lists = service.spec.selector.iter().map(|(key, value)| {
            self.by_label.get(&(key.clone(), value.clone())).map_or(&[][..], Vec::as_slice)
        });
        let rarest = lists.min_by_key(|list| list.len()).unwrap_or_default();
        let pods = rarest.iter().filter_map(|place| self.all.get(*place));
        pods.filter(|it| is_selected(service, &it.pod)).collect()
    }
}

/// The topology zones of Nodes by their names.
pub(super) type Zones = BTreeMap<String, String>;

/// The EndpointSlices of a Service over the Pods of its namespace.
pub(super) fn of_service(
    service: &Service,
    fact: &model::Service,
    pods: &RunningPods,
    zones: &Zones,
) -> Vec<Value> {
    let selected = pods.selected(service);
    endpoint_families(service, fact)
        .into_iter()
        .flat_map(|family| of_family(service, &selected, zones, family))
        .collect()
}

/// A Service with cluster IPs has endpoints of the families of its cluster IPs. A headless Service
/// has endpoints of the families that it names.
fn endpoint_families(service: &Service, fact: &model::Service) -> Vec<Family> {
    match &fact.addressing {
        Addressing::ClusterIps(ips) => [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| ips.iter().any(|ip| family.has(*ip)))
            .collect(),
        Addressing::Headless | Addressing::ExternalName(_) => families(service),
    }
}

/// Name, protocol and number of the Service's ports at a Pod.
type Ports = Vec<(String, Protocol, u16)>;

/// EndpointSlices of one family. A slice has one list of ports, so Pods whose port names stand for
/// different numbers are in different slices.
fn of_family(service: &Service, pods: &[&RunningPod], zones: &Zones, family: Family) -> Vec<Value> {
    let mut groups: BTreeMap<Ports, Vec<Value>> = BTreeMap::new();
    for RunningPod { pod, addresses } in
        pods.iter().filter(|it| it.pod.is_ready() || service.spec.publish_not_ready_addresses)
    {
        let Some(address) = addresses.iter().find(|address| family.has(**address)) else {
            continue;
        };
        let ports = service.spec.ports.iter().filter_map(|port| target(port, pod)).collect();
        groups.entry(ports).or_default().push(endpoint(service, pod, *address, zones));
    }
    let chunks = groups.iter().flat_map(|(ports, endpoints)| {
        endpoints.chunks(limits::SLICE_ENDPOINTS).map(move |chunk| (ports, chunk))
    });
    chunks
        .enumerate()
        .map(|(index, (ports, endpoints))| slice(service, family, index, ports, endpoints))
        .collect()
}

/// A slice has the labels of its Service, and the Service's name.
fn slice(
    service: &Service,
    family: Family,
    index: usize,
    ports: &Ports,
    endpoints: &[Value],
) -> Value {
    let meta = &service.metadata;
    let mut labels = meta.labels.clone();
    labels.insert(SERVICE_NAME.to_owned(), meta.name.clone());
    let port = |(name, protocol, port): &(String, Protocol, u16)| json!({ "name": name, "protocol": protocol.label().to_ascii_uppercase(), "port": port });
    json!({
        "metadata": {
            "name": format!("{}-{}-{index:03}", meta.name, family.name()),
            "namespace": meta.namespace,
            "labels": labels,
        },
        "addressType": family.address_type(),
        "endpoints": endpoints,
        "ports": ports.iter().map(port).collect::<Vec<_>>(),
    })
}

fn endpoint(service: &Service, pod: &Pod, address: IpAddr, zones: &Zones) -> Value {
    // A headless Service publishes the host names of Pods that name it as their subdomain.
    let is_named = pod.spec.subdomain.as_deref() == Some(&*service.metadata.name);
    json!({
        "addresses": [address],
        "conditions": { "ready": true },
        "hostname": pod.spec.hostname.as_deref().filter(|name| is_named && !name.is_empty()),
        "nodeName": pod.spec.node_name,
        "zone": pod.spec.node_name.as_ref().and_then(|node| zones.get(node)),
        "targetRef": {
            "kind": "Pod",
            "name": pod.metadata.name,
            "namespace": pod.metadata.namespace,
        },
    })
}

fn is_selected(service: &Service, pod: &Pod) -> bool {
    service.spec.selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
}

/// A Service's port at a Pod; `None` if its `targetPort` is a name that no container of the Pod
/// has.
fn target(port: &ServicePort, pod: &Pod) -> Option<(String, Protocol, u16)> {
    let protocol = protocol(port.protocol.as_deref()).ok()?;
    let number = match &port.target_port {
        Some(wanted) if *wanted != PortRef::Number(0) => pod.port(wanted, protocol)?,
        _ => port.port?,
    };
    Some((port.name.clone(), protocol, number))
}
