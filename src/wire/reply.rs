//! Replies of upstreams: whether a reply belongs to a query, and which of its records are accepted.

use std::{borrow::Cow, cmp::Ordering};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::limits;

use super::{
    Class, Ede, Name, Owner, Query, Rcode, Rdatas, RecordSet, Response, Sets, Type, ZoneRecord,
    name::labels,
    opt::OPTION_EDE,
    query::{AA, AD, HEADER, OPCODE, QR, Question, RA, TC, words},
};

/// Whether a datagram is the reply to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    Yes,
    /// Only the case of the question's letters differs: the upstream does not keep it, or an
    /// attacker guessed.
    WrongCase,
    /// The id and the opcode match, there is no question, and the RCODE reports a failure. Some
    /// servers leave the question out of such replies.
    Failure,
    No,
}

/// Compares the id, the opcode and the whole question, and does not read the rest of the packet.
pub fn matches(packet: &[u8], asked: &Query) -> Match {
    let Some((header, body)) = packet.split_first_chunk::<HEADER>() else { return Match::No };
    let [id, flags, questions, ..]: [u16; 6] = words(header);
    if id != asked.id || flags & QR == 0 || flags & OPCODE != 0 || questions > 1 {
        return Match::No;
    }
    if questions == 0 {
        return if Rcode(flags & 15).is_failure() { Match::Failure } else { Match::No };
    }
    let Some((question, _)) = Question::parse(body) else { return Match::No };
    let right_case = question.caps == asked.question.caps;
    match (Question { caps: asked.question.caps, ..question }) == asked.question {
        true if right_case => Match::Yes,
        true => Match::WrongCase,
        false => Match::No,
    }
}

/// Why a reply to the right question cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A record runs past the end of the packet, or a name points forward.
    #[error("the reply is malformed")]
    Malformed,
    #[error("the aliases in the reply form a loop")]
    AliasLoop,
    /// More than [`limits::REPLY_ALIASES`].
    #[error("the chain of aliases in the reply is too long")]
    LongChain,
    /// The server does not understand EDNS (RFC 6891 §6.1.1): OPT belongs to the additional
    /// section.
    #[error("the answer section has an OPT record and no answer")]
    OnlyOpt,
}

/// Reads a reply for which [`matches()`] returned yes, and keeps the records that answer the
/// question: the chain of aliases from its name, the records at the end of that chain, and the
/// authority records of the zones that the name is in. Glue, unrelated records and other classes
/// are dropped. A TTL of 2³¹ or more becomes 0 (RFC 2181 §8). Names that are compressed against the
/// question get the spelling of `asked`, whatever spelling the query to the upstream had.
///
/// # Errors
/// See [`ReplyError`]. If a reply with TC ends within a record, the result has no records.
pub fn read(packet: &[u8], asked: &Query) -> Result<Response, ReplyError> {
    let header = packet.first_chunk::<HEADER>().ok_or(ReplyError::Malformed)?;
    let [_, flags, questions, ..]: [u16; 6] = words(header);
    let bare = || {
        let mut response = Response::of(Rcode(flags & 15));
        response.recursion_available = flags & RA != 0;
        response.truncated = flags & TC != 0;
        response
    };
    if questions == 0 {
        return Ok(bare());
    }
    match read_records(&with_question_as_asked(packet, asked), asked) {
        Err(ReplyError::Malformed) if flags & TC != 0 => Ok(bare()),
        result => result,
    }
}

/// The packet with the name of its question in the spelling of `asked`.
fn with_question_as_asked<'p>(packet: &'p [u8], asked: &Query) -> Cow<'p, [u8]> {
    let spelled = asked.question.spelled();
    let place = HEADER..HEADER + spelled.wire().len();
    match packet.get(place.clone()) {
        Some(name) if name != spelled.wire() && name.eq_ignore_ascii_case(spelled.wire()) => {
            let mut packet = packet.to_vec();
            packet[place].copy_from_slice(spelled.wire());
            packet.into()
        }
        _ => packet.into(),
    }
}

