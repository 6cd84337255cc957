//! Reads what is needed from an API server: lists in pages, some objects by name, and nothing else.

use std::collections::BTreeSet;

use http::Request as HttpRequest;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde_json::Value;

use crate::{
    explain::{
        Objects,
        evidence::Unread,
        ingress,
        names::{ClusterName, Wanted, take_apart},
        objects,
    },
    limits,
    model::{self, Change, Kind, Object},
    source::{api::Place, kind::Resource},
};

use super::{Gathered, Request};

/// A collection: where it is, and what its objects are.
struct Collection {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
}

const fn collection(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Collection {
    Collection { group, version, plural, kind }
}

const NAMESPACES: Collection = collection("", "v1", "namespaces", "Namespace");
const SERVICES: Collection = collection("", "v1", "services", "Service");
const PODS: Collection = collection("", "v1", "pods", "Pod");
const NODES: Collection = collection("", "v1", "nodes", "Node");
const SECRETS: Collection = collection("", "v1", "secrets", "Secret");
const CONFIG_MAPS: Collection = collection("", "v1", "configmaps", "ConfigMap");
const SLICES: Collection = collection("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
const INGRESSES: Collection = collection("networking.k8s.io", "v1", "ingresses", "Ingress");
const INGRESS_CLASSES: Collection =
    collection("networking.k8s.io", "v1", "ingressclasses", "IngressClass");
const DEPLOYMENTS: Collection = collection("apps", "v1", "deployments", "Deployment");
const CLUSTER_ROLES: Collection =
    collection("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole");
const CLUSTER_ROLE_BINDINGS: Collection =
    collection("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding");

pub(super) async fn read(
    place: &Place,
    request: &Request,
    wanted: &Wanted,
) -> anyhow::Result<Gathered> {
    let client = place.client().await?;
    let namespace = client.default_namespace().to_owned();
    let mut reader = Reader {
        client,
        objects: Objects::default(),
        changes: Vec::new(),
        unread: Vec::new(),
        said: Vec::new(),
    };
    let own = request
        .pod
        .as_ref()
        .map(|(namespace, _)| namespace.clone())
        .or_else(|| request.namespace.clone())
        .unwrap_or_else(|| namespace.clone());
    let mut near: BTreeSet<String> = [own, "default".to_owned(), "kube-system".to_owned()].into();
    reader.services(&mut near, wanted).await?;
    reader.list(&INGRESSES, "", "").await?;
    let of_ingress = reader
        .objects
        .ingresses
        .iter()
        .filter(|it| ingress::has_host(it, &wanted.host))
        .map(|it| objects::namespace(it).to_owned());
    near.extend(of_ingress.collect::<Vec<_>>());
    for namespace in &near {
        reader.list(&SLICES, namespace, "").await?;
        // The system's own Pods are many, and few of them matter.
        let labels = if namespace == "kube-system" && !is_about(wanted, namespace) {
            "k8s-app in (kube-dns,kube-proxy)"
        } else {
            ""
        };
        reader.list(&PODS, namespace, labels).await?;
    }
    reader.list(&NODES, "", "").await?;
    reader.get(&CONFIG_MAPS, "kube-system", "coredns").await?;
    reader.secrets(wanted).await?;
    if !reader.objects.ingresses.is_empty() {
        reader.list(&INGRESS_CLASSES, "", "").await?;
    }
    if wanted.host.is_empty() {
        reader.list(&DEPLOYMENTS, "kube-system", "k8s-app=kube-dns").await?;
        reader.get(&CLUSTER_ROLES, "", "system:coredns").await?;
        reader.get(&CLUSTER_ROLE_BINDINGS, "", "system:coredns").await?;
    }
    reader.synced(&near);
    let Reader { objects, changes, unread, said, .. } = reader;
    Ok(Gathered { objects, changes, unread, namespace: Some(namespace), said })
}

/// What kube-proxy of a node has said lately; it starts with complaints that mean little.
pub(super) async fn proxy_log(
    place: &Place,
    all: &Objects,
    node: &str,
    unread: &mut Vec<Unread>,
) -> Option<String> {
    let of_node = |pod: &&Pod| {
        let labels = pod.metadata.labels.as_ref();
        labels.is_some_and(|labels| labels.get("k8s-app").is_some_and(|app| app == "kube-proxy"))
            && pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(node))
    };
    let pod = all.pods.iter().find(of_node)?;
    let uri = format!(
        "/api/v1/namespaces/{}/pods/{}/log?tailLines=200&sinceSeconds=600",
        objects::namespace(pod),
        objects::name(pod)
    );
    let request = HttpRequest::get(uri).body(Vec::new()).ok()?;
    let client = place.client().await.ok()?;
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
        // A kubelet that cannot be reached says nothing of the rules.
        Err(_) => None,
    }
}

/// Whether the name speaks of the namespace.
fn is_about(wanted: &Wanted, namespace: &str) -> bool {
    wanted.host.split('.').any(|label| label == namespace)
}

struct Reader {
    client: Client,
    objects: Objects,
    changes: Vec<Change>,
    unread: Vec<Unread>,
    said: Vec<String>,
}

impl Reader {
    /// All Services, and the namespaces that the name may be in.
    async fn services(
        &mut self,
        near: &mut BTreeSet<String>,
        wanted: &Wanted,
    ) -> anyhow::Result<()> {
        self.list(&NAMESPACES, "", "").await?;
        let labels = wanted.host.split('.').map(str::to_owned);
        let known: Vec<String> = labels.filter(|label| self.objects.has_namespace(label)).collect();
        near.extend(known);
        if let Some(ClusterName::Service { namespace, .. }) =
            take_apart(&wanted.host, "cluster.local")
        {
            near.insert(namespace);
        }
        self.list(&SERVICES, "", "").await?;
        if self.unread.last().is_some_and(|it| it.resource == "services") {
            // An account may see some namespaces and not all.
            self.unread.pop();
            for namespace in near.iter() {
                self.list(&SERVICES, namespace, "").await?;
            }
        }
        Ok(())
    }

