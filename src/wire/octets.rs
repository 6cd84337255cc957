//! The parts of a message that every parser has to skip.

/// Octets of the header.
pub(super) const HEADER: usize = 12;

/// The octets after a name, which may be compressed.
pub(super) fn skip_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, tail) = bytes.split_first()?;
        match length {
            0 => return Some(tail),
            0xc0.. => return tail.get(1..),
            1..=63 => bytes = tail.get(usize::from(length)..)?,
            _ => return None,
        }
    }
}
