//! Test certificates, and clients of the encrypted transports.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::Tcp;

/// A certificate authority, with a signed certificate for the loopback addresses in its directory.
pub(crate) struct Authority {
    pub(crate) directory: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let authority = Self {
            directory: tempfile::tempdir().unwrap(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(parameters, key),
        };
        fs::write(authority.path("ca.pem"), certificate.pem()).unwrap();
        authority.renew();
        authority
    }

    /// Writes a new certificate and its key.
    pub(crate) fn renew(&self) {
        let (certificate, key) = self.sign();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }

    fn sign(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let parameters =
            CertificateParams::new(["localhost", "127.0.0.1", "127.0.0.2"].map(str::to_owned))
                .unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `tls CERT KEY` for a Corefile.
    pub(crate) fn directive(&self) -> String {
        format!("tls {} {}", self.path("cert.pem").display(), self.path("key.pem").display())
    }

    /// A client that trusts this authority and offers these ALPN protocols.
    pub(crate) fn client(&self, protocols: &[&str]) -> ClientConfig {
        self.client_as(protocols, None)
    }

    /// A client with a certificate that `signer` signed.
    pub(crate) fn client_as(&self, protocols: &[&str], signer: Option<&Self>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match signer.map(Self::sign) {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

/// A client over TLS. The handshake happens at the first use, so its errors show there.
pub(crate) fn dot(
    address: SocketAddr,
    config: ClientConfig,
) -> Tcp<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let connection = ClientConnection::new(Arc::new(config), address.ip().into()).unwrap();
    Tcp(StreamOwned::new(connection, stream))
}

/// Sends one HTTP request. The ALPN protocols of `config` decide the HTTP version.
pub(crate) fn https(
    address: SocketAddr,
    config: ClientConfig,
    request: Request<Full<Bytes>>,
) -> Response<Bytes> {
    runtime().block_on(async {
        let stream = connect(address, config).await;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let response = if h2 {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            while_open(connection, sender.send_request(request)).await
        } else {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            while_open(connection, sender.send_request(request)).await
        };
        assert_eq!(response.version() == hyper::Version::HTTP_2, h2);
        response
    })
}

pub(crate) async fn connect(
    address: SocketAddr,
    config: ClientConfig,
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    connect_over(stream, address, config).await
}

pub(crate) async fn connect_over(
    stream: tokio::net::TcpStream,
    address: SocketAddr,
    config: ClientConfig,
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(address.ip().into(), stream)
        .await
        .unwrap()
}

/// Reads the complete response while the connection is driven.
async fn while_open<E: std::fmt::Debug>(
    connection: impl Future<Output = Result<(), E>>,
    response: impl Future<Output = hyper::Result<Response<hyper::body::Incoming>>>,
) -> Response<Bytes> {
    let whole = async {
        let (head, body) = response.await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    };
    let connection = async {
        connection.await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        response = whole => response,
        () = connection => unreachable!("the connection future never ends"),
        () = tokio::time::sleep(Duration::from_secs(8)) => panic!("no response"),
    }
}

/// Sends one request over HTTP/3.
pub(crate) fn https3(
    address: SocketAddr,
    config: ClientConfig,
    request: Request<Full<Bytes>>,
) -> Response<Bytes> {
    runtime().block_on(async {
        let connection = quic(address, config).await.unwrap();
        let response = ask_https3(&connection, request);
        tokio::time::timeout(Duration::from_secs(8), response).await.expect("a response").unwrap()
    })
}

/// Sends one request on a new HTTP/3 connection over a QUIC connection.
pub(crate) async fn ask_https3(
    connection: &quinn::Connection,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, String> {
    let streams = h3_quinn::Connection::new(connection.clone());
    let (mut driver, mut sender) = h3::client::new(streams).await.unwrap();
    let response = async {
        let (head, body) = request.into_parts();
        let mut stream = sender.send_request(Request::from_parts(head, ())).await?;
        let body = body.collect().await.unwrap().to_bytes();
        // A server that has seen enough of a body answers before its end.
        let _ = stream.send_data(body).await;
        let _ = stream.finish().await;
        let (head, ()) = stream.recv_response().await?.into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.recv_data().await? {
            body.extend_from_slice(data.chunk());
        }
        Ok(Response::from_parts(head, body.into()))
    };
    tokio::select! {
        response = response => response.map_err(|error: h3::error::StreamError| error.to_string()),
        error = std::future::poll_fn(|cx| driver.poll_close(cx)) => Err(error.to_string()),
    }
}

/// Sends one query on its own stream (RFC 9250) with message ID 0, and restores the ID in the
/// reply. `None` if the stream ends without a reply.
pub(crate) fn doq(address: SocketAddr, config: ClientConfig, packet: &[u8]) -> Option<Vec<u8>> {
    let (id, rest) = packet.split_at_checked(2).unwrap_or((packet, &[]));
    let frame = [&(packet.len() as u16).to_be_bytes()[..], &vec![0; id.len()], rest].concat();
    let answer = async {
        let connection = quic(address, config).await.ok()?;
        let reply = ask_quic(&connection, &frame).await;
        connection.close(0_u32.into(), b"");
        reply
    };
    let reply = runtime().block_on(async {
        tokio::time::timeout(Duration::from_secs(8), answer).await.expect("the stream ends")
    })?;
    let (length, reply) = reply.split_first_chunk::<2>()?;
    assert_eq!(usize::from(u16::from_be_bytes(*length)), reply.len());
    assert_eq!(reply[..2], [0, 0], "message IDs are 0 over QUIC");
    Some([id, &reply[2..]].concat())
}

pub(crate) async fn quic(
    address: SocketAddr,
    config: ClientConfig,
) -> Result<quinn::Connection, quinn::ConnectionError> {
    quic_from(Ipv4Addr::LOCALHOST, address, config).await
}

/// Connects from this local address.
pub(crate) async fn quic_from(
    own: Ipv4Addr,
    address: SocketAddr,
    config: ClientConfig,
) -> Result<quinn::Connection, quinn::ConnectionError> {
    quic_with(own, address, config, quinn::TransportConfig::default()).await
}

pub(crate) async fn quic_with(
    own: Ipv4Addr,
    address: SocketAddr,
    config: ClientConfig,
    transport: quinn::TransportConfig,
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let mut endpoint = quinn::Endpoint::client((own, 0).into()).unwrap();
    let crypto = QuicClientConfig::try_from(config).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    endpoint.connect(address, "localhost").unwrap().await
}

/// Sends a frame on a new stream, and returns everything that comes back. `None` if the stream is
/// reset or the connection closes.
pub(crate) async fn ask_quic(connection: &quinn::Connection, frame: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(frame).await.ok()?;
    send.finish().ok()?;
    receive.read_to_end(65_537).await.ok()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
