//! The private key in the form of BIND: lines such as `Algorithm: 13 (ECDSAP256SHA256)`.

use thiserror::Error;

use crate::wire;

use super::algorithm;

/// A private key. It does not implement `Debug`, so that it cannot be logged by mistake.
pub struct PrivateKey {
    pub algorithm: u8,
    pub secret: Secret,
}

/// The numbers of a private key, big-endian.
pub enum Secret {
    Rsa(Box<RsaNumbers>),
    /// The scalar of an elliptic curve, or the seed of an Ed25519 key.
    Curve(Vec<u8>),
}

/// The numbers of an RSA key (RFC 8017 §3.2).
pub struct RsaNumbers {
    pub modulus: Vec<u8>,
    pub public_exponent: Vec<u8>,
    pub private_exponent: Vec<u8>,
    pub primes: [Vec<u8>; 2],
    pub exponents: [Vec<u8>; 2],
    pub coefficient: Vec<u8>,
}

/// Why a text is not a private key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrivateKeyError {
    #[error("it does not begin with `Private-key-format: v1`; `dnssec-keygen` writes this form")]
    Format,
    #[error("the line `{0}:` is missing or not valid")]
    Line(&'static str),
    #[error("the algorithm {0} is not supported; ECDSAP256SHA256 (13) is the usual one")]
    Algorithm(u8),
}

impl PrivateKey {
    /// # Errors
    /// See [`PrivateKeyError`].
    pub fn read(text: &str) -> Result<Self, PrivateKeyError> {
        let value = |name: &str| {
            text.lines().find_map(|line| {
                let (label, value) = line.split_once(':')?;
                label.trim().eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        if !value("Private-key-format").is_some_and(|version| version.starts_with("v1.")) {
            return Err(PrivateKeyError::Format);
        }
        let number = value("Algorithm").and_then(|text| text.split_whitespace().next());
        let number: Option<u8> = number.and_then(|text| text.parse().ok());
        let algorithm = number.ok_or(PrivateKeyError::Line("Algorithm"))?;
        let octets = |name: &'static str| {
            let octets = value(name).and_then(wire::base64).filter(|octets| !octets.is_empty());
            octets.ok_or(PrivateKeyError::Line(name))
        };
        let secret = match algorithm {
            algorithm::RSASHA256 | algorithm::RSASHA512 => Secret::Rsa(Box::new(RsaNumbers {
                modulus: octets("Modulus")?,
                public_exponent: octets("PublicExponent")?,
                private_exponent: octets("PrivateExponent")?,
                primes: [octets("Prime1")?, octets("Prime2")?],
                exponents: [octets("Exponent1")?, octets("Exponent2")?],
                coefficient: octets("Coefficient")?,
            })),
            algorithm::ECDSAP256SHA256 | algorithm::ECDSAP384SHA384 | algorithm::ED25519 => {
                Secret::Curve(octets("PrivateKey")?)
            }
            other => return Err(PrivateKeyError::Algorithm(other)),
        };
        Ok(Self { algorithm, secret })
    }
}
