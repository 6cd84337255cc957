//! Looks at the cluster, the server and the node, and judges nothing. It only reads.
#![expect(clippy::disallowed_methods, reason = "files are read here")]

mod api;
mod ask;
mod asker;
mod manifests;
mod node;

use std::path::PathBuf;

use crate::{model::Change, net::client::Server, source::api::ClusterConfig};

use super::{Evidence, Objects, OwnZone, corefile, evidence::Unread, names::Wanted};

/// What is to be explained, and from where it is seen.
pub struct Request {
    /// Empty for the cluster's DNS itself.
    pub name: String,
    pub namespace: Option<String>,
    /// Namespace and name of the Pod that asks.
    pub pod: Option<(String, String)>,
    pub server: Option<Server>,
    pub node: Option<String>,
    /// What commands on a node wrote.
    pub rules: Vec<PathBuf>,
    pub source: Source,
}

pub enum Source {
    Manifests(PathBuf),
    Cluster(ClusterConfig),
}

/// What a source gave.
struct Gathered {
    objects: Objects,
    changes: Vec<Change>,
    unread: Vec<Unread>,
    /// The namespace of a kubeconfig's context.
    namespace: Option<String>,
    /// Complaints that are for the person and not about the name.
    complaints: Vec<String>,
}

/// # Errors
/// Where the source is not there, or the Pod that asks is not in it.
pub async fn gather(request: &Request) -> anyhow::Result<Evidence> {
    let wanted = Wanted::parse(&request.name);
    let is_live = matches!(request.source, Source::Cluster(_));
    let gathered = match &request.source {
        Source::Manifests(directory) => manifests::read(directory)?,
        Source::Cluster(place) => api::read(place, request, &wanted).await?,
    };
    let Gathered { objects, changes, mut unread, namespace, complaints } = gathered;
    let zone = corefile::zone(&objects).unwrap_or_else(|| "cluster.local".to_owned());
    let own = OwnZone::new(changes, &zone).map_err(|reason| anyhow::anyhow!(reason))?;
    let here = node::addresses();
    let asker = asker::find(request, &objects, &zone, namespace, is_live)?;
    let node =
        request.node.clone().or_else(|| if is_live { node::named(&objects, &here) } else { None });
    let mut rules = node::rules(
        request,
        node.as_deref(),
        is_live && node.as_deref() == node::named(&objects, &here).as_deref(),
        &mut unread,
    )?;
    if let (Source::Cluster(place), Some(node)) = (&request.source, &node) {
        api::proxy_log(place, &objects, node, &mut unread)
            .await
            .inspect(|text| rules.add_log(text));
    }
    let mut evidence = Evidence {
        name: request.name.clone(),
        objects,
        own,
        zone,
        asker,
        asked: super::evidence::Asked::default(),
        rules,
        node,
        unread,
        is_live,
        complaints,
    };
    evidence.asked =
        ask::ask(request, &evidence, &wanted, node::is_inside(&evidence.objects, &here)).await;
    Ok(evidence)
}
