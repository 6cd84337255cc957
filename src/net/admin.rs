//! HTTP pages: metrics, health, readiness.

mod poll;
mod tls;

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Bytes, header::CONTENT_TYPE, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    limits,
    metrics::Metrics,
    plugin::{Page, PageReply},
};

use super::{
    listeners::{PortSharing, tcp},
    log,
    tls::Identity,
};

/// The pages of one address.
type Pages = ArcSwap<Vec<Page>>;

/// Reads a file with the TLS settings of pages. `None`: it asks for no encryption.
pub type ReadTls = fn(&str) -> Result<Option<Identity>, String>;

/// The addresses at which pages are served.
pub struct Admin {
    open: BTreeMap<String, Open>,
    /// Pages whose address could not be opened, to be tried again.
    waiting: BTreeMap<String, Vec<Page>>,
    metrics: Arc<Metrics>,
    read_tls: ReadTls,
}

/// Why the pages of an address are not served.
pub struct Unserved {
    pub error: anyhow::Error,
    /// Whether the process does not start without one of the pages.
    pub essential: bool,
}

impl Unserved {
    pub fn log(&self) {
        tracing::error!(
            "{:#}; DNS is served without these pages, and the address is tried again every {} s",
            self.error,
            limits::RELOAD_INTERVAL.as_secs()
        );
    }
}

struct Open {
    pages: Arc<Pages>,
    bound: SocketAddr,
    task: JoinSet<()>,
}

impl Admin {
    pub fn new(metrics: Arc<Metrics>, read_tls: ReadTls) -> Self {
        // These two are on the page before the first request.
        poll::DURATION.with(&metrics, []);
        poll::FAILURES.with(&metrics, []);
        Self { open: BTreeMap::new(), waiting: BTreeMap::new(), metrics, read_tls }
    }

    /// Serves these pages and no others. An address that stays keeps its socket.
    ///
    /// Returns the addresses that cannot be opened. [`Admin::retry`] opens them later.
    pub async fn serve(&mut self, pages: Vec<Page>) -> Vec<Unserved> {
        let mut wanted: BTreeMap<String, Vec<Page>> = BTreeMap::new();
        for page in pages {
            wanted.entry(page.address.clone()).or_default().push(page);
        }
        for (_, mut gone) in self.open.extract_if(.., |address, _| !wanted.contains_key(address)) {
            // Its address may conflict with a new one.
            gone.task.shutdown().await;
        }
        self.waiting.clear();
        for path in wanted.values().filter_map(|pages| tls_file(pages)) {
            if let Err(reason) = tls::server_config(path, self.read_tls) {
                tracing::error!(
                    plugin = "prometheus",
                    "Invalid TLS config: {path}: {reason}; the pages are not served until the file is valid"
                );
            }
        }
        let mut unserved = Vec::new();
        for (address, pages) in wanted {
            if let Some(open) = self.open.get(&address) {
                open.pages.store(Arc::new(pages));
            } else if let Err(error) = self.start(&address, &pages).await {
                let essential = pages.iter().any(|page| page.essential);
                unserved.push(Unserved { error, essential });
                self.waiting.insert(address, pages);
            }
        }
        unserved
    }

    /// Tries the addresses again that could not be opened.
    pub async fn retry(&mut self) {
        for (address, pages) in std::mem::take(&mut self.waiting) {
            match self.start(&address, &pages).await {
                Ok(()) => tracing::info!("The pages at {address} are served now"),
                Err(_) => drop(self.waiting.insert(address, pages)),
            }
        }
    }

    /// The configured addresses, and the addresses that are bound.
    pub fn bound(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.open.iter().map(|(address, open)| (&**address, open.bound))
    }

    async fn start(&mut self, address: &str, pages: &[Page]) -> anyhow::Result<()> {
        let listener = listen(address).await?;
        let bound = listener.local_addr()?;
        let pages = Arc::new(ArcSwap::from_pointee(pages.to_vec()));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&pages), self.read_tls));
        task.spawn(poll::every_second(bound, Arc::clone(&pages), Arc::clone(&self.metrics)));
        self.open.insert(address.to_owned(), Open { pages, bound, task });
        Ok(())
    }
}

/// `:PORT` is every address of both families, or of IPv4 on a machine without IPv6.
async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let listener = match address.strip_prefix(':') {
        Some(port) => {
            let port = port.parse().with_context(|| {
                format!("cannot serve pages at {address}: {port:?} is not a port number")
            })?;
            match tcp((Ipv6Addr::UNSPECIFIED, port).into(), PortSharing::Exclusive) {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    tcp((Ipv4Addr::UNSPECIFIED, port).into(), PortSharing::Exclusive)
                }
                listener => listener,
            }
        }
        None => TcpListener::bind(address).await,
    };
    listener.with_context(|| format!("cannot serve pages at {address}"))
}

/// If there are too many connections, the oldest one is closed. A page takes milliseconds, so a
/// probe is answered even if other clients keep their connections open.
async fn accept(listener: TcpListener, pages: Arc<Pages>, read_tls: ReadTls) {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = Arc::clone(&pages);
                oldest_first.push_back(
                    connections
                        .spawn(async move { serve_connection(stream, &pages, read_tls).await }),
                );
            }
            Err(_) => tokio::time::sleep(limits::ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
        oldest_first.retain(|connection| !connection.is_finished());
        if oldest_first.len() > limits::PAGE_CONNECTIONS
            && let Some(oldest) = oldest_first.pop_front()
        {
            oldest.abort();
        }
    }
}

/// The settings are read for each connection, so that a renewed certificate is used at once, as in
/// CoreDNS.
async fn serve_connection(stream: TcpStream, pages: &Arc<Pages>, read_tls: ReadTls) {
    let file = tls_file(&pages.load()).map(str::to_owned);
    let config = match file.map(|path| tls::server_config(&path, read_tls)) {
        None | Some(Ok(None)) => return serve_http(stream, pages).await,
        Some(Ok(Some(config))) => config,
        // The error was logged when the pages were configured.
        Some(Err(_)) => return,
    };
    let handshake = TlsAcceptor::from(Arc::new(config)).accept(stream);
    if let Ok(Ok(stream)) = tokio::time::timeout(limits::PAGE_TIME, handshake).await {
        serve_http(stream, pages).await;
    }
}

fn tls_file(pages: &[Page]) -> Option<&str> {
    pages.iter().find_map(|page| page.tls.as_deref())
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin, pages: &Arc<Pages>) {
    let answer = |request: Request<hyper::body::Incoming>| {
        let reply = page(&request, &pages.load());
        async move { Ok::<_, Infallible>(reply) }
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    let http = http.timer(TokioTimer::new()).header_read_timeout(limits::PAGE_TIME);
    let connection = http.serve_connection(TokioIo::new(stream), service_fn(answer));
    // An error means that the client closed the connection. A connection that does not end is
    // closed after [`limits::PAGE_CONNECTION_TIME`].
    let _ = tokio::time::timeout(limits::PAGE_CONNECTION_TIME, connection).await;
}

fn page(request: &Request<hyper::body::Incoming>, pages: &[Page]) -> Response<Full<Bytes>> {
    let found = pages.iter().find(|page| page.path == request.uri().path());
    let reply = match found {
        Some(page) if [Method::GET, Method::HEAD].contains(request.method()) => (page.render)(),
        Some(_) => PageReply::text(405, "method not allowed\n"),
        None => PageReply::text(404, "404 page not found\n"),
    };
    reply.line.iter().for_each(log::emit);
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(reply.content_type));
    response
}

#[cfg(test)]
mod tests;
