//! Queries: a request with one question, which is checked once.

use std::sync::Arc;

use crate::limits;

use super::{
    Class, Name, Rcode, Type,
    cookie::ClientCookie,
    edns::EdnsOptions,
    name::{self, Spelled},
    octets::skip_name,
    tsig::SignedMessage,
};

pub(super) use super::octets::HEADER;

pub(super) const QR: u16 = 0x8000;
pub(super) const AA: u16 = 0x0400;
pub(super) const TC: u16 = 0x0200;
pub(super) const RD: u16 = 0x0100;
pub(super) const RA: u16 = 0x0080;
pub(super) const AD: u16 = 0x0020;
pub(super) const CD: u16 = 0x0010;
pub(super) const OPCODE: u16 = 0x7800;
/// The opcode NOTIFY in its place among the flags.
pub(super) const NOTIFY: u16 = Opcode::Notify.flags();
/// The DO bit among the OPT record's TTL bits (RFC 6891 §6.1.3).
pub(super) const DO: u32 = 0x8000;
pub(super) const OPTION_NSID: u16 = 3;
pub(super) const OPTION_COOKIE: u16 = 10;
pub(super) const OPTION_KEEPALIVE: u16 = 11;
pub(super) const OPTION_PADDING: u16 = 12;

/// The kinds of requests (RFC 1035 §4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opcode {
    #[default]
    Query = 0,
    /// A zone has changed (RFC 1996).
    Notify = 4,
    /// A zone shall change (RFC 2136).
    Update = 5,
}

impl Opcode {
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its place among the flags of the header.
    pub(super) const fn flags(self) -> u16 {
        self.number() << 11
    }
}

/// A request that can be answered, with exactly one question. Nothing about it can fail after
/// parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub id: u16,
    pub opcode: Opcode,
    pub recursion_desired: bool,
    pub authentic_data: bool,
    pub checking_disabled: bool,
    pub edns: Option<Edns>,
    /// The serial of the client's copy of the zone, in an IXFR request (RFC 1995 §3).
    pub serial: Option<u32>,
    /// All options of the client's OPT record, if it has others than those in `edns`. They are not
    /// forwarded.
    pub client_options: EdnsOptions,
    /// The options that a query to an upstream has in addition to those in `edns`.
    pub options: EdnsOptions,
    /// The whole message, if it has a TSIG record (RFC 8945).
    pub signature: Option<Arc<SignedMessage>>,
    pub question: Question,
}

/// The OPT record of a request (RFC 6891). Other options are ignored, and none is echoed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// Octets of a UDP message that the sender accepts.
    pub size: u16,
    pub dnssec_ok: bool,
    /// The client's part of a DNS cookie (RFC 7873).
    pub cookie: Option<ClientCookie>,
    /// Whether the client asks how long a connection may be idle (RFC 7828).
    pub keepalive: bool,
    /// Whether the message is padded (RFC 7830). Then the reply is padded, too.
    pub padding: bool,
    /// Whether the client asks which server answers (RFC 5001).
    pub nsid: bool,
}

