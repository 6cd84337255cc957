//! The control plane's certificates and keys.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// Writes `ca.crt`, `server.crt` with a key for these names, and `client.crt` with a key for an
/// administrator.
pub(crate) fn authority(directory: &Path, names: &[&str]) {
    let write = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "kubernetes");
    let key = KeyPair::generate().unwrap();
    write("ca.crt", authority.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(authority, key);

    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut client = CertificateParams::new(Vec::new()).unwrap();
    client.distinguished_name.push(DnType::CommonName, "operator");
    client.distinguished_name.push(DnType::OrganizationName, "system:masters");
    client.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    for (name, parameters) in
        [("server", CertificateParams::new(names).unwrap()), ("client", client)]
    {
        let key = KeyPair::generate().unwrap();
        write(&format!("{name}.crt"), parameters.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

/// Writes `sa.key` and `sa.pub`, which sign and verify ServiceAccount tokens.
pub(crate) fn accounts(directory: &Path) {
    let key = KeyPair::generate().unwrap();
    fs::write(directory.join("sa.key"), key.serialize_pem()).unwrap();
    fs::write(directory.join("sa.pub"), key.public_key_pem()).unwrap();
}