fn read_records(packet: &[u8], asked: &Query) -> Result<Response, ReplyError> {
    let (header, body) = packet.split_first_chunk::<HEADER>().ok_or(ReplyError::Malformed)?;
    let [_, flags, _, answers, authorities, additionals]: [u16; 6] = words(header);
    let (_, rest) = Question::parse(body).ok_or(ReplyError::Malformed)?;
    let mut reader = Reader { packet, at: packet.len() - rest.len(), room: limits::REPLY_OCTETS };
    let answer = reader.section(answers)?;
    if answer.is_empty() && answers > 0 {
        return Err(ReplyError::Malformed);
    }
    let authority = reader.section(authorities)?;
    let additional = reader.section(additionals)?;
    let opt = additional.iter().find(|record| record.rtype == Type::OPT);
    let extended = opt.map_or(0, |opt| opt.ttl >> 24);

    let class = asked.question.class;
    let has_opt = answer.iter().any(|record| record.rtype == Type::OPT);
    let (answer, end) = answer_chain(&of_class(answer, class), asked)?;
    if has_opt && answer.is_empty() {
        return Err(ReplyError::OnlyOpt);
    }
    let mut response = Response::of(Rcode(flags & 15 | (extended as u16) << 4));
    response.authoritative = flags & AA != 0;
    response.recursion_available = flags & RA != 0;
    response.authentic_data = flags & AD != 0;
    response.truncated = flags & TC != 0;
    response.answer = answer;
    response.ede = opt.and_then(|opt| extended_error(&opt.rdata));
    response.authority = grouped(
        of_class(authority, class).iter().filter(|record| record.is_authority_over(&end, asked)),
        asked,
    );
    Ok(response)
}

/// The first extended error among the options of an OPT record (RFC 8914 §2). A text that is too
/// long or not UTF-8 is left out.
fn extended_error(mut options: &[u8]) -> Option<Ede> {
    while let Some((head, tail)) = options.split_first_chunk::<4>() {
        let [option, length] = words(head);
        let (data, rest) = tail.split_at_checked(usize::from(length))?;
        if option == OPTION_EDE {
            let (code, text) = data.split_first_chunk::<2>()?;
            let text = str::from_utf8(text).ok().map(|text| text.trim_end_matches('\0'));
            let text = text.filter(|text| text.len() <= limits::EXTENDED_ERROR_OCTETS);
            let text = Bytes::copy_from_slice(text.unwrap_or_default().as_bytes());
            return Some(Ede { code: u16::from_be_bytes(*code), text });
        }
        options = rest;
    }
    None
}

/// Whether a message continues a transfer: later messages may leave the question out (RFC 5936
/// §2.2.1).
pub fn continues(packet: &[u8], asked: &Query) -> bool {
    let Some(header) = packet.first_chunk::<HEADER>() else { return false };
    let [id, flags, questions, ..]: [u16; 6] = words(header);
    id == asked.id && flags & QR != 0 && flags & OPCODE == 0 && questions == 0
}

/// The code and the answer section of a message of a zone transfer.
///
/// # Errors
/// The message is malformed.
pub fn transferred(packet: &[u8]) -> Result<(Rcode, Vec<ZoneRecord>), ReplyError> {
    let (header, body) = packet.split_first_chunk::<HEADER>().ok_or(ReplyError::Malformed)?;
    let [_, flags, questions, answers, ..]: [u16; 6] = words(header);
    let at = match questions {
        0 => HEADER,
        _ => packet.len() - Question::parse(body).ok_or(ReplyError::Malformed)?.1.len(),
    };
    let mut reader = Reader { packet, at, room: limits::TRANSFER_MESSAGE_OCTETS };
    let records = of_class(reader.section(answers)?, Class::IN);
    Ok((Rcode(flags & 15), records.into_iter().map(ZoneRecord::from).collect()))
}

fn of_class(mut records: Vec<Record>, class: Class) -> Vec<Record> {
    records.retain(|record| record.class == class);
    records
}

/// The records that answer the question, in the order of the chain, and the name at its end.
fn answer_chain(records: &[Record], asked: &Query) -> Result<(Sets, Vec<u8>), ReplyError> {
    let qtype = asked.question.qtype;
    let mut name = asked.question.name.wire().to_vec();
    let mut chain: Vec<&Record> = Vec::new();
    for _ in 0..=limits::REPLY_ALIASES {
        let here = || records.iter().filter(|record| record.owner_is(&name));
        // A DNAME above the name proves the CNAME that was synthesized from it (RFC 6672 §3.1).
        chain.extend(
            records
                .iter()
                .filter(|record| record.rtype == Type::DNAME && record.owner_is_above(&name)),
        );
        chain.extend(here().filter(|record| {
            record.answers(qtype) || asked.dnssec_ok() && record.rtype == Type::RRSIG
        }));
        let alias = here().find(|record| record.rtype == Type::CNAME && !record.answers(qtype));
        let Some(alias) = alias else { return Ok((grouped(chain, asked), name)) };
        chain.push(alias);
        name = Type::CNAME
            .layout()
            .target(&alias.rdata)
            .ok_or(ReplyError::Malformed)?
            .to_ascii_lowercase();
        let is_passed = |link: &&Record| link.rtype == Type::CNAME && link.owner_is(&name);
        if chain.iter().any(is_passed) {
            return Err(ReplyError::AliasLoop);
        }
    }
    Err(ReplyError::LongChain)
}

