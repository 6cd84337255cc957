//! One record in presentation form (RFC 1035 §5.1), such as `example.org. 60 IN A 192.0.2.1`.

use hickory_proto::{
    rr::{RData, RecordType},
    serialize::{
        binary::{BinEncodable, BinEncoder, NameEncoding},
        txt::parse_ttl,
    },
};

use super::{Class, Name, Type, name::Spelled};

/// A record that was read from text. All of its names are absolute, also without a final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRecord {
    pub owner: Spelled,
    pub rtype: Type,
    /// In seconds.
    pub ttl: u32,
    pub rdata: Vec<u8>,
}

/// A text is not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextRecordError {
    #[error("the text has no record type")]
    NoType,
    #[error("`{0}` is not a name")]
    Owner(String),
    #[error("`{0}` is not a TTL, a class or a record type")]
    Header(String),
    #[error("the data of the {0} record cannot be read")]
    Data(Type),
}

/// The TTL of a record without one, in seconds, as in CoreDNS.
const DEFAULT_TTL: u32 = 3600;

/// What the data of a record consists of.
enum Field {
    Number,
    Name,
}

/// The types that hickory-proto does not read and whose data are numbers and names only.
const SIMPLE: &[(Type, &[Field])] = &[
    (Type::MB, &[Field::Name]),
    (Type::MG, &[Field::Name]),
    (Type::MR, &[Field::Name]),
    (Type::MINFO, &[Field::Name, Field::Name]),
    (Type::RP, &[Field::Name, Field::Name]),
    (Type::AFSDB, &[Field::Number, Field::Name]),
    (Type::RT, &[Field::Number, Field::Name]),
    (Type::KX, &[Field::Number, Field::Name]),
    (Type::DNAME, &[Field::Name]),
];

impl TextRecord {
    /// # Errors
    /// The text is not a record, or its type has no presentation form here.
    pub fn parse(text: &str) -> Result<Self, TextRecordError> {
        let text = text.trim_matches(['\r', '\n']).trim_end();
        let (owner, mut rest) = word(text);
        let owner = owner.parse().map_err(|_| TextRecordError::Owner(owner.to_owned()))?;
        let mut ttl = DEFAULT_TTL;
        loop {
            let (token, after) = word(rest.trim_start());
            if token.is_empty() {
                return Err(TextRecordError::NoType);
            }
            rest = after.trim_start();
            if token.starts_with(|first: char| first.is_ascii_digit()) {
                let read = parse_ttl(token);
                ttl = read.map_err(|_| TextRecordError::Header(token.to_owned()))?;
            } else if !is_class(token) {
                let rtype = token.parse::<Type>();
                let rtype = rtype.map_err(|_| TextRecordError::Header(token.to_owned()))?;
                let rdata = rdata(rtype, rest).ok_or(TextRecordError::Data(rtype))?;
                return Ok(Self { owner, rtype, ttl, rdata });
            }
        }
    }

    /// The target of a CNAME record.
    pub fn alias(&self) -> Option<Name> {
        (self.rtype == Type::CNAME).then(|| Name::from_wire(&self.rdata))?
    }
}

/// The text up to the first white space, and what follows.
fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

fn is_class(token: &str) -> bool {
    [Class::IN, Class::CH].iter().any(|class| class.to_string().eq_ignore_ascii_case(token))
}

fn rdata(rtype: Type, text: &str) -> Option<Vec<u8>> {
    if let Some(generic) = text.strip_prefix(r"\#") {
        return generic_rdata(generic);
    }
    if let Some((_, fields)) = SIMPLE.iter().find(|(simple, _)| *simple == rtype) {
        return simple_rdata(fields, text);
    }
    let data = RData::try_from_str(RecordType::from(rtype.0), text).ok()?;
    let mut rdata = Vec::new();
    let mut encoder = BinEncoder::new(&mut rdata);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).ok()?;
    Some(rdata)
}

