//! Queries on QUIC streams, one on each (RFC 9250).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime,
    TransportConfig, VarInt, crypto::rustls::QuicClientConfig,
};

use crate::{limits, net::tls::client::rejection_by_alert, wire::Query};

use super::{answer_on_stream, stream, udp::bind};

/// `DOQ_NO_ERROR` (RFC 9250 §4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
/// `DOQ_REQUEST_CANCELLED`.
const CANCELLED: VarInt = VarInt::from_u32(3);

/// A QUIC connection to a DNS server. It is closed when it is dropped.
pub(in crate::net) struct QuicConnection(Connection);

impl Drop for QuicConnection {
    fn drop(&mut self) {
        self.0.close(NO_ERROR, b"");
    }
}

/// Opens a connection from a socket of its own. `name` is what the certificate must have: a host
/// name or an address.
pub(in crate::net) async fn connect(
    to: SocketAddr,
    source: Option<std::net::IpAddr>,
    name: &str,
    tls: Arc<rustls::ClientConfig>,
) -> io::Result<QuicConnection> {
    let socket = bind(to, source).await?.into_std()?;
    let same = socket.try_clone()?;
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
    let mut config =
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(io::Error::other)?));
    config.transport_config(Arc::new(transport()));
    let connecting = endpoint.connect_with(config, to, name).map_err(io::Error::other)?;
    tokio::select! {
        connected = connecting => connected.map(QuicConnection).map_err(failure),
        error = unreachable(&same) => Err(error),
    }
}

/// Waits until the network reports that the port is unreachable, which quinn does not notice.
async fn unreachable(socket: &std::net::UdpSocket) -> io::Error {
    loop {
        tokio::time::sleep(limits::UNREACHABLE_POLL).await;
        match socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return error,
        }
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = IdleTimeout::try_from(limits::QUIC_IDLE_TIME).ok();
    transport
        .max_idle_timeout(idle)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits::STREAM_OCTETS as u32 + 2))
        .initial_rtt(Duration::from_millis(100));
    transport
}

/// The error. If the certificate was rejected, it has the reason.
fn failure(error: ConnectionError) -> io::Error {
    if let ConnectionError::TransportError(fault) = &error
        && let Ok(code) = u64::from(fault.code).checked_sub(0x100).unwrap_or(u64::MAX).try_into()
        && let Some(rejected) = rejection_by_alert(code, &fault.reason)
    {
        return io::Error::new(io::ErrorKind::InvalidData, rejected);
    }
    error.into()
}

impl QuicConnection {
    pub(in crate::net) fn is_closed(&self) -> bool {
        self.0.close_reason().is_some()
    }

    /// Sends a query and returns its reply.
    pub(in crate::net) async fn converse(&self, query: &Query) -> io::Result<Vec<u8>> {
        let (mut sender, receiver) = self.0.open_bi().await.map_err(failure)?;
        // A query that is given up must not use one of the server's streams any longer.
        let mut receiver = Abandoned(receiver);
        sender.write_all(&stream::frame(query)).await?;
        let _ = sender.finish();
        let mut length = [0; 2];
        receiver.0.read_exact(&mut length).await.map_err(io::Error::other)?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        receiver.0.read_exact(&mut message).await.map_err(io::Error::other)?;
        answer_on_stream(message, query)
    }
}

/// Stops a stream when it is dropped before its end.
struct Abandoned(quinn::RecvStream);

impl Drop for Abandoned {
    fn drop(&mut self) {
        let _ = self.0.stop(CANCELLED);
    }
}
