//! Collects the evidence from the cluster, the DNS server and the node. It only reads, and it draws
//! no conclusions.
#![expect(clippy::disallowed_methods, reason = "files are read here")]

mod api;
mod ask;
mod asker;
mod extra;
mod forward;
mod manifests;
mod node;
mod probe;
mod reach;
mod reader;
mod switch;

pub use switch::read as switch_evidence;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Instant, SystemTime},
};

use crate::{
    model::{Change, Object},
    net::client::Nameserver,
    source::{api::ClusterConfig, kind::CONFIG_MAP, manifests::ManifestSource},
};

use super::{
    Evidence, ExpectedZone, Objects, SimulatedServer,
    corefile::{self, ClusterView},
    evidence::{Asker, Unread},
    expected::Coverage,
    objects,
    view::{claims, destination::Destination},
};

/// What to explain, and the sources to read.
pub struct Request {
    /// The name to explain; empty for a report on the cluster's DNS.
    pub name: String,
    pub namespace: Option<String>,
    /// Namespace and name of the Pod from which the name is looked up.
    pub pod: Option<(String, String)>,
    pub server: Option<Nameserver>,
    pub node: Option<String>,
    /// Files with the output of commands on a node.
    pub rules: Vec<PathBuf>,
    /// Whether connections to the Service are tried.
    pub probe: bool,
    pub source: Source,
}

pub enum Source {
    /// Files and directories; `-` is standard input.
    Manifests(Vec<PathBuf>),
    Cluster(ClusterConfig),
}

/// What was read from one source.
struct Gathered {
    objects: Objects,
    changes: Vec<Change>,
    unread: Vec<Unread>,
    /// The namespace of the kubeconfig's context.
    namespace: Option<String>,
    /// Messages about the source itself, for the user.
    complaints: Vec<String>,
    /// How many objects the manifests have of each `apiVersion` and `kind`.
    kinds: BTreeMap<(String, String), usize>,
    coverage: Coverage,
}

/// Collects the evidence about all objects. No DNS server is queried, and no node is looked at.
///
/// # Errors
/// If the source cannot be read.
pub async fn gather_all(request: &Request) -> anyhow::Result<Evidence> {
    let is_live = matches!(request.source, Source::Cluster(_));
    let gathered = match &request.source {
        Source::Manifests(paths) => manifests::read(paths)?,
        Source::Cluster(place) => extra::read_all(place, request.namespace.as_deref()).await?,
    };
    everything(request, gathered, is_live)
}

/// The evidence that the text of manifests gives about a name.
pub(super) fn of_text(name: &str, text: &[u8]) -> anyhow::Result<Evidence> {
    let source = ManifestSource::Text { name: "text".into(), bytes: text.to_vec() };
    let request = Request {
        name: name.to_owned(),
        namespace: None,
        pod: None,
        server: None,
        node: None,
        rules: Vec::new(),
        probe: false,
        source: Source::Manifests(Vec::new()),
    };
    let evidence = everything(&request, manifests::of(vec![source])?, false)?;
    Ok(Evidence { name: name.to_owned(), ..evidence })
}

fn everything(request: &Request, gathered: Gathered, is_live: bool) -> anyhow::Result<Evidence> {
    let not_asked = Some("no DNS server was queried".to_owned());
    let asked = super::evidence::Asked { not_asked, ..Default::default() };
    Ok(Evidence { asked, is_overview: true, ..evidence("", request, gathered, is_live)? })
}

/// The evidence from the objects.
fn evidence(
    name: &str,
    request: &Request,
    gathered: Gathered,
    is_live: bool,
) -> anyhow::Result<Evidence> {
    let Gathered { objects, mut changes, unread, namespace, complaints, kinds, coverage } =
        gathered;
    let view = ClusterView::new(&objects);
    changes.retain(|change| match change {
        Change::Upsert(Object::Service(fact)) => {
            objects.service(&fact.namespace, &fact.name).is_none_or(|it| view.shows(it))
        }
        _ => true,
    });
    let expected = ExpectedZone::new(changes, view, coverage);
    let refused_claims = claims::refused(&objects, &expected);
    let zone = &expected.view().zone;
    let asker = asker::find(request, &objects, zone, namespace, is_live)?;
    let evidence = Evidence::new(name, objects, expected, asker, SystemTime::now());
    Ok(Evidence { refused_claims, unread, is_live, complaints, kinds, ..evidence })
}

/// # Errors
/// If the source cannot be read, or the Pod of the request does not exist.
pub async fn gather(request: &Request) -> anyhow::Result<Evidence> {
    let wanted = Destination::parse(&request.name);
    let is_live = matches!(request.source, Source::Cluster(_));
    let gathered = match &request.source {
        Source::Manifests(paths) => manifests::read(paths)?,
        Source::Cluster(place) => api::read(place, request, &wanted).await?,
    };
    let mut evidence = evidence(&request.name, request, gathered, is_live)?;
    let objects = &evidence.objects;
    let here = node::addresses();
    let of_machine = if is_live { node::named(objects, &here) } else { None };
    let node = request.node.clone().or_else(|| of_machine.clone());
    let is_here = is_live && node == of_machine;
    let mut rules = node::rules(request, node.as_deref(), is_here, &mut evidence.unread).await?;
    if let (Source::Cluster(place), Some(node)) = (&request.source, &node) {
        api::proxy_log(place, objects, node, &mut evidence.unread)
            .await
            .inspect(|text| rules.add_log(text));
    }
    evidence.simulated = simulated(objects, &evidence.expected, &evidence.asker);
    (evidence.rules, evidence.node) = (rules, node);
    let wanted = wanted.resolve(&evidence.objects, &evidence.asker.namespace);
    let is_inside = node::is_inside(&evidence.objects, &here);
    let forwarder = match &request.source {
        Source::Cluster(place) if request.probe && !is_inside => {
            Some(forward::Forwarder::new(place.client().await?))
        }
        _ => None,
    };
    evidence.asked = ask::ask(request, &evidence, &wanted, is_inside, forwarder.as_ref()).await;
    if request.probe {
        evidence.probes = probe::probe(&evidence, &wanted, forwarder).await;
    }
    Ok(evidence)
}

/// The DNS server as the client sees it.
fn simulated(objects: &Objects, expected: &ExpectedZone, asker: &Asker) -> Option<SimulatedServer> {
    let client = asker.pod.iter().flat_map(objects::pod_addresses).next();
    let client = client.and_then(|address| address.parse().ok());
    SimulatedServer::new(objects, expected.store(), client, Instant::now())
}

/// What the Corefile of a cluster says about its zone; `None` if there is no Corefile, or this
/// account may not read it.
///
/// # Errors
/// If the API server does not answer, or does not know the account.
pub async fn live_kubernetes(
    cluster: &ClusterConfig,
) -> anyhow::Result<Option<corefile::LiveKubernetes>> {
    let mut reader = reader::Reader::open(cluster).await?;
    reader.get(&CONFIG_MAP, "kube-system", "coredns").await?;
    Ok(corefile::live_kubernetes(&reader.objects))
}
