//! Numbers of ports, and names for them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

/// A number, or its name: what a `targetPort` may be. 0 is as good as absent.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "WrittenPort")]
pub enum PortRef {
    Number(u16),
    Name(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenPort {
    Number(i64),
    Name(String),
}

impl TryFrom<WrittenPort> for PortRef {
    type Error = String;

    fn try_from(written: WrittenPort) -> Result<Self, String> {
        let wrong = |written: &str| {
            format!("`targetPort` {written} is neither a number from 1 to 65535 nor a name")
        };
        match written {
            WrittenPort::Number(number) => {
                number.try_into().map(Self::Number).map_err(|_| wrong(&number.to_string()))
            }
            // The API server refuses a name without a letter: "80" is a mistake for 80.
            WrittenPort::Name(name) if name.bytes().any(|octet| octet.is_ascii_alphabetic()) => {
                Ok(Self::Name(name))
            }
            WrittenPort::Name(name) => Err(wrong(&format!("{name:?}"))),
        }
    }
}

/// A port's number, if there is one.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    deserializer.deserialize_any(Number)
}

/// Its words stand in what is said of a mistake.
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
