//! Upstreams over HTTPS and QUIC, on loopback, that follow a test's script.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;

use super::*;
use crate::upstream::{HttpMethod, Pem, Protocol, Target, TlsClientSettings};

/// What the upstream does with a query.
#[derive(Clone)]
pub(super) enum Turn {
    Reply(Vec<u8>),
    /// An HTTP response with this status and body.
    Http(u16, Vec<u8>),
    /// An HTTP response with this status and `Location`.
    Redirect(u16, String),
    /// A reply that was in an HTTP cache for this many seconds.
    Cached(u32, Vec<u8>),
    Later(Duration, Vec<u8>),
    Silence,
    /// Ends the stream of the query without a reply.
    Reset,
    /// Ends the connection.
    Close,
}

/// A query, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) query: Query,
    pub(super) octets: usize,
    /// The number of the connection, from 0.
    pub(super) connection: usize,
    /// The number of earlier queries on all connections, without health checks.
    pub(super) turn: usize,
    pub(super) request: String,
    /// The query of the URL.
    pub(super) parameters: String,
}

type Script = Arc<dyn Fn(&Heard) -> Turn + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Http1,
    Http2(HttpMethod),
    Quic,
}

pub(super) const KINDS: [Kind; 4] =
    [Kind::Http1, Kind::Http2(HttpMethod::Post), Kind::Http2(HttpMethod::Get), Kind::Quic];

pub(super) struct StreamUpstream {
    pub(super) target: Target,
    state: State,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct State {
    script: Script,
    log: Arc<Mutex<Vec<Heard>>>,
    connections: Arc<AtomicUsize>,
}

impl State {
    fn turn(&self, packet: &[u8], connection: usize, [request, parameters]: [String; 2]) -> Turn {
        let query = Query::parse(packet).expect("queries to upstreams are well formed");
        let mut log = lock(&self.log);
        let octets = packet.len();
        let mut heard = Heard { query, octets, connection, turn: log.len(), request, parameters };
        if heard.query.question.qtype == Type::NS {
            heard.turn = usize::MAX;
            return (self.script)(&heard);
        }
        log.push(heard.clone());
        drop(log);
        (self.script)(&heard)
    }
}

impl StreamUpstream {
    pub(super) async fn start(
        kind: Kind,
        script: impl Fn(&Heard) -> Turn + Send + Sync + 'static,
    ) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["dns.example".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider);
        let mut server = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let state =
            State { script: Arc::new(script), log: Arc::default(), connections: Arc::default() };
        let tls = Arc::new(TlsClientSettings {
            server_name: Some("dns.example".to_owned()),
            authorities: Some(Pem::new(cert.pem())),
            identity: None,
        });
        let mut tasks = JoinSet::new();
        let alpn: &[u8] = match kind {
            Kind::Http1 => b"http/1.1",
            Kind::Http2(_) => b"h2",
            Kind::Quic => b"doq",
        };
        server.alpn_protocols = vec![alpn.to_vec()];
        let (address, protocol) = if kind == Kind::Quic {
            let config = quinn::crypto::rustls::QuicServerConfig::try_from(server).unwrap();
            let config = quinn::ServerConfig::with_crypto(Arc::new(config));
            let endpoint =
                quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let address = endpoint.local_addr().unwrap();
            tasks.spawn(serve_quic(endpoint, state.clone()));
            (address, Protocol::Quic(tls))
        } else {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            tasks.spawn(serve_https(listener, Arc::new(server), state.clone()));
            let method = if let Kind::Http2(method) = kind { method } else { HttpMethod::Post };
            (address, Protocol::Https(tls, method))
        };
        Self { target: Target { address, protocol }, state, _tasks: tasks }
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        lock(&self.state.log).clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

async fn serve_quic(endpoint: quinn::Endpoint, state: State) {
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let state = state.clone();
        tasks.spawn(async move {
            let Ok(connection) = incoming.await else { return };
            let number = state.connections.fetch_add(1, Ordering::SeqCst);
            let mut streams = JoinSet::new();
            while let Ok((sender, receiver)) = connection.accept_bi().await {
                let (state, connection) = (state.clone(), connection.clone());
                streams.spawn(answer_stream(state, connection, number, sender, receiver));
            }
        });
    }
}

async fn answer_stream(
    state: State,
    connection: quinn::Connection,
    number: usize,
    mut sender: quinn::SendStream,
    mut receiver: quinn::RecvStream,
) {
    let frame = receiver.read_to_end(65_537).await.unwrap();
    match state.turn(&frame[2..], number, Default::default()) {
        Turn::Reply(packet) | Turn::Http(_, packet) | Turn::Cached(_, packet) => {
            send(&mut sender, &packet).await;
        }
        Turn::Later(time, packet) => {
            tokio::time::sleep(time).await;
            send(&mut sender, &packet).await;
        }
        Turn::Redirect(..) => {}
        Turn::Silence => std::future::pending().await,
        Turn::Reset => drop(sender.reset(5_u32.into())),
        Turn::Close => connection.close(1_u32.into(), b""),
    }
}

/// Sends the length and the message in separate datagrams.
async fn send(sender: &mut quinn::SendStream, packet: &[u8]) {
    let _ = sender.write_all(&(packet.len() as u16).to_be_bytes()).await;
    tokio::time::sleep(ms(2)).await;
    let _ = sender.write_all(packet).await;
    let _ = sender.finish();
}

async fn serve_https(listener: TcpListener, tls: Arc<rustls::ServerConfig>, state: State) {
    let mut tasks = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (Arc::clone(&tls), state.clone());
        tasks.spawn(async move {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls);
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let number = state.connections.fetch_add(1, Ordering::SeqCst);
            let close = Arc::new(Notify::new());
            let closed = Arc::clone(&close);
            let service = service_fn(move |request| {
                answer_request(state.clone(), number, request, Arc::clone(&close))
            });
            let stream = TokioIo::new(stream);
            let serve = async {
                if is_http2 {
                    let mut server = conn::http2::Builder::new(TokioExecutor::new());
                    let _ =
                        server.max_concurrent_streams(200).serve_connection(stream, service).await;
                } else {
                    let _ = conn::http1::Builder::new().serve_connection(stream, service).await;
                }
            };
            tokio::select! { () = serve => {}, () = closed.notified() => {} }
        });
    }
}

