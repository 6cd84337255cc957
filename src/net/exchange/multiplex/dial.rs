//! New connections to upstreams.

use std::{io, net::IpAddr, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::{
    net::{
        client::{
            https::{HttpEndpoint, HttpsConnection, PATH},
            quic, stream,
        },
        grpc::GrpcConnection,
    },
    transport::Scheme,
    upstream::{HttpMethod, Protocol, TlsClientSettings},
};

use super::{
    super::{framed::FramedConnection, spawn},
    Ask, RouteKey,
    route::{Connection, Place},
};

impl Ask<'_> {
    /// Opens a connection, on which the query has the first place.
    pub(super) async fn dial(&self) -> io::Result<Place<'_>> {
        let share = self.shared.sockets.take(self.client).ok_or(io::ErrorKind::QuotaExceeded)?;
        self.upstream.metrics(&self.shared.metrics).count_new_connection(self.proto());
        let RouteKey { to, source, protocol } = &self.key;
        let connection = match protocol {
            Protocol::Dns => self.drive(FramedConnection::open(self.tcp().await?)),
            Protocol::Tls(tls) => {
                self.drive(FramedConnection::open(self.tls(tls, Scheme::Tls).await?))
            }
            Protocol::Quic(tls) => {
                let config = self.shared.tls.config(tls, Scheme::Quic)?;
                let name = name(tls, to.ip());
                Connection::Quic(quic::connect(*to, *source, &name, config).await?)
            }
            Protocol::Https(tls, method) => Connection::Https(self.dial_https(tls, *method).await?),
            Protocol::Grpc(tls) => Connection::Grpc(self.dial_grpc(tls.as_ref()).await?),
        };
        Ok(self.route.open(self.guest(), connection, share))
    }

    fn drive(
        &self,
        (connection, driver): (FramedConnection, impl Future<Output = ()> + Send + 'static),
    ) -> Connection {
        spawn(&self.shared.background, driver);
        Connection::Framed(connection)
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        stream::connect(self.key.to, self.key.source).await
    }

    async fn tls(
        &self,
        tls: &Arc<TlsClientSettings>,
        scheme: Scheme,
    ) -> io::Result<TlsStream<TcpStream>> {
        self.shared.tls.connect(tls, scheme, self.key.to.ip(), self.tcp().await?).await
    }

    async fn dial_https(
        &self,
        tls: &Arc<TlsClientSettings>,
        method: HttpMethod,
    ) -> io::Result<HttpsConnection> {
        let RouteKey { to, .. } = self.key;
        let endpoint = HttpEndpoint::new(&name(tls, to.ip()), to.port(), PATH, method);
        let stream = self.tls(tls, Scheme::Https).await?;
        let (connection, driver) = HttpsConnection::open(stream, endpoint).await?;
        spawn(&self.shared.background, driver);
        Ok(connection)
    }

    async fn dial_grpc(&self, tls: Option<&Arc<TlsClientSettings>>) -> io::Result<GrpcConnection> {
        let RouteKey { to, .. } = self.key;
        let (connection, driver) = match tls {
            Some(tls) => {
                let stream = self.tls(tls, Scheme::Grpc).await?;
                GrpcConnection::open(stream, format!("https://{to}")).await?
            }
            None => GrpcConnection::open(self.tcp().await?, format!("http://{to}")).await?,
        };
        spawn(&self.shared.background, driver);
        Ok(connection)
    }
}

/// The name of the upstream in its certificate and in URLs.
fn name(tls: &TlsClientSettings, address: IpAddr) -> String {
    tls.server_name.clone().unwrap_or_else(|| address.to_string())
}
