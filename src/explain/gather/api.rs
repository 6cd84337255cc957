//! Reads the objects that `explain` needs from an API server: lists in pages, and some objects by
//! name.

use std::collections::BTreeSet;

use http::Request as HttpRequest;
use k8s_openapi::api::core::v1::Pod;

use crate::{
    explain::{
        Objects,
        evidence::Unread,
        objects,
        view::{destination::Destination, hosts},
    },
    limits,
    source::{
        api::ClusterConfig,
        kind::{
            CLUSTER_ROLE, CLUSTER_ROLE_BINDING, CONFIG_MAP, DEPLOYMENT, ENDPOINT_SLICE, INGRESS,
            INGRESS_CLASS, NODE, POD,
        },
    },
};

use super::{Gathered, Request, extra, reader::Reader};

pub(super) async fn read(
    cluster: &ClusterConfig,
    request: &Request,
    wanted: &Destination,
) -> anyhow::Result<Gathered> {
    let mut reader = Reader::open(cluster).await?;
    let namespace = reader.client.default_namespace().to_owned();
    let own = request
        .pod
        .as_ref()
        .map(|(namespace, _)| namespace.clone())
        .or_else(|| request.namespace.clone())
        .unwrap_or_else(|| namespace.clone());
    let mut near: BTreeSet<String> = [own, "default".to_owned(), "kube-system".to_owned()].into();
    reader.services(&mut near, wanted).await?;
    reader.list(&INGRESS, "", "").await?;
    let of_ingress = reader
        .objects
        .ingresses()
        .iter()
        .filter(|it| hosts::has_host(it, &wanted.host))
        .map(|it| objects::namespace(it).to_owned());
    near.extend(of_ingress.collect::<Vec<_>>());
    for namespace in &near {
        reader.list(&ENDPOINT_SLICE, namespace, "").await?;
        // kube-system often has many Pods, and only these matter.
        let labels = if namespace == "kube-system" && !is_about(wanted, namespace) {
            "k8s-app in (kube-dns,coredns,kube-proxy)"
        } else {
            ""
        };
        reader.list(&POD, namespace, labels).await?;
    }
    reader.list(&NODE, "", "").await?;
    reader.get(&CONFIG_MAP, "kube-system", "coredns").await?;
    if !reader.objects.ingresses().is_empty() {
        reader.list(&INGRESS_CLASS, "", "").await?;
    }
    if wanted.host.is_empty() {
        reader.list(&DEPLOYMENT, "kube-system", "").await?;
        reader.get(&CLUSTER_ROLE, "", "system:coredns").await?;
        reader.get(&CLUSTER_ROLE_BINDING, "", "system:coredns").await?;
    }
    extra::read(&mut reader, &near, wanted).await?;
    reader.secrets(wanted).await?;
    reader.synced(&near);
    let Reader { objects, changes, unread, complaints, kinds, .. } = reader;
    Ok(Gathered { objects, changes, unread, namespace: Some(namespace), complaints, kinds })
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
    let request = HttpRequest::get(uri).body(Vec::new()).ok()?;
    let client = cluster.client().await.ok()?;
    match tokio::time::timeout(limits::EXPLAIN_ASK_TIME, client.request_text(request)).await.ok()? {
        Ok(text) => Some(text),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let why = status.message.clone();
            unread.push(Unread {
                resource: "pods/log".to_owned(),
                verb: "get",
                namespace: objects::namespace(pod).to_owned(),
                why,
                forbidden: true,
            });
            None
        }
        // The rules can be right although kubelet cannot be reached.
        Err(_) => None,
    }
}

/// Whether the namespace is a label of the name.
fn is_about(wanted: &Destination, namespace: &str) -> bool {
    wanted.host.split('.').any(|label| label == namespace)
}
