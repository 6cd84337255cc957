//! Keys that two servers share.

use std::fmt;

use ring::{digest, hmac};

use super::super::Name;

/// A secret with its name.
#[derive(Clone)]
pub struct TsigKey {
    pub name: Name,
    /// The algorithm with which this server signs its own requests. Requests of others may use any
    /// algorithm.
    pub algorithm: TsigAlgorithm,
    secret: Box<[u8]>,
}

/// The algorithms of RFC 8945 §6 that are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TsigAlgorithm {
    Sha1,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

impl TsigKey {
    pub fn new(name: Name, algorithm: TsigAlgorithm, secret: &[u8]) -> Self {
        Self { name, algorithm, secret: secret.into() }
    }

    /// A text that differs between different keys, and does not contain the secret.
    pub fn fingerprint(&self) -> String {
        let hash = digest::digest(&digest::SHA256, &self.secret);
        format!("{} {:?} {:02x?}", self.name, self.algorithm, hash.as_ref())
    }

    pub(super) fn hmac(&self, algorithm: TsigAlgorithm) -> hmac::Key {
        hmac::Key::new(algorithm.hmac(), &self.secret)
    }
}

/// Without the secret.
impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.algorithm)
    }
}

impl TsigAlgorithm {
    const NAMES: [(Self, &str); 4] = [
        (Self::Sha1, "hmac-sha1"),
        (Self::Sha256, "hmac-sha256"),
        (Self::Sha384, "hmac-sha384"),
        (Self::Sha512, "hmac-sha512"),
    ];

    /// The algorithm with this name, such as `hmac-sha256`.
    pub fn named(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('.');
        let found = Self::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(algorithm, _)| *algorithm)
    }

    pub(super) fn of(name: &Name) -> Option<Self> {
        Self::named(&name.to_string())
    }

    pub(super) fn name(self) -> Name {
        let found = Self::NAMES.iter().find(|(algorithm, _)| *algorithm == self);
        found.and_then(|(_, name)| name.parse().ok()).unwrap_or_else(Name::root)
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// Octets of a signature.
    pub(super) fn octets(self) -> usize {
        self.hmac().digest_algorithm().output_len()
    }
}
