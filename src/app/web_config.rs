//! The file of `prometheus { tls FILE }`: the part of Prometheus' format for web servers that is
//! about TLS. As in Prometheus, an unknown key is an error. A setting that keeps clients out is
//! enforced, or it is an error. The others have no effect.

use std::{fs, path::Path};

use serde::{Deserialize, de::IgnoredAny};

use crate::{
    net::tls::{Identity, Versions},
    plugin::ClientAuth,
};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WebConfig {
    tls_server_config: TlsServerConfig,
    basic_auth_users: Option<IgnoredAny>,
    #[serde(rename = "http_server_config")]
    _http_server_config: IgnoredAny,
    #[serde(rename = "rate_limit")]
    _rate_limit: IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsServerConfig {
    cert: String,
    key: String,
    client_ca: String,
    cert_file: String,
    key_file: String,
    client_ca_file: String,
    client_auth_type: String,
    client_allowed_sans: Option<IgnoredAny>,
    min_version: String,
    max_version: String,
    #[serde(rename = "cipher_suites")]
    _cipher_suites: IgnoredAny,
    #[serde(rename = "curve_preferences")]
    _curve_preferences: IgnoredAny,
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: IgnoredAny,
}

/// Reads a file. `None`: it asks for no encryption. Relative paths begin at the directory of the
/// file.
///
/// # Errors
/// The file, or one that it names, cannot be read, or it asks for something that ndots does not
/// have.
pub(super) fn read(path: &str) -> Result<Option<Identity>, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    let WebConfig { tls_server_config: tls, basic_auth_users, .. } = serde_saphyr::from_str(&text)
        // An excerpt could show the private key.
        .map_err(|error| error.without_snippet().to_string())?;
    if basic_auth_users.is_some() {
        return Err("ndots does not check passwords: delete basic_auth_users, and use \
                    client_auth_type RequireAndVerifyClientCert"
            .to_owned());
    }
    if tls.client_allowed_sans.is_some() {
        return Err("ndots does not check the names in client certificates: delete \
                    client_allowed_sans, and name an authority that signs only the certificates of \
                    allowed clients"
            .to_owned());
    }
    let versions = versions(&tls.min_version, &tls.max_version)?;
    let fields = [
        &tls.cert,
        &tls.cert_file,
        &tls.key,
        &tls.key_file,
        &tls.client_ca,
        &tls.client_ca_file,
        &tls.client_auth_type,
    ];
    if fields.iter().all(|field| field.is_empty()) {
        return Ok(None);
    }
    let directory = Path::new(path).parent().unwrap_or(Path::new(""));
    let content = |text: &str, file: &str, what: &str| match (text, file) {
        ("", "") => Err(format!("{what} is missing")),
        ("", file) => {
            fs::read_to_string(directory.join(file)).map_err(|error| format!("{file}: {error}"))
        }
        (text, "") => Ok(text.to_owned()),
        _ => Err(format!("{what} is given twice: as text and as a file")),
    };
    let has_authority = !tls.client_ca.is_empty() || !tls.client_ca_file.is_empty();
    let authority = has_authority
        .then(|| content(&tls.client_ca, &tls.client_ca_file, "client_ca"))
        .transpose()?;
    let client_auth = client_auth(&tls.client_auth_type)?;
    if has_authority && client_auth == ClientAuth::None {
        return Err("client CA's have been configured without a client_auth_type".to_owned());
    }
    Ok(Some(Identity {
        certificates: content(&tls.cert, &tls.cert_file, "cert_file")?,
        key: content(&tls.key, &tls.key_file, "key_file")?,
        authorities: authority,
        client_auth,
        versions,
        key_log: None,
    }))
}

