//! TLS connections to upstreams.

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

/// The TLS configuration of each upstream's settings, with the sessions that can be resumed.
#[derive(Default)]
pub(super) struct ClientConfigs(Mutex<HashMap<Arc<TlsClientSettings>, Arc<ClientConfig>>>);

impl ClientConfigs {
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
        let mut configs = lock(&self.0);
        if let Some(config) = configs.get(tls) {
            return Ok(Arc::clone(config));
        }
        // The settings of a group that a reload dropped have no other owner.
        configs.retain(|tls, _| Arc::strong_count(tls) > 1);
        let config = Arc::new(client::config(tls).map_err(io::Error::other)?);
        configs.insert(Arc::clone(tls), Arc::clone(&config));
        Ok(config)
    }
}
