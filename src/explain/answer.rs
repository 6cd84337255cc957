//! A reply in text form. hickory-proto decodes the message and prints the records.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr,
};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The RCODE as dig prints it, such as `NXDOMAIN`.
    pub rcode: String,
    pub authoritative: bool,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Record {
    pub owner: String,
    pub ttl: u32,
    #[serde(rename = "type")]
    pub rtype: String,
    pub data: String,
}

impl Answer {
    /// # Errors
    /// If `message` is not a DNS message.
    pub fn decode(message: &[u8]) -> Result<Self, String> {
        let message = Message::from_vec(message)
            .map_err(|error| format!("a reply that cannot be read: {error}"))?;
        Ok(Self {
            rcode: name(message.metadata.response_code),
            authoritative: message.metadata.authoritative,
            records: message.answers.iter().map(Record::of).collect(),
        })
    }

    /// The data of the records of a type, sorted.
    pub fn data(&self, rtype: &str) -> Vec<&str> {
        let mut data: Vec<_> = self
            .records
            .iter()
            .filter(|record| record.rtype == rtype)
            .map(|record| record.data.as_str())
            .collect();
        data.sort_unstable();
        data
    }
}

impl Record {
    fn of(record: &rr::Record) -> Self {
        Self {
            owner: decimal(&record.name.to_string()),
            ttl: record.ttl,
            rtype: crate::wire::Type(record.record_type().into()).to_string(),
            data: match &record.data {
                rr::RData::TXT(txt) => txt.txt_data.iter().map(|text| printable(text)).collect(),
                data => decimal(&data.to_string()),
            },
        }
    }
}

/// hickory-proto writes an octet of a name as three octal digits. RFC 1035 §5.1 requires decimal
/// digits.
fn decimal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        out.push('\\');
        let octal = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        let taken = match octal {
            Some(octet) => {
                out.push_str(&format!("{octet:03}"));
                3
            }
            None => after.chars().next().map_or(0, char::len_utf8),
        };
        let (shown, left) = after.split_at(taken);
        if octal.is_none() {
            out.push_str(shown);
        }
        rest = left;
    }
    out + rest
}

/// A character string (RFC 1035 §5.1), without quotes around it.
fn printable(text: &[u8]) -> String {
    let octet = |octet: &u8| match octet {
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(*octet).to_string(),
        _ => format!("\\{octet:03}"),
    };
    text.iter().map(octet).collect()
}

/// The name of the code as dig prints it.
fn name(code: ResponseCode) -> String {
    crate::wire::Rcode(code.into()).to_string()
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{Name, RData, rdata};

    use super::*;

    #[test]
    fn octets_have_decimal_digits() {
        let name = Name::from_labels([&b"a\xffb"[..], b"\x07.c\\1"]).unwrap();
        let check = |data: RData, expected: &str| {
            let record = Record::of(&rr::Record::from_rdata(name.clone(), 5, data));
            assert_eq!(record.owner, r"a\255b.\007\.c\\1.");
            assert_eq!(record.data, expected);
        };
        check(RData::CNAME(rdata::CNAME(name.clone())), r"a\255b.\007\.c\\1.");
        check(RData::MX(rdata::MX::new(10, name.clone())), r"10 a\255b.\007\.c\\1.");
        check(
            RData::TXT(rdata::TXT::from_bytes(vec![b"caf\xc3\xa9\n", b"\\x \"y\""])),
            r#"caf\195\169\010\\x "y""#,
        );
    }
}
