//! Options of an OPT record (RFC 6891 §6.1.2) whose meaning this module does not know.

use std::sync::Arc;

/// Options with their codes, in wire form: 65,535 octets at most. Nothing is allocated without an
/// option, and a query stays small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EdnsOptions(Option<Arc<Box<[u8]>>>);

impl EdnsOptions {
    /// Takes options in wire form. They end at the first one that is cut off.
    pub(super) fn from_wire(wire: &[u8]) -> Self {
        Self(Some(Arc::new(wire.into())))
    }

    pub fn is_empty(&self) -> bool {
        self.wire().is_empty()
    }

    /// The codes and data, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut rest = self.wire();
        std::iter::from_fn(move || {
            let (&[a, b, c, d], tail) = rest.split_first_chunk::<4>()?;
            let (data, tail) = tail.split_at_checked(u16::from_be_bytes([c, d]).into())?;
            rest = tail;
            Some((u16::from_be_bytes([a, b]), data))
        })
    }

    pub fn contains(&self, code: u16) -> bool {
        self.iter().any(|(known, _)| known == code)
    }

    /// Adds an option at the end. It is left out if there is no room for it.
    pub fn add(&mut self, code: u16, data: &[u8]) {
        let head = [code.to_be_bytes(), (data.len() as u16).to_be_bytes()].concat();
        let all = [self.wire(), &head, data].concat();
        if all.len() <= usize::from(u16::MAX) {
            *self = Self::from_wire(&all);
        }
    }

    pub fn remove(&mut self, code: u16) {
        let kept = self.iter().filter(|(known, _)| *known != code);
        let kept = kept.fold(Self::default(), |mut kept, (code, data)| {
            kept.add(code, data);
            kept
        });
        *self = kept;
    }

    pub(super) fn wire(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |wire| wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_added_and_removed() {
        let mut options = EdnsOptions::default();
        options.add(3, b"");
        options.add(65_001, b"ab");
        options.add(3, b"c");
        assert_eq!(options.wire(), b"\x00\x03\x00\x00\xfd\xe9\x00\x02ab\x00\x03\x00\x01c");
        assert!(options.contains(3) && !options.contains(8));
        options.remove(3);
        assert_eq!(options.iter().collect::<Vec<_>>(), [(65_001, b"ab".as_slice())]);
        options.add(4, &[0; 65_535]);
        assert!(!options.contains(4));
    }
}
