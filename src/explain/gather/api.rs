//! Reads the objects that `explain` needs from an API server: lists in pages, and some objects by
//! name.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use crate::{
    explain::{
        Objects, corefile,
        evidence::Unread,
        objects,
        view::destination::{Destination, NamedObject, ObjectKind},
    },
    limits,
    source::{
        api::{ClusterConfig, ReadError, read as read_text},
        kind::{
            self, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, CONFIG_MAP, DEPLOYMENT, ENDPOINT_SLICE,
            INGRESS, INGRESS_CLASS, KindDescriptor, NAMESPACE, NODE, POD, SERVICE,
        },
    },
};

use super::{
    Gathered, Request, extra,
    reach::{self, Reach},
    reader::Reader,
};

/// The namespace of the cluster's DNS.
const SYSTEM: &str = "kube-system";
/// The Pods of kube-system that matter for every name. The namespace often has many others.
const SYSTEM_PODS: &str = "k8s-app in (kube-dns,coredns,kube-proxy)";

pub(super) async fn read(
    cluster: &ClusterConfig,
    request: &Request,
    wanted: &Destination,
) -> anyhow::Result<Gathered> {
    let mut reader = Reader::open(cluster).await?;
    let of_context = reader.client.default_namespace().to_owned();
    let own = request
        .pod
        .as_ref()
        .map(|(namespace, _)| namespace.clone())
        .or_else(|| request.namespace.clone())
        .unwrap_or_else(|| of_context.clone());
    let everywhere = BTreeSet::from([String::new()]);
    let system = BTreeSet::from([SYSTEM.to_owned()]);
    reader.get(&CONFIG_MAP, SYSTEM, "coredns").await?;
    if request.name.is_empty() {
        reader.list_in(&DEPLOYMENT, &system, "").await?;
        reader.list_in(&CLUSTER_ROLE, &everywhere, "").await?;
        reader.list_in(&CLUSTER_ROLE_BINDING, &everywhere, "").await?;
    }
    reader.list_in(&NAMESPACE, &everywhere, "").await?;
    let zone = corefile::ClusterView::new(&reader.objects).zone;
    let mut near = reach::namespaces(&wanted.host, &own, &zone);
    near.extend([own.clone(), "default".to_owned(), SYSTEM.to_owned()]);
    if let Some(kind) = wanted.object.as_ref().and_then(workload) {
        reader.list_in(kind, &BTreeSet::from([own.clone()]), "").await?;
    }
    reader.list_near(&SERVICE, &near).await?;
    reader.list_near(&INGRESS, &near).await?;
    if !reader.objects.ingresses().is_empty() {
        reader.list_in(&INGRESS_CLASS, &everywhere, "").await?;
    }
    extra::gateways(&mut reader, &near, wanted).await?;
    if request.pod.is_some() {
        reader.list_in(&POD, &BTreeSet::from([own.clone()]), "").await?;
    }
    let mut reach = Reach::of(&mut reader, request, wanted, &of_context)?;
    // A Service of another namespace can be an alias of one in a third.
    while !reach.namespaces.is_subset(&near) {
        near.extend(reach.namespaces);
        reader.list_near(&SERVICE, &near).await?;
        reach = Reach::of(&mut reader, request, wanted, &of_context)?;
    }
    let is_about_system = own == SYSTEM || reach.namespaces.contains(SYSTEM);
    reader.list_in(&ENDPOINT_SLICE, &near, "").await?;
    if !is_about_system {
        reader.list_in(&POD, &system, SYSTEM_PODS).await?;
    }
    reader.list_in(&POD, &near, "").await?;
    reader.list_in(&NODE, &everywhere, "").await?;
    extra::read(&mut reader, &near, wanted, &reach).await?;
    reader.secrets(&reach.secrets).await?;
    Ok(reader.finish(&near, of_context))
}

/// The kind of a workload that the user named.
fn workload(object: &NamedObject) -> Option<&'static KindDescriptor> {
    let kind = kind::ALL.iter().find(|it| it.plural == object.resource);
    kind.copied().filter(|_| object.kind == ObjectKind::Workload)
}

/// The log of a node's kube-proxy: at most 200 lines of the last 10 minutes. Older lines are left
/// out, because the warnings at its start mean little.
pub(super) async fn proxy_log(
    cluster: &ClusterConfig,
    all: &Objects,
    node: &str,
    unread: &mut Vec<Unread>,
) -> Option<String> {
    let of_node = |pod: &&Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.is_some_and(|labels| labels.get("k8s-app").is_some_and(|app| app == "kube-proxy"))
            && pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(node))
    };
    let pod = all.pods().iter().find(of_node)?;
    let uri = format!(
        "/api/v1/namespaces/{}/pods/{}/log?tailLines=200&sinceSeconds=600",
        objects::namespace(pod),
        objects::name(pod)
    );
    let client = cluster.client().await.ok()?;
    match read_text(&client, &uri, limits::EXPLAIN_ASK_TIME).await {
        Ok(text) => Some(text),
        Err(ReadError::Status { code: 403, message: why }) => {
            unread.push(Unread {
                resource: "pods/log".to_owned(),
                verb: "get",
                namespace: objects::namespace(pod).to_owned(),
                why,
                forbidden: true,
                read_in: Vec::new(),
            });
            None
        }
        // The rules can be right although kubelet cannot be reached.
        Err(_) => None,
    }
}
