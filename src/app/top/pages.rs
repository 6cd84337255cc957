//! Reads the pages of the servers at their addresses, or those of Pods through the API server. It
//! forwards the requests (`pods/proxy`), so this machine needs no route to the Pods.

use std::{collections::BTreeMap, io, net::SocketAddr};

use anyhow::{Context, bail};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    app::explain::place,
    cli::Top,
    limits,
    net::http,
    source::api::{ApiReader, ClusterConfig},
    top::{Page, Sample},
};

pub(super) enum Servers {
    Addresses(Vec<SocketAddr>),
    /// The names of Pods, each with the path of its pages up to `/proxy`.
    Pods(ApiReader, BTreeMap<String, String>),
}

impl Servers {
    /// # Errors
    /// If the API server does not name a DNS Pod.
    pub(super) async fn find(flags: &Top) -> anyhow::Result<Self> {
        if !flags.servers.is_empty() {
            return Ok(Self::Addresses(flags.servers.iter().map(|server| server.0).collect()));
        }
        let cluster: ClusterConfig = place(flags.kubeconfig.as_deref(), flags.context.as_deref())?;
        let reader = ApiReader::open(&cluster).await?;
        let pods = format!("/api/v1/namespaces/{}/pods", flags.namespace);
        let list = reader.get(&pods, &[("labelSelector", &flags.selector)]).await?;
        let list: Value =
            serde_json::from_str(&list).context("the API server's list of Pods is not JSON")?;
        let names = list["items"].as_array().into_iter().flatten().filter_map(|pod| {
            let is_running = pod["status"]["phase"] == "Running";
            is_running.then(|| pod["metadata"]["name"].as_str()).flatten()
        });
        let path = |name: &str| (name.to_owned(), format!("{pods}/{name}:{}/proxy", flags.port));
        let paths: BTreeMap<_, _> = names.take(limits::TOP_SERVERS).map(path).collect();
        if paths.is_empty() {
            bail!(
                "no running Pod in {} has the labels {}; name others with -n and -l, or the addresses of servers",
                flags.namespace,
                flags.selector
            );
        }
        Ok(Self::Pods(reader, paths))
    }

    /// Reads all servers at the same time.
    pub(super) async fn read(&self) -> Sample {
        let servers = match self {
            Self::Addresses(addresses) => {
                let read = |address: &SocketAddr| {
                    let address = *address;
                    async move { (address.to_string(), page(|path| at(address, path)).await) }
                };
                join_all(addresses.iter().map(read)).await
            }
            Self::Pods(reader, paths) => {
                let read = |(name, base): (&String, &String)| {
                    let (name, base) = (name.clone(), base.clone());
                    let get = move |path: &'static str| {
                        let uri = format!("{base}{path}");
                        async move { reader.get(&uri, &[]).await.map_err(io::Error::other) }
                    };
                    async move { (name, page(get).await) }
                };
                join_all(paths.iter().map(read)).await
            }
        };
        Sample { servers: servers.into_iter().collect() }
    }
}

/// The numbers of a server. The page `/top` may be missing.
async fn page<F: Future<Output = io::Result<String>>>(
    get: impl Fn(&'static str) -> F,
) -> Result<Page, String> {
    let metrics = timeout(limits::TOP_PAGE_TIME, get("/metrics")).await;
    let metrics = metrics.map_err(|_| "it does not answer".to_owned())?;
    let metrics = metrics.map_err(|error| error.to_string())?;
    let top = timeout(limits::TOP_PAGE_TIME, get("/top")).await.ok().and_then(Result::ok);
    Ok(Page::read(&metrics).with_top(&top.unwrap_or_default()))
}

/// The body of a page.
async fn at(address: SocketAddr, path: &str) -> io::Result<String> {
    let response = http::get(&[address], path, limits::TOP_PAGE_OCTETS).await?;
    match (http::status(&response), response.split_once("\r\n\r\n")) {
        (Some(200), Some((_, body))) => Ok(body.to_owned()),
        (Some(code), _) => Err(io::Error::other(format!("{path} has the HTTP status {code}"))),
        (None, _) => Err(io::Error::other("it does not speak HTTP")),
    }
}
