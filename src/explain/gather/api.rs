//! Reads the objects that `explain` needs from an API server: lists in pages, and some objects by
//! name.

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
        names::{ClusterName, Destination, take_apart},
        objects,
    },
    limits,
    model::{self, Change, Kind, Object},
    source::{
        api::{ClusterConfig, Page},
        kind::{
            ApiObject, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, CONFIG_MAP, DEPLOYMENT, ENDPOINT_SLICE,
            INGRESS, INGRESS_CLASS, KindDescriptor, NAMESPACE, NODE, POD, SECRET, SERVICE, Version,
        },
    },
};

use super::{Gathered, Request};

pub(super) async fn read(
    cluster: &ClusterConfig,
    request: &Request,
    wanted: &Destination,
) -> anyhow::Result<Gathered> {
    let client = cluster.client().await?;
    let namespace = client.default_namespace().to_owned();
    let mut reader = Reader {
        client,
        objects: Objects::default(),
        changes: Vec::new(),
        unread: Vec::new(),
        complaints: Vec::new(),
    };
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
        .filter(|it| ingress::has_host(it, &wanted.host))
        .map(|it| objects::namespace(it).to_owned());
    near.extend(of_ingress.collect::<Vec<_>>());
    for namespace in &near {
        reader.list(&ENDPOINT_SLICE, namespace, "").await?;
        // The system's own Pods are many, and few of them matter.
        let labels = if namespace == "kube-system" && !is_about(wanted, namespace) {
            "k8s-app in (kube-dns,kube-proxy)"
        } else {
            ""
        };
        reader.list(&POD, namespace, labels).await?;
    }
    reader.list(&NODE, "", "").await?;
    reader.get(&CONFIG_MAP, "kube-system", "coredns").await?;
    reader.secrets(wanted).await?;
    if !reader.objects.ingresses().is_empty() {
        reader.list(&INGRESS_CLASS, "", "").await?;
    }
    if wanted.host.is_empty() {
        reader.list(&DEPLOYMENT, "kube-system", "k8s-app=kube-dns").await?;
        reader.get(&CLUSTER_ROLE, "", "system:coredns").await?;
        reader.get(&CLUSTER_ROLE_BINDING, "", "system:coredns").await?;
    }
    reader.synced(&near);
    let Reader { objects, changes, unread, complaints, .. } = reader;
    Ok(Gathered {
        objects,
        changes,
        unread,
        namespace: Some(namespace),
        complaints,
        kinds: std::collections::BTreeMap::new(),
    })
}

/// The recent log of a node's kube-proxy. Its first lines after a start are left out, because they
/// contain warnings that mean little.
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
        // A kubelet that cannot be reached says nothing about the rules.
        Err(_) => None,
    }
}

/// Whether the namespace is a label of the name.
fn is_about(wanted: &Destination, namespace: &str) -> bool {
    wanted.host.split('.').any(|label| label == namespace)
}

struct Reader {
    client: Client,
    objects: Objects,
    changes: Vec<Change>,
    unread: Vec<Unread>,
    complaints: Vec<String>,
}

impl Reader {
    /// Reads all Services, and adds the namespaces that the name may be in to `near`.
    async fn services(
        &mut self,
        near: &mut BTreeSet<String>,
        wanted: &Destination,
    ) -> anyhow::Result<()> {
        self.list(&NAMESPACE, "", "").await?;
        let labels = wanted.host.split('.').map(str::to_owned);
        let known: Vec<String> = labels.filter(|label| self.objects.has_namespace(label)).collect();
        near.extend(known);
        if let Some(ClusterName::Service { namespace, .. }) =
            take_apart(&wanted.host, "cluster.local")
        {
            near.insert(namespace);
        }
        self.list(&SERVICE, "", "").await?;
        if self.unread.last().is_some_and(|it| it.resource == "services") {
            // An account may be allowed to read some namespaces and not all.
            self.unread.pop();
            for namespace in near.iter() {
                self.list(&SERVICE, namespace, "").await?;
            }
        }
        Ok(())
    }