/// Groups records into sets, in the order of their first records. The TTL of a set is the lowest of
/// its records (RFC 2181 §5.2), and a record that is repeated counts once (RFC 2181 §5). The records
/// are sorted, because a reply may have thousands, and a search for each of them would take long.
fn grouped<'r>(records: impl IntoIterator<Item = &'r Record>, asked: &Query) -> Sets {
    let mut sorted: SmallVec<[(usize, &Record); 8]> = records.into_iter().enumerate().collect();
    sorted.sort_by(|(_, one), (_, other)| {
        one.compare_set(other).then_with(|| one.rdata.cmp(&other.rdata))
    });
    let is_same_set = |one: &(usize, &Record), other: &(usize, &Record)| {
        one.1.compare_set(other.1) == Ordering::Equal
    };
    let set = |group: &mut [(usize, &Record)]| {
        let ttl = group.iter().map(|(_, record)| record.ttl).min().unwrap_or(0);
        let mut distinct: SmallVec<[(usize, &Record); 8]> = SmallVec::from_slice(group);
        distinct.dedup_by(|one, other| one.1.rdata == other.1.rdata);
        distinct.sort_unstable_by_key(|(place, _)| *place);
        let rdatas: Rdatas = distinct.iter().map(|(_, record)| &record.rdata).collect();
        let (place, first) = distinct[0];
        let at_question = first.owner_is(asked.question.name.wire());
        let owner = if at_question {
            Owner::Question
        } else {
            Owner::Name(Bytes::copy_from_slice(&first.owner))
        };
        (place, RecordSet::new(owner, first.rtype, ttl, rdatas))
    };
    let mut sets: SmallVec<[(usize, RecordSet); 4]> =
        sorted.chunk_by_mut(is_same_set).map(set).collect();
    sets.sort_unstable_by_key(|(place, _)| *place);
    sets.into_iter().map(|(_, set)| set).collect()
}

pub(super) struct Record {
    /// In wire form, in the upstream's spelling.
    pub(super) owner: Vec<u8>,
    pub(super) rtype: Type,
    pub(super) class: Class,
    pub(super) ttl: u32,
    /// The data with uncompressed names.
    pub(super) rdata: Vec<u8>,
}

impl Record {
    /// Equal for records of one owner and type.
    fn compare_set(&self, other: &Self) -> Ordering {
        let lower = u8::to_ascii_lowercase;
        let owners = || self.owner.iter().map(lower).cmp(other.owner.iter().map(lower));
        self.rtype.cmp(&other.rtype).then_with(owners)
    }

    fn owner_is(&self, name: &[u8]) -> bool {
        self.owner.eq_ignore_ascii_case(name)
    }

    fn owner_is_above(&self, name: &[u8]) -> bool {
        let mut rest = name;
        while let Some(label) = labels(rest).next() {
            rest = &rest[label.len() + 1..];
            if self.owner_is(rest) {
                return true;
            }
        }
        false
    }

    fn answers(&self, qtype: Type) -> bool {
        self.rtype == qtype || qtype == Type::ANY
    }

    fn is_authority_over(&self, name: &[u8], asked: &Query) -> bool {
        let ours = || self.owner_is(name) || self.owner_is_above(name);
        match self.rtype {
            Type::SOA | Type::NS => ours(),
            Type::DS | Type::RRSIG | Type::NSEC | Type::NSEC3 => asked.dnssec_ok(),
            _ => false,
        }
    }
}

impl From<Record> for ZoneRecord {
    fn from(Record { owner, rtype, ttl, rdata, .. }: Record) -> Self {
        // The reader accepts valid names only.
        let owner = Name::from_wire(&owner).unwrap_or_else(Name::root);
        Self { owner, rtype, ttl, rdata }
    }
}