/// `LENGTH HEX…` after `\#` (RFC 3597 §5).
fn generic_rdata(text: &str) -> Option<Vec<u8>> {
    let mut words = text.split_whitespace();
    let length: u16 = words.next()?.parse().ok()?;
    let digits: Vec<u8> = words
        .flat_map(str::chars)
        .map(|digit| Some(digit.to_digit(16)? as u8))
        .collect::<Option<_>>()?;
    let (pairs, odd) = digits.as_chunks::<2>();
    let fits = odd.is_empty() && pairs.len() == usize::from(length);
    fits.then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn simple_rdata(fields: &[Field], text: &str) -> Option<Vec<u8>> {
    let mut words = text.split_whitespace();
    let mut rdata = Vec::new();
    for field in fields {
        let token = words.next()?;
        match field {
            Field::Number => rdata.extend(token.parse::<u16>().ok()?.to_be_bytes()),
            Field::Name => rdata.extend_from_slice(token.parse::<Spelled>().ok()?.wire()),
        }
    }
    words.next().is_none().then_some(rdata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let check = |text: &str, owner: &str, rtype, ttl, rdata: &[u8]| {
            let record = TextRecord::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(record.owner.to_string(), owner, "{text}");
            assert_eq!((record.rtype, record.ttl), (rtype, ttl), "{text}");
            assert_eq!(record.rdata, rdata, "{text}");
        };
        check("Web.test. 60 IN A 192.0.2.1", "Web.test.", Type::A, 60, &[192, 0, 2, 1]);
        check("web.test 60 in a 192.0.2.1", "web.test.", Type::A, 60, &[192, 0, 2, 1]);
        check("web.test. IN 1h A 192.0.2.1", "web.test.", Type::A, 3600, &[192, 0, 2, 1]);
        check("web.test.\tA 192.0.2.1 ; why", "web.test.", Type::A, 3600, &[192, 0, 2, 1]);
        check("\n. 5 CH TXT \"a b\" c\n", ".", Type::TXT, 5, b"\x03a b\x01c");
        check("a. 5 MX 10 b.c.", "a.", Type::MX, 5, b"\x00\x0a\x01b\x01c\x00");
        check("a. 5 MX 10 b.c", "a.", Type::MX, 5, b"\x00\x0a\x01b\x01c\x00");
        check("a. 5 DNAME b.", "a.", Type::DNAME, 5, b"\x01b\x00");
        check("a. 5 AFSDB 1 b.", "a.", Type::AFSDB, 5, b"\x00\x01\x01b\x00");
        check(r"a. 5 TYPE731 \# 3 ab cdEF", "a.", Type(731), 5, &[0xab, 0xcd, 0xef]);
        let soa = b"\x01b\x00\x01c\x00\x00\x00\x00\x01\x00\x00\x00\x3c\x00\x00\x00\x3c\x00\x00\x00\x3c\x00\x00\x00\x3c";
        check("a. 60 IN SOA b. c. (1 60 60 60 60)", "a.", Type::SOA, 60, soa);
        // Names in the data are not compressed.
        let shared = b"\x01b\x01c\x00\x01d\x01c\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05";
        check("c. 60 SOA b.c. d.c. 1 2 3 4 5", "c.", Type::SOA, 60, shared);
    }

    #[test]
    fn other_texts_are_refused() {
        let texts = [
            "",
            "a.",
            "a. 60 IN",
            "a. 60 IN BOGUS x",
            " a. 60 IN A 192.0.2.1",
            "a..b. A 192.0.2.1",
            "a. 60 IN A 192.0.2.256",
            "a. 60 IN A [x]",
            "a. 60 IN A",
            "a. 6x IN A 192.0.2.1",
            r"a. TYPE731 \# 3 abcd",
            r"a. TYPE731 \# 2 abc",
            "a. DNAME b. c.",
            "a. ANY x",
            "a. 99999999999 A 192.0.2.1",
            "a. <no value> IN A 192.0.2.1",
        ];
        for text in texts {
            assert!(TextRecord::parse(text).is_err(), "{text}");
        }
    }
}
