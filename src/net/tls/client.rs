//! How upstreams are spoken to over TLS (RFC 7858): whom to trust, and what to show.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::upstream::{Pem, TlsClientSettings};

use super::{Fault, certificates, roots};

/// # Errors
/// As [`Fault`] says; nothing of the texts is quoted.
pub fn config(tls: &TlsClientSettings) -> Result<ClientConfig, Fault> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| Fault::Key(error.to_string()))?;
    let roots =
        roots(tls.authorities.as_ref().map(|Pem(text)| &**text)).map_err(Fault::Authorities)?;
    let builder = builder.with_root_certificates(roots);
    let Some((Pem(chain), Pem(key))) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(chain).map_err(Fault::Certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| Fault::Key(error.to_string()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| Fault::Key(error.to_string()))
}

/// The name that the certificate must have.
pub(in crate::net) fn name(
    tls: &TlsClientSettings,
    address: IpAddr,
) -> Result<ServerName<'static>, rustls::Error> {
    match &tls.server_name {
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| rustls::Error::General("it is no name".to_owned())),
        None => Ok(ServerName::IpAddress(address.into())),
    }
}

/// Why a certificate is not taken, in a word or two; `None` for other errors.
pub(in crate::net) fn distrust(error: &std::io::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(error) =
        error.get_ref()?.downcast_ref::<rustls::Error>()?
    else {
        return None;
    };
    Some(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "nobody who is trusted signed it"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is made out to another name; tls_servername says which one to expect"
        }
        CertificateError::Revoked => "it is revoked",
        _ => "it is not as it should be",
    })
}
