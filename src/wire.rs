//! DNS messages: parsing and writing of queries and replies.
//!
//! No other module knows the layout of a message. Input is checked once, in [`Query::parse`] and
//! [`reply::read`]; what they return cannot fail later.

mod canonical;
mod cookie;
mod edns;
mod empty;
mod encode;
mod freshness;
mod name;
pub mod notify;
mod octets;
mod opt;
mod presentation;
mod query;
mod rdata;
pub mod reply;
mod response;
mod room;
mod text;
mod tsig;
mod types;
mod update;
mod zone_record;

pub use canonical::type_bitmap;
pub use cookie::{ClientCookie, Cookie, CookieSecret};
pub use edns::EdnsOptions;
pub use empty::empty_reply;
pub use encode::Completeness;
pub use freshness::{freshness, grow_older};
pub use name::{Name, NameError, Spelled};
pub use presentation::{
    Entries, Entry, LexError, RdataError, RecordHeader, RecordHeaderError, Word, base64,
    read_seconds,
};
pub use query::{Caps, Edns, Opcode, Query, Question, RequestError, refusal, soa_serial};
pub use response::{Ede, Owner, Rdatas, RecordSet, Records, Response, Sets, Transfer};
pub use room::Room;
pub use text::{TextRecord, TextRecordError};
pub use tsig::{SignedMessage, TsigAlgorithm, TsigChain, TsigError, TsigKey};
pub use types::{Class, Rcode, Type, UnknownNameError};
pub use update::{Update, UpdateRecord};
pub use zone_record::ZoneRecord;
