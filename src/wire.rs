//! Messages on the wire: reading questions and replies, writing questions and replies.
//!
//! The only module of the pure half that names hickory-proto, and the only one that knows how a
//! message is laid out. Whatever comes in is checked once, in [`Query::parse`] and [`reply::read`];
//! what they give out cannot fail later.

mod cookie;
mod encode;
mod freshness;
mod name;
mod opt;
mod query;
mod rdata;
pub mod reply;
mod response;
mod types;

pub use cookie::{ClientCookie, Cookie, CookieSecret};
pub use encode::Room;
pub use freshness::freshness;
pub use name::{Name, NameError, Spelled};
pub use query::{Caps, Edns, Malformed, Query, Question, refusal};
pub use response::{Ede, Owner, Rdatas, RecordSet, Records, Response, Sets, Transfer};
pub use types::{Class, Rcode, Type};
