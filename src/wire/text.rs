//! One record in presentation form (RFC 1035 §5.1), such as `example.org. 60 IN A 192.0.2.1`.

use super::{
    Entries, LexError, Name, RdataError, RecordHeader, RecordHeaderError, Type, name::Spelled,
};

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
    #[error("the text is empty")]
    Empty,
    #[error(transparent)]
    Lex(LexError),
    #[error("`{0}` is not a name")]
    Owner(String),
    #[error("the text begins with white space, so it has no name")]
    NoOwner,
    #[error(transparent)]
    Header(#[from] RecordHeaderError),
    #[error("the data of the {0} record cannot be read: {1}")]
    Data(Type, RdataError),
}

/// The TTL of a record without one, in seconds, as in CoreDNS.
const DEFAULT_TTL: u32 = 3600;

impl TextRecord {
    /// Reads the first record of the text.
    ///
    /// # Errors
    /// The text is not a record, or its type has no presentation form here.
    pub fn parse(text: &str) -> Result<Self, TextRecordError> {
        let entry = Entries::new(text).next().ok_or(TextRecordError::Empty)?;
        let entry = entry.map_err(|(_, error)| TextRecordError::Lex(error))?;
        let (owner, words) = entry.words.split_first().ok_or(TextRecordError::Empty)?;
        if entry.indented {
            return Err(TextRecordError::NoOwner);
        }
        let not_a_name = |_| TextRecordError::Owner(owner.text.to_owned());
        let owner = owner.text.parse().map_err(not_a_name)?;
        let (RecordHeader { ttl, rtype, .. }, data) = RecordHeader::read(words)?;
        let rdata = rtype.rdata(data, &Name::root());
        let rdata = rdata.map_err(|error| TextRecordError::Data(rtype, error))?;
        Ok(Self { owner, rtype, ttl: ttl.unwrap_or(DEFAULT_TTL), rdata })
    }

    /// The target of a CNAME record.
    pub fn alias(&self) -> Option<Name> {
        (self.rtype == Type::CNAME).then(|| Name::from_wire(&self.rdata))?
    }
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
