//! TLS to upstreams and other servers: trusted authorities and our own certificate.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, ClientConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
};

use thiserror::Error;

use crate::upstream::{Pem, TlsClientSettings};

use super::{
    TlsConfigError,
    anchor::{AUTHORITY_AS_SERVER, ServerVerifier},
    certificates, roots,
    unverified::AnyCertificate,
};

/// # Errors
/// See [`TlsConfigError`].
pub fn config(tls: &TlsClientSettings) -> Result<ClientConfig, TlsConfigError> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| TlsConfigError::Key(error.to_string()))?;
    let authorities = tls.authorities.as_ref().map(Pem::text);
    let roots = roots(authorities).map_err(TlsConfigError::Authorities)?;
    let anchors = authorities.map(certificates).transpose().map_err(TlsConfigError::Authorities)?;
    let verifier = ServerVerifier::new(roots, anchors.unwrap_or_default(), provider)
        .map_err(TlsConfigError::Authorities)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let Some((chain, key)) = &tls.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(chain.text()).map_err(TlsConfigError::Certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key.text().as_bytes())
        .map_err(|error| TlsConfigError::Key(error.to_string()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| TlsConfigError::Key(error.to_string()))
}

/// A configuration that accepts any certificate of the server.
///
/// # Errors
/// See [`TlsConfigError`].
pub(in crate::net) fn config_for_any_certificate() -> Result<ClientConfig, TlsConfigError> {
    let provider = Arc::new(ring::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| TlsConfigError::Key(error.to_string()))?;
    let verifier = Arc::new(AnyCertificate { provider, mandatory: true });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
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
    let cause = error.get_ref()?;
    if let Some(Rejected(reason)) = cause.downcast_ref() {
        return Some(reason);
    }
    match cause.downcast_ref()? {
        rustls::Error::InvalidCertificate(error) => Some(words(error)),
        _ => None,
    }
}

/// A certificate that was rejected, with the reason.
#[derive(Debug, Error)]
#[error("{0}")]
pub(in crate::net) struct Rejected(&'static str);

/// Why the certificate of a QUIC handshake was rejected. quinn keeps only the alert (RFC 8446 §6.2)
/// and the text of the error.
pub(in crate::net) fn rejection_by_alert(alert: u8, text: &str) -> Option<Rejected> {
    let error = match AlertDescription::from(alert) {
        AlertDescription::BadCertificate => CertificateError::NotValidForName,
        AlertDescription::CertificateExpired if text.contains("not valid yet") => {
            CertificateError::NotValidYet
        }
        AlertDescription::CertificateExpired => CertificateError::Expired,
        AlertDescription::CertificateRevoked => CertificateError::Revoked,
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            CertificateError::UnknownIssuer
        }
        AlertDescription::UnsupportedCertificate => CertificateError::InvalidPurpose,
        AlertDescription::CertificateUnknown if text.contains(AUTHORITY_AS_SERVER) => {
            return Some(Rejected(OF_AUTHORITY));
        }
        AlertDescription::CertificateUnknown => CertificateError::ApplicationVerificationFailure,
        _ => return None,
    };
    Some(Rejected(words(&error)))
}

const OF_AUTHORITY: &str =
    "it is the certificate of an authority (CA:TRUE); `tls FILE` with this certificate accepts it";

fn words(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired; renew it on the upstream"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; compare the clocks of both machines"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no trusted authority signed it; `tls FILE` names the file with the certificate of its authority"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name; tls_servername sets the expected name"
        }
        CertificateError::Revoked => "it is revoked; renew it on the upstream",
        CertificateError::BadEncoding => "it cannot be read; make a new one for the upstream",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for servers; make one whose extended key usage has serverAuth"
        }
        CertificateError::Other(other) if other.to_string() == AUTHORITY_AS_SERVER => OF_AUTHORITY,
        CertificateError::Other(other) if other.to_string() == "UnsupportedCertVersion" => {
            "it is not of X.509 version 3; make one with a subjectAltName"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed with an algorithm that is not safe, such as SHA-1; make one with SHA-256"
        }
        _ => "it is not valid; `openssl x509 -text` shows its content",
    }
}
