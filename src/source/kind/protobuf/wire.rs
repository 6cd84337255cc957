//! The wire format of protobuf: a sequence of fields, each with a number and a value.

use serde::de::Error;

use super::ProtobufError;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'o> {
    Varint(u64),
    /// A text, a nested message or octets.
    Octets(&'o [u8]),
    /// 4 or 8 octets. ndots reads no field of this type.
    Fixed,
}

/// The fields of a message, in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'o>(pub(super) &'o [u8]);

impl<'o> Fields<'o> {
    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let Some((octet, rest)) = self.0.split_first() else { break };
            self.0 = rest;
            // Bits above the 64th are dropped, as in Go's decoders.
            number |= u64::from(octet & 0x7f).checked_shl(shift).unwrap_or_default();
            if octet & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ProtobufError::custom("a number has no end"))
    }

    fn take(&mut self, count: u64) -> Result<&'o [u8], ProtobufError> {
        let split = usize::try_from(count).ok().and_then(|count| self.0.split_at_checked(count));
        let (taken, rest) =
            split.ok_or_else(|| ProtobufError::custom("a field is longer than its message"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Value<'o>), ProtobufError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| ProtobufError::custom("a field has no valid number"))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let count = self.varint()?;
                Value::Octets(self.take(count)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which Kubernetes does not use, and two numbers without a meaning.
            other => {
                return Err(ProtobufError::custom(format_args!(
                    "field {number} has the unknown wire type {other}"
                )));
            }
        };
        Ok((number, value))
    }
}

impl<'o> Iterator for Fields<'o> {
    type Item = Result<(u32, Value<'o>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}
