//! Connections to upstreams over TLS.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{limits, net::tls::client, upstream::TlsClientSettings};

use super::lock;

/// What was made of settings, with the sessions that may go on.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<Arc<TlsClientSettings>, Arc<ClientConfig>>>);

impl Clients {
    pub(super) async fn connect(
        &self,
        tls: &Arc<TlsClientSettings>,
        to: IpAddr,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = client::name(tls, to).map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.config(tls)?);
        timeout(limits::TLS_HANDSHAKE_TIME, connector.connect(name, stream)).await?
    }

    fn config(&self, tls: &Arc<TlsClientSettings>) -> io::Result<Arc<ClientConfig>> {
        let mut made = lock(&self.0);
        if let Some(config) = made.get(tls) {
            return Ok(Arc::clone(config));
        }
        // Those of groups that a reload took away have no other owner.
        made.retain(|tls, _| Arc::strong_count(tls) > 1);
        let config = Arc::new(client::config(tls).map_err(io::Error::other)?);
        made.insert(Arc::clone(tls), Arc::clone(&config));
        Ok(config)
    }
}
