//! Pages over HTTPS.

use rustls::ServerConfig;

use crate::server::Scheme;

use super::ReadTls;

/// The configuration that a file asks for. `None`: no encryption.
///
/// # Errors
/// The file, or one that it names, cannot be used.
pub(super) fn server_config(path: &str, read: ReadTls) -> Result<Option<ServerConfig>, String> {
    let Some(identity) = read(path)? else { return Ok(None) };
    let mut config = identity.config(Scheme::Https).map_err(|error| error.to_string())?;
    // Pages are served over HTTP/1.1 only.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(config))
}
