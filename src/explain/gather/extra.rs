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
            CONFIG_MAP, DAEMON_SET, DEPLOYMENT, ENDPOINT_SLICE, EVENT, GATEWAY, GATEWAY_CLASS,
            GRPC_ROUTE, HTTP_ROUTE, INGRESS, INGRESS_CLASS, KindDescriptor, NAMESPACE,
            NETWORK_POLICY, NODE, POD, REFERENCE_GRANT, SERVICE, STATEFUL_SET, TCP_ROUTE,
            TLS_ROUTE, UDP_ROUTE,
        },
    },
};

use super::{Gathered, reach::Reach, reader::Reader};

/// The prefix of the names of Calico's policies that are copies of NetworkPolicies of the API.
const COPIED: &str = "knp.default.";

pub(super) async fn read(
    reader: &mut Reader,
    near: &BTreeSet<String>,
    wanted: &Destination,
    reach: &Reach,
) -> anyhow::Result<()> {
    reader.list_in(&NETWORK_POLICY, near, "").await?;
    if !wanted.host.is_empty() || wanted.object.is_some() {
        other_policies(reader, near).await;
    }
    reasons(reader, near, reach).await
}

/// Reads all objects of the cluster, or those of one namespace and of what they lead to.
pub(super) async fn read_all(
    cluster: &ClusterConfig,
    namespace: Option<&str>,
) -> anyhow::Result<Gathered> {
    let mut reader = Reader::open(cluster).await?;
    let own = reader.client.default_namespace().to_owned();
    let everywhere = BTreeSet::from([String::new()]);
    reader.get(&CONFIG_MAP, "kube-system", "coredns").await?;
    let cluster_wide: [&'static KindDescriptor; 4] =
        [&NAMESPACE, &NODE, &INGRESS_CLASS, &GATEWAY_CLASS];
    for kind in cluster_wide {
        reader.list_in(kind, &everywhere, "").await?;
    }
    let mut near: BTreeSet<String> = namespace.into_iter().map(str::to_owned).collect();
    let joined: [&'static KindDescriptor; 9] = [
        &SERVICE,
        &INGRESS,
        &HTTP_ROUTE,
        &GRPC_ROUTE,
        &TLS_ROUTE,
        &TCP_ROUTE,
        &UDP_ROUTE,
        &GATEWAY,
        &REFERENCE_GRANT,
    ];
    for kind in joined {
        reader.list_near(kind, &near).await?;
    }
    let reach = Reach::of_all(&mut reader, namespace);
    let there = if namespace.is_some() {
        near.extend(reach.namespaces);
        reader.list_near(&SERVICE, &near).await?;
        &near
    } else {
        &everywhere
    };
    let of_pods: [&'static KindDescriptor; 6] =
        [&ENDPOINT_SLICE, &POD, &NETWORK_POLICY, &DEPLOYMENT, &STATEFUL_SET, &DAEMON_SET];
    for kind in of_pods {
        reader.list_in(kind, there, "").await?;
    }
    reader.secrets(&reach.secrets).await?;
    Ok(reader.finish(&near, own))
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
pub(super) async fn gateways(
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
        reader.list_near(kind, near).await?;
    }
    if !reader.objects.routes().is_empty() {
        let everywhere = BTreeSet::from([String::new()]);
        reader.list_in(&GATEWAY_CLASS, &everywhere, "").await?;
        reader.list_near(&GATEWAY, near).await?;
        reader.list_near(&REFERENCE_GRANT, near).await?;
    }
    Ok(())
}

/// Reads what explains missing endpoints: workloads of Services without Pods, and warnings about
/// Pods that are not ready.
async fn reasons(
    reader: &mut Reader,
    near: &BTreeSet<String>,
    reach: &Reach,
) -> anyhow::Result<()> {
    let objects = &reader.objects;
    let has_no_pods = |(namespace, name): &&(String, String)| {
        objects.service(namespace, name).is_some_and(|service| {
            objects::has_selector(service) && objects.selected(service).next().is_none()
        })
    };
    let without_pods = reach.services.iter().filter(has_no_pods);
    let mut places: BTreeSet<String> =
        without_pods.map(|(namespace, _)| namespace.clone()).collect();
    places.extend(reach.without_service.iter().cloned());
    let workloads: [&'static KindDescriptor; 3] = [&DEPLOYMENT, &STATEFUL_SET, &DAEMON_SET];
    for kind in workloads {
        reader.list_in(kind, &places, "").await?;
    }
    for namespace in near {
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