/// Reads records that [`ZoneRecord::write`] has written one after the other. `None` if one of them
/// is malformed.
pub fn zone_records(octets: &[u8]) -> Option<Vec<ZoneRecord>> {
    // Names in the data count twice.
    let mut reader = Reader { packet: octets, at: 0, room: 2 * octets.len() };
    let mut records = Vec::new();
    while reader.at < octets.len() {
        records.push(reader.record().filter(|record| record.class == Class::IN)?.into());
    }
    Some(records)
}

pub(super) struct Reader<'p> {
    pub(super) packet: &'p [u8],
    pub(super) at: usize,
    /// Octets that names and data may still use. There is a limit, because a small packet can point
    /// to large names many times.
    pub(super) room: usize,
}

impl Reader<'_> {
    /// Reads at most this number of records. The packet may end earlier, after a whole record: some
    /// upstreams count wrongly, and CoreDNS accepts their replies, too.
    pub(super) fn section(&mut self, records: u16) -> Result<Vec<Record>, ReplyError> {
        let mut section = Vec::new();
        while section.len() < usize::from(records) && self.at < self.packet.len() {
            section.push(self.record().ok_or(ReplyError::Malformed)?);
        }
        Ok(section)
    }

    fn record(&mut self) -> Option<Record> {
        let owner = self.name()?;
        let fixed = self.packet.get(self.at..)?.first_chunk::<10>()?;
        let [rtype, class, ttl_high, ttl_low, length] = words(fixed);
        self.at += fixed.len();
        let end = self.at + usize::from(length);
        // In an UPDATE message such a record stands for others (RFC 2136 §2.4, §2.5).
        let stands_for_others = length == 0 && [Class::ANY, Class::NONE].contains(&Class(class));
        let rdata = if stands_for_others { Vec::new() } else { self.rdata(Type(rtype), end)? };
        self.at = end;
        let ttl = u32::from(ttl_high) << 16 | u32::from(ttl_low);
        let ttl = if Type(rtype) != Type::OPT && ttl > i32::MAX as u32 { 0 } else { ttl };
        Some(Record { owner, rtype: Type(rtype), class: Class(class), ttl, rdata })
    }

    fn rdata(&mut self, rtype: Type, end: usize) -> Option<Vec<u8>> {
        let raw = self.packet.get(self.at..end)?;
        let layout = rtype.layout();
        let prefix = if layout.names > 0 { layout.prefix_len(raw)? } else { 0 };
        let mut rdata = raw[..prefix].to_vec();
        self.at += prefix;
        for _ in 0..layout.names {
            rdata.extend_from_slice(&self.name()?);
        }
        let rest = self.packet.get(self.at..end)?;
        let is_one_name = matches!(rtype, Type::CNAME | Type::DNAME | Type::NS | Type::PTR);
        let fits = match rtype {
            Type::A => rest.len() == 4,
            Type::AAAA => rest.len() == 16,
            // Five numbers are behind the names (RFC 1035 §3.3.13).
            Type::SOA => rest.len() == 20,
            Type::MX | Type::SRV => rest.is_empty(),
            _ => !is_one_name || rest.is_empty(),
        };
        if !fits {
            return None;
        }
        rdata.extend_from_slice(rest);
        self.room = self.room.checked_sub(rdata.len())?;
        Some(rdata)
    }

    /// The name at the cursor, uncompressed. The cursor moves past it. Each pointer must lead
    /// further back than the one before, so the loop ends. There may be as many pointers as a name
    /// can have labels: thousands, in each of thousands of names, would take long to follow.
    fn name(&mut self) -> Option<Vec<u8>> {
        let (mut name, mut pointers) = (Vec::new(), 0);
        let (mut at, mut lowest, mut after) = (self.at, self.at, None);
        loop {
            let length = *self.packet.get(at)?;
            match length {
                0 => break,
                1..=63 => {
                    name.extend_from_slice(self.packet.get(at..=at + usize::from(length))?);
                    at += usize::from(length) + 1;
                }
                0xc0.. => {
                    let target =
                        usize::from(length & 0x3f) << 8 | usize::from(*self.packet.get(at + 1)?);
                    after.get_or_insert(at + 2);
                    pointers += 1;
                    if target >= lowest || pointers > limits::NAME_OCTETS / 2 {
                        return None;
                    }
                    (at, lowest) = (target, target);
                }
                _ => return None,
            }
            if name.len() >= limits::NAME_OCTETS {
                return None;
            }
        }
        name.push(0);
        self.at = after.unwrap_or(at + 1);
        self.room = self.room.checked_sub(name.len())?;
        Some(name)
    }
}

#[cfg(test)]
mod tests;
