//! FNV-1a, the one hash function whose values are fixed: they are the same on every machine and in
//! every release. It does not resist an attacker who chooses the input, so no map uses it.

use std::hash::{Hash, Hasher};

/// The hash of an empty input: the first value to pass to [`fnv1a`].
pub const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues the 64-bit FNV-1a hash `hash` with `octets` (draft-eastlake-fnv).
pub fn fnv1a(hash: u64, octets: &[u8]) -> u64 {
    octets
        .iter()
        .fold(hash, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3))
}

/// The hash of a value. It is equal on all 64-bit little-endian machines, such as amd64 and arm64,
/// that run the same release.
pub fn of_value(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = Fnv(FNV_OFFSET);
    value.hash(&mut hasher);
    hasher.finish()
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, octets: &[u8]) {
        self.0 = fnv1a(self.0, octets);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation.
    #[test]
    fn hashes_have_the_published_values() {
        assert_eq!(fnv1a(FNV_OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(FNV_OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a(fnv1a(FNV_OFFSET, b"foo"), b"bar"), fnv1a(FNV_OFFSET, b"foobar"));
    }
}
