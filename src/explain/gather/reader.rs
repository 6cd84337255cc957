//! Requests to the API server: lists in pages, and objects by name.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use serde_json::Value;

use crate::{
    explain::{Objects, evidence::Unread, expected::Coverage, objects},
    limits,
    model::{self, Change, Kind, Object},
    source::{
        api::{self, ClusterConfig, Page, ReadError},
        kind::{
            ApiObject, ENDPOINT_SLICE, KindDescriptor, NAMESPACE, POD, SECRET, SERVICE, Version,
        },
    },
};

use super::Gathered;

pub(super) struct Reader {
    pub(super) client: Client,
    /// The URL of the API server, for messages.
    server: String,
    pub(super) objects: Objects,
    pub(super) changes: Vec<Change>,
    pub(super) unread: Vec<Unread>,
    /// How many octets of objects the server has sent.
    octets: usize,
    pub(super) complaints: Vec<String>,
    /// How many objects there are of kinds that are not read.
    pub(super) kinds: BTreeMap<(String, String), usize>,
    /// By the resource of the kind.
    listed: BTreeMap<&'static str, Listed>,
    /// Namespace and name of each EndpointSlice that could not be decoded.
    undecoded: BTreeSet<(String, String)>,
}

/// Where a kind was listed. The empty namespace stands for the whole cluster.
#[derive(Default)]
struct Listed {
    tried: BTreeSet<String>,
    read: BTreeSet<String>,
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
            octets: 0,
            complaints: Vec::new(),
            kinds: BTreeMap::new(),
            listed: BTreeMap::new(),
            undecoded: BTreeSet::new(),
        })
    }

    /// Lists the kind in the whole cluster or, if the account may not do that, in these namespaces.
    pub(super) async fn list_near(
        &mut self,
        kind: &'static KindDescriptor,
        near: &BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let all = BTreeSet::from([String::new()]);
        self.list_in(kind, &all, "").await?;
        if !self.has_all(kind) {
            self.list_in(kind, near, "").await?;
        }
        Ok(())
    }

    /// Lists the kind in each of these namespaces in which it was not listed before.
    pub(super) async fn list_in(
        &mut self,
        kind: &'static KindDescriptor,
        namespaces: &BTreeSet<String>,
        labels: &str,
    ) -> anyhow::Result<()> {
        for namespace in namespaces {
            let Listed { tried, read } = self.listed.entry(kind.plural).or_default();
            if !read.contains("") && tried.insert(namespace.clone()) {
                self.list(kind, namespace, labels).await?;
            }
        }
        Ok(())
    }

    fn has_all(&self, kind: &KindDescriptor) -> bool {
        self.listed.get(kind.plural).is_some_and(|it| it.read.contains(""))
    }

    /// The certificates with these namespaces and names.
    pub(super) async fn secrets(
        &mut self,
        names: &BTreeSet<(String, String)>,
    ) -> anyhow::Result<()> {
        for (namespace, name) in names {
            self.get(&SECRET, namespace, name).await?;
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
                        self.lacks(unread(kind, "list", namespace, error.to_string()));
                        return Ok(());
                    }
                };
                page.items.iter().for_each(|item| self.add(kind, version, item.get()));
                if page.metadata.after.is_empty() {
                    self.has_read(kind, namespace);
                    return Ok(());
                }
                after = page.metadata.after;
            }
        }
        // A cluster without the kind has no objects of it.
        self.has_read(kind, namespace);
        Ok(())
    }

    fn has_read(&mut self, kind: &'static KindDescriptor, namespace: &str) {
        self.listed.entry(kind.plural).or_default().read.insert(namespace.to_owned());
    }

    /// Remembers what could not be read, once.
    fn lacks(&mut self, unread: Unread) {
        if !self.unread.contains(&unread) {
            self.unread.push(unread);
        }
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
        let text = api::read(&self.client, uri, limits::API_PAGE_TIME).await;
        let page = text.ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let Some(mut page) = page else { return Vec::new() };
        let items = page.get_mut("items").and_then(Value::as_array_mut);
        items.map(std::mem::take).unwrap_or_default()
    }

    /// The items of a list; `Err` if this account may not read it.
    ///
    /// # Errors
    /// If the server does not answer, or does not know the account.
    pub(super) async fn items(&mut self, path: &str) -> anyhow::Result<Result<Vec<Value>, String>> {
        let text = match api::read(&self.client, path, limits::API_PAGE_TIME).await {
            Ok(text) => text,
            Err(error) => return self.refusal(error).map(|(why, _)| Err(why)),
        };
        let mut page: Value = serde_json::from_str(&text).unwrap_or_default();
        let items = page.get_mut("items").and_then(Value::as_array_mut);
        Ok(items.map(std::mem::take).ok_or_else(|| "the reply is not a list".to_owned()))
    }

    /// Why the server refuses a request, and the status code if it sent one.
    ///
    /// # Errors
    /// If the server does not answer, or does not know the account.
    fn refusal(&self, error: ReadError) -> anyhow::Result<(String, Option<u16>)> {
        let server = &self.server;
        match error {
            ReadError::Status { code: 401, message } => {
                anyhow::bail!("the API server does not know this account: {message}")
            }
            ReadError::Status { code, message } => Ok((message, Some(code))),
            ReadError::Unreachable(cause) => {
                anyhow::bail!("the API server {server} cannot be reached: {cause}")
            }
            ReadError::Silent(time) => {
                anyhow::bail!("the API server {server} does not answer within {} s", time.as_secs())
            }
            ReadError::TooLarge => Ok((error.to_string(), None)),
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
        let (why, code) = match api::read(&self.client, uri, limits::API_PAGE_TIME).await {
            Ok(text) if self.octets + text.len() <= limits::EXPLAIN_OCTETS => {
                self.octets += text.len();
                return Ok(Fetched::Found(text));
            }
            Ok(_) => {
                let most = limits::EXPLAIN_OCTETS >> 20;
                (format!("the API server sends more than {most} MiB in total"), None)
            }
            Err(error) => self.refusal(error)?,
        };
        if code == Some(404) {
            return Ok(Fetched::NotFound);
        }
        let forbidden = code == Some(403);
        self.lacks(Unread { forbidden, ..unread(kind, verb, namespace, why) });
        Ok(Fetched::Unreadable)
    }

    pub(super) fn add(&mut self, kind: &'static KindDescriptor, version: &Version, json: &str) {
        let Ok(Value::Object(fields)) = serde_json::from_str(json) else { return };
        let object = ApiObject::new(kind, version, fields);
        let stored = self.objects.add(&object);
        let fact = object.decode().and_then(|decoded| decoded.fact);
        let error = match fact {
            Ok(fact) => {
                self.changes.extend(fact.map(Change::Upsert));
                stored.err()
            }
            Err(error) => Some(stored.err().unwrap_or_else(|| format!("{object}: {error}"))),
        };
        if error.is_some() && kind.name == ENDPOINT_SLICE.name {
            self.undecoded.insert((object.namespace.clone(), object.name.clone()));
        }
        self.complaints.extend(error);
    }

    /// The namespaces in which the kind was listed; `None` if it was in the whole cluster.
    fn covered(&self, kind: &KindDescriptor) -> Option<BTreeSet<String>> {
        let listed = self.listed.get(kind.plural);
        let namespaces = listed.map(|it| it.read.clone()).unwrap_or_default();
        (!namespaces.contains("")).then_some(namespaces)
    }

    /// What was read. `own` is the namespace of the context. If Namespaces may not be read, those in
    /// `near` and those of Services count as existing.
    pub(super) fn finish(mut self, near: &BTreeSet<String>, own: String) -> Gathered {
        let mut namespaces: BTreeSet<String> =
            self.objects.namespaces().iter().map(|it| objects::name(it).to_owned()).collect();
        let are_known = self.has_all(&NAMESPACE);
        if !are_known {
            let of_services = self.objects.services().iter().map(objects::namespace);
            let others = near.iter().map(String::as_str).chain(of_services);
            let others: BTreeSet<String> = others.map(str::to_owned).collect();
            let facts = others.difference(&namespaces).map(|name| {
                let (name, labels) = (name.as_str().into(), Box::default());
                Change::Upsert(Object::Namespace(model::Namespace { name, labels }))
            });
            self.changes.extend(facts);
            namespaces.extend(others);
        }
        let kinds = [Kind::Namespace, Kind::Service, Kind::EndpointSlice, Kind::Pod];
        self.changes.extend(kinds.map(Change::Synced));
        let coverage = Coverage {
            services: self.covered(&SERVICE),
            endpoints: self.covered(&ENDPOINT_SLICE),
            pods: self.covered(&POD),
            namespaces: are_known.then_some(namespaces),
            undecoded: std::mem::take(&mut self.undecoded),
        };
        for unread in self.unread.iter_mut().filter(|it| it.namespace.is_empty()) {
            let plural = unread.resource.split('.').next().unwrap_or_default();
            let read = self.listed.get(plural).map(|it| &it.read);
            unread.read_in = read.into_iter().flatten().cloned().collect();
        }
        let Self { objects, changes, unread, complaints, kinds, .. } = self;
        Gathered { objects, changes, unread, namespace: Some(own), complaints, kinds, coverage }
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

/// An entry of [`Reader::unread`] for a failure that is not a missing permission.
fn unread(kind: &KindDescriptor, verb: &'static str, namespace: &str, why: String) -> Unread {
    let (resource, namespace) = (kind.resource(), namespace.to_owned());
    Unread { resource, verb, namespace, why, ..Unread::default() }
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
