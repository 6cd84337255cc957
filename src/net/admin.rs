//! HTTP pages: metrics, health, readiness.

use std::{collections::BTreeMap, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, header::CONTENT_TYPE, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    limits,
    plugin::{Page, PageReply},
};

/// Paths and pages of one address.
type Pages = ArcSwap<Vec<Page>>;

/// The addresses at which pages are served.
#[derive(Default)]
pub struct Admin {
    open: BTreeMap<String, (Arc<Pages>, SocketAddr, tokio::task::AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Admin {
    /// Serves these pages and no others; an address that stays keeps its socket.
    ///
    /// # Errors
    /// Names the address that cannot be listened on; the others are served.
    pub async fn serve(&mut self, pages: Vec<Page>) -> anyhow::Result<()> {
        let mut wanted: BTreeMap<String, Vec<Page>> = BTreeMap::new();
        for page in pages {
            wanted.entry(page.address.clone()).or_default().push(page);
        }
        self.open.retain(|address, (_, _, task)| {
            let keep = wanted.contains_key(address);
            if !keep {
                task.abort();
            }
            keep
        });
        let mut failed = Ok(());
        for (address, pages) in wanted {
            match self.open.get(&address) {
                Some((open, ..)) => open.store(Arc::new(pages)),
                None => match listen(&address).await {
                    Ok(listener) => self.start(address, listener, pages)?,
                    Err(error) => failed = Err(error),
                },
            }
        }
        failed
    }

    /// Where the pages of an address are really served.
    pub fn bound(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.open.iter().map(|(address, (_, bound, _))| (&**address, *bound))
    }

    fn start(&mut self, address: String, listener: TcpListener, pages: Vec<Page>) -> anyhow::Result<()> {
        let bound = listener.local_addr()?;
        let pages = Arc::new(ArcSwap::from_pointee(pages));
        let task = self.tasks.spawn(accept(listener, Arc::clone(&pages)));
        self.open.insert(address, (pages, bound, task));
        Ok(())
    }
}

/// `:PORT` is every address of both families, or of IPv4 where there is no IPv6.
async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let listener = match address.strip_prefix(':') {
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(error),
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        },
        None => TcpListener::bind(address).await,
    };
    listener.with_context(|| format!("cannot serve pages at {address}"))
}

async fn accept(listener: TcpListener, pages: Arc<Pages>) {
    let places = Arc::new(Semaphore::new(limits::PAGE_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = Arc::clone(&pages);
                connections.spawn(async move {
                    converse(stream, &pages).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(limits::ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, pages: &Arc<Pages>) {
    let answer = |request: Request<hyper::body::Incoming>| {
        let reply = page(&request, &pages.load());
        async move { Ok::<_, Infallible>(reply) }
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    let http = http.timer(TokioTimer::new()).header_read_timeout(limits::PAGE_TIME);
    let connection = http.serve_connection(TokioIo::new(stream), service_fn(answer));
    // A scraper that breaks off is its own affair; one that stays for ever loses its place after a while.
    let _ = tokio::time::timeout(Duration::from_secs(300), connection).await;
}

fn page(request: &Request<hyper::body::Incoming>, pages: &[Page]) -> Response<Full<Bytes>> {
    let found = pages.iter().find(|page| page.path == request.uri().path());
    let reply = match found {
        Some(page) if [Method::GET, Method::HEAD].contains(request.method()) => (page.render)(),
        Some(_) => PageReply::text(405, "method not allowed\n"),
        None => PageReply::text(404, "404 page not found\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(reply.content_type));
    response
}
