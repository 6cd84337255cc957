//! Where names stand inside record data: the one table that reading and writing share.

use super::{Type, name::uncompressed_len};

/// Record data that begins with `prefix` octets and then holds `names` names; what follows is
/// opaque.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) prefix: Prefix,
    pub(super) names: usize,
    /// Only the types of RFC 1035 may have their names compressed by a sender (RFC 3597 §4).
    pub(super) compress: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Prefix {
    Octets(usize),
    /// NAPTR: order, preference and three character strings (RFC 3403 §4.1).
    Naptr,
}

impl Layout {
    const OPAQUE: Self = Self { prefix: Prefix::Octets(0), names: 0, compress: false };

    /// The types that a reader must expect compressed names in (RFC 1035, and RFC 3597 §4 for the
    /// older ones).
    pub(super) fn of(rtype: Type) -> Self {
        let (prefix, names, compress) = match rtype.0 {
            // NS MD MF CNAME MB MG MR PTR
            2..=5 | 7..=9 | 12 => (0, 1, true),
            // SOA MINFO
            6 | 14 => (0, 2, true),
            // MX
            15 => (2, 1, true),
            // RP
            17 => (0, 2, false),
            // AFSDB RT KX
            18 | 21 | 36 => (2, 1, false),
            // SIG RRSIG
            24 | 46 => (18, 1, false),
            // PX
            26 => (2, 2, false),
            // NXT NSEC
            30 | 47 => (0, 1, false),
            // SRV
            33 => (6, 1, false),
            35 => return Self { prefix: Prefix::Naptr, names: 1, compress: false },
            // DNAME
            39 => (0, 1, false),
            _ => return Self::OPAQUE,
        };
        Self { prefix: Prefix::Octets(prefix), names, compress }
    }

    /// Octets before the first name; `None` where the data is too short.
    pub(super) fn prefix_len(self, rdata: &[u8]) -> Option<usize> {
        let length = match self.prefix {
            Prefix::Octets(length) => length,
            Prefix::Naptr => {
                (0..3).try_fold(4, |at, _| Some(at + 1 + usize::from(*rdata.get(at)?)))?
            }
        };
        (length <= rdata.len()).then_some(length)
    }
}

/// The name in CNAME, NS, PTR, MX or SRV data, uncompressed: where an alias or a service points to.
pub(super) fn target(rtype: Type, rdata: &[u8]) -> Option<&[u8]> {
    let layout = Layout::of(rtype);
    let name = &rdata[layout.prefix_len(rdata)?..];
    (layout.names > 0).then(|| Some(&name[..uncompressed_len(name)?]))?
}
