//! A key of a zone, from the two files that `dnssec-keygen` writes.

use std::{fmt, sync::Arc};

use ring::digest;
use thiserror::Error;

use crate::wire::{Entries, Name, RecordHeader, Type};

use super::{PrivateKey, PrivateKeyError};

/// A private key that signs.
pub trait Signer: Send + Sync {
    /// The signature over these octets in the form of DNSSEC; `None` if no signature can be made.
    fn sign(&self, octets: &[u8]) -> Option<Vec<u8>>;
}

/// Makes a signer from the algorithm, the public key as in a DNSKEY record, and the private key.
///
/// # Errors
/// The reason why the keys cannot be used.
pub type MakeSigner = fn(u8, &[u8], &PrivateKey) -> Result<Arc<dyn Signer>, String>;

/// Why a pair of files is not a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error("the file with the public key has no DNSKEY record")]
    NoRecord,
    #[error("the DNSKEY record cannot be read: {0}")]
    Record(String),
    #[error("the file with the private key cannot be used: {0}")]
    Private(#[from] PrivateKeyError),
    #[error(
        "the private key has the algorithm {private} and the public key {public}: they are not a pair"
    )]
    Algorithms { public: u8, private: u8 },
    #[error("the key does not sign records of a zone: its flags are {0}, and 256 or 257 is needed")]
    Flags(u16),
    #[error("{0}")]
    Unusable(String),
}

/// The bits of the flags (RFC 4034 §2.1.1).
const ZONE_KEY: u16 = 0x100;
const SECURE_ENTRY_POINT: u16 = 1;
/// The flags, the protocol and the algorithm.
const FIXED: usize = 4;

/// A key that can sign.
#[derive(Clone)]
pub struct ZoneKey {
    /// The owner of the DNSKEY record in its file.
    pub owner: Name,
    /// The TTL of the DNSKEY record in its file, in seconds.
    pub ttl: Option<u32>,
    rdata: Arc<[u8]>,
    tag: u16,
    signer: Arc<dyn Signer>,
}

impl ZoneKey {
    /// Reads a key from the texts of its files.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read(public: &str, private: &str, make: MakeSigner) -> Result<Self, KeyError> {
        let (owner, ttl, rdata) = record(public)?;
        let Some((&[high, low, _, algorithm], key)) = rdata.split_first_chunk::<FIXED>() else {
            return Err(KeyError::NoRecord);
        };
        let flags = u16::from_be_bytes([high, low]);
        if flags & ZONE_KEY == 0 {
            return Err(KeyError::Flags(flags));
        }
        let private = PrivateKey::read(private)?;
        if private.algorithm != algorithm {
            let private = private.algorithm;
            return Err(KeyError::Algorithms { public: algorithm, private });
        }
        let signer = make(algorithm, key, &private).map_err(KeyError::Unusable)?;
        Ok(Self { owner, ttl, tag: tag(&rdata), rdata: rdata.into(), signer })
    }

    /// The data of the DNSKEY record.
    pub fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// The key tag (RFC 4034 appendix B).
    pub fn tag(&self) -> u16 {
        self.tag
    }

    pub fn algorithm(&self) -> u8 {
        self.rdata[FIXED - 1]
    }

    /// Whether the zone above names this key in a DS record, by the bit SEP.
    pub fn is_entry_point(&self) -> bool {
        self.rdata[1] & SECURE_ENTRY_POINT as u8 != 0
    }

    /// The data of CDS records: digests of the key as a key of `owner` (RFC 4034 §5.1.4).
    pub fn digests(&self, owner: &Name) -> [Vec<u8>; 2] {
        let covered = [owner.wire(), &self.rdata].concat();
        let kinds = [(1, &digest::SHA1_FOR_LEGACY_USE_ONLY), (2, &digest::SHA256)];
        kinds.map(|(number, kind)| {
            let mut rdata = self.tag.to_be_bytes().to_vec();
            rdata.extend([self.algorithm(), number]);
            rdata.extend_from_slice(digest::digest(kind, &covered).as_ref());
            rdata
        })
    }

    /// The signature over these octets.
    pub fn sign(&self, octets: &[u8]) -> Option<Vec<u8>> {
        self.signer.sign(octets)
    }
}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.owner, self.algorithm(), self.tag)
    }
}

/// The owner, the TTL and the data of the first DNSKEY record.
fn record(text: &str) -> Result<(Name, Option<u32>, Vec<u8>), KeyError> {
    let invalid = |reason: String| KeyError::Record(reason);
    for entry in Entries::new(text) {
        let entry = entry.map_err(|(line, error)| invalid(format!("line {line}: {error}")))?;
        let Some((owner, rest)) = entry.words.split_first() else { continue };
        let (header, data) =
            RecordHeader::read(rest).map_err(|error| invalid(error.to_string()))?;
        if header.rtype != Type::DNSKEY {
            continue;
        }
        let owner = Name::relative(owner.text, &Name::root())
            .ok_or_else(|| invalid(format!("`{}` is not a domain name", owner.text)))?;
        let rdata =
            Type::DNSKEY.rdata(data, &Name::root()).map_err(|error| invalid(error.to_string()))?;
        return Ok((owner, header.ttl, rdata));
    }
    Err(KeyError::NoRecord)
}

/// The SHA-256 of these octets, one after another.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn tag(rdata: &[u8]) -> u16 {
    let words = rdata
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let sum: u32 = words.sum();
    (sum + (sum >> 16)) as u16
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns its input, so that tests see what is signed.
    struct Echo;

    impl Signer for Echo {
        fn sign(&self, octets: &[u8]) -> Option<Vec<u8>> {
            Some(octets.to_vec())
        }
    }

    pub(crate) fn echo(_: u8, _: &[u8], _: &PrivateKey) -> Result<Arc<dyn Signer>, String> {
        Ok(Arc::new(Echo))
    }

    /// The example of RFC 6605 §6.1.
    pub(crate) const PUBLIC: &str = "; This is a key-signing key\r\nexample.net. 3600 IN DNSKEY 257 3 13 (\r\n GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edb\r\n krSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA== )\r\n";
    pub(crate) const PRIVATE: &str = "Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=\n";

    #[test]
    fn a_key_is_read_from_its_files() {
        let key = ZoneKey::read(PUBLIC, PRIVATE, echo).unwrap();
        assert_eq!((key.tag(), key.algorithm(), key.is_entry_point()), (55_648, 13, true));
        assert_eq!((key.owner.to_string(), key.ttl), ("example.net.".to_owned(), Some(3600)));
        // Some tools end lines with CRLF, and indent or leave out the class.
        let other = PUBLIC.replace("3600 IN ", "").replace("257", "256");
        let key = ZoneKey::read(&other, &PRIVATE.replace('\n', "\r\n"), echo).unwrap();
        assert_eq!((key.ttl, key.is_entry_point()), (None, false));
    }

    #[test]
    fn files_that_are_not_keys_are_reported() {
        let check = |public: &str, private: &str, expected: &str| {
            let error = ZoneKey::read(public, private, echo).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", PRIVATE, "no DNSKEY record");
        check("example.net. IN DS 1 13 2 ab", PRIVATE, "no DNSKEY record");
        check("example.net. IN DNSKEY 257 3 13", PRIVATE, "missing");
        check(&PUBLIC.replace("257 3", "1 3"), PRIVATE, "its flags are 1");
        check(PUBLIC, &PRIVATE.replace("13 (", "15 ("), "not a pair");
        check(PUBLIC, "-----BEGIN PRIVATE KEY-----", "Private-key-format");
    }
}
