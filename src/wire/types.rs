//! The numbers of DNS: types, classes, response codes. Any 16-bit value is valid; the known values
//! have names.

use std::{fmt, str::FromStr};

use super::rdata::Layout;

/// A record or question type (IANA "Resource Record (RR) TYPEs").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type(pub u16);

/// The one table of record types: name, number, and where names stand in the record data.
macro_rules! record_types {
    ($($name:ident = $number:literal, $layout:expr;)*) => {
        impl Type {
            $(pub const $name: Self = Self($number);)*

            const NAMES: &[(u16, &'static str)] = &[$(($number, stringify!($name))),*];

            pub(super) fn layout(self) -> Layout {
                match self.0 {
                    $($number => const { $layout },)*
                    _ => OPAQUE,
                }
            }
        }
    };
}

const OPAQUE: Layout = Layout::OPAQUE;
/// One name, which a sender may compress.
const NAME: Layout = Layout::COMPRESSED_NAME;
/// One name, which a sender must not compress.
const PLAIN_NAME: Layout = Layout::UNCOMPRESSED_NAME;

record_types! {
    ZERO = 0, OPAQUE;
    A = 1, OPAQUE;
    NS = 2, NAME;
    MD = 3, NAME;
    MF = 4, NAME;
    CNAME = 5, NAME;
    SOA = 6, NAME.names(2);
    MB = 7, NAME;
    MG = 8, NAME;
    MR = 9, NAME;
    NULL = 10, OPAQUE;
    PTR = 12, NAME;
    HINFO = 13, OPAQUE;
    MINFO = 14, NAME.names(2);
    MX = 15, NAME.after(2);
    TXT = 16, OPAQUE;
    RP = 17, PLAIN_NAME.names(2);
    AFSDB = 18, PLAIN_NAME.after(2);
    X25 = 19, OPAQUE;
    ISDN = 20, OPAQUE;
    RT = 21, PLAIN_NAME.after(2);
    SIG = 24, PLAIN_NAME.after(18);
    KEY = 25, OPAQUE;
    PX = 26, PLAIN_NAME.after(2).names(2);
    AAAA = 28, OPAQUE;
    LOC = 29, OPAQUE;
    NXT = 30, PLAIN_NAME;
    SRV = 33, PLAIN_NAME.after(6);
    NAPTR = 35, Layout::NAPTR;
    KX = 36, PLAIN_NAME.after(2);
    CERT = 37, OPAQUE;
    DNAME = 39, PLAIN_NAME;
    OPT = 41, OPAQUE;
    DS = 43, OPAQUE;
    SSHFP = 44, OPAQUE;
    RRSIG = 46, PLAIN_NAME.after(18);
    NSEC = 47, PLAIN_NAME;
    DNSKEY = 48, OPAQUE;
    DHCID = 49, OPAQUE;
    NSEC3 = 50, OPAQUE;
    NSEC3PARAM = 51, OPAQUE;
    TLSA = 52, OPAQUE;
    SMIMEA = 53, OPAQUE;
    CDS = 59, OPAQUE;
    CDNSKEY = 60, OPAQUE;
    OPENPGPKEY = 61, OPAQUE;
    CSYNC = 62, OPAQUE;
    ZONEMD = 63, OPAQUE;
    SVCB = 64, OPAQUE;
    HTTPS = 65, OPAQUE;
    SPF = 99, OPAQUE;
    TSIG = 250, OPAQUE;
    IXFR = 251, OPAQUE;
    AXFR = 252, OPAQUE;
    ANY = 255, OPAQUE;
    URI = 256, OPAQUE;
    CAA = 257, OPAQUE;
    ANAME = 65_305, OPAQUE;
}

impl Type {
    /// OPT, TKEY, TSIG: part of a message, never the subject of a question (RFC 6891 §6.1.1, RFC
    /// 2930 §2, RFC 8945 §4.2).
    pub fn is_meta(self) -> bool {
        matches!(self, Self::OPT | Self(249) | Self::TSIG)
    }

    pub fn is_transfer(self) -> bool {
        matches!(self, Self::AXFR | Self::IXFR)
    }
}

/// `A`, `SRV`; `TYPE65280` for a type without a name (RFC 3597 §5).
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.binary_search_by_key(&self.0, |(number, _)| *number) {
            Ok(at) => f.write_str(Self::NAMES[at].1),
            Err(_) => write!(f, "TYPE{}", self.0),
        }
    }
}

/// The text names no record type, class or response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown name")]
pub struct UnknownNameError;

/// A name in any case, `*` for ANY, or `TYPE` and a number.
impl FromStr for Type {
    type Err = UnknownNameError;

    fn from_str(text: &str) -> Result<Self, UnknownNameError> {
        let upper = text.to_ascii_uppercase();
        if let Some(number) = upper.strip_prefix("TYPE").and_then(|number| number.parse().ok()) {
            return Ok(Self(number));
        }
        let name = if upper == "*" { "ANY" } else { &*upper };
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map(|(number, _)| Self(*number)).ok_or(UnknownNameError)
    }
}

