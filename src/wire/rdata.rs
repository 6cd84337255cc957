//! The positions of names in record data, for reading and for writing. The table in `types` has the
//! layout of each type.

use super::name::uncompressed_len;

/// Record data that begins with a prefix and then holds `names` names. The rest is opaque.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    prefix: Prefix,
    pub(super) names: usize,
    /// A sender may compress names in the types of RFC 1035 only (RFC 3597 §4). A reader must
    /// expect compressed names in some later types, too.
    pub(super) compress: bool,
}

#[derive(Clone, Copy)]
enum Prefix {
    Octets(usize),
    /// NAPTR: order, preference and three character strings (RFC 3403 §4.1).
    Naptr,
}

impl Layout {
    pub(super) const OPAQUE: Self = Self { prefix: Prefix::Octets(0), names: 0, compress: false };
    pub(super) const COMPRESSED_NAME: Self = Self { names: 1, compress: true, ..Self::OPAQUE };
    pub(super) const UNCOMPRESSED_NAME: Self = Self { names: 1, ..Self::OPAQUE };
    pub(super) const NAPTR: Self = Self { prefix: Prefix::Naptr, ..Self::UNCOMPRESSED_NAME };

    /// The same layout after `octets` octets.
    pub(super) const fn after(self, octets: usize) -> Self {
        Self { prefix: Prefix::Octets(octets), ..self }
    }

    /// The same layout with another number of names.
    pub(super) const fn names(self, names: usize) -> Self {
        Self { names, ..self }
    }

    /// Octets before the first name; `None` if the data is too short.
    pub(super) fn prefix_len(self, rdata: &[u8]) -> Option<usize> {
        let length = match self.prefix {
            Prefix::Octets(length) => length,
            Prefix::Naptr => {
                (0..3).try_fold(4, |at, _| Some(at + 1 + usize::from(*rdata.get(at)?)))?
            }
        };
        (length <= rdata.len()).then_some(length)
    }

    /// The same data with another first name. `None` if it has no name.
    pub(super) fn renamed(self, rdata: &[u8], name: &[u8]) -> Option<Vec<u8>> {
        let (at, old) = (self.prefix_len(rdata)?, self.target(rdata)?);
        let (before, after) = (rdata.get(..at)?, rdata.get(at + old.len()..)?);
        Some([before, name, after].concat())
    }

    /// The first name in uncompressed data: the target of a CNAME, NS, PTR, MX or SRV record.
    pub(super) fn target(self, rdata: &[u8]) -> Option<&[u8]> {
        let name = &rdata[self.prefix_len(rdata)?..];
        (self.names > 0).then(|| Some(&name[..uncompressed_len(name)?]))?
    }
}
