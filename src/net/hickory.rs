//! What hickory-server serves: DNS over QUIC (RFC 9250), and `--compat-listener`, the second
//! implementation that tests compare ours with. Its requests go through the door that all others
//! do; since it takes no octets for replies, ours are read and written anew.
//!
//! As of 0.26 it bounds neither its connections nor what their streams hold, has one connection's
//! questions wait for each other, ends a connection after 100 of them, and lets a handshake that
//! stalls hold up others for up to 5 s: `quic://` is for clients that one knows.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use arc_swap::ArcSwap;
use hickory_server::{
    net::{runtime::Time, xfer::Protocol},
    proto::{
        op::{Header, HeaderCounts, Message},
        serialize::binary::BinDecoder,
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::{MessageResponseBuilder, Queries},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    chain::{Level, Transport},
    limits,
    metrics::{CounterFamily, Family},
    server::{Listen, Server},
};

use super::{
    dispatch::{Dispatcher, new_cx},
    stream::stopped,
    tls::Current,
};

static QUIC_RESPONSES: CounterFamily<2> = Family::new(
    "dns_quic_responses_total",
    "Replies over QUIC by DoQ error code.",
    ["server", "status"],
);

/// What is listened at.
pub(super) enum Socket {
    Datagrams(Arc<UdpSocket>),
    Quic(Arc<UdpSocket>),
    /// Encrypted where something is shown.
    Streams(TcpListener),
}

/// The door, as hickory-server knows it.
#[derive(Clone)]
pub(super) struct Door(Arc<Inside>);

struct Inside {
    dispatcher: Arc<Dispatcher>,
    server: ArcSwap<Server>,
    /// Whose blocks answer.
    serves: Listen,
    bound: SocketAddr,
    places: Semaphore,
}

/// Serves until `stop` turns true, then answers what has been asked and ends.
pub(super) async fn serve(
    door: Door,
    sockets: Vec<Socket>,
    shown: Arc<Current>,
    mut stop: watch::Receiver<bool>,
) {
    let mut asked = shown.asked();
    loop {
        let mut server = hickory_server::Server::new(door.clone());
        for socket in &sockets {
            if let Err(error) = socket.register(&mut server, &shown) {
                door.0.dispatcher.log.say(
                    Level::Error,
                    format!("cannot serve {} through hickory-server: {error}", door.0.serves),
                );
            }
        }
        let stopping = tokio::select! {
            // Some errors of a socket end what listens there.
            _ = server.block_until_done() => false,
            _ = asked.changed() => false,
            () = stopped(&mut stop) => true,
        };
        if stopping {
            door.finish().await;
        } else {
            sleep(limits::ACCEPT_PAUSE).await;
        }
        let _ = server.shutdown_gracefully().await;
        if stopping {
            return;
        }
    }
}

impl Socket {
    /// With a copy, so that the next server has it, too.
    fn register(
        &self,
        server: &mut hickory_server::Server<Door>,
        shown: &Arc<Current>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Datagrams(socket) => server.register_socket(datagrams(socket)?),
            Self::Quic(socket) => {
                let config =
                    shown.standing().ok_or_else(|| anyhow::anyhow!("there is no certificate"))?;
                server.register_quic_listener_and_tls_config(
                    datagrams(socket)?,
                    limits::TCP_IDLE_TIME,
                    config,
                )?;
            }
            Self::Streams(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
                match shown.standing() {
                    Some(config) => server.register_tls_listener_with_tls_config(
                        listener,
                        limits::TCP_IDLE_TIME,
                        config,
                    )?,
                    None => server.register_listener(
                        listener,
                        limits::TCP_IDLE_TIME,
                        limits::TCP_PENDING_QUERIES,
                    ),
                }
            }
        }
        Ok(())
    }
}

fn datagrams(socket: &UdpSocket) -> io::Result<tokio::net::UdpSocket> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    tokio::net::UdpSocket::from_std(socket)
}

impl Door {
    /// What comes in at `bound` is answered as if it came in at `serves`.
    pub(super) fn new(dispatcher: &Arc<Dispatcher>, serves: Listen, bound: SocketAddr) -> Self {
        let (server, places) =
            (ArcSwap::new(dispatcher.server.load_full()), Semaphore::new(limits::HICKORY_QUERIES));
        Self(Arc::new(Inside { dispatcher: Arc::clone(dispatcher), server, serves, bound, places }))
    }

    /// Waits until what has been asked is answered, and on its way: hickory-server drops what it
    /// holds.
    async fn finish(&self) {
        sleep(limits::TCP_DRAIN_TIME).await;
        let _ =
            timeout(limits::QUERY_TIME, self.0.places.acquire_many(limits::HICKORY_QUERIES as u32))
                .await;
        sleep(limits::TCP_DRAIN_TIME).await;
    }

    /// `None` where nothing is to be sent.
    async fn answer(&self, request: &Request) -> Option<Message> {
        let Inside { dispatcher, server: kept, serves, bound, places } = &*self.0;
        let _place = places.try_acquire().ok()?;
        let mut server = kept.load_full();
        dispatcher.renew(&mut server, *serves);
        kept.store(Arc::clone(&server));
        let cx = new_cx(request.src(), *bound, transport(request.protocol()));
        let reply = dispatcher.answer(&server, *serves, request.as_slice(), cx).await?;
        Message::from_vec(&reply).ok()
    }

    async fn send<R: ResponseHandler>(
        &self,
        request: &Request,
        reply: &Message,
        mut handle: R,
    ) -> Option<ResponseInfo> {
        // A reply that does not say what was asked must not begin to.
        let nothing = Queries::read(&mut BinDecoder::new(&[]), 0).ok()?;
        let queries = if reply.queries.is_empty() { &nothing } else { &request.queries };
        let builder = MessageResponseBuilder::new(queries, reply.edns.as_ref());
        let response = builder.build(
            reply.metadata,
            &reply.answers,
            &reply.authorities,
            [],
            &reply.additionals,
        );
        let sent = handle.send_response(response).await;
        if request.protocol() == Protocol::Quic {
            self.count(if sent.is_ok() { "0x0" } else { "0x1" });
        }
        sent.ok()
    }

    fn count(&self, status: &str) {
        let server = self.0.serves.to_string();
        QUIC_RESPONSES.with(&self.0.dispatcher.metrics, [&server, status]).inc();
    }
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Udp => Transport::Udp,
        Protocol::Tls => Transport::Tls,
        Protocol::Quic => Transport::Quic,
        _ => Transport::Tcp,
    }
}

#[async_trait::async_trait]
impl RequestHandler for Door {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        handle: R,
    ) -> ResponseInfo {
        let unanswered = ResponseInfo::from(Header {
            metadata: request.metadata,
            counts: HeaderCounts::default(),
        });
        // Over QUIC ids are 0, and another one is an error of the protocol (RFC 9250 §4.2.1).
        if request.protocol() == Protocol::Quic && request.metadata.id != 0 {
            self.count("0x2");
            return unanswered;
        }
        match self.answer(request).await {
            Some(reply) => self.send(request, &reply, handle).await.unwrap_or(unanswered),
            None => unanswered,
        }
    }
}
