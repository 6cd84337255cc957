//! The numbers of DNS: types, classes, response codes. Any 16-bit value is one; the known ones have
//! names.

use std::{fmt, str::FromStr};

use hickory_proto::rr::RecordType;

/// A record or question type (IANA "Resource Record (RR) TYPEs").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type(pub u16);

impl Type {
    pub const A: Self = Self(1);
    pub const NS: Self = Self(2);
    pub const CNAME: Self = Self(5);
    pub const SOA: Self = Self(6);
    pub const PTR: Self = Self(12);
    pub const HINFO: Self = Self(13);
    pub const MX: Self = Self(15);
    pub const TXT: Self = Self(16);
    pub const AAAA: Self = Self(28);
    pub const SRV: Self = Self(33);
    pub const DNAME: Self = Self(39);
    pub const OPT: Self = Self(41);
    pub const DS: Self = Self(43);
    pub const RRSIG: Self = Self(46);
    pub const IXFR: Self = Self(251);
    pub const AXFR: Self = Self(252);
    pub const ANY: Self = Self(255);

    /// OPT, TKEY, TSIG: part of a message, never what a question asks for (RFC 6891 §6.1.1, RFC
    /// 2930 §2, RFC 8945 §4.2).
    pub fn is_meta(self) -> bool {
        matches!(self, Self::OPT | Self(249) | Self(250))
    }

    pub fn is_transfer(self) -> bool {
        matches!(self, Self::AXFR | Self::IXFR)
    }
}

/// What hickory-proto does not name as it is built here: its DNSSEC features stay off
/// (RUSTSEC-2026-0118).
const UNNAMED: [(u16, &str); 9] = [
    (43, "DS"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (51, "NSEC3PARAM"),
    (59, "CDS"),
    (60, "CDNSKEY"),
    (251, "IXFR"),
];

/// `A`, `SRV`; `TYPE65280` for one without a name (RFC 3597 §5).
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((_, name)) = UNNAMED.iter().find(|(number, _)| *number == self.0) {
            return f.write_str(name);
        }
        match RecordType::from(self.0) {
            RecordType::Unknown(number) => write!(f, "TYPE{number}"),
            known => known.fmt(f),
        }
    }
}

impl FromStr for Type {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let upper = text.to_ascii_uppercase();
        let numbered = upper.strip_prefix("TYPE").and_then(|number| number.parse().ok());
        match numbered
            .or_else(|| UNNAMED.iter().find(|(_, name)| *name == upper).map(|(number, _)| *number))
        {
            Some(number) => Ok(Self(number)),
            None => RecordType::from_str(&upper).map(|known| Self(known.into())).map_err(|_| ()),
        }
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
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IN => f.write_str("IN"),
            Self::CH => f.write_str("CH"),
            Self::NONE => f.write_str("NONE"),
            Self::ANY => f.write_str("ANY"),
            Self(number) => write!(f, "CLASS{number}"),
        }
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
    pub const NOTAUTH: Self = Self(9);
    pub const BADVERS: Self = Self(16);

    const NAMES: [(Self, &str); 20] = [
        (Self::NOERROR, "NOERROR"),
        (Self::FORMERR, "FORMERR"),
        (Self::SERVFAIL, "SERVFAIL"),
        (Self::NXDOMAIN, "NXDOMAIN"),
        (Self::NOTIMP, "NOTIMP"),
        (Self::REFUSED, "REFUSED"),
        (Self(6), "YXDOMAIN"),
        (Self(7), "YXRRSET"),
        (Self(8), "NXRRSET"),
        (Self::NOTAUTH, "NOTAUTH"),
        (Self(10), "NOTZONE"),
        (Self(11), "DSOTYPENI"),
        (Self::BADVERS, "BADVERS"),
        (Self(17), "BADKEY"),
        (Self(18), "BADTIME"),
        (Self(19), "BADMODE"),
        (Self(20), "BADNAME"),
        (Self(21), "BADALG"),
        (Self(22), "BADTRUNC"),
        (Self(23), "BADCOOKIE"),
    ];

    /// The mnemonic, where there is one.
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
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::NAMES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(rcode, _)| *rcode)
            .ok_or(())
    }
}