/// A class (RFC 1035 §3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class(pub u16);

impl Class {
    pub const IN: Self = Self(1);
    pub const CH: Self = Self(3);
    pub const NONE: Self = Self(254);
    pub const ANY: Self = Self(255);

    const NAMES: [(Self, &str); 6] = [
        (Self::IN, "IN"),
        (Self(2), "CS"),
        (Self::CH, "CH"),
        (Self(4), "HS"),
        (Self::NONE, "NONE"),
        (Self::ANY, "ANY"),
    ];
}

/// `IN`; `CLASS7` for a class without a name (RFC 3597 §5).
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(class, _)| class == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "CLASS{}", self.0),
        }
    }
}

/// A name in any case, or `CLASS` and a number.
impl FromStr for Class {
    type Err = UnknownNameError;

    fn from_str(text: &str) -> Result<Self, UnknownNameError> {
        let upper = text.to_ascii_uppercase();
        if let Some(number) = upper.strip_prefix("CLASS").and_then(|number| number.parse().ok()) {
            return Ok(Self(number));
        }
        let known = Self::NAMES.iter().find(|(_, name)| *name == upper);
        known.map(|(class, _)| *class).ok_or(UnknownNameError)
    }
}

/// A response code, the extended ones included (RFC 6891 §6.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rcode(pub u16);

impl Rcode {
    pub const NOERROR: Self = Self(0);
    pub const FORMERR: Self = Self(1);
    pub const SERVFAIL: Self = Self(2);
    pub const NXDOMAIN: Self = Self(3);
    pub const NOTIMP: Self = Self(4);
    pub const REFUSED: Self = Self(5);
    pub const YXDOMAIN: Self = Self(6);
    pub const YXRRSET: Self = Self(7);
    pub const NXRRSET: Self = Self(8);
    pub const NOTAUTH: Self = Self(9);
    pub const NOTZONE: Self = Self(10);
    pub const BADVERS: Self = Self(16);
    pub const BADCOOKIE: Self = Self(23);

    /// Whether the code says nothing about the name that was asked for.
    pub fn is_failure(self) -> bool {
        ![Self::NOERROR, Self::NXDOMAIN].contains(&self)
    }

    const NAMES: [(Self, &str); 20] = [
        (Self::NOERROR, "NOERROR"),
        (Self::FORMERR, "FORMERR"),
        (Self::SERVFAIL, "SERVFAIL"),
        (Self::NXDOMAIN, "NXDOMAIN"),
        (Self::NOTIMP, "NOTIMP"),
        (Self::REFUSED, "REFUSED"),
        (Self::YXDOMAIN, "YXDOMAIN"),
        (Self::YXRRSET, "YXRRSET"),
        (Self::NXRRSET, "NXRRSET"),
        (Self::NOTAUTH, "NOTAUTH"),
        (Self::NOTZONE, "NOTZONE"),
        (Self(11), "DSOTYPENI"),
        (Self::BADVERS, "BADVERS"),
        (Self(17), "BADKEY"),
        (Self(18), "BADTIME"),
        (Self(19), "BADMODE"),
        (Self(20), "BADNAME"),
        (Self(21), "BADALG"),
        (Self(22), "BADTRUNC"),
        (Self::BADCOOKIE, "BADCOOKIE"),
    ];

    /// The mnemonic; `None` for a code without a name.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(rcode, _)| *rcode == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Rcode {
    type Err = UnknownNameError;

    fn from_str(text: &str) -> Result<Self, UnknownNameError> {
        // Other names in Corefiles.
        const ALIASES: [(Rcode, &str); 2] =
            [(Rcode::NOTIMP, "NOTIMPL"), (Rcode::BADVERS, "BADSIG")];
        Self::NAMES
            .iter()
            .chain(&ALIASES)
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(rcode, _)| *rcode)
            .ok_or(UnknownNameError)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RecordType;

    use super::*;

    #[test]
    fn types_have_the_names_that_hickory_gives_them() {
        for number in 0..=u16::MAX {
            let known = RecordType::from(number);
            let ours = Type(number).to_string();
            if !matches!(known, RecordType::Unknown(_)) {
                assert_eq!(ours, known.to_string(), "{number}");
            }
            assert_eq!(ours.parse(), Ok(Type(number)));
        }
        assert_eq!(
            ["aaaa", "*", "type5"].map(str::parse),
            [Type::AAAA, Type::ANY, Type(5)].map(Ok)
        );
        assert_eq!("BOGUS".parse::<Type>(), Err(UnknownNameError));
    }

    #[test]
    fn classes_are_read_as_they_are_written() {
        for number in 0..=u16::MAX {
            assert_eq!(Class(number).to_string().parse(), Ok(Class(number)));
        }
        assert_eq!(["ch", "class1"].map(str::parse), [Class::CH, Class::IN].map(Ok));
        assert_eq!("CLASS".parse::<Class>(), Err(UnknownNameError));
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(Type::NAMES.is_sorted_by_key(|(number, _)| *number));
    }
}