    /// The certificates of the host's Ingresses.
    async fn secrets(&mut self, wanted: &Destination) -> anyhow::Result<()> {
        let ingresses =
            self.objects.ingresses().iter().filter(|it| ingress::has_host(it, &wanted.host));
        let entries = ingresses.flat_map(|it| {
            it.spec
                .iter()
                .flat_map(|spec| spec.tls.iter().flatten())
                .map(|tls| (objects::namespace(it).to_owned(), tls.secret_name.clone()))
        });
        let names: BTreeSet<(String, String)> =
            entries.filter_map(|(namespace, name)| Some((namespace, name?))).collect();
        for (namespace, name) in names {
            self.get(&SECRET, &namespace, &name).await?;
        }
        Ok(())
    }

    async fn list(
        &mut self,
        kind: &'static KindDescriptor,
        namespace: &str,
        labels: &str,
    ) -> anyhow::Result<()> {
        for version in kind.served() {
            let mut after = String::new();
            loop {
                let path = kind.path(version, namespace);
                let uri = format!("{path}?{}", page_query(labels, &after));
                let text = match self.fetch(kind, "list", namespace, &uri).await? {
                    Fetched::Found(text) => text,
                    Fetched::NotFound => break,
                    Fetched::Unreadable => return Ok(()),
                };
                let page = match Page::read(kind.name, text.as_bytes()) {
                    Ok(page) => page,
                    Err(error) => {
                        self.unread.push(unread(kind, "list", namespace, error.to_string()));
                        return Ok(());
                    }
                };
                page.items.iter().for_each(|item| self.add(kind, version, item.get()));
                if page.metadata.after.is_empty() {
                    return Ok(());
                }
                after = page.metadata.after;
            }
        }
        Ok(())
    }

    async fn get(
        &mut self,
        kind: &'static KindDescriptor,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<()> {
        for version in kind.served() {
            let uri = format!("{}/{name}", kind.path(version, namespace));
            match self.fetch(kind, "get", namespace, &uri).await? {
                Fetched::Found(object) => {
                    self.add(kind, version, &object);
                    break;
                }
                Fetched::NotFound => {}
                Fetched::Unreadable => break,
            }
        }
        Ok(())
    }

    /// # Errors
    /// If the server does not answer, or does not know the account.
    async fn fetch(
        &mut self,
        kind: &KindDescriptor,
        verb: &'static str,
        namespace: &str,
        uri: &str,
    ) -> anyhow::Result<Fetched> {
        let request = HttpRequest::get(uri).body(Vec::new())?;
        let reply =
            tokio::time::timeout(limits::API_PAGE_TIME, self.client.request_text(request)).await;
        let (why, forbidden) = match reply {
            Ok(Ok(text)) => return Ok(Fetched::Found(text)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Ok(Fetched::NotFound);
            }
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
        self.unread.push(Unread { forbidden, ..unread(kind, verb, namespace, why) });
        Ok(Fetched::Unreadable)
    }

    fn add(&mut self, kind: &'static KindDescriptor, version: &Version, json: &str) {
        let Ok(Value::Object(fields)) = serde_json::from_str(json) else { return };
        let object = ApiObject::new(kind, version, fields);
        if let Ok(decoded) = object.decode()
            && let Ok(Some(fact)) = decoded.fact
        {
            self.changes.push(Change::Upsert(fact));
        }
        self.complaints.extend(self.objects.add(&object).err());
    }

    /// Emits which kinds are known. If Namespaces may not be read, those in `near` are taken as
    /// existing.
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

/// The result of a request.
enum Fetched {
    /// The JSON text of the reply.
    Found(String),
    NotFound,
    /// It is among [`Reader::unread`].
    Unreadable,
}

/// Says that objects of this kind are not known. The account may read them.
fn unread(kind: &KindDescriptor, verb: &'static str, namespace: &str, why: String) -> Unread {
    let (resource, namespace) = (kind.resource(), namespace.to_owned());
    Unread { resource, verb, namespace, why, forbidden: false }
}

fn page_query(labels: &str, after: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &limits::API_PAGE.to_string());
    if !labels.is_empty() {
        query.append_pair("labelSelector", labels);
    }
    if !after.is_empty() {
        query.append_pair("continue", after);
    }
    query.finish()
}