    /// The certificates of the host's Ingresses.
    async fn secrets(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        let ingresses =
            self.objects.ingresses.iter().filter(|it| ingress::has_host(it, &wanted.host));
        let entries = ingresses.flat_map(|it| {
            it.spec
                .iter()
                .flat_map(|spec| spec.tls.iter().flatten())
                .map(|tls| (objects::namespace(it).to_owned(), tls.secret_name.clone()))
        });
        let names: BTreeSet<(String, String)> =
            entries.filter_map(|(namespace, name)| Some((namespace, name?))).collect();
        for (namespace, name) in names {
            self.get(&SECRETS, &namespace, &name).await?;
        }
        Ok(())
    }

    async fn list(&mut self, of: &Collection, namespace: &str, labels: &str) -> anyhow::Result<()> {
        let mut after = String::new();
        loop {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", &limits::API_PAGE.to_string());
            if !labels.is_empty() {
                query.append_pair("labelSelector", labels);
            }
            if !after.is_empty() {
                query.append_pair("continue", &after);
            }
            let uri = format!("{}?{}", of.path(namespace), query.finish());
            let Some(mut page) = self.fetch(of, "list", namespace, &uri).await? else {
                return Ok(());
            };
            let items = page
                .get_mut("items")
                .and_then(Value::as_array_mut)
                .map(std::mem::take)
                .unwrap_or_default();
            items.into_iter().for_each(|item| self.add(of, item));
            match page.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(more) if !more.is_empty() => more.clone_into(&mut after),
                _ => return Ok(()),
            }
        }
    }

    async fn get(&mut self, of: &Collection, namespace: &str, name: &str) -> anyhow::Result<()> {
        let uri = format!("{}/{name}", of.path(namespace));
        if let Some(object) = self.fetch(of, "get", namespace, &uri).await? {
            self.add(of, object);
        }
        Ok(())
    }

    /// `None` where there is nothing, or it may not be read; a server that does not answer at all
    /// is an error.
    async fn fetch(
        &mut self,
        of: &Collection,
        verb: &'static str,
        namespace: &str,
        uri: &str,
    ) -> anyhow::Result<Option<Value>> {
        let request = HttpRequest::get(uri).body(Vec::new())?;
        let reply =
            tokio::time::timeout(limits::API_PAGE_TIME, self.client.request::<Value>(request))
                .await;
        let (why, forbidden) = match reply {
            Ok(Ok(value)) => return Ok(Some(value)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return Ok(None),
            Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
                anyhow::bail!("the API server does not know this account: {}", status.message)
            }
            Ok(Err(kube::Error::Api(status))) => (status.message.clone(), status.code == 403),
            Ok(Err(error)) => anyhow::bail!("the API server cannot be asked: {error}"),
            Err(_) => anyhow::bail!(
                "the API server does not answer within {} s",
                limits::API_PAGE_TIME.as_secs()
            ),
        };
        let resource = if of.group.is_empty() {
            of.plural.to_owned()
        } else {
            format!("{}.{}", of.plural, of.group)
        };
        self.unread.push(Unread {
            resource,
            verb,
            namespace: namespace.to_owned(),
            why,
            forbidden,
        });
        Ok(None)
    }

    fn add(&mut self, of: &Collection, mut value: Value) {
        if let Some(fields) = value.as_object_mut() {
            let version = if of.group.is_empty() {
                of.version.to_owned()
            } else {
                format!("{}/{}", of.group, of.version)
            };
            fields.insert("apiVersion".to_owned(), version.into());
            fields.insert("kind".to_owned(), of.kind.into());
        }
        if let Some(kind) = [Kind::Namespace, Kind::Service, Kind::EndpointSlice]
            .into_iter()
            .find(|kind| kind.name() == of.kind)
            && let Ok(seen) = Resource::of(kind).read(&value.to_string())
            && let Ok(Some(fact)) = seen.fact
        {
            self.changes.push(Change::Upsert(fact));
        }
        if let Err(sentence) = self.objects.add(value) {
            self.said.push(sentence);
        }
    }

    /// Tells the zone which kinds are known. Namespaces that may not be read are taken for real.
    fn synced(&mut self, near: &BTreeSet<String>) {
        let lacks = |plural: &str| {
            self.unread.iter().find(|it| it.resource.starts_with(plural)).map(|it| it.why.clone())
        };
        if lacks("namespaces").is_some() {
            let namespaces = near.iter().map(|name| {
                Object::Namespace(model::Namespace {
                    name: name.as_str().into(),
                    labels: Box::default(),
                })
            });
            self.changes.extend(namespaces.map(Change::Upsert));
        }
        let refused = |kind: Kind, why: Option<String>| match why {
            Some(why) => Change::Refused(kind, why.into()),
            None => Change::Synced(kind),
        };
        let states = [
            Change::Synced(Kind::Namespace),
            refused(Kind::Service, lacks("services")),
            refused(Kind::EndpointSlice, lacks("endpointslices")),
        ];
        self.changes.extend(states);
    }
}

impl Collection {
    fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if namespace.is_empty() {
            format!("{root}/{}", self.plural)
        } else {
            format!("{root}/namespaces/{namespace}/{}", self.plural)
        }
    }
}
