//! The control plane's certificates and keys.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// `ca.crt`, `server.crt` with these names, `sa.key` and what belongs to them.
pub(crate) fn write(directory: &Path, names: &[&str]) {
    let write = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "kubernetes");
    let key = KeyPair::generate().unwrap();
    write("ca.crt", authority.self_signed(&key).unwrap().pem());
    write("ca.key", key.serialize_pem());
    let issuer = Issuer::new(authority, key);

    let server = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&server, &issuer).unwrap();
    write("server.crt", certificate.pem());
    write("server.key", server.serialize_pem());

    let accounts = KeyPair::generate().unwrap();
    write("sa.key", accounts.serialize_pem());
    write("sa.pub", accounts.public_key_pem());
}
