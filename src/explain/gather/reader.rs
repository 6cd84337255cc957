//! Requests to the API server: lists in pages, and objects by name.

use std::collections::{BTreeMap, BTreeSet};

use http::Request as HttpRequest;
use kube::Client;
use serde_json::Value;

use crate::{
    explain::{
        Objects,
        evidence::Unread,
        objects,
        view::{
            destination::Destination,
            hosts,
            names::{ClusterName, take_apart},
        },
    },
    limits,
    model::{self, Change, Kind, Object},
    source::{
        api::{ClusterConfig, Page},
        kind::{ApiObject, KindDescriptor, NAMESPACE, SECRET, SERVICE, Version},
    },
};

pub(super) struct Reader {
    pub(super) client: Client,
    /// The URL of the API server, for messages.
    server: String,
    pub(super) objects: Objects,
    pub(super) changes: Vec<Change>,
    pub(super) unread: Vec<Unread>,
    pub(super) complaints: Vec<String>,
    /// How many objects there are of kinds that are not read.
    pub(super) kinds: BTreeMap<(String, String), usize>,
}

impl Reader {
    /// # Errors
    /// If the configuration of the cluster does not exist or cannot be used.
    pub(super) async fn open(cluster: &ClusterConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: cluster.client().await?,
            server: cluster.server().await?,
            objects: Objects::default(),
            changes: Vec::new(),
            unread: Vec::new(),
            complaints: Vec::new(),
            kinds: BTreeMap::new(),
        })
    }

    /// Reads all Services, and adds the namespaces that the name may be in to `near`.
    pub(super) async fn services(
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

    /// The certificates of the host's Ingresses, and of the Gateways that were read.
    pub(super) async fn secrets(&mut self, wanted: &Destination) -> anyhow::Result<()> {
        let ingresses =
            self.objects.ingresses().iter().filter(|it| hosts::has_host(it, &wanted.host));
        let entries = ingresses.flat_map(|it| {
            it.spec
                .iter()
                .flat_map(|spec| spec.tls.iter().flatten())
                .map(|tls| (objects::namespace(it).to_owned(), tls.secret_name.clone()))
        });
        let of_gateways = self.objects.gateways().iter().flat_map(|gateway| {
            let listeners = gateway.spec.listeners.iter().filter_map(|it| it.tls.as_ref());
            listeners.flat_map(|tls| &tls.certificate_refs).map(|it| {
                let own = objects::namespace(gateway);
                (it.namespace.as_deref().unwrap_or(own).to_owned(), it.name.clone())
            })
        });
        let names: BTreeSet<(String, String)> = entries
            .chain(of_gateways)
            .filter_map(|(namespace, name)| Some((namespace, name?)))
            .collect();
        for (namespace, name) in names {
            self.get(&SECRET, &namespace, &name).await?;
        }
        Ok(())
    }

    pub(super) async fn list(
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

    pub(super) async fn get(
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

    /// The items of a list that is not needed for the verdict; none if it cannot be read.
    pub(super) async fn peek(&self, uri: &str) -> Vec<Value> {
        let Ok(request) = HttpRequest::get(uri).body(Vec::new()) else { return Vec::new() };
        let reply =
            tokio::time::timeout(limits::API_PAGE_TIME, self.client.request::<Value>(request));
        let Ok(Ok(mut page)) = reply.await else { return Vec::new() };
        let items = page.get_mut("items").and_then(Value::as_array_mut);
        items.map(std::mem::take).unwrap_or_default()
    }

    /// The items of a list; `Err` if this account may not read it.
    ///
    /// # Errors
    /// If the server does not answer, or does not know the account.
    pub(super) async fn items(&mut self, path: &str) -> anyhow::Result<Result<Vec<Value>, String>> {
        let request = HttpRequest::get(path).body(Vec::new())?;
        let reply = self.client.request::<Value>(request);
        match tokio::time::timeout(limits::API_PAGE_TIME, reply).await {
            Ok(Ok(mut page)) => {
                let items = page.get_mut("items").and_then(Value::as_array_mut);
                Ok(items.map(std::mem::take).ok_or_else(|| "the reply is not a list".to_owned()))
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 401 => {
                anyhow::bail!("the API server does not know this account: {}", status.message)
            }
            Ok(Err(kube::Error::Api(status))) => Ok(Err(status.message.clone())),
            Ok(Err(error)) => {
                anyhow::bail!("the API server {} cannot be reached: {}", self.server, cause(&error))
            }
            Err(_) => anyhow::bail!(
                "the API server {} does not answer within {} s",
                self.server,
                limits::API_PAGE_TIME.as_secs()
            ),
        }
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
            Ok(Err(error)) => {
                anyhow::bail!("the API server {} cannot be reached: {}", self.server, cause(&error))
            }
            Err(_) => anyhow::bail!(
                "the API server {} does not answer within {} s",
                self.server,
                limits::API_PAGE_TIME.as_secs()
            ),
        };
        self.unread.push(Unread { forbidden, ..unread(kind, verb, namespace, why) });
        Ok(Fetched::Unreadable)
    }

    pub(super) fn add(&mut self, kind: &'static KindDescriptor, version: &Version, json: &str) {
        let Ok(Value::Object(fields)) = serde_json::from_str(json) else { return };
        let object = ApiObject::new(kind, version, fields);
        if let Ok(decoded) = object.decode()
            && let Ok(Some(fact)) = decoded.fact
        {
            self.changes.push(Change::Upsert(fact));
        }
        self.complaints.extend(self.objects.add(&object).err());
    }

    /// Adds the changes that say which kinds were read completely. If Namespaces may not be read,
    /// those in `near` count as existing.
    pub(super) fn synced(&mut self, near: &BTreeSet<String>) {
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

/// The reason at the end of the chain of errors, such as `Connection refused`.
fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// An entry of [`Reader::unread`] for a failure that is not a missing permission.
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
