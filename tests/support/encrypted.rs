//! Certificates made for a test, and clients of the encrypted transports.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::Tcp;

/// Someone who signs, with a certificate for loopback in files.
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
        let authority =
            Self { directory: tempfile::tempdir().unwrap(), certificate: certificate.der().clone(), issuer: Issuer::new(parameters, key) };
        fs::write(authority.path("ca.pem"), certificate.pem()).unwrap();
        authority.renew();
        authority
    }

    /// Writes another certificate and its key.
    pub(crate) fn renew(&self) {
        let (certificate, key) = self.sign();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
    }

    fn sign(&self) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `tls CERT KEY` for a Corefile.
    pub(crate) fn directive(&self) -> String {
        format!("tls {} {}", self.path("cert.pem").display(), self.path("key.pem").display())
    }

    /// A client that trusts this authority, and names these protocols.
    pub(crate) fn client(&self, protocols: &[&str]) -> ClientConfig {
        self.client_as(protocols, None)
    }

    /// A client with a certificate that `signer` signed.
    pub(crate) fn client_as(&self, protocols: &[&str], signer: Option<&Self>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
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

/// A client over TLS; what is wrong shows when it is used.
pub(crate) fn dot(address: SocketAddr, config: ClientConfig) -> Tcp<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    let connection = ClientConnection::new(Arc::new(config), address.ip().into()).unwrap();
    Tcp(StreamOwned::new(connection, stream))
}
