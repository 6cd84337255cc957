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

use crate::{
    limits,
    net::tls::{alpn, client},
    transport::Scheme,
    upstream::TlsClientSettings,
};

use super::lock;

/// The TLS configuration of each upstream's settings, with the sessions that can be resumed.
#[derive(Default)]
pub(super) struct ClientConfigs(Mutex<HashMap<ConfigKey, Arc<ClientConfig>>>);

type ConfigKey = (Arc<TlsClientSettings>, Scheme);

impl ClientConfigs {
    pub(super) async fn connect(
        &self,
        tls: &Arc<TlsClientSettings>,
        scheme: Scheme,
        to: IpAddr,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = client::name(tls, to).map_err(io::Error::other)?;
        let connector = TlsConnector::from(self.config(tls, scheme)?);
        timeout(limits::TLS_HANDSHAKE_TIME, connector.connect(name, stream)).await?
    }

    pub(super) fn config(
        &self,
        tls: &Arc<TlsClientSettings>,
        scheme: Scheme,
    ) -> io::Result<Arc<ClientConfig>> {
        let mut configs = lock(&self.0);
        let key = (Arc::clone(tls), scheme);
        if let Some(config) = configs.get(&key) {
            return Ok(Arc::clone(config));
        }
        // The settings of a group that a reload dropped have no other owner.
        configs.retain(|(tls, _), _| Arc::strong_count(tls) > 1);
        let mut config = client::config(tls).map_err(io::Error::other)?;
        if scheme != Scheme::Tls {
            // Some servers reject ALPN in DNS over TLS, and DNS over TLS does not need it.
            config.alpn_protocols = alpn(scheme);
        }
        let config = Arc::new(config);
        configs.insert(key, Arc::clone(&config));
        Ok(config)
    }
}
