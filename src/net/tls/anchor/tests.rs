use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::{crypto::ring, pki_types::UnixTime};

use super::*;

/// A self-signed certificate as `openssl req -x509` makes it.
fn self_signed(name: &str) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) =
        (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2030, 1, 1));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

#[test]
fn a_certificate_that_is_the_anchor_is_accepted_for_its_name_and_time() {
    let (anchor, stranger) = (self_signed("dns.example"), self_signed("dns.example"));
    let mut roots = RootCertStore::empty();
    roots.add(anchor.clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = ServerVerifier::new(roots, vec![anchor.clone()], provider).unwrap();
    let check = |certificate: &CertificateDer<'_>, name: &'static str, year: u64, accepted| {
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
        let name = ServerName::try_from(name).unwrap();
        let verified = verifier.verify_server_cert(certificate, &[], &name, &[], now);
        assert_eq!(verified.is_ok(), accepted, "{name:?} in {year}: {verified:?}");
    };
    check(&anchor, "dns.example", 2026, true);
    check(&anchor, "other.example", 2026, false);
    check(&anchor, "dns.example", 2019, false);
    check(&anchor, "dns.example", 2031, false);
    check(&stranger, "dns.example", 2026, false);
}
