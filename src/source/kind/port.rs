//! Port numbers, and `targetPort`.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

/// A `targetPort`: a number, or the name of a container's port. 0 counts as absent.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "RawPort")]
pub enum PortRef {
    Number(u16),
    Name(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawPort {
    Number(i64),
    Name(String),
}

impl TryFrom<RawPort> for PortRef {
    type Error = String;

    fn try_from(raw: RawPort) -> Result<Self, String> {
        let error = |raw: &str| {
            format!("`targetPort` {raw} is neither a number from 1 to 65535 nor a name")
        };
        match raw {
            RawPort::Number(number) => {
                number.try_into().map(Self::Number).map_err(|_| error(&number.to_string()))
            }
            // The API server rejects a name without a letter, because "80" is a mistake for 80.
            RawPort::Name(name) if name.bytes().any(|octet| octet.is_ascii_alphabetic()) => {
                Ok(Self::Name(name))
            }
            RawPort::Name(name) => Err(error(&format!("{name:?}"))),
        }
    }
}

/// Reads a port number; `None` for `null`.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    deserializer.deserialize_any(Number)
}

/// Its `expecting` text is a part of error messages.
struct Number;

impl Visitor<'_> for Number {
    type Value = Option<u16>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port number up to 65535")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<u16>, E> {
        number
            .try_into()
            .map(Some)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<u16>, E> {
        number.try_into().map(Some).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_unit<E>(self) -> Result<Option<u16>, E> {
        Ok(None)
    }
}
