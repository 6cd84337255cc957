//! Replies before encoding: a code, flags and three sections of record sets.

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use super::{Name, Rcode, Spelled, Type};

/// The record sets of a section. Most answers have one set, so one is stored inline.
pub type Sets = SmallVec<[RecordSet; 1]>;

/// A reply to one question, without the question. A clone shares the records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub rcode: Rcode,
    pub authoritative: bool,
    pub recursion_available: bool,
    pub authentic_data: bool,
    /// The upstream's reply is incomplete, and the whole reply could not be fetched. TC is set, and
    /// the reply must not be cached.
    pub truncated: bool,
    pub answer: Sets,
    pub authority: Sets,
    pub additional: Sets,
    /// Sent only to a client that sent an OPT record.
    pub ede: Option<Ede>,
    /// Identifies the server (RFC 5001). Sent only to a client that sent an OPT record.
    pub nsid: Option<Bytes>,
    /// The RD flag of the reply. `None` means the flag of the query, as RFC 1035 §4.1.1 has it.
    pub recursion_desired: Option<bool>,
}

impl Response {
    pub fn of(rcode: Rcode) -> Self {
        Self { rcode, ..Self::default() }
    }

    /// An answer from this server's own data: AA is set.
    pub fn authoritative(rcode: Rcode) -> Self {
        Self { authoritative: true, ..Self::of(rcode) }
    }

    pub fn sections_mut(&mut self) -> [&mut Sets; 3] {
        [&mut self.answer, &mut self.authority, &mut self.additional]
    }

    pub fn sets(&self) -> impl Iterator<Item = &RecordSet> {
        self.answer.iter().chain(&self.authority).chain(&self.additional)
    }

    /// Seconds for which all signatures (RRSIG) stay valid from `unix` on, in seconds since 1970.
    /// Zero if one has expired or begins later; `None` if there are no signatures.
    pub fn signatures_left(&self, unix: u32) -> Option<u32> {
        let signatures = self.sets().filter(|set| set.rtype == Type::RRSIG);
        signatures.flat_map(|set| set.rdatas.iter()).map(|rdata| signature_left(rdata, unix)).min()
    }
}

/// The times of a signature are compared by serial number arithmetic (RFC 4034 §3.1.5).
fn signature_left(rdata: &[u8], unix: u32) -> u32 {
    // The type covered, the algorithm, the labels and the original TTL come first.
    let times = rdata.get(8..).and_then(|rest| rest.first_chunk::<8>());
    let Some(&[a, b, c, d, e, f, g, h]) = times else { return 0 };
    let [expires, begins] = [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes);
    let has_begun = unix.wrapping_sub(begins) as i32 >= 0;
    if has_begun { u32::try_from(expires.wrapping_sub(unix) as i32).unwrap_or(0) } else { 0 }
}

/// A sequence of record sets, which may be long.
pub type Records = Box<dyn Iterator<Item = RecordSet> + Send>;

/// A zone transfer (RFC 5936).
pub struct Transfer {
    pub soa: RecordSet,
    /// The serial in the SOA record.
    pub serial: u32,
    /// All other records, as they were at one moment.
    pub records: Records,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ede {
    pub code: u16,
    /// A text for people, in UTF-8. It is often empty.
    pub text: Bytes,
}

impl Ede {
    pub const STALE_ANSWER: Self = Self::new(3, "");
    pub const STALE_NXDOMAIN: Self = Self::new(19, "");
    pub const NOT_READY: Self = Self::new(14, "not synced with Kubernetes yet");
    pub const NO_ZONE: Self = Self::new(14, "the zone has no records yet");
    pub const STOPPING: Self = Self::new(14, "the server stops");
    pub const BLOCKED: Self = Self::new(15, "");
    pub const FILTERED: Self = Self::new(17, "");
    pub const NOT_AUTHORITATIVE: Self = Self::new(20, "recursion is not desired");
    pub const NO_REACHABLE_AUTHORITY: Self = Self::new(22, "no upstream answered");
    pub const ALIAS_LOOP: Self = Self::new(0, "the aliases form a loop");
    pub const LONG_CHAIN: Self = Self::new(0, "the chain of aliases is too long");
    pub const NETWORK_ERROR: Self = Self::new(23, "");

