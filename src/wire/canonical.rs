//! Record data as signatures cover it, and the types in NSEC records.

use super::{Type, name::uncompressed_len};

impl Type {
    /// The data with its names in lower case, as signatures need it (RFC 4034 §6.2). An NSEC record
    /// keeps the case of its name (RFC 6840 §5.1).
    pub fn canonical(self, rdata: &[u8]) -> Vec<u8> {
        let (mut rdata, layout) = (rdata.to_vec(), self.layout());
        let Some(mut at) = layout.prefix_len(&rdata).filter(|_| self != Self::NSEC) else {
            return rdata;
        };
        for _ in 0..layout.names {
            let Some(length) = uncompressed_len(&rdata[at..]) else { break };
            rdata[at..at + length].make_ascii_lowercase();
            at += length;
        }
        rdata
    }
}

/// The bitmap of the record types at a name (RFC 4034 §4.1.2).
pub fn type_bitmap(mut numbers: Vec<u16>) -> Vec<u8> {
    numbers.sort_unstable();
    let mut bitmap = Vec::new();
    for window in numbers.chunk_by(|one, other| one >> 8 == other >> 8) {
        let mut bits = [0_u8; 32];
        for number in window {
            bits[usize::from(number & 255) / 8] |= 0x80 >> (number % 8);
        }
        let length = 32 - bits.iter().rev().take_while(|octet| **octet == 0).count();
        bitmap.extend([(window.first().copied().unwrap_or(0) >> 8) as u8, length as u8]);
        bitmap.extend_from_slice(&bits[..length]);
    }
    bitmap
}
