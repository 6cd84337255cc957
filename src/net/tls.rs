//! TLS (RFC 8446): certificates, keys and client authentication, with ring as the only provider.

mod anchor;
pub mod client;
mod key_log;
mod unverified;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use thiserror::Error;
use tokio::sync::watch;

use crate::{plugin::ClientAuth, server::Scheme};

use key_log::KeyLogFile;
use unverified::AnyCertificate;

/// A listener's certificate, and whether it asks clients for theirs. Sessions can be resumed as
/// long as the identity stays equal.
#[derive(PartialEq, Eq)]
pub struct Identity {
    /// The chain in PEM, the server's own certificate first.
    pub certificates: String,
    /// Its private key in PEM.
    pub key: String,
    /// The authorities that sign clients' certificates, in PEM. `None` means the authorities that
    /// this machine trusts.
    pub authorities: Option<String>,
    pub client_auth: ClientAuth,
    pub versions: Versions,
    /// The file that the secrets of connections are written to.
    pub key_log: Option<String>,
}

/// The versions of TLS that a listener accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    #[default]
    All,
    Only12,
    Only13,
}

static ONLY_12: &[&SupportedProtocolVersion] = &[&TLS12];
static ONLY_13: &[&SupportedProtocolVersion] = &[&TLS13];

impl Versions {
    fn of_rustls(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::All => rustls::DEFAULT_VERSIONS,
            Self::Only12 => ONLY_12,
            Self::Only13 => ONLY_13,
        }
    }
}

/// Which part of a TLS configuration cannot be used, and why. The messages quote nothing from the
/// files.
#[derive(Debug, Error)]
pub enum TlsConfigError {
    #[error("{0}")]
    Certificates(String),
    #[error("{0}")]
    Key(String),
    #[error("{0}")]
    Authorities(String),
    #[error("{0}")]
    KeyLog(String),
}

impl Identity {
    /// The configuration of a listener of this scheme.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub fn config(&self, scheme: Scheme) -> Result<ServerConfig, TlsConfigError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.certificates).map_err(TlsConfigError::Certificates)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| TlsConfigError::Key(error.to_string()))?;
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.versions.of_rustls());
        let builder = versions.map_err(|error| TlsConfigError::Key(error.to_string()))?;
        let builder = match self.verifier(&provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| TlsConfigError::Key(error.to_string()))?;
        config.alpn_protocols = alpn(scheme);
        if let Some(path) = &self.key_log {
            let log = KeyLogFile::open(path)
                .map_err(|error| TlsConfigError::KeyLog(error.to_string()))?;
            config.key_log = Arc::new(log);
        }
        if self.client_auth == ClientAuth::None {
            config.ticketer =
                ring::Ticketer::new().map_err(|error| TlsConfigError::Key(error.to_string()))?;
        } else {
            // A resumed session would skip the verification of the client's certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsConfigError> {
        let unverified = |mandatory| {
            Some(Arc::new(AnyCertificate { provider: Arc::clone(provider), mandatory })
                as Arc<dyn ClientCertVerifier>)
        };
        let optional = match self.client_auth {
            // The file must be valid although no certificate is compared with it.
            ClientAuth::None | ClientAuth::Request | ClientAuth::Require => {
                self.authorities
                    .as_deref()
                    .map(certificates)
                    .transpose()
                    .map_err(TlsConfigError::Authorities)?;
                return Ok(match self.client_auth {
                    ClientAuth::None => None,
                    asked => unverified(asked == ClientAuth::Require),
                });
            }
            ClientAuth::VerifyIfGiven => true,
            ClientAuth::RequireAndVerify => false,
        };
        let roots =
            Arc::new(roots(self.authorities.as_deref()).map_err(TlsConfigError::Authorities)?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let builder = if optional { builder.allow_unauthenticated() } else { builder };
        builder
            .build()
            .map(|verifier| Some(verifier as Arc<dyn ClientCertVerifier>))
            .map_err(|error| TlsConfigError::Authorities(error.to_string()))
    }
}

/// The authorities in the text, or those that this machine trusts.
pub(super) fn roots(authorities: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(text) => {
            for certificate in certificates(text)? {
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        Err("this machine has no trusted authorities: name a file with certificates of authorities"
            .to_owned())
    } else {
        Ok(roots)
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err("the file contains no certificate in PEM form".to_owned())
        }
        read => read.map_err(|error| error.to_string()),
    }
}

/// The protocol names that a server offers, or a client asks for, in ALPN (RFC 7301). A client
/// that asks for none is served.
pub(super) fn alpn(scheme: Scheme) -> Vec<Vec<u8>> {
    scheme.alpn().iter().map(|name| name.to_vec()).collect()
}

/// The identity that a listener shows to new clients. Without one nothing is encrypted.
#[derive(Default)]
pub(super) struct CurrentIdentity {
    active: ArcSwapOption<ActiveIdentity>,
    client_policy: watch::Sender<ClientPolicy>,
}

/// Whether clients need a certificate, and the authorities that sign it.
pub(super) type ClientPolicy = (ClientAuth, Option<String>);

struct ActiveIdentity {
    identity: Arc<Identity>,
    config: Arc<ServerConfig>,
}

impl CurrentIdentity {
    /// Setting an equal identity changes nothing, so that sessions can be resumed.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub(super) fn set(
        &self,
        identity: Option<&Arc<Identity>>,
        scheme: Scheme,
    ) -> Result<(), TlsConfigError> {
        let active = self.active.load();
        if active.as_ref().map(|active| &active.identity) != identity {
            let new = |identity: &Arc<Identity>| {
                let config = Arc::new(identity.config(scheme)?);
                Ok(Arc::new(ActiveIdentity { identity: Arc::clone(identity), config }))
            };
            self.active.store(identity.map(new).transpose()?);
        }
        let policy = identity.map_or_else(ClientPolicy::default, |identity| {
            (identity.client_auth, identity.authorities.clone())
        });
        self.client_policy.send_if_modified(|before| {
            let changed = *before != policy;
            *before = policy;
            changed
        });
        Ok(())
    }

    pub(super) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.active.load().as_ref().map(|active| Arc::clone(&active.config))
    }

    /// A configuration for hickory-server, which cannot replace it later. It shows the current
    /// certificate, but keeps the client policy: see [`Self::client_policy`].
    pub(super) fn following_config(self: &Arc<Self>) -> Option<Arc<ServerConfig>> {
        let mut config = ServerConfig::clone(&*self.config()?);
        config.cert_resolver = Arc::new(CurrentCertificate(Arc::clone(self)));
        Some(Arc::new(config))
    }

    /// Reports changes of the client policy.
    pub(super) fn client_policy(&self) -> watch::Receiver<ClientPolicy> {
        self.client_policy.subscribe()
    }
}

/// Resolves to the current certificate.
struct CurrentCertificate(Arc<CurrentIdentity>);

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.config()?.cert_resolver.resolve(hello)
    }
}

impl std::fmt::Debug for CurrentCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CurrentCertificate")
    }
}