    const fn new(code: u16, text: &'static str) -> Self {
        Self { code, text: Bytes::from_static(text.as_bytes()) }
    }
}

/// Records of one owner, type and TTL. The class is that of the question (RFC 2181 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    pub owner: Owner,
    pub rtype: Type,
    /// In seconds.
    pub ttl: u32,
    pub rdatas: Rdatas,
    /// If set, the records are written in a random order with this seed.
    pub shuffle: Option<u32>,
}

impl RecordSet {
    /// Changes the first name in the data of each record, such as the target of a CNAME record.
    /// `rename` returns `None` for a name that stays.
    pub fn rename_targets(&mut self, rename: impl Fn(&Spelled) -> Option<Spelled>) {
        let layout = self.rtype.layout();
        let renamed = |rdata: &[u8]| {
            let name = rename(&Spelled::new(layout.target(rdata)?))?;
            layout.renamed(rdata, name.wire())
        };
        let all: Vec<_> = self.rdatas.iter().map(|rdata| (rdata, renamed(rdata))).collect();
        if all.iter().any(|(_, renamed)| renamed.is_some()) {
            let all = all.iter().map(|(old, renamed)| renamed.as_deref().unwrap_or(old));
            self.rdatas = all.collect();
        }
    }

    /// The first name in the data of each record.
    pub fn targets(&self) -> impl Iterator<Item = Spelled> {
        let layout = self.rtype.layout();
        self.rdatas.iter().filter_map(move |rdata| layout.target(rdata).map(Spelled::new))
    }

    pub fn new(owner: Owner, rtype: Type, ttl: u32, rdatas: Rdatas) -> Self {
        Self { owner, rtype, ttl, rdatas, shuffle: None }
    }
}

/// The owner of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The name of the question, in the client's spelling.
    Question,
    /// The question's name from this offset on, in the client's spelling: the zone that contains
    /// it.
    QuestionFrom(u8),
    /// Any name, in wire form and with its own spelling.
    Name(Bytes),
}

impl Owner {
    /// The owner with its full name, for a reply to another question. `question` is the name of
    /// this one in wire form.
    pub fn named(self, question: &[u8]) -> Self {
        let from = |offset: usize| {
            Self::Name(Bytes::copy_from_slice(question.get(offset..).unwrap_or(question)))
        };
        match self {
            Self::Question => from(0),
            Self::QuestionFrom(offset) => from(offset.into()),
            Self::Name(_) => self,
        }
    }

    /// The name in lower case, in a reply to a question for `question`.
    pub fn name(&self, question: &Name) -> Name {
        let named = match self {
            Self::Question => None,
            Self::QuestionFrom(offset) => question.suffix(usize::from(*offset)),
            Self::Name(wire) => Name::from_wire(wire),
        };
        named.unwrap_or_else(|| question.clone())
    }
}

impl From<&Name> for Owner {
    fn from(name: &Name) -> Self {
        Self::Name(Bytes::copy_from_slice(name.wire()))
    }
}

impl From<&Spelled> for Owner {
    fn from(name: &Spelled) -> Self {
        Self::Name(Bytes::copy_from_slice(name.wire()))
    }
}

/// The data of any number of records of one type. Names inside are not compressed. A clone shares
/// the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rdatas(Bytes);

impl Rdatas {
    pub fn one(rdata: &[u8]) -> Self {
        [rdata].into_iter().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, tail) = rest.split_first_chunk::<2>()?;
            let (rdata, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length)));
            rest = tail;
            Some(rdata)
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The size in octets.
    pub fn octets(&self) -> usize {
        self.0.len()
    }
}

/// Data that is longer than a record can hold (65,535 octets) is left out.
impl<D: AsRef<[u8]>> FromIterator<D> for Rdatas {
    fn from_iter<I: IntoIterator<Item = D>>(rdatas: I) -> Self {
        let mut all = BytesMut::new();
        for rdata in rdatas {
            if let Ok(length) = u16::try_from(rdata.as_ref().len()) {
                all.put_u16(length);
                all.put_slice(rdata.as_ref());
            }
        }
        Self(all.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdatas_are_read_as_they_were_collected() {
        let rdatas: Rdatas = [b"".as_slice(), b"ab", &[0; 65_536], b"c"].into_iter().collect();
        assert_eq!(rdatas.iter().collect::<Vec<_>>(), [b"".as_slice(), b"ab", b"c"]);
    }
}
