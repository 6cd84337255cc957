//! Record data in presentation form (RFC 1035 §5.1 and the RFC of each type).
//!
//! hickory-proto cannot read the text form of DNAME and of the types of a signed zone. So one table
//! here says which fields the data of each type has.

mod base;
mod field;
mod header;
mod lex;
mod location;
mod service;

pub use field::seconds as read_seconds;
pub use header::{RecordHeader, RecordHeaderError};
pub use lex::{Entries, Entry, LexError};

use super::{Name, Type, name};
use field::{
    ALGORITHM, BASE64, CERTIFICATE, FLAG_TAG_VALUE, Field, GENERATED_HASH, HEX, NAME, PARAMETERS,
    PERIOD, SALT, STRING, STRINGS, TIME, TYPE, TYPES, U8, U16, U32, UNPREFIXED, V4, V6,
};

/// The octets of a text in base 64; `None` if it is not.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    base::base64(&[Word { text, quoted: false }]).ok()
}

/// A word of a record in presentation form. Escapes such as `\046` are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'t> {
    pub text: &'t str,
    /// Whether it stood between quotes, which are not part of the text.
    pub quoted: bool,
}

/// The words are not the data of a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RdataError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("`{text}` is not {expected}")]
    Invalid { text: String, expected: &'static str },
    #[error("`{0}` is too much: the data of this type ends before it")]
    Extra(String),
    #[error(r"the type has no presentation form here; `\# LENGTH HEX` is accepted (RFC 3597 §5)")]
    NoForm,
    #[error("the data is longer than 65535 octets")]
    TooLong,
}

impl Type {
    /// The data of a record of this type. Names without a final dot are relative to `origin`.
    ///
    /// # Errors
    /// The words are not data of this type.
    pub fn rdata(self, words: &[Word<'_>], origin: &Name) -> Result<Vec<u8>, RdataError> {
        let rdata = match words.split_first() {
            Some((Word { text: r"\#", quoted: false }, rest)) => self.generic(rest)?,
            _ => self.fields_of(words, origin)?,
        };
        if u16::try_from(rdata.len()).is_err() {
            return Err(RdataError::TooLong);
        }
        Ok(rdata)
    }

    fn fields_of(self, words: &[Word<'_>], origin: &Name) -> Result<Vec<u8>, RdataError> {
        if self == Self::LOC {
            return location::read(words);
        }
        let (mut rdata, mut rest) = (Vec::new(), words);
        for field in self.fields().ok_or(RdataError::NoForm)? {
            (field.read)(&mut rest, origin, &mut rdata)?;
        }
        match rest.first() {
            Some(extra) => Err(RdataError::Extra(extra.text.to_owned())),
            None => Ok(rdata),
        }
    }

    /// `LENGTH HEX…` after `\#` (RFC 3597 §5). The data of a type with names must contain them.
    fn generic(self, words: &[Word<'_>]) -> Result<Vec<u8>, RdataError> {
        let (length, hex) = words.split_first().ok_or(RdataError::Missing("the length"))?;
        let invalid = |expected| RdataError::Invalid { text: length.text.to_owned(), expected };
        let octets: usize = length.text.parse().map_err(|_| invalid("a length"))?;
        let rdata = base::hex(hex)?;
        if rdata.len() != octets {
            return Err(invalid("the number of octets that follow"));
        }
        if self.is_well_formed(&rdata) { Ok(rdata) } else { Err(invalid("the data of this type")) }
    }

    /// Whether the data has the names that the type has.
    fn is_well_formed(self, rdata: &[u8]) -> bool {
        let layout = self.layout();
        match self {
            Self::A => rdata.len() == 4,
            Self::AAAA => rdata.len() == 16,
            _ => layout.prefix_len(rdata).is_some_and(|prefix| {
                (0..layout.names)
                    .try_fold(prefix, |at, _| Some(at + name::uncompressed_len(&rdata[at..])?))
                    .is_some()
            }),
        }
    }

    /// The name in the data of a record: the target of a CNAME, NS, PTR, MX or SRV record.
    pub fn target(self, rdata: &[u8]) -> Option<&[u8]> {
        match self {
            Self::SVCB | Self::HTTPS => {
                let name = rdata.get(2..)?;
                name.get(..name::uncompressed_len(name)?)
            }
            _ => self.layout().target(rdata),
        }
    }

    /// What the data of the type consists of.
    fn fields(self) -> Option<&'static [Field]> {
        Some(match self {
            Self::A => &[V4],
            Self::AAAA => &[V6],
            Self::NS | Self::MD | Self::MF | Self::CNAME | Self::MB | Self::MG | Self::MR => {
                &[NAME]
            }
            Self::PTR | Self::DNAME => &[NAME],
            Self::SOA => &[NAME, NAME, U32, PERIOD, PERIOD, PERIOD, PERIOD],
            Self::HINFO | Self::ISDN => &[STRING, STRINGS],
            Self::X25 => &[STRING],
            Self::MINFO | Self::RP => &[NAME, NAME],
            Self::MX | Self::AFSDB | Self::RT | Self::KX => &[U16, NAME],
            Self::TXT | Self::SPF => &[STRING, STRINGS],
            Self::PX => &[U16, NAME, NAME],
            Self::SRV => &[U16, U16, U16, NAME],
            Self::NAPTR => &[U16, U16, STRING, STRING, STRING, NAME],
            Self::CERT => &[CERTIFICATE, U16, ALGORITHM, BASE64],
            Self::DS | Self::CDS => &[U16, ALGORITHM, U8, HEX],
            Self::SSHFP => &[U8, U8, HEX],
            Self::RRSIG | Self::SIG => {
                &[TYPE, ALGORITHM, U8, PERIOD, TIME, TIME, U16, NAME, BASE64]
            }
            Self::NSEC => &[NAME, TYPES],
            Self::NSEC3 => &[U8, U8, U16, SALT, GENERATED_HASH, TYPES],
            Self::NSEC3PARAM => &[U8, U8, U16, SALT],
            Self::DNSKEY | Self::CDNSKEY | Self::KEY => &[U16, U8, ALGORITHM, BASE64],
            Self::TLSA | Self::SMIMEA => &[U8, U8, U8, HEX],
            Self::OPENPGPKEY | Self::DHCID => &[BASE64],
            Self::CSYNC => &[U32, U16, TYPES],
            Self::ZONEMD => &[U32, U8, U8, HEX],
            Self::SVCB | Self::HTTPS => &[U16, NAME, PARAMETERS],
            Self::CAA => &[FLAG_TAG_VALUE],
            Self::URI => &[U16, U16, UNPREFIXED],
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