/// The names are those of Prometheus. TLS 1.0 and 1.1 as the minimum mean TLS 1.2, the oldest
/// version that ndots has.
fn versions(min: &str, max: &str) -> Result<Versions, String> {
    let only_new = match min {
        "" | "TLS10" | "TLS11" | "TLS12" => false,
        "TLS13" => true,
        other => return Err(format!("min_version {other} is not one of TLS10 to TLS13")),
    };
    match (only_new, max) {
        (false, "" | "TLS13") => Ok(Versions::All),
        (true, "" | "TLS13") => Ok(Versions::Only13),
        (false, "TLS12") => Ok(Versions::Only12),
        (_, "TLS10" | "TLS11" | "TLS12") => Err(format!(
            "max_version {max} allows no version of TLS: ndots has TLS 1.2 and TLS 1.3"
        )),
        (_, other) => Err(format!("max_version {other} is not one of TLS10 to TLS13")),
    }
}

fn client_auth(name: &str) -> Result<ClientAuth, String> {
    match name {
        "" | "NoClientCert" => Ok(ClientAuth::None),
        "RequestClientCert" => Ok(ClientAuth::Request),
        "RequireClientCert" | "RequireAnyClientCert" => Ok(ClientAuth::Require),
        "VerifyClientCertIfGiven" => Ok(ClientAuth::VerifyIfGiven),
        "RequireAndVerifyClientCert" => Ok(ClientAuth::RequireAndVerify),
        other => Err(format!("Invalid ClientAuth: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_beside_the_configuration() {
        let directory = std::env::temp_dir().join(format!("ndots-web-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for name in ["cert", "key", "ca"] {
            fs::write(directory.join(name), format!("the {name}")).unwrap();
        }
        let path = directory.join("web.yml");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            read(path.to_str().unwrap())
        };
        let identity = read("tls_server_config:\n  cert_file: cert\n  key_file: key\n");
        let identity = identity.unwrap().unwrap();
        assert_eq!((&*identity.certificates, &*identity.key), ("the cert", "the key"));
        let identity = read(
            "tls_server_config:\n  cert: text\n  key_file: key\n  client_ca_file: ca\n  client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\n  max_version: TLS13\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
        );
        let identity = identity.unwrap().unwrap();
        assert_eq!(identity.authorities.as_deref(), Some("the ca"));
        assert_eq!(identity.client_auth, ClientAuth::RequireAndVerify);
        assert_eq!(identity.versions, Versions::Only13);
        for none in ["", "http_server_config:\n  http2: true\n", "tls_server_config: {}\n"] {
            assert!(read(none).unwrap().is_none(), "{none}");
        }
        for (text, reason) in [
            ("tls_server_config:\n  cert_file: cert\n", "key_file is missing"),
            ("tls_server_config:\n  key_file: key\n", "cert_file is missing"),
            ("tls_server_config: {cert_file: no, key_file: key}\n", "no: "),
            ("tls_server_config: {cert: a, cert_file: cert, key_file: key}\n", "twice"),
            ("tls_server_config: {cert: a, key: b, client_auth_type: x}\n", "ClientAuth: x"),
            ("tls_server_config: {cert: a, key: b, client_ca: c}\n", "without a client_auth"),
            ("basic_auth_users: {me: secret}\n", "passwords"),
            ("tls_server_config: {client_ca_file: ca}\n", "without a client_auth"),
            ("tls_server_config: {client_auth_typ: x}\n", "client_auth_typ"),
            ("tls_server_config: {cert: a, key: b, client_allowed_sans: [c]}\n", "names in client"),
            ("tls_server_config: {cert: a, key: b, min_version: SSL}\n", "min_version SSL"),
            ("tls_server_config: {cert: a, key: b, max_version: TLS11}\n", "max_version TLS11"),
            ("tls_config: {cert: a, key: b}\n", "tls_config"),
            ("tls_server_config: {cert: a, cert: b, key: b}\n", "cert"),
            ("tls_server_config:\n  key: secret\n  other: 1\n", "other"),
            ("- a\n", ""),
        ] {
            let error = read(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains("secret"), "{text}: {error}");
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
