//! Certificates and keys, and what is asked of clients (RFC 8446), with ring as the only provider.

pub mod client;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use thiserror::Error;
use tokio::sync::watch;

use crate::{plugin::ClientAuth, server::Scheme};

/// What a listener shows its clients, and asks of them. With an equal one sessions go on.
#[derive(PartialEq, Eq)]
pub struct Identity {
    /// The chain in PEM, the server's own certificate first.
    pub certificates: String,
    /// Its private key in PEM.
    pub key: String,
    /// Who signs clients' certificates, in PEM; else whom this machine trusts.
    pub authorities: Option<String>,
    pub client_auth: ClientAuth,
}

/// Which part of an identity is of no use, and why.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("{0}")]
    Certificates(String),
    #[error("{0}")]
    Key(String),
    #[error("{0}")]
    Authorities(String),
}

impl Identity {
    /// For what is spoken behind the keys of one scheme.
    ///
    /// # Errors
    /// As [`Fault`] says; nothing of the texts is quoted.
    pub fn config(&self, scheme: Scheme) -> Result<ServerConfig, Fault> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.certificates).map_err(Fault::Certificates)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| Fault::Key(error.to_string()))?;
        let versions = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| Fault::Key(error.to_string()))?;
        let builder = match self.verifier(&provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| Fault::Key(error.to_string()))?;
        config.alpn_protocols = protocols(scheme);
        if self.client_auth == ClientAuth::None {
            config.ticketer =
                ring::Ticketer::new().map_err(|error| Fault::Key(error.to_string()))?;
        } else {
            // A session that goes on is one whose client is not looked at again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Fault> {
        let any = |mandatory| {
            Some(Arc::new(AnyCertificate { provider: Arc::clone(provider), mandatory })
                as Arc<dyn ClientCertVerifier>)
        };
        let optional = match self.client_auth {
            // The file has to be right even where nobody is compared with it.
            ClientAuth::None | ClientAuth::Request | ClientAuth::Require => {
                self.authorities
                    .as_deref()
                    .map(certificates)
                    .transpose()
                    .map_err(Fault::Authorities)?;
                return Ok(match self.client_auth {
                    ClientAuth::None => None,
                    asked => any(asked == ClientAuth::Require),
                });
            }
            ClientAuth::VerifyIfGiven => true,
            ClientAuth::RequireAndVerify => false,
        };
        let roots = Arc::new(roots(self.authorities.as_deref()).map_err(Fault::Authorities)?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let builder = if optional { builder.allow_unauthenticated() } else { builder };
        builder
            .build()
            .map(|verifier| Some(verifier as Arc<dyn ClientCertVerifier>))
            .map_err(|error| Fault::Authorities(error.to_string()))
    }
}

/// Those in the text, or whom this machine trusts.
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
        Err("this machine trusts no authority: a file of them has to be named".to_owned())
    } else {
        Ok(roots)
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err("there is no certificate in PEM form".to_owned())
        }
        read => read.map_err(|error| error.to_string()),
    }
}

/// What clients may name in ALPN (RFC 7301); one that names nothing is let in.
fn protocols(scheme: Scheme) -> Vec<Vec<u8>> {
    let names: &[&[u8]] = match scheme {
        Scheme::Dns => &[],
        Scheme::Tls => &[b"dot"],
        Scheme::Https => &[b"h2", b"http/1.1"],
        Scheme::Quic => &[b"doq"],
    };
    names.iter().map(|name| name.to_vec()).collect()
}

/// Takes any certificate whose key the client has, as Go's `RequestClientCert` and
/// `RequireAnyClientCert` do.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What the next client of a listener is shown; where that is nothing, nothing is encrypted.
#[derive(Default)]
pub(super) struct Current {
    shown: ArcSwapOption<Shown>,
    /// What clients are asked for.
    asked: watch::Sender<Asked>,
}

/// Whether for a certificate, and signed by whom.
pub(super) type Asked = (ClientAuth, Option<String>);

struct Shown {
    identity: Arc<Identity>,
    config: Arc<ServerConfig>,
}

impl Current {
    /// With the identity that is shown already nothing changes, and sessions go on.
    ///
    /// # Errors
    /// As [`Fault`] says.
    pub(super) fn show(
        &self,
        identity: Option<&Arc<Identity>>,
        scheme: Scheme,
    ) -> Result<(), Fault> {
        let shown = self.shown.load();
        if shown.as_ref().map(|shown| &shown.identity) != identity {
            let new = |identity: &Arc<Identity>| {
                let config = Arc::new(identity.config(scheme)?);
                Ok(Arc::new(Shown { identity: Arc::clone(identity), config }))
            };
            self.shown.store(identity.map(new).transpose()?);
        }
        let asked = identity.map_or_else(Asked::default, |identity| {
            (identity.client_auth, identity.authorities.clone())
        });
        self.asked.send_if_modified(|before| {
            let changed = *before != asked;
            *before = asked;
            changed
        });
        Ok(())
    }

    pub(super) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.shown.load().as_ref().map(|shown| Arc::clone(&shown.config))
    }

    /// A configuration for who takes but one: the certificate is still the current one, until
    /// clients are asked for something else.
    pub(super) fn standing(self: &Arc<Self>) -> Option<Arc<ServerConfig>> {
        let mut config = ServerConfig::clone(&*self.config()?);
        config.cert_resolver = Arc::new(Standing(Arc::clone(self)));
        Some(Arc::new(config))
    }

    pub(super) fn asked(&self) -> watch::Receiver<Asked> {
        self.asked.subscribe()
    }
}

/// Shows whatever is current.
struct Standing(Arc<Current>);

impl ResolvesServerCert for Standing {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.config()?.cert_resolver.resolve(hello)
    }
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Standing")
    }
}
