//! A small DNS client: one query to one nameserver over UDP, TCP, TLS (RFC 7858), HTTPS
//! (RFC 8484) or QUIC (RFC 9250).
//!
//! `ndots query`, `explain`, the `loop` plugin's probe and the resolution of upstream names call
//! [`query`]. The exchange with upstreams keeps its own connections and health, and uses the same
//! modules below them.

mod addresses;
pub(super) mod grpc;
pub(super) mod https;
mod nameserver;
pub(super) mod quic;
pub(super) mod stream;
pub(super) mod udp;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    upstream::HttpMethod,
    wire::{Query, Question, reply},
};

use super::tls::{TlsConfigError, alpn, client};

use crate::transport::Framing;
pub use crate::transport::Transport;
pub use addresses::{lookup, system_lookup};
use https::{HttpEndpoint, HttpsConnection};
pub use nameserver::Nameserver;
use udp::{UdpQuery, UdpReply};

/// How long to wait for a reply, and how many times to send the query over UDP in that time.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The bound of each step: the look-up of the nameserver's address, UDP, and TCP.
    pub timeout: Duration,
    /// Datagrams, at equal intervals.
    pub datagrams: u32,
}

impl RetryPolicy {
    /// One datagram.
    pub fn once(timeout: Duration) -> Self {
        Self { timeout, datagrams: 1 }
    }

    /// One datagram, and a second one after half of the time.
    pub fn retransmit_once(timeout: Duration) -> Self {
        Self { timeout, datagrams: 2 }
    }
}

/// A message that answers the query.
pub struct ClientReply {
    pub query: Query,
    pub message: Vec<u8>,
    /// The transport of the message: TCP if the reply over UDP was truncated.
    pub transport: Transport,
}

/// Why there is no reply.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("no reply within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("`{0}` cannot be the name of a TLS server")]
    ServerName(String),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why the response on the stream or to the request of one query is not a reply. The connection is
/// not at fault.
#[derive(Debug, Error)]
pub(super) enum StreamError {
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("the message does not answer the query")]
    OtherQuery,
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The HTTP status of a response that is not a reply.
pub(super) fn http_status(error: &io::Error) -> Option<u16> {
    match error.get_ref()?.downcast_ref()? {
        StreamError::Status(status) => Some(*status),
        StreamError::OtherQuery => None,
    }
}

/// Whether the server answered, although not with a reply. Another connection would not help.
pub(super) fn is_answered(error: &io::Error) -> bool {
    let Some(cause) = error.get_ref() else { return false };
    cause.is::<StreamError>()
}

/// The message if it answers the query. Its id does not matter, because the stream shows which
/// query it belongs to.
fn answer_on_stream(mut message: Vec<u8>, query: &Query) -> io::Result<Vec<u8>> {
    if let Some(id) = message.first_chunk_mut::<2>() {
        *id = query.id.to_be_bytes();
    }
    if reply::matches(&message, query) == reply::Match::No {
        return Err(StreamError::OtherQuery.into());
    }
    Ok(message)
}

/// Sends one query and returns the first message that answers it. A reply over UDP that is
/// truncated, or that arrives among many that do not match, is fetched again over TCP.
///
/// # Errors
/// See [`ClientError`]. A response code other than NOERROR is not an error.
pub async fn query(
    nameserver: &Nameserver,
    question: Question,
    policy: RetryPolicy,
) -> Result<ClientReply, ClientError> {
    let mut transport = nameserver.transport;
    let id = if transport.framing() == Framing::Request { 0 } else { rand::random() };
    let query = Query { id, ..Query::internal(question) };
    let to = limited(policy, address(nameserver)).await?;
    if transport == Transport::Udp {
        match limited(policy, over_udp(to, &query, policy)).await? {
            Some(message) => return Ok(ClientReply { query, message, transport }),
            None => transport = Transport::Tcp,
        }
    }
    let message = limited(policy, over_stream(nameserver, to, transport, &query)).await?;
    Ok(ClientReply { query, message, transport })
}

