//! The connection to an API server: address, certificates and credentials.
#![expect(clippy::disallowed_methods, reason = "the file of authorities is read here")]

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Mutex, Semaphore},
    task::spawn_blocking,
};

use crate::{limits, source::snapshot::ClusterIdentity};

use super::{Admission, budget::Budget};

/// Where the API server's address and the credentials are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterConfig {
    /// The environment and the ServiceAccount of the Pod that ndots runs in.
    InCluster,
    Kubeconfig {
        file: PathBuf,
        /// Further files. Of two definitions of a name the first one is used, as in kubectl.
        others: Vec<PathBuf>,
        context: Option<String>,
    },
    /// The Corefile itself has the URL.
    Endpoint { url: String, identity: Option<Identity> },
}

/// The files with the client's certificate and key, and with the authority that signed the server's
/// certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub authority: PathBuf,
}

/// The client for an API server. It is built again after a failure, because the kubeconfig, a
/// certificate or an exec plugin's credential may have changed, and because an idle connection may
/// be dead.
pub struct Access {
    config: ClusterConfig,
    /// `HOST:PORT`, as metrics name the server.
    host: String,
    current: Mutex<Current>,
    pub(super) admission: Admission,
    /// One permit, for a page of more than [`limits::API_PAGE_OCTETS_FREE`].
    pub(super) large_pages: Semaphore,
    /// The memory for the facts of the server.
    pub memory: Budget,
}

struct Current {
    client: Client,
    /// The SHA-256 of the authorities of the server's certificate; empty if none are configured.
    authority: String,
    /// How many clients there were before.
    number: u64,
}

/// A client with its number, so that it is replaced only once.
#[derive(Clone)]
pub(super) struct NumberedClient {
    pub(super) client: Client,
    number: u64,
}

impl Access {
    /// Reads the configuration. Nothing is sent to the server yet.
    ///
    /// # Errors
    /// If the configuration does not exist or cannot be used.
    pub async fn open(config: ClusterConfig, admission: Admission) -> anyhow::Result<Self> {
        let loaded = config.load_for_watches().await?;
        let host = loaded.cluster_url.authority().map_or_else(String::new, ToString::to_string);
        let authority = config.fingerprint(&loaded);
        let client = config.connect(loaded).await?;
        let current = Mutex::new(Current { client, authority, number: 0 });
        let (large_pages, memory) = (Semaphore::new(1), Budget::default());
        Ok(Self { config, host, current, admission, large_pages, memory })
    }

    /// `HOST:PORT` of the server.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The identity that a snapshot of the objects with these labels has.
    pub async fn identity(&self, labels: Option<&str>) -> ClusterIdentity {
        ClusterIdentity {
            host: self.host.clone(),
            authority: self.current.lock().await.authority.clone(),
            labels: labels.unwrap_or_default().to_owned(),
        }
    }

    pub(super) async fn client(&self) -> NumberedClient {
        let current = self.current.lock().await;
        NumberedClient { client: current.client.clone(), number: current.number }
    }

    /// Replaces a client that failed, unless another task has replaced it already.
    pub(super) async fn replace(&self, failed: &NumberedClient) -> anyhow::Result<()> {
        let mut current = self.current.lock().await;
        if current.number == failed.number {
            let loaded = self.config.load_for_watches().await?;
            current.authority = self.config.fingerprint(&loaded);
            current.client = self.config.connect(loaded).await?;
            current.number += 1;
        }
        Ok(())
    }
}

impl ClusterConfig {
    /// A client for a few requests.
    ///
    /// # Errors
    /// If the configuration does not exist or cannot be used.
    pub async fn client(&self) -> anyhow::Result<Client> {
        self.connect(self.load().await?).await
    }

    /// Builds a client. This runs the exec plugin of a kubeconfig and waits for its end, so it does
    /// not run on a thread that serves other tasks.
    async fn connect(&self, config: Config) -> anyhow::Result<Client> {
        let built = spawn_blocking(move || Client::try_from(config)).await?;
        built.with_context(|| format!("{self} cannot be used"))
    }