async fn answer_request(
    state: State,
    number: usize,
    request: Request<Incoming>,
    close: Arc<Notify>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    use base64::Engine;
    let host = request.headers().get("host").and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(ToString::to_string);
    let place = authority.or(host.map(str::to_owned)).unwrap_or_default();
    let told = format!("{} {place}{}", request.method(), request.uri().path());
    let parameters = request.uri().query().unwrap_or_default().to_owned();
    let packet = if request.method() == Method::GET {
        let message = request.uri().query().unwrap().strip_prefix("dns=").unwrap();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(message).unwrap()
    } else {
        request.into_body().collect().await.unwrap().to_bytes().to_vec()
    };
    let reply = |status: u16, body: Vec<u8>| {
        Ok(Response::builder().status(status).body(Full::new(body.into())).unwrap())
    };
    let with = |status: u16, header: &str, value: String, body: Vec<u8>| {
        let response = Response::builder().status(status).header(header, value);
        Ok(response.body(Full::new(body.into())).unwrap())
    };
    match state.turn(&packet, number, [told, parameters]) {
        Turn::Reply(body) => reply(200, body),
        Turn::Http(status, body) => reply(status, body),
        Turn::Redirect(status, to) => with(status, "location", to, b"<html>moved".to_vec()),
        Turn::Cached(seconds, body) => with(200, "age", seconds.to_string(), body),
        Turn::Later(time, body) => {
            tokio::time::sleep(time).await;
            reply(200, body)
        }
        Turn::Silence => std::future::pending().await,
        Turn::Reset => Err(io::Error::other("no reply")),
        Turn::Close => {
            close.notify_one();
            std::future::pending().await
        }
    }
}

pub(super) fn genuine_reply(heard: &Heard) -> Vec<u8> {
    scripted::reply(&heard.query, GENUINE)
}
