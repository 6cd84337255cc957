//! hickory-server serves `--compat-listener`, the second implementation that tests compare with
//! ours. The [`Dispatcher`] answers its requests like all others. hickory-server takes no encoded
//! replies, so ours are decoded and encoded again.

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
    chain::Transport,
    limits,
    server::{Listen, Server},
};

use super::{
    dispatch::{Dispatcher, new_cx},
    stream::stopped,
    tls::CurrentIdentity,
};

pub(super) enum Socket {
    Udp(Arc<UdpSocket>),
    /// Encrypted if the listener has a certificate.
    Tcp(TcpListener),
}

/// Answers the requests of hickory-server.
#[derive(Clone)]
pub(super) struct Handler(Arc<HandlerState>);

struct HandlerState {
    dispatcher: Arc<Dispatcher>,
    server: ArcSwap<Server>,
    /// The listener whose server blocks answer.
    serves: Listen,
    bound: SocketAddr,
    /// One permit for each request that is being answered.
    permits: Semaphore,
}

/// Serves until `stop` is true, then answers the queries that have arrived, and ends.
pub(super) async fn serve(
    handler: Handler,
    sockets: Vec<Socket>,
    identity: Arc<CurrentIdentity>,
    mut stop: watch::Receiver<bool>,
) {
    let mut client_policy = identity.client_policy();
    loop {
        let mut server = hickory_server::Server::new(handler.clone());
        for socket in &sockets {
            if let Err(error) = socket.register(&mut server, &identity) {
                let serves = handler.0.serves;
                tracing::error!("cannot serve {serves} through hickory-server: {error}");
            }
        }
        let stopping = tokio::select! {
            // Some socket errors end hickory-server's listeners.
            _ = server.block_until_done() => false,
            _ = client_policy.changed() => false,
            () = stopped(&mut stop) => true,
        };
        if stopping {
            handler.finish().await;
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
    /// Gives hickory-server a copy of the socket, so that its next instance can get a copy, too.
    fn register(
        &self,
        server: &mut hickory_server::Server<Handler>,
        identity: &Arc<CurrentIdentity>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Udp(socket) => server.register_socket(tokio_udp(socket)?),
            Self::Tcp(listener) => {
                let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
                match identity.following_config() {
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

fn tokio_udp(socket: &UdpSocket) -> io::Result<tokio::net::UdpSocket> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    tokio::net::UdpSocket::from_std(socket)
}

impl Handler {
    /// Answers queries that arrive at `bound` as the listener `serves` does.
    pub(super) fn new(dispatcher: &Arc<Dispatcher>, serves: Listen, bound: SocketAddr) -> Self {
        let (server, permits) =
            (ArcSwap::new(dispatcher.server.load_full()), Semaphore::new(limits::HICKORY_QUERIES));
        Self(Arc::new(HandlerState {
            dispatcher: Arc::clone(dispatcher),
            server,
            serves,
            bound,
            permits,
        }))
    }

    /// Waits until the queries that have arrived are answered and their replies sent:
    /// hickory-server drops unsent replies when it stops.
    async fn finish(&self) {
        sleep(limits::TCP_DRAIN_TIME).await;
        let _ = timeout(
            limits::QUERY_TIME,
            self.0.permits.acquire_many(limits::HICKORY_QUERIES as u32),
        )
        .await;
        sleep(limits::TCP_DRAIN_TIME).await;
    }

    /// `None` if nothing is to be sent.
    async fn answer(&self, request: &Request) -> Option<Message> {
        let HandlerState { dispatcher, server: current, serves, bound, permits } = &*self.0;
        let _permit = permits.try_acquire().ok()?;
        let mut server = current.load_full();
        dispatcher.update_server(&mut server, *serves);
        current.store(Arc::clone(&server));
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
        // A reply without a question stays without one.
        let none = Queries::read(&mut BinDecoder::new(&[]), 0).ok()?;
        let queries = if reply.queries.is_empty() { &none } else { &request.queries };
        let builder = MessageResponseBuilder::new(queries, reply.edns.as_ref());
        let response = builder.build(
            reply.metadata,
            &reply.answers,
            &reply.authorities,
            [],
            &reply.additionals,
        );
        handle.send_response(response).await.ok()
    }
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Udp => Transport::Udp,
        Protocol::Tls => Transport::Tls,
        _ => Transport::Tcp,
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        handle: R,
    ) -> ResponseInfo {
        let unanswered = ResponseInfo::from(Header {
            metadata: request.metadata,
            counts: HeaderCounts::default(),
        });
        match self.answer(request).await {
            Some(reply) => self.send(request, &reply, handle).await.unwrap_or(unanswered),
            None => unanswered,
        }
    }
}