    /// The URL of the API server.
    ///
    /// # Errors
    /// If the configuration does not exist or cannot be used.
    pub async fn server(&self) -> anyhow::Result<String> {
        Ok(self.load().await?.cluster_url.to_string())
    }

    /// A file of the ServiceAccount that does not exist, although most clusters need it.
    pub fn missing_file(&self) -> Option<PathBuf> {
        let file = authority(Path::new(ACCOUNT));
        (*self == Self::InCluster && !file.exists()).then_some(file)
    }

    /// The SHA-256 of the configured authorities in hexadecimal. Those that the machine trusts do
    /// not count: they change with the image.
    fn fingerprint(&self, config: &Config) -> String {
        let file = config.root_cert_file.as_ref().and_then(|file| std::fs::read(file).ok());
        let configured = match (file, self) {
            (Some(file), _) => file,
            (None, Self::Kubeconfig { .. }) => {
                config.root_cert.iter().flatten().flatten().copied().collect()
            }
            (None, Self::InCluster | Self::Endpoint { .. }) => Vec::new(),
        };
        if configured.is_empty() {
            return String::new();
        }
        Sha256::digest(configured).iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The configuration with the retries of kube's client turned off. Those retries are missing in
    /// the metrics, and they wait for a `Retry-After` of any length. Watches have their own
    /// back-off.
    async fn load_for_watches(&self) -> anyhow::Result<Config> {
        let mut config = self.load().await?;
        config.default_retry = false;
        Ok(config)
    }

    async fn load(&self) -> anyhow::Result<Config> {
        let mut config = match self {
            Self::InCluster => in_cluster()?,
            Self::Kubeconfig { file, others, context } => {
                let mut kubeconfig = read_kubeconfig(file)?;
                for other in others {
                    kubeconfig = kubeconfig
                        .merge(read_kubeconfig(other)?)
                        .with_context(|| other.display().to_string())?;
                }
                has_context(&kubeconfig, context.as_deref()).with_context(|| self.to_string())?;
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
                    config.root_cert = Some(Vec::new());
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

fn read_kubeconfig(file: &Path) -> anyhow::Result<Kubeconfig> {
    Kubeconfig::read_from(file)
        .map_err(without_text)
        .with_context(|| format!("kubeconfig {}", file.display()))
}

/// Reads the text of a kubeconfig, without the files that it names.
///
/// # Errors
/// If it does not parse.
pub(in crate::source) fn read_text(text: &str) -> anyhow::Result<()> {
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(without_text)?;
    // The fuzz target checks only the messages of errors about the YAML. The message about an
    // unknown context may name contexts.
    let _ = has_context(&kubeconfig, None);
    Ok(())
}

/// # Errors
/// If the kubeconfig does not have the context. The message lists those that it has.
fn has_context(kubeconfig: &Kubeconfig, context: Option<&str>) -> anyhow::Result<()> {
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|it| it.name.as_str()).collect();
    let Some(wanted) = context.or(kubeconfig.current_context.as_deref()) else { return Ok(()) };
    if known.contains(&wanted) {
        return Ok(());
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(anyhow!("there is no context {wanted}; the contexts are: {known}"))
}

/// Replaces the message about a kubeconfig that does not parse: it would quote the file, which may
/// hold a token.
fn without_text(error: KubeconfigError) -> anyhow::Error {
    let KubeconfigError::Parse(error) = error else { return error.into() };
    match error.location() {
        Some(at) => {
            anyhow!("line {}, column {} is not valid YAML of a kubeconfig", at.line(), at.column())
        }
        None => anyhow!("it is not valid YAML of a kubeconfig"),
    }
}

/// The files of the Pod's ServiceAccount.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn in_cluster() -> anyhow::Result<Config> {
    let variable = |name| std::env::var(name).ok();
    let (Some(host), Some(port)) =
        (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"))
    else {
        return Err(anyhow!(
            "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined; \
             outside of a Pod `kubeconfig FILE` or `manifests DIR` says where the cluster is"
        ));
    };
    of_account(Path::new(ACCOUNT), &host, &port).context("unable to load in-cluster configuration")
}

/// As in client-go, the account may lack `namespace`, which ndots does not need, and `ca.crt`, if
/// an authority that this machine trusts has signed the server's certificate.
fn of_account(account: &Path, host: &str, port: &str) -> anyhow::Result<Config> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = match port.parse::<u16>()? {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let mut config = Config::new(format!("https://{host}{port}").parse()?);
    config.auth_info.token_file = Some(account.join("token").display().to_string());
    config.root_cert_file = Some(authority(account)).filter(|file| file.exists());
    // The file takes precedence. Without this list kube would load the authorities that this
    // machine trusts, and fail if there are none.
    let trusted = match &config.root_cert_file {
        Some(_) => Vec::new(),
        None => rustls_native_certs::load_native_certs().certs,
    };
    config.root_cert = Some(trusted.iter().map(|certificate| certificate.to_vec()).collect());
    Ok(config)
}

fn authority(account: &Path) -> PathBuf {
    account.join("ca.crt")
}

/// The name in messages, such as `kubeconfig FILE`.
impl fmt::Display for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("the in-cluster configuration"),
            Self::Kubeconfig { file, context: None, .. } => {
                write!(f, "kubeconfig {}", file.display())
            }
            Self::Endpoint { url, .. } => write!(f, "endpoint {url}"),
            Self::Kubeconfig { file, context: Some(context), .. } => {
                write!(f, "kubeconfig {}, context {context}", file.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_exec_plugin_delays_no_other_task() {
        let file = std::env::temp_dir().join(format!("ndots-exec-{}", std::process::id()));
        let credential = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}"#;
        let exec = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": ["-c", format!("sleep 1; echo '{credential}'")],
            "interactiveMode": "Never",
        });
        let kubeconfig = serde_json::json!({
            "clusters": [{ "name": "c", "cluster": { "server": "http://127.0.0.1:1" } }],
            "users": [{ "name": "u", "user": { "exec": exec } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
            "current-context": "c",
        });
        std::fs::write(&file, kubeconfig.to_string()).unwrap();
        let config =
            ClusterConfig::Kubeconfig { file: file.clone(), others: Vec::new(), context: None };
        let begun = tokio::time::Instant::now();
        let other = async {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            begun.elapsed()
        };
        let (client, other) = tokio::join!(config.client(), other);
        std::fs::remove_file(file).unwrap();
        assert!(client.is_ok(), "{:?}", client.err());
        assert!(begun.elapsed().as_millis() >= 1000 && other.as_millis() < 900, "{other:?}");
    }

    #[test]
    fn an_account_may_lack_its_authority_and_its_namespace() {
        let account = std::env::temp_dir().join(format!("ndots-account-{}", std::process::id()));
        std::fs::create_dir_all(&account).unwrap();
        let config = |host, port| of_account(&account, host, port).unwrap();
        let check = |host, port, url: &str| {
            assert_eq!(config(host, port).cluster_url.to_string(), url);
        };
        check("10.96.0.1", "443", "https://10.96.0.1/");
        check("fd00::1", "6443", "https://[fd00::1]:6443/");
        check("api.example", "443", "https://api.example/");
        assert_eq!(config("10.96.0.1", "443").root_cert_file, None);
        std::fs::write(account.join("ca.crt"), "").unwrap();
        let config = config("10.96.0.1", "443");
        assert!(config.root_cert_file.is_some());
        // Otherwise kube would load the machine's authorities, and fail if there are none.
        assert_eq!(config.root_cert, Some(Vec::new()));
        assert!(of_account(&account, "10.96.0.1", "x").is_err());
        std::fs::remove_dir_all(account).unwrap();
    }
}