impl Edns {
    /// Without options.
    pub fn new(size: u16, dnssec_ok: bool) -> Self {
        Self { size, dnssec_ok, ..Self::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub name: Name,
    /// Which letters of the name the client wrote in upper case; echoed in the reply
    /// (draft-vixie-dnsext-dns0x20).
    pub caps: Caps,
    pub qtype: Type,
    pub class: Class,
}

/// One bit for each octet of a name in wire form. It is set for an upper-case letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps([u64; 4]);

/// A packet is not a [`Query`]. Each variant says what to send instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Send nothing: a reply to something that is not a request could start a loop of errors.
    #[error("the packet is not a request")]
    Ignore,
    /// Send a bare header with this code, see [`refusal`].
    #[error("the request cannot be read: {0}")]
    Answer(Rcode),
    /// A server says that the zone with this name has changed. Send [`super::notify::accept`] if
    /// this server is a secondary of the zone, else NOTIMP.
    #[error("the request is a notification")]
    Notify(Box<Query>),
    /// A client wants to change a zone. Send NOTIMP if no plugin takes that. `None`: the message is
    /// malformed.
    #[error("the request is an update")]
    Update(Option<Box<Query>>),
    /// Send [`super::empty_reply`]: the client asks only for a cookie (RFC 7873 §5.4).
    #[error("the request has no question")]
    NoQuestion(Edns),
    /// The question is readable, but this code is the only possible answer.
    #[error("the request is refused: {1}")]
    Refuse(Box<Query>, Rcode),
}

impl Query {
    /// # Errors
    /// The packet is not a query that can be answered; the error says what to send.
    pub fn parse(packet: &[u8]) -> Result<Self, RequestError> {
        const FORMERR: RequestError = RequestError::Answer(Rcode::FORMERR);
        let Some((header, body)) = packet.split_first_chunk::<HEADER>() else {
            return Err(RequestError::Ignore);
        };
        let [id, flags, questions, answers, authorities, additionals] = words(header);
        if flags & QR != 0 {
            return Err(RequestError::Ignore);
        }
        if flags & OPCODE == Opcode::Update.flags() {
            let counts = [answers, authorities, additionals];
            let update = if questions == 1 { Self::update(packet, counts) } else { None };
            return Err(RequestError::Update(update.map(Box::new)));
        }
        if flags & OPCODE != 0 {
            let notifies = flags & OPCODE == NOTIFY && questions == 1;
            let question =
                Question::parse(body).filter(|(it, _)| notifies && it.qtype == Type::SOA);
            let Some((question, rest)) = question else {
                return Err(RequestError::Answer(Rcode::NOTIMP));
            };
            let counts = [answers, authorities, additionals].map(u32::from);
            let mut extra = Extra::default();
            let read = extra.read(rest, counts.iter().sum());
            let signature = read.and(extra.signed(packet));
            let opcode = Opcode::Notify;
            let query = Self { id, opcode, signature, ..Self::internal(question) };
            return Err(RequestError::Notify(Box::new(query)));
        }
        if let Some(edns) = without_question(&[questions, answers, authorities], additionals, body)
        {
            return Err(RequestError::NoQuestion(edns));
        }
        if questions != 1 || answers != 0 || additionals > 2 {
            return Err(FORMERR);
        }
        let (question, rest) = Question::parse(body).ok_or(FORMERR)?;
        // The authority section of an IXFR request holds the client's SOA (RFC 1995 §3).
        if authorities > u16::from(question.qtype == Type::IXFR) || question.qtype.is_meta() {
            return Err(FORMERR);
        }
        let mut extra = Extra::default();
        extra.read(rest, u32::from(authorities) + u32::from(additionals)).ok_or(FORMERR)?;
        let query = Self {
            id,
            opcode: Opcode::Query,
            recursion_desired: flags & RD != 0,
            authentic_data: flags & AD != 0,
            checking_disabled: flags & CD != 0,
            edns: extra.edns,
            serial: extra.serial,
            signature: extra.signed(packet),
            client_options: extra.options,
            options: EdnsOptions::default(),
            question,
        };
        if extra.version != 0 {
            return Err(RequestError::Refuse(Box::new(query), Rcode::BADVERS));
        }
        if matches!(query.question.class, Class::NONE | Class::ANY) {
            return Err(RequestError::Refuse(Box::new(query), Rcode::REFUSED));
        }
        Ok(query)
    }

    /// An UPDATE message. Its records are read later, because most of them matter only if the
    /// message has a valid signature.
    fn update(packet: &[u8], counts: [u16; 3]) -> Option<Self> {
        let (header, body) = packet.split_first_chunk::<HEADER>()?;
        let [id, flags, ..]: [u16; 6] = words(header);
        let (question, rest) = Question::parse(body)?;
        let mut extra = Extra::default();
        extra.read(rest, counts.map(u32::from).iter().sum())?;
        Some(Self {
            id,
            opcode: Opcode::Update,
            recursion_desired: flags & RD != 0,
            edns: extra.edns,
            signature: extra.signed(packet),
            client_options: extra.options,
            ..Self::internal(question)
        })
    }

