//! The TSIG record (RFC 8945 §4.2).

use super::super::{
    Class, Name, Type, name,
    octets::{HEADER, skip_name},
};

/// A message with a TSIG record, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedMessage {
    octets: Box<[u8]>,
    /// Where the record begins.
    at: usize,
    /// Whether no record follows it.
    is_last: bool,
}

/// The fields of a TSIG record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tsig {
    pub key: Name,
    pub algorithm: Name,
    /// Seconds since 1970.
    pub time: u64,
    /// How many seconds the time may differ.
    pub fudge: u16,
    pub mac: Vec<u8>,
    pub original_id: u16,
    pub error: u16,
    pub other: Vec<u8>,
}

impl SignedMessage {
    pub(in crate::wire) fn new(octets: &[u8], at: usize, is_last: bool) -> Self {
        Self { octets: octets.into(), at, is_last }
    }

    /// The whole message.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Finds the TSIG record at the end of a message; `None` if there is none.
    pub fn find(message: &[u8]) -> Option<Self> {
        let (header, mut rest) = message.split_first_chunk::<HEADER>()?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        for _ in 0..count(4) {
            rest = skip_name(rest)?.get(4..)?;
        }
        let records = u32::from(count(6)) + u32::from(count(8)) + u32::from(count(10));
        for record in 1..=records {
            let at = message.len() - rest.len();
            let fixed = skip_name(rest)?;
            let (fixed, data) = fixed.split_first_chunk::<10>()?;
            rest = data.get(usize::from(u16::from_be_bytes([fixed[8], fixed[9]]))..)?;
            if record == records && fixed[..2] == Type::TSIG.0.to_be_bytes() {
                return Some(Self::new(message, at, rest.is_empty()));
            }
        }
        None
    }

    /// `None` if the record is malformed, or not the last one.
    pub fn tsig(&self) -> Option<Tsig> {
        if !self.is_last {
            return None;
        }
        let record = &self.octets[self.at..];
        // Senders must not compress these names.
        let (owner, rest) = record.split_at(name::uncompressed_len(record)?);
        let (fixed, rdata) = rest.split_first_chunk::<10>()?;
        let head = [Type::TSIG.0.to_be_bytes(), Class::ANY.0.to_be_bytes(), [0; 2], [0; 2]];
        if fixed[..8] != *head.as_flattened() {
            return None;
        }
        let (algorithm, rest) = rdata.split_at(name::uncompressed_len(rdata)?);
        let (&[a, b, c, d, e, f, g, h, i, j], rest) = rest.split_first_chunk::<10>()?;
        let (mac, rest) = rest.split_at_checked(u16::from_be_bytes([i, j]).into())?;
        let (&[k, l, m, n, o, p], other) = rest.split_first_chunk::<6>()?;
        if usize::from(u16::from_be_bytes([o, p])) != other.len() {
            return None;
        }
        Some(Tsig {
            key: Name::from_wire(owner)?,
            algorithm: Name::from_wire(algorithm)?,
            time: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
            fudge: u16::from_be_bytes([g, h]),
            mac: mac.to_vec(),
            original_id: u16::from_be_bytes([k, l]),
            error: u16::from_be_bytes([m, n]),
            other: other.to_vec(),
        })
    }

    /// The message as it was signed: without the record, and with its first id.
    pub(super) fn covered(&self, original_id: u16) -> Vec<u8> {
        let mut covered = self.octets[..self.at].to_vec();
        covered[..2].copy_from_slice(&original_id.to_be_bytes());
        let additionals = u16::from_be_bytes([covered[10], covered[11]]).wrapping_sub(1);
        covered[10..HEADER].copy_from_slice(&additionals.to_be_bytes());
        covered
    }
}

impl Tsig {
    /// The time and the fudge, which every signature covers.
    pub(super) fn timers(&self) -> Vec<u8> {
        let mut octets = self.time.to_be_bytes()[2..].to_vec();
        octets.extend(self.fudge.to_be_bytes());
        octets
    }

    /// What the signature of the first message covers after the message (RFC 8945 §4.3.3).
    pub(super) fn variables(&self) -> Vec<u8> {
        let mut octets = self.key.wire().to_vec();
        octets.extend(Class::ANY.0.to_be_bytes());
        octets.extend([0; 4]);
        octets.extend(self.algorithm.wire());
        octets.extend(self.timers());
        octets.extend(self.error.to_be_bytes());
        octets.extend((self.other.len() as u16).to_be_bytes());
        octets.extend(&self.other);
        octets
    }

    /// Octets of a record with these names.
    pub(super) fn octets(key: &Name, algorithm: &Name, mac: usize, other: usize) -> usize {
        key.wire().len() + 10 + algorithm.wire().len() + 16 + mac + other
    }

    /// Appends the record to the message that begins at `start`.
    pub(super) fn write(&self, start: usize, out: &mut Vec<u8>) {
        out.extend(self.key.wire());
        out.extend(Type::TSIG.0.to_be_bytes());
        out.extend(Class::ANY.0.to_be_bytes());
        out.extend([0; 4]);
        let length = self.algorithm.wire().len() + 16 + self.mac.len() + self.other.len();
        out.extend((length as u16).to_be_bytes());
        out.extend(self.algorithm.wire());
        out.extend(self.timers());
        out.extend((self.mac.len() as u16).to_be_bytes());
        out.extend(&self.mac);
        for word in [self.original_id, self.error, self.other.len() as u16] {
            out.extend(word.to_be_bytes());
        }
        out.extend(&self.other);
        let additionals = u16::from_be_bytes([out[start + 10], out[start + 11]]) + 1;
        out[start + 10..start + HEADER].copy_from_slice(&additionals.to_be_bytes());
    }
}
