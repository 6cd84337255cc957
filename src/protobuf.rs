//! The part of protocol buffers that ndots needs for gRPC, dnstap, OTLP and the objects of an API
//! server: messages whose fields contain numbers, octets or other messages.

use thiserror::Error;

/// Octets that are not a message, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed protocol buffer: {0}")]
pub struct Malformed(pub &'static str);

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'m> {
    Number(u64),
    /// Octets, a text, or another message.
    Octets(&'m [u8]),
    /// A number of fixed size. ndots sends such numbers, but reads no message that needs them, so
    /// the value is not kept.
    Fixed,
}

impl<'m> Value<'m> {
    /// Zero for a value of another kind.
    pub fn number(self) -> u64 {
        if let Self::Number(number) = self { number } else { 0 }
    }

    /// Empty for a value of another kind.
    pub fn octets(self) -> &'m [u8] {
        if let Self::Octets(octets) = self { octets } else { &[] }
    }
}

/// The fields of a message, each with its number. A receiver ignores numbers that it does not know.
///
/// # Errors
/// If the message is malformed.
pub fn fields(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
    Fields(message).collect()
}

/// Reads the fields of a message one by one, in the order in which they were written. It ends after
/// an error.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'m>(pub &'m [u8]);

impl<'m> Fields<'m> {
    /// Seven bits in each octet, the lowest first; the eighth bit says that another octet follows.
    /// Bits above the 64th are dropped, as in Go's decoders.
    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let Some((octet, rest)) = self.0.split_first() else { break };
            self.0 = rest;
            number |= u64::from(octet & 0x7f) << shift;
            if *octet < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number has no end"))
    }

    fn take(&mut self, length: u64) -> Result<&'m [u8], Malformed> {
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = split.ok_or(Malformed("a field is longer than its message"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Value<'m>), Malformed> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or(Malformed("a field has no valid number"))?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.varint()?;
                Value::Octets(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which are obsolete, and two numbers that the format does not define.
            _ => return Err(Malformed("a field has an unknown wire type")),
        };
        Ok((number, value))
    }
}

impl<'m> Iterator for Fields<'m> {
    type Item = Result<(u32, Value<'m>), Malformed>;

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

/// A message to send.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    #[must_use]
    pub fn number(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    #[must_use]
    pub fn octets(mut self, field: u64, octets: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(octets.len() as u64);
        self.0.extend_from_slice(octets);
        self
    }

    /// A number of four octets.
    #[must_use]
    pub fn fixed(mut self, field: u64, number: u32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// A number of eight octets.
    #[must_use]
    pub fn fixed_long(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written() {
        let message = Message::default()
            .number(1, 0)
            .number(16, 300)
            .octets(2, b"key")
            .number(3, u64::MAX)
            .octets(4, b"")
            .finish();
        // The examples of the format's documentation.
        assert_eq!(message[..2], [0x08, 0x00]);
        assert_eq!(message[2..6], [0x80, 0x01, 0xac, 0x02]);
        let expected = [
            (1, Value::Number(0)),
            (16, Value::Number(300)),
            (2, Value::Octets(b"key")),
            (3, Value::Number(u64::MAX)),
            (4, Value::Octets(b"")),
        ];
        assert_eq!(fields(&message).unwrap(), expected);
        for end in [1, 3, 5, 7, 10, 12, 21] {
            assert!(fields(&message[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn malformed_fields_are_errors_and_fixed_numbers_are_passed_over() {
        assert_eq!(fields(b"\x09\x01\x02\x03\x04\x05\x06\x07\x08\x08\x07").unwrap().len(), 2);
        assert_eq!(fields(b"\x0d\x01\x02\x03\x04").unwrap(), [(1, Value::Fixed)]);
        for (message, reason) in [
            (&b"\x0b"[..], "unknown wire type"),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "longer than its message"),
            (&[0xff; 11], "no end"),
            (b"\0\x01", "no valid number"),
        ] {
            let error = fields(message).unwrap_err().to_string();
            assert!(error.contains(reason), "{message:?}: {error}");
        }
    }
}