    /// A query of this server's own, with recursion desired and EDNS.
    pub fn internal(question: Question) -> Self {
        let edns = Some(Edns::new(limits::UDP_OCTETS, false));
        Self {
            id: 0,
            opcode: Opcode::Query,
            recursion_desired: true,
            authentic_data: false,
            checking_disabled: false,
            edns,
            serial: None,
            client_options: EdnsOptions::default(),
            options: EdnsOptions::default(),
            signature: None,
            question,
        }
    }

    /// The same query with another question. Flags and EDNS stay.
    pub fn asking(&self, question: Question) -> Self {
        Self { question, ..self.clone() }
    }

    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

impl Question {
    pub fn new(name: Name, qtype: Type) -> Self {
        Self { name, caps: Caps::default(), qtype, class: Class::IN }
    }

    /// The question at the start of `bytes`, and the octets after it. A compression pointer is
    /// invalid here, because there is no name before it.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (wire, rest) = bytes.split_at(name::uncompressed_len(bytes)?);
        let (&[a, b, c, d], rest) = rest.split_first_chunk::<4>()?;
        let question = Self {
            name: Name::from_wire(wire)?,
            caps: Caps::of(wire),
            qtype: Type(u16::from_be_bytes([a, b])),
            class: Class(u16::from_be_bytes([c, d])),
        };
        Some((question, rest))
    }

    /// The name in the client's spelling.
    pub fn spelled(&self) -> Spelled {
        self.spelled_from(0)
    }

    /// The name from an offset on, in the client's spelling. This gives the zone's name, for
    /// example.
    pub fn spelled_from(&self, offset: usize) -> Spelled {
        let mut wire: smallvec::SmallVec<[u8; 64]> = self.name.wire()[offset..].into();
        if self.caps != Caps::default() {
            for (at, octet) in wire.iter_mut().enumerate() {
                *octet ^= self.caps.mask(at + offset);
            }
        }
        Spelled::new(&wire)
    }
}

/// `kubernetes.default.svc.cluster.local. A`, without the class, which is nearly always IN.
impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.qtype)
    }
}

impl Caps {
    pub(super) fn of(wire: &[u8]) -> Self {
        let mut caps = Self::default();
        for (at, octet) in wire.iter().enumerate() {
            caps.0[at / 64] |= u64::from(octet.is_ascii_uppercase()) << (at % 64);
        }
        caps
    }

    /// Random case for the letters of `name`, from 256 random bits.
    pub fn random(name: &Name, bits: [u64; 4]) -> Self {
        let mut caps = Self::default();
        // A length octet is at most 63, so it is never taken for a lower-case letter (97 to 122).
        for (at, octet) in name.wire().iter().enumerate() {
            caps.0[at / 64] |= (u64::from(octet.is_ascii_lowercase()) << (at % 64)) & bits[at / 64];
        }
        caps
    }

    pub(super) fn mask(&self, at: usize) -> u8 {
        ((self.0[at / 64] >> (at % 64)) as u8 & 1) << 5
    }
}

/// The OPT record of a request that has no question and asks for a cookie. `counts` are those of
/// the first three sections.
fn without_question(counts: &[u16], additionals: u16, body: &[u8]) -> Option<Edns> {
    let mut extra = Extra::default();
    if counts.iter().any(|count| *count != 0) || additionals > 2 {
        return None;
    }
    extra.read(body, additionals.into())?;
    extra.edns.filter(|edns| edns.cookie.is_some() && extra.version == 0)
}

/// The records after the question that matter.
#[derive(Default)]
struct Extra {
    edns: Option<Edns>,
    options: EdnsOptions,
    version: u8,
    serial: Option<u32>,
    /// The number of octets from the TSIG record to the end of the message, and the number after
    /// the record.
    tsig: Option<(usize, usize)>,
}

