//! A directory of manifests as a cluster: what is written, and what the controllers that are played
//! make of it.

use std::path::Path;

use k8s_openapi::{
    api::{
        core::v1::{Namespace, ObjectReference, Service, ServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    explain::{Objects, objects},
    model::{self, Addressing, Change, Object},
    source::manifests::Manifests,
};

use super::Gathered;

pub(super) fn read(directory: &Path) -> anyhow::Result<Gathered> {
    let mut manifests = Manifests::open(directory, None)?;
    let reading = manifests.read();
    let mut said: Vec<String> = reading.faults.iter().map(ToString::to_string).collect();
    let mut all = Objects::default();
    for value in manifests.values() {
        if let Err(sentence) = all.add(value) {
            said.push(sentence);
        }
    }
    for change in &reading.changes {
        if let Change::Upsert(object) = change {
            play(&mut all, object);
        }
    }
    Ok(Gathered {
        objects: all,
        changes: reading.changes,
        unread: Vec::new(),
        namespace: None,
        said,
    })
}

/// Gives the objects what controllers gave the facts.
fn play(all: &mut Objects, object: &Object) {
    match object {
        Object::Namespace(it) if !all.has_namespace(&it.name) => {
            all.namespaces.push(Namespace { metadata: meta("", &it.name), ..Namespace::default() });
        }
        Object::Service(it) => service(all, it),
        Object::EndpointSlice(it) => slice(all, it),
        _ => {}
    }
}

fn meta(namespace: &str, name: &str) -> ObjectMeta {
    let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    ObjectMeta { name: Some(name.to_owned()), namespace, ..ObjectMeta::default() }
}

fn service(all: &mut Objects, fact: &model::Service) {
    let known = all.services.iter_mut().find(|it| objects::is(*it, &fact.namespace, &fact.name));
    let service = match known {
        Some(service) => service,
        None => {
            let ports = fact.ports.iter().map(|port| ServicePort {
                name: Some(port.name.to_string()),
                port: port.port.into(),
                ..ServicePort::default()
            });
            let spec = ServiceSpec { ports: Some(ports.collect()), ..ServiceSpec::default() };
            all.services.push(Service {
                metadata: meta(&fact.namespace, &fact.name),
                spec: Some(spec),
                status: None,
            });
            let last = all.services.len() - 1;
            &mut all.services[last]
        }
    };
    let spec = service.spec.get_or_insert_default();
    if let Addressing::ClusterIps(ips) = &fact.addressing {
        spec.cluster_ip = ips.first().map(ToString::to_string);
        spec.cluster_ips = Some(ips.iter().map(ToString::to_string).collect());
    }
    for (port, fact) in spec.ports.iter_mut().flatten().zip(&fact.ports) {
        port.node_port = port.node_port.or(fact.node_port.map(Into::into));
    }
}

fn slice(all: &mut Objects, fact: &model::EndpointSlice) {
    // Those that are written say more than their facts.
    if all.slices.iter().any(|it| objects::is(it, &fact.namespace, &fact.name)) {
        return;
    }
    let endpoint = |it: &model::Endpoint| {
        let pod = it.pod.as_deref().and_then(|name| all.pod(&fact.namespace, name));
        Endpoint {
            addresses: vec![it.address.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                ..EndpointConditions::default()
            }),
            hostname: it.hostname.as_deref().map(str::to_owned),
            node_name: pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()),
            target_ref: it.pod.as_deref().map(|name| ObjectReference {
                kind: Some("Pod".to_owned()),
                name: Some(name.to_owned()),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        }
    };
    let port = |it: &model::EndpointPort| EndpointPort {
        name: Some(it.name.to_string()),
        port: it.port.map(Into::into),
        protocol: Some(it.protocol.label().to_ascii_uppercase()),
        ..EndpointPort::default()
    };
    let is_v6 = fact.endpoints.first().is_some_and(|it| it.address.is_ipv6());
    let mut metadata = meta(&fact.namespace, &fact.name);
    metadata.labels = fact
        .service
        .as_ref()
        .map(|service| [("kubernetes.io/service-name".to_owned(), service.to_string())].into());
    let slice = EndpointSlice {
        address_type: if is_v6 { "IPv6" } else { "IPv4" }.to_owned(),
        endpoints: fact.endpoints.iter().map(endpoint).collect(),
        metadata,
        ports: Some(fact.ports.iter().map(port).collect()),
    };
    all.slices.push(slice);
}
