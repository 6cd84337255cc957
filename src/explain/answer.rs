//! A reply in text form. hickory-proto decodes the message and prints the records.

use hickory_proto::{
    op::{Message, ResponseCode},
    rr,
};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// As dig prints it: `NOERROR`, `NXDOMAIN`.
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
            owner: record.name.to_string(),
            ttl: record.ttl,
            rtype: crate::wire::Type(record.record_type().into()).to_string(),
            data: record.data.to_string(),
        }
    }
}

/// The name of the code as dig prints it.
fn name(code: ResponseCode) -> String {
    crate::wire::Rcode(code.into()).to_string()
}