impl Extra {
    /// Returns `None` if a record runs past the end, if there are two OPT records, if the owner of
    /// an OPT record is not the root, or if an option is malformed.
    fn read(&mut self, mut rest: &[u8], records: u32) -> Option<()> {
        for _ in 0..records {
            let (at_root, left) = (rest.first() == Some(&0), rest.len());
            let (fixed, tail) = skip_name(rest)?.split_first_chunk::<10>()?;
            let [rtype, class, ttl_high, ttl_low, length] = words(fixed);
            let (rdata, tail) = tail.split_at_checked(usize::from(length))?;
            rest = tail;
            match Type(rtype) {
                Type::SOA => self.serial = soa_serial(rdata),
                Type::TSIG => self.tsig = Some((left, rest.len())),
                _ => {}
            }
            if Type(rtype) == Type::OPT {
                if !at_root || self.edns.is_some() {
                    return None;
                }
                self.version = ttl_high as u8;
                let edns = Edns::new(class, u32::from(ttl_low) & DO != 0);
                self.edns = Some(edns.with_options(rdata, &mut self.options)?);
            }
        }
        Some(())
    }

    /// The message, if it has a TSIG record.
    fn signed(&self, packet: &[u8]) -> Option<Arc<SignedMessage>> {
        let (at, after) = self.tsig.map(|(left, after)| (packet.len() - left, after))?;
        Some(Arc::new(SignedMessage::new(packet, at, after == 0)))
    }
}

/// The serial in SOA data. Five numbers follow two names, which may be compressed.
pub fn soa_serial(rdata: &[u8]) -> Option<u32> {
    let (_, numbers) = rdata.split_last_chunk::<20>()?;
    numbers.first_chunk().map(|serial| u32::from_be_bytes(*serial))
}

impl Edns {
    /// `None` if an option runs past the end, or if the length of a cookie is invalid (RFC 7873
    /// §5.2.2). The first of several cookies counts.
    fn with_options(mut self, rdata: &[u8], others: &mut EdnsOptions) -> Option<Self> {
        let mut rest = rdata;
        while !rest.is_empty() {
            let (head, tail) = rest.split_first_chunk::<4>()?;
            let [code, length] = words(head);
            let (option, tail) = tail.split_at_checked(usize::from(length))?;
            match code {
                OPTION_COOKIE if length != 8 && !(16..=40).contains(&length) => return None,
                OPTION_COOKIE => self.cookie = self.cookie.or(option.first_chunk().copied()),
                OPTION_KEEPALIVE => self.keepalive = true,
                OPTION_PADDING => self.padding = true,
                OPTION_NSID => self.nsid = true,
                _ if others.is_empty() => *others = EdnsOptions::from_wire(rdata),
                _ => {}
            }
            rest = tail;
        }
        Some(self)
    }
}

pub(super) fn words<const N: usize, const W: usize>(bytes: &[u8; N]) -> [u16; W] {
    const { assert!(N == 2 * W) };
    std::array::from_fn(|at| u16::from_be_bytes([bytes[2 * at], bytes[2 * at + 1]]))
}

/// Appends a bare header that answers `packet` with `rcode`. The id, the opcode and RD are those of
/// the packet. Appends nothing if the packet is shorter than a header.
pub fn refusal(packet: &[u8], rcode: Rcode, out: &mut Vec<u8>) {
    bare_header(packet, rcode, 0, out);
}

pub(super) fn bare_header(packet: &[u8], rcode: Rcode, additionals: u16, out: &mut Vec<u8>) {
    let Some(header) = packet.first_chunk::<HEADER>() else { return };
    let [id, flags, ..]: [u16; 6] = words(header);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&(QR | flags & (OPCODE | RD) | rcode.0 & 15).to_be_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&additionals.to_be_bytes());
}

#[cfg(test)]
mod tests;
