//! The endpoints of a Service, as kube-proxy reads its EndpointSlices.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::{
    core::v1::Service,
    discovery::v1::{Endpoint, EndpointSlice},
};

use crate::explain::{Evidence, objects, view::pods};

/// A missing condition means ready (EndpointConditions in the Kubernetes API).
pub(in crate::explain) fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

/// Whether Pods that are not ready are endpoints, too (`publishNotReadyAddresses`).
pub(in crate::explain) fn publishes_unready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

/// The endpoints that are ready, each with its slice.
pub(in crate::explain) fn ready<'e>(
    evidence: &'e Evidence,
    service: &'e Service,
) -> impl Iterator<Item = (&'e EndpointSlice, &'e Endpoint)> {
    let slices = evidence.objects.slices_of(objects::namespace(service), objects::name(service));
    slices
        .flat_map(|slice| slice.endpoints.iter().map(move |it| (slice, it)))
        .filter(|(_, it)| is_ready(it))
}

/// The number of the port with this name in a slice; an unnamed port has the empty name.
pub(in crate::explain) fn port(slice: &EndpointSlice, name: &str) -> Option<i32> {
    let mut ports = slice.ports.iter().flatten();
    ports.find(|it| it.name.as_deref().unwrap_or_default() == name)?.port
}

/// The addresses of the endpoints that get connections.
pub(in crate::explain) fn addresses(evidence: &Evidence, service: &Service) -> BTreeSet<IpAddr> {
    let slices = evidence.objects.slices_of(objects::namespace(service), objects::name(service));
    slices
        .flat_map(|slice| &slice.endpoints)
        .filter(|it| is_ready(it) || publishes_unready(service))
        .flat_map(|it| &it.addresses)
        .filter_map(|text| text.parse().ok())
        .collect()
}

/// The nodes of the ready endpoints, from their slices or from their Pods.
pub(in crate::explain) fn nodes<'e>(evidence: &'e Evidence, service: &'e Service) -> Vec<&'e str> {
    let mut nodes: Vec<&str> =
        ready(evidence, service).filter_map(|(_, it)| it.node_name.as_deref()).collect();
    nodes.extend(
        pods::ready(evidence, service).filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()),
    );
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}
