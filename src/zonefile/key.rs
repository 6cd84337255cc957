//! Names of a zone as keys in canonical order (RFC 4034 §6.1). In this order, a name is directly
//! before the names below it.

use smallvec::SmallVec;

use crate::wire::Name;

/// The labels of a name below the apex, from the right. The key of each ancestor is a prefix that
/// ends at one of `ends`.
pub(super) struct Key {
    octets: SmallVec<[u8; 128]>,
    ends: SmallVec<[usize; 12]>,
}

/// The end of a label. Octets 0 and 1 inside of a label are escaped to two octets, so that `a`
/// comes before `a\000`.
const END: u8 = 0;
const ESCAPE: u8 = 1;

impl Key {
    /// `None` for a name outside of the zone.
    pub(super) fn new(name: &Name, origin: &Name) -> Option<Self> {
        name.left_of(origin)?;
        let below = name.labels().count() - origin.labels().count();
        let labels: SmallVec<[&[u8]; 12]> = name.labels().take(below).collect();
        let mut key = Self { octets: SmallVec::new(), ends: SmallVec::new() };
        for label in labels.iter().rev() {
            key.push(label);
        }
        Some(key)
    }

    fn push(&mut self, label: &[u8]) {
        for octet in label {
            match *octet {
                low @ (END | ESCAPE) => self.octets.extend_from_slice(&[ESCAPE, low + 1]),
                octet => self.octets.push(octet),
            }
        }
        self.octets.push(END);
        self.ends.push(self.octets.len());
    }

    pub(super) fn whole(&self) -> &[u8] {
        &self.octets
    }

    /// Labels below the apex.
    pub(super) fn depth(&self) -> usize {
        self.ends.len()
    }

    /// The key of the ancestor with this many labels below the apex.
    pub(super) fn ancestor(&self, depth: usize) -> &[u8] {
        let end = depth.checked_sub(1).and_then(|at| self.ends.get(at)).copied();
        &self.octets[..end.unwrap_or(0)]
    }

    /// The key of the wildcard directly below the ancestor of this depth.
    pub(super) fn wildcard(&self, depth: usize) -> SmallVec<[u8; 128]> {
        let mut wildcard = SmallVec::from_slice(self.ancestor(depth));
        wildcard.extend_from_slice(&[b'*', END]);
        wildcard
    }
}
