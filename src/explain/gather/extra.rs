//! The kinds that only some questions need: workloads, Events, policies and the Gateway API.

use std::collections::BTreeSet;

use crate::{
    explain::{
        objects,
        view::{
            destination::Destination,
            foreign::{ForeignPolicy, POLICIES},
            pods,
        },
    },
    source::{
        api::ClusterConfig,
        kind::{
            DAEMON_SET, DEPLOYMENT, ENDPOINT_SLICE, EVENT, GATEWAY, GATEWAY_CLASS, GRPC_ROUTE,
            HTTP_ROUTE, INGRESS, INGRESS_CLASS, KindDescriptor, NAMESPACE, NETWORK_POLICY, NODE,
            POD, REFERENCE_GRANT, SERVICE, STATEFUL_SET, TCP_ROUTE, TLS_ROUTE, UDP_ROUTE,
        },
    },
};

use super::{Gathered, reader::Reader};

/// The prefix of the names of Calico's policies that are copies of NetworkPolicies of the API.
const COPIED: &str = "knp.default.";

pub(super) async fn read(
    reader: &mut Reader,
    near: &BTreeSet<String>,
    wanted: &Destination,
) -> anyhow::Result<()> {
    for namespace in near {
        reader.list(&NETWORK_POLICY, namespace, "").await?;
    }
    if !wanted.host.is_empty() || wanted.object.is_some() {
        other_policies(reader, near).await;
    }
    gateways(reader, near, wanted).await?;
    reasons(reader, near, wanted).await
}

/// Reads all objects of the cluster, or of one namespace.
pub(super) async fn read_all(
    cluster: &ClusterConfig,
    namespace: Option<&str>,
) -> anyhow::Result<Gathered> {
    let mut reader = Reader::open(cluster).await?;
    let own = reader.client.default_namespace().to_owned();
    let cluster_wide: [&'static KindDescriptor; 5] =
        [&NAMESPACE, &NODE, &INGRESS_CLASS, &GATEWAY_CLASS, &GATEWAY];
    for kind in cluster_wide {
        reader.list(kind, "", "").await?;
    }
    let namespaced: [&'static KindDescriptor; 14] = [
        &SERVICE,
        &ENDPOINT_SLICE,
        &POD,
        &INGRESS,
        &HTTP_ROUTE,
        &GRPC_ROUTE,
        &TLS_ROUTE,
        &TCP_ROUTE,
        &UDP_ROUTE,
        &REFERENCE_GRANT,
        &NETWORK_POLICY,
        &DEPLOYMENT,
        &STATEFUL_SET,
        &DAEMON_SET,
    ];
    for kind in namespaced {
        reader.list(kind, namespace.unwrap_or_default(), "").await?;
    }
    let near: BTreeSet<String> =
        reader.objects.namespaces().iter().map(|it| objects::name(it).to_owned()).collect();
    reader.synced(&near);
    let Reader { objects, changes, unread, complaints, kinds, .. } = reader;
    Ok(Gathered { objects, changes, unread, namespace: Some(own), complaints, kinds })
}

/// Counts the policies of other API groups in the namespaces of the connection. A group that is not
/// installed or may not be read is left out, because nothing shows that it is used.
async fn other_policies(reader: &mut Reader, near: &BTreeSet<String>) {
    for ForeignPolicy { kind, version, resource } in POLICIES {
        let items = reader.peek(&format!("/apis/{version}/{resource}?limit=500")).await;
        let concerns = |item: &&serde_json::Value| {
            let text = |at: &str| item.pointer(at).and_then(serde_json::Value::as_str);
            let namespace = text("/metadata/namespace");
            !text("/metadata/name").unwrap_or_default().starts_with(COPIED)
                && namespace.is_none_or(|it| near.contains(it))
        };
        let count = items.iter().filter(concerns).count();
        if count > 0 {
            reader.kinds.insert((version.to_owned(), kind.to_owned()), count);
        }
    }
}

/// Reads the Gateway API if the name is not that of a Service.
async fn gateways(
    reader: &mut Reader,
    near: &BTreeSet<String>,
    wanted: &Destination,
) -> anyhow::Result<()> {
    let first = wanted.host.split('.').next().unwrap_or_default();
    let is_service = near.iter().any(|it| reader.objects.service(it, first).is_some());
    if is_service && wanted.path.is_none() || wanted.host.is_empty() && wanted.object.is_none() {
        return Ok(());
    }
    let routes: [&'static KindDescriptor; 5] =
        [&HTTP_ROUTE, &GRPC_ROUTE, &TLS_ROUTE, &TCP_ROUTE, &UDP_ROUTE];
    for kind in routes {
        reader.list(kind, "", "").await?;
    }
    if !reader.objects.routes().is_empty() {
        let others: [&'static KindDescriptor; 3] = [&GATEWAY, &GATEWAY_CLASS, &REFERENCE_GRANT];
        for kind in others {
            reader.list(kind, "", "").await?;
        }
    }
    Ok(())
}

/// Reads what explains missing endpoints: workloads of Services without Pods, and warnings about
/// Pods that are not ready.
async fn reasons(
    reader: &mut Reader,
    near: &BTreeSet<String>,
    wanted: &Destination,
) -> anyhow::Result<()> {
    for namespace in near {
        let meant = |name: &str| wanted.host.split('.').any(|label| label == name);
        let services = reader.objects.services().iter();
        let mut without = services.filter(|service| {
            objects::namespace(*service) == namespace
                && meant(objects::name(*service))
                && service.spec.as_ref().is_some_and(|spec| spec.selector.is_some())
                && reader.objects.selected(service).next().is_none()
        });
        if without.next().is_some() || wanted.object.is_some() {
            let workloads: [&'static KindDescriptor; 3] = [&DEPLOYMENT, &STATEFUL_SET, &DAEMON_SET];
            for kind in workloads {
                reader.list(kind, namespace, "").await?;
            }
        }
        if reader.objects.pods_in(namespace).any(|pod| !pods::is_ready(pod)) {
            let path = EVENT.path(EVENT.newest(), namespace);
            let uri = format!("{path}?limit=500&fieldSelector=type%3DWarning");
            for item in reader.peek(&uri).await {
                reader.add(&EVENT, EVENT.newest(), &item.to_string());
            }
        }
    }
    Ok(())
}