/// Sends one query over an open connection with the framing of TCP, and reads up to its reply. The
/// caller limits the time.
///
/// # Errors
/// If the connection fails or ends.
pub async fn query_over<S>(
    connection: &mut S,
    question: Question,
) -> Result<ClientReply, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + ?Sized,
{
    let query = Query { id: rand::random(), ..Query::internal(question) };
    let message = stream::converse(connection, &stream::frame(&query), &query).await?;
    Ok(ClientReply { query, message, transport: Transport::Tcp })
}

async fn limited<T>(
    policy: RetryPolicy,
    step: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(policy.timeout, step).await.map_err(|_| ClientError::Timeout(policy.timeout))?
}

async fn address(nameserver: &Nameserver) -> Result<SocketAddr, ClientError> {
    let Nameserver { host, port, .. } = nameserver;
    let mut found = tokio::net::lookup_host((host.as_str(), *port)).await?;
    found.next().ok_or_else(|| ClientError::NoAddress(host.clone()))
}

/// `None` if the query must be repeated over TCP. Without a reply this never ends: the caller
/// limits the time.
async fn over_udp(
    to: SocketAddr,
    query: &Query,
    policy: RetryPolicy,
) -> Result<Option<Vec<u8>>, ClientError> {
    let mut exchange = UdpQuery::open(to, None, query).await?;
    let interval = policy.timeout / policy.datagrams.max(1);
    loop {
        exchange.send().await?;
        let Ok(reply) = timeout(interval, exchange.receive(|| ())).await else { continue };
        return Ok(match reply? {
            UdpReply::Match(message) | UdpReply::OtherCase(message) => {
                let is_truncated = message.get(2).is_some_and(|flags| flags & 2 != 0);
                (!is_truncated).then_some(message)
            }
            UdpReply::Doubtful => None,
        });
    }
}

async fn over_stream(
    nameserver: &Nameserver,
    to: SocketAddr,
    transport: Transport,
    query: &Query,
) -> Result<Vec<u8>, ClientError> {
    if transport == Transport::Quic {
        let config = Arc::new(config(nameserver, transport)?);
        let connection = quic::connect(to, None, nameserver.certificate_name(), config).await?;
        return Ok(connection.converse(query).await?);
    }
    let mut tcp = stream::connect(to, None).await?;
    let frame = stream::frame(query);
    match transport {
        Transport::Grpc => {
            let server = format!("http://{to}");
            let (connection, driver) = super::grpc::GrpcConnection::open(tcp, server).await?;
            while_driven(grpc::converse(&connection, query), driver).await
        }
        Transport::Udp | Transport::Tcp | Transport::Quic | Transport::Https3 => {
            Ok(stream::converse(&mut tcp, &frame, query).await?)
        }
        Transport::Tls => {
            let mut tls = handshake(nameserver, tcp, transport).await?;
            Ok(stream::converse(&mut tls, &frame, query).await?)
        }
        Transport::Https => {
            let tls = handshake(nameserver, tcp, transport).await?;
            let name = nameserver.certificate_name();
            let endpoint =
                HttpEndpoint::new(name, nameserver.port, &nameserver.path, HttpMethod::Post);
            let (connection, driver) = HttpsConnection::open(tls, endpoint).await?;
            while_driven(connection.converse(query), driver).await
        }
    }
}

/// The reply, unless the connection that `driver` drives ends first.
async fn while_driven(
    reply: impl Future<Output = io::Result<Vec<u8>>>,
    driver: impl Future<Output = ()>,
) -> Result<Vec<u8>, ClientError> {
    tokio::select! {
        biased;
        reply = reply => Ok(reply?),
        () = driver => Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
    }
}

fn config(
    nameserver: &Nameserver,
    transport: Transport,
) -> Result<rustls::ClientConfig, TlsConfigError> {
    let mut config = client::config(&nameserver.tls)?;
    config.alpn_protocols = alpn(transport.scheme());
    Ok(config)
}

async fn handshake(
    nameserver: &Nameserver,
    stream: TcpStream,
    transport: Transport,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let config = config(nameserver, transport)?;
    let name = nameserver.certificate_name().to_owned();
    let name = ServerName::try_from(name.clone()).map_err(|_| ClientError::ServerName(name))?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

#[cfg(test)]
mod tests;
