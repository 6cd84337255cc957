//! The files of certificates and keys that directives name.

use std::collections::HashMap;

use crate::{
    corefile::Span,
    upstream::{Pem, TlsClientSettings},
};

/// The PEM files of encrypted listeners, and the certificate that clients must present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub certificates: TlsFile,
    pub key: TlsFile,
    /// The authorities that sign client certificates.
    pub authorities: Option<TlsFile>,
    pub client_auth: ClientAuth,
    /// The file that the secrets of connections are written to.
    pub key_log: Option<TlsFile>,
}

/// A file and its position in the Corefile.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsFile {
    pub path: String,
    pub span: Span,
}

/// The certificate that clients must present, in the terms of Go's `crypto/tls`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    #[default]
    None,
    /// Any certificate or none.
    Request,
    /// Any certificate.
    Require,
    VerifyIfGiven,
    RequireAndVerify,
}

/// The PEM files for upstreams over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The client certificate and its key.
    pub identity: Option<(TlsFile, TlsFile)>,
    /// The authorities of upstream certificates; `None` for those that this machine trusts.
    pub authorities: Option<TlsFile>,
}

impl UpstreamTls {
    pub(super) fn files(&self) -> impl Iterator<Item = &TlsFile> {
        self.identity
            .iter()
            .flat_map(|(certificate, key)| [certificate, key])
            .chain(&self.authorities)
    }

    /// The content of the files, which is not parsed here.
    ///
    /// # Errors
    /// The file that cannot be read, and the reason.
    pub fn read<'s>(
        &'s self,
        files: &HashMap<String, Result<String, String>>,
    ) -> Result<TlsClientSettings, (&'s TlsFile, String)> {
        let text = |file: &'s TlsFile| match files.get(&file.path) {
            Some(Ok(text)) => Ok(Pem::new(text.clone())),
            Some(Err(reason)) => Err((file, reason.clone())),
            None => Err((file, "it was not read".to_owned())),
        };
        let identity = self
            .identity
            .as_ref()
            .map(|(certificate, key)| Ok((text(certificate)?, text(key)?)))
            .transpose()?;
        Ok(TlsClientSettings {
            server_name: None,
            identity,
            authorities: self.authorities.as_ref().map(text).transpose()?,
        })
    }
}
