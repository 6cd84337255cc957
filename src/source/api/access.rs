//! The way to an API server: address, certificates and credentials.

use std::{fmt, path::PathBuf};

use anyhow::{Context, anyhow};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::sync::Mutex;

use crate::limits;

use super::Admission;

/// Where it is written down which API server, and how to get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The environment and the ServiceAccount of the Pod this runs in.
    Pod,
    Kubeconfig {
        file: PathBuf,
        context: Option<String>,
    },
    /// Written in the Corefile itself.
    Endpoint {
        url: String,
        identity: Option<Identity>,
    },
}

/// Files with the client's certificate and key, and with the authority that signed the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

/// Connections to an API server, made anew where they fail: a kubeconfig, certificate or exec
/// plugin's credential may have changed, and a connection that looks idle may be dead.
pub struct Access {
    place: Place,
    /// The server as metrics name it.
    host: String,
    current: Mutex<Current>,
    pub(super) admission: Admission,
}

struct Current {
    client: Client,
    /// How many there were before.
    number: u64,
}

/// A client, and which one it is.
#[derive(Clone)]
pub(super) struct Numbered {
    pub(super) client: Client,
    number: u64,
}

impl Access {
    /// Reads what is written down; nothing is asked of the server yet.
    ///
    /// # Errors
    /// Where it is not there, or not usable.
    pub async fn open(place: Place, admission: Admission) -> anyhow::Result<Self> {
        let config = place.config().await?;
        let host = config.cluster_url.authority().map_or_else(String::new, ToString::to_string);
        let client = Client::try_from(config).with_context(|| format!("{place} cannot be used"))?;
        Ok(Self { place, host, current: Mutex::new(Current { client, number: 0 }), admission })
    }

    /// `HOST:PORT` of the server.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(super) async fn client(&self) -> Numbered {
        let current = self.current.lock().await;
        Numbered { client: current.client.clone(), number: current.number }
    }

    /// Replaces a client that failed, unless somebody else has done so.
    pub(super) async fn replace(&self, failed: &Numbered) -> anyhow::Result<()> {
        let mut current = self.current.lock().await;
        if current.number == failed.number {
            current.client = self.place.client().await?;
            current.number += 1;
        }
        Ok(())
    }
}

impl Place {
    /// A client for a few requests.
    ///
    /// # Errors
    /// Where what is written down is not there, or not usable.
    pub async fn client(&self) -> anyhow::Result<Client> {
        Client::try_from(self.config().await?).with_context(|| format!("{self} cannot be used"))
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let mut config = match self {
            Self::Pod => pod()?,
            Self::Kubeconfig { file, context } => {
                let kubeconfig = Kubeconfig::read_from(file).with_context(|| self.to_string())?;
                let options =
                    KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .with_context(|| self.to_string())?
            }
            Self::Endpoint { url, identity } => {
                let mut config = Config::new(url.parse().with_context(|| self.to_string())?);
                if let Some(Identity { certificate, key, authority }) = identity {
                    config.root_cert_file = Some(authority.clone());
                    config.auth_info.client_certificate = Some(certificate.display().to_string());
                    config.auth_info.client_key = Some(key.display().to_string());
                }
                config
            }
        };
        config.connect_timeout = Some(limits::API_CONNECT_TIME);
        config.headers.push((
            http::header::USER_AGENT,
            http::HeaderValue::from_static(concat!("ndots/", env!("CARGO_PKG_VERSION"))),
        ));
        Ok(config)
    }
}

fn pod() -> anyhow::Result<Config> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none()
        || std::env::var_os("KUBERNETES_SERVICE_PORT").is_none()
    {
        return Err(anyhow!(
            "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined; \
             outside of a Pod `kubeconfig FILE` or `manifests DIR` says where the cluster is"
        ));
    }
    Config::incluster_env().context("unable to load in-cluster configuration")
}

/// As the operator knows it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod => f.write_str("the in-cluster configuration"),
            Self::Kubeconfig { file, context: None } => write!(f, "kubeconfig {}", file.display()),
            Self::Endpoint { url, .. } => write!(f, "endpoint {url}"),
            Self::Kubeconfig { file, context: Some(context) } => {
                write!(f, "kubeconfig {}, context {context}", file.display())
            }
        }
    }
}
