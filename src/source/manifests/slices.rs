//! EndpointSlices from Pods, as the endpointslice controller makes them for Services with a
//! selector.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    limits,
    model::{self, Addressing, EndpointPort, Object, Protocol},
    source::kind::{Pod, PortRef, Service, ServicePort, protocol},
};

use super::allocate::{Family, families};

/// A Pod that runs, with its addresses.
pub(super) struct Running {
    pub(super) pod: Pod,
    pub(super) fact: model::Pod,
}

/// The topology zones of Nodes by their names.
pub(super) type Zones = BTreeMap<String, Arc<str>>;

/// Slices of a Service, `object` as a fact, over the Pods of its namespace.
pub(super) fn of_service<'p>(
    service: &Service,
    object: &Object,
    pods: impl Iterator<Item = &'p Running> + Clone,
    zones: &Zones,
) -> Vec<model::EndpointSlice> {
    let selected = pods.filter(|it| is_selected(service, &it.pod));
    endpoint_families(service, object)
        .into_iter()
        .flat_map(|family| of_family(service, selected.clone(), zones, family))
        .collect()
}

/// A Service with addresses has endpoints of their families, a headless one of those that it names.
fn endpoint_families(service: &Service, object: &Object) -> Vec<Family> {
    match object {
        Object::Service(model::Service { addressing: Addressing::ClusterIps(ips), .. }) => {
            [Family::V4, Family::V6]
                .into_iter()
                .filter(|family| ips.iter().any(|ip| family.has(*ip)))
                .collect()
        }
        _ => families(service),
    }
}

/// Name, protocol and number of a port at some Pods.
type Ports = Vec<(String, Protocol, u16)>;

/// Slices of one family: Pods at which a name means different ports go to different ones.
fn of_family<'p>(
    service: &Service,
    pods: impl Iterator<Item = &'p Running>,
    zones: &Zones,
    family: Family,
) -> Vec<model::EndpointSlice> {
    let mut groups: BTreeMap<Ports, Vec<model::Endpoint>> = BTreeMap::new();
    for Running { pod, fact } in
        pods.filter(|it| it.pod.is_ready() || service.spec.publish_not_ready_addresses)
    {
        let Some(address) = fact.addresses.iter().copied().find(|address| family.has(*address))
        else {
            continue;
        };
        let named = pod.spec.subdomain.as_deref() == Some(&*service.metadata.name);
        let hostname =
            pod.spec.hostname.as_deref().filter(|name| named && !name.is_empty()).map(Into::into);
        let ports = service.spec.ports.iter().filter_map(|port| target(port, pod)).collect();
        let zone = pod.spec.node_name.as_ref().and_then(|node| zones.get(node)).cloned();
        let node = pod.spec.node_name.as_deref().map(Into::into);
        groups.entry(ports).or_default().push(model::Endpoint {
            address,
            hostname,
            pod: Some(fact.name.clone()),
            zone,
            node,
        });
    }
    let chunks = groups.iter().flat_map(|(ports, endpoints)| {
        endpoints.chunks(limits::SLICE_ENDPOINTS).map(move |chunk| (ports, chunk))
    });
    let slice =
        |(index, (ports, chunk)): (usize, (&Ports, &[model::Endpoint]))| model::EndpointSlice {
            namespace: service.metadata.namespace.as_str().into(),
            name: format!("{}-{}-{index:03}", service.metadata.name, family.name()).into(),
            service: Some(service.metadata.name.as_str().into()),
            import: None,
            endpoints: chunk.into(),
            ports: ports
                .iter()
                .map(|(name, protocol, port)| EndpointPort {
                    name: name.as_str().into(),
                    protocol: *protocol,
                    port: Some(*port),
                })
                .collect(),
        };
    chunks.enumerate().map(slice).collect()
}

fn is_selected(service: &Service, pod: &Pod) -> bool {
    service.spec.selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
}

/// A Service's port at a Pod; none where the Pod does not have the name.
fn target(port: &ServicePort, pod: &Pod) -> Option<(String, Protocol, u16)> {
    let protocol = protocol(port.protocol.as_deref()).ok()?;
    let number = match &port.target_port {
        Some(wanted) if *wanted != PortRef::Number(0) => pod.port(wanted, protocol)?,
        _ => port.port?,
    };
    Some((port.name.clone(), protocol, number))
}
