//! TLS to upstreams and other servers (RFC 7858): trusted authorities and our own certificate.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
};

use crate::upstream::{Pem, TlsClientSettings};

use super::{TlsConfigError, certificates, roots};

/// # Errors
/// See [`TlsConfigError`].
pub fn config(tls: &TlsClientSettings) -> Result<ClientConfig, TlsConfigError> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| TlsConfigError::Key(error.to_string()))?;
    let roots = roots(tls.authorities.as_ref().map(|Pem(text)| &**text))
        .map_err(TlsConfigError::Authorities)?;
    let builder = builder.with_root_certificates(roots);
    let Some((Pem(chain), Pem(key))) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(chain).map_err(TlsConfigError::Certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| TlsConfigError::Key(error.to_string()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| TlsConfigError::Key(error.to_string()))
}

/// The name that the certificate must have: the configured name, or the address.
pub(in crate::net) fn name(
    tls: &TlsClientSettings,
    address: IpAddr,
) -> Result<ServerName<'static>, rustls::Error> {
    match &tls.server_name {
        Some(name) => ServerName::try_from(name.clone()).map_err(|_| {
            rustls::Error::General("the configured name is not a host name".to_owned())
        }),
        None => Ok(ServerName::IpAddress(address.into())),
    }
}

/// Why a certificate was rejected. `None` for other errors.
pub(in crate::net) fn rejection(error: &std::io::Error) -> Option<&'static str> {
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
            "no trusted authority signed it"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name; tls_servername sets the expected name"
        }
        CertificateError::Revoked => "it is revoked",
        _ => "it is not valid",
    })
}
