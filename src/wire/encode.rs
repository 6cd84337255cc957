//! Encodes and truncates all messages.

use smallvec::SmallVec;

use crate::{
    hash::{FNV_OFFSET, fnv1a},
    limits,
    random::SplitMix64,
};

use super::{
    Owner, Query, RecordSet, Response, Type,
    name::uncompressed_len,
    opt::Opt,
    query::{AA, AD, CD, HEADER, QR, RA, RD, TC},
    room::Room,
};

/// Whether all records of the answer and authority sections had room in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    Complete,
    /// Records are left out, and TC is set.
    Truncated,
}

use Completeness::{Complete, Truncated};

impl Response {
    /// Appends the reply to `query`. This cannot fail: records without room are left out, whole
    /// records from the end. If a record of the answer or authority section is left out, TC is set
    /// (RFC 2181 §9). The OPT record is always there.
    pub fn encode(&self, query: &Query, room: Room, out: &mut Vec<u8>) -> Completeness {
        let question = query.question.spelled();
        let mut writer = Writer { base: out.len(), out, names: Names::default() };
        writer.out.extend_from_slice(&query.id.to_be_bytes());
        writer.out.extend_from_slice(&[0; HEADER - 2]);
        writer.out.extend_from_slice(question.wire());
        writer.word(query.question.qtype.0);
        writer.word(query.question.class.0);

        let opt = query.edns.map(|edns| Opt::of_reply(self, edns, room, writer.len()));
        let end = room.limit - opt.as_ref().map_or(0, Opt::len);
        let (answers, completeness) = writer.section(&self.answer, query, end);
        let (authorities, completeness) = match completeness {
            Complete => writer.section(&self.authority, query, end),
            Truncated => (0, Truncated),
        };
        let additionals = match completeness {
            Complete => writer.whole_sets(&self.additional, query, end),
            Truncated => 0,
        };
        let has_opt = opt.is_some();
        if let Some(mut opt) = opt {
            opt.pad(writer.len(), room.limit);
            opt.write(writer.out);
        }

        let flag = |set, bit| if set { bit } else { 0 };
        let flags = QR
            | query.opcode.flags()
            | flag(self.authoritative, AA)
            | flag(completeness == Truncated || self.truncated, TC)
            | flag(self.recursion_desired.unwrap_or(query.recursion_desired), RD)
            | flag(self.recursion_available, RA)
            | flag(self.authentic_data && (query.dnssec_ok() || query.authentic_data), AD)
            | flag(query.checking_disabled, CD)
            | self.rcode.0 & 15;
        let counts = [flags, 1, answers, authorities, additionals + u16::from(has_opt)];
        for (at, word) in counts.into_iter().enumerate() {
            writer.set_word(writer.base + 2 + 2 * at, word);
        }
        completeness
    }
}

impl Query {
    /// Appends this query as a request to an upstream.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let flag = |set, bit| if set { bit } else { 0 };
        let flags = flag(self.recursion_desired, RD)
            | flag(self.authentic_data, AD)
            | flag(self.checking_disabled, CD);
        let authorities = u16::from(self.serial.is_some());
        for word in [self.id, flags, 1, 0, authorities, u16::from(self.edns.is_some())] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(self.question.spelled().wire());
        for word in [self.question.qtype.0, self.question.class.0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        if let Some(serial) = self.serial {
            // Two empty names and five numbers, of which servers read the serial (RFC 1995 §3).
            out.extend_from_slice(&[0xc0, HEADER as u8, 0, Type::SOA.0 as u8, 0, 1, 0, 0, 0, 0]);
            out.extend_from_slice(&[0, 22, 0, 0]);
            out.extend_from_slice(&serial.to_be_bytes());
            out.extend_from_slice(&[0; 16]);
        }
        if let Some(edns) = self.edns {
            let mut opt = Opt::of_question(edns, &self.options);
            opt.pad(out.len() - start, limits::STREAM_OCTETS);
            opt.write(out);
        }
    }
}

struct Writer<'o> {
    /// The offset in `out` at which the message begins.
    base: usize,
    out: &'o mut Vec<u8>,
    names: Names,
}

impl Writer<'_> {
    fn len(&self) -> usize {
        self.out.len() - self.base
    }

    fn word(&mut self, word: u16) {
        self.out.extend_from_slice(&word.to_be_bytes());
    }

    fn double(&mut self, double: u32) {
        self.out.extend_from_slice(&double.to_be_bytes());
    }

    fn set_word(&mut self, at: usize, word: u16) {
        self.out[at..at + 2].copy_from_slice(&word.to_be_bytes());
    }

    /// Writes the records that fit before `end`. Returns their number.
    fn section(&mut self, sets: &[RecordSet], query: &Query, end: usize) -> (u16, Completeness) {
        let mut count = 0;
        for set in sets {
            let mut fits = true;
            each_in_order(set, |rdata| {
                let mark = self.out.len();
                self.record(set, rdata, query);
                fits = self.len() <= end && count < u16::MAX;
                count += u16::from(fits);
                if !fits {
                    self.out.truncate(mark);
                }
                fits
            });
            if !fits {
                return (count, Truncated);
            }
        }
        (count, Complete)
    }

    /// Like [`Self::section`], but never writes part of a set, because a client would take the part
    /// for the whole set.
    fn whole_sets(&mut self, sets: &[RecordSet], query: &Query, end: usize) -> u16 {
        let mut count = 0;
        for set in sets {
            let mark = self.out.len();
            match self.section(std::slice::from_ref(set), query, end) {
                (more, Complete) => count += more,
                (_, Truncated) => {
                    self.out.truncate(mark);
                    return count;
                }
            }
        }
        count
    }

    fn record(&mut self, set: &RecordSet, rdata: &[u8], query: &Query) {
        match &set.owner {
            Owner::Question => self.word(0xc000 | HEADER as u16),
            Owner::QuestionFrom(offset) => self.pointer_or_root(usize::from(*offset), query),
            Owner::Name(wire) => self.name(wire),
        }
        self.word(set.rtype.0);
        self.word(query.question.class.0);
        self.double(set.ttl);
        let length_at = self.out.len();
        self.word(0);
        self.rdata(set.rtype, rdata);
        let length = self.out.len() - length_at - 2;
        self.set_word(length_at, length as u16);
    }

    fn pointer_or_root(&mut self, offset: usize, query: &Query) {
        match query.question.name.wire().get(offset) {
            Some(1..) => self.word(0xc000 | (HEADER + offset) as u16),
            _ => self.out.push(0),
        }
    }

    fn rdata(&mut self, rtype: Type, rdata: &[u8]) {
        let layout = rtype.layout();
        let Some(mut at) = layout.prefix_len(rdata).filter(|_| layout.compress) else {
            return self.out.extend_from_slice(rdata);
        };
        self.out.extend_from_slice(&rdata[..at]);
        for _ in 0..layout.names {
            let Some(length) = uncompressed_len(&rdata[at..]) else { break };
            self.name(&rdata[at..at + length]);
            at += length;
        }
        self.out.extend_from_slice(&rdata[at..]);
    }

    /// Writes the name `wire`. The longest suffix that the message already contains in the same
    /// spelling becomes a pointer.
    fn name(&mut self, wire: &[u8]) {
        let start = self.len();
        let message = &self.out[self.base..];
        self.names.seed(message);
        let suffixes = suffixes(wire);
        let known = suffixes
            .iter()
            .find_map(|end| Some((end.at, self.names.find(end.hash, &wire[end.at..], message)?)));
        let fresh = known.map_or(wire.len(), |(at, _)| at);
        self.out.extend_from_slice(&wire[..fresh]);
        if let Some((_, offset)) = known {
            self.word(0xc000 | offset);
        }
        for end in suffixes.iter().take_while(|end| end.at < fresh) {
            self.names.insert(end.hash, start + end.at);
        }
    }
}

/// Calls `write` with the data of each record until it returns false. The order is random if the
/// set has a seed for it.
fn each_in_order(set: &RecordSet, mut write: impl FnMut(&[u8]) -> bool) {
    let Some(seed) = set.shuffle else {
        set.rdatas.iter().all(write);
        return;
    };
    let mut order: SmallVec<[&[u8]; 16]> = set.rdatas.iter().collect();
    SplitMix64::new(seed.into()).shuffle(&mut order);
    order.into_iter().all(&mut write);
}

/// A suffix of a name: the labels from octet `at` on.
struct Suffix {
    at: usize,
    hash: u64,
}

/// All suffixes of an uncompressed name from the longest to the shortest, without the root.
fn suffixes(wire: &[u8]) -> SmallVec<[Suffix; 12]> {
    let mut ends: SmallVec<[Suffix; 12]> = SmallVec::new();
    let mut at = 0;
    while let Some(&length @ 1..) = wire.get(at) {
        ends.push(Suffix { at, hash: 0 });
        at += usize::from(length) + 1;
    }
    let (mut hash, mut stop) = (FNV_OFFSET, at);
    for end in ends.iter_mut().rev() {
        // Label by label from the right, so that a name's hash continues its parent's.
        hash = fnv1a(hash, &wire[end.at..stop]);
        (end.hash, stop) = (hash, end.at);
    }
    ends
}

/// The offsets of names in the message: a small hash table that drops entries when it is full, so
/// that the cost of each name is bounded (CVE-2024-8508).
struct Names {
    seeded: bool,
    slots: [Slot; Self::SLOTS],
}

#[derive(Clone, Copy, Default)]
struct Slot {
    tag: u16,
    /// Zero for an empty slot: the header, at offset zero, contains no name.
    offset: u16,
}

impl Default for Names {
    fn default() -> Self {
        Self { seeded: false, slots: [Slot::default(); Self::SLOTS] }
    }
}

impl Names {
    const SLOTS: usize = 128;
    const PROBES: usize = 4;
    /// A pointer has 14 bits (RFC 1035 §4.1.4).
    const REACH: usize = 0x4000;

    /// Adds the question's name, the first name that others can point to.
    fn seed(&mut self, message: &[u8]) {
        if !std::mem::replace(&mut self.seeded, true) {
            for end in suffixes(&message[HEADER..]) {
                self.insert(end.hash, HEADER + end.at);
            }
        }
    }

    fn probe(hash: u64) -> impl Iterator<Item = usize> {
        (0..Self::PROBES).map(move |step| (hash as usize + step) % Self::SLOTS)
    }

    fn insert(&mut self, hash: u64, offset: usize) {
        let free = Self::probe(hash).find(|&slot| self.slots[slot].offset == 0);
        if let Some(slot) = free.filter(|_| offset < Self::REACH) {
            self.slots[slot] = Slot { tag: (hash >> 16) as u16, offset: offset as u16 };
        }
    }

    fn find(&self, hash: u64, wire: &[u8], message: &[u8]) -> Option<u16> {
        let candidates =
            Self::probe(hash).map(|slot| self.slots[slot]).take_while(|slot| slot.offset != 0);
        let mut alike = candidates.filter(|slot| slot.tag == (hash >> 16) as u16);
        alike
            .find(|slot| stands_at(message, usize::from(slot.offset), wire))
            .map(|slot| slot.offset)
    }
}

/// Whether the name at `at`, which this encoder wrote, equals `wire`, letter case included.
fn stands_at(message: &[u8], mut at: usize, wire: &[u8]) -> bool {
    let mut rest = wire;
    loop {
        let length = usize::from(message[at]);
        if length >= 0xc0 {
            at = (length & 0x3f) << 8 | usize::from(message[at + 1]);
            continue;
        }
        let label = &message[at..=at + length];
        match rest.strip_prefix(label) {
            Some(_) if length == 0 => return true,
            Some(tail) => (rest, at) = (tail, at + length + 1),
            None => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Ede, Edns, Name, Question, Rcode, Rdatas};

    fn query(name: &str, qtype: Type, edns: Option<u16>) -> Query {
        let question = Question::new(name.parse().unwrap(), qtype);
        Query { id: 1, edns: edns.map(|size| Edns::new(size, false)), ..Query::internal(question) }
    }

    fn addresses(count: u8) -> RecordSet {
        RecordSet::new(
            Owner::Question,
            Type::A,
            5,
            (0..count).map(|last| [10, 0, 0, last]).collect(),
        )
    }

    fn encode(response: &Response, query: &Query, limit: usize) -> (Vec<u8>, Completeness) {
        let mut out = b"before".to_vec();
        let completeness = response.encode(query, Room { limit, ..Room::stream(1232) }, &mut out);
        (out.split_off(6), completeness)
    }

    fn words_at(packet: &[u8], at: usize) -> u16 {
        u16::from_be_bytes([packet[at], packet[at + 1]])
    }

    #[test]
    fn one_address_takes_44_octets() {
        let mut response = Response::authoritative(Rcode::NOERROR);
        response.answer.push(addresses(1));
        let (packet, completeness) = encode(&response, &query("example.com", Type::A, None), 512);
        assert_eq!((packet.len(), completeness), (45, Complete));
        assert_eq!(packet[29..], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 0]);
    }

    #[test]
    fn whole_records_are_cut_and_the_opt_stays() {
        let mut response = Response::authoritative(Rcode::NOERROR);
        response.answer.push(addresses(150));
        // 12 + 9 (question a.b) octets, 16 a record.
        for (edns, limit, expected) in
            [(None, 512, 30), (Some(1232), 1232, 75), (Some(512), 512, 30)]
        {
            let (packet, completeness) = encode(&response, &query("a.b", Type::A, edns), limit);
            assert_eq!((words_at(&packet, 6), completeness), (expected, Truncated));
            assert!(packet.len() <= limit);
            assert_eq!(words_at(&packet, 10), u16::from(edns.is_some()));
            assert_eq!(words_at(&packet, 2) & TC, TC);
        }
    }

    #[test]
    fn additional_records_go_without_truncation() {
        let mut response = Response::authoritative(Rcode::NOERROR);
        response.answer.push(addresses(1));
        response.additional.extend([addresses(2), addresses(150)]);
        let (packet, completeness) = encode(&response, &query("a.b", Type::A, None), 512);
        assert_eq!((words_at(&packet, 6), words_at(&packet, 10), completeness), (1, 2, Complete));
    }

    #[test]
    fn an_extended_error_needs_edns_and_room() {
        let response = Response { ede: Some(Ede::NOT_READY), ..Response::of(Rcode::SERVFAIL) };
        let length = |edns, limit| encode(&response, &query("a.b", Type::A, edns), limit).0.len();
        assert_eq!(length(None, 512), 21);
        assert_eq!(length(Some(1232), 512), 21 + 11 + 6 + Ede::NOT_READY.text.len());
        assert_eq!(length(Some(1232), 40), 21 + 11);
    }

    #[test]
    fn options_stand_in_the_opt_whatever_is_cut() {
        let mut response =
            Response { ede: Some(Ede::NOT_READY), ..Response::authoritative(Rcode::NOERROR) };
        response.answer.push(addresses(150));
        let room =
            Room { limit: 512, cookie: Some([7; 24]), keepalive: Some(100), ..Room::stream(1232) };
        let mut packet = Vec::new();
        let query = query("a.b", Type::A, Some(1232));
        assert_eq!(response.encode(&query, room, &mut packet), Truncated);
        assert!(packet.len() <= 512 && packet.len() + 16 > 512);
        let options = [
            &[0, 10, 0, 24][..],
            &[7; 24],
            &[0, 11, 0, 2, 0, 100],
            &[0, 15, 0, 32, 0, 14],
            &Ede::NOT_READY.text,
        ]
        .concat();
        assert!(packet.ends_with(&options));
    }

    #[test]
    fn extended_codes_stand_in_the_opt() {
        let (packet, _) =
            encode(&Response::of(Rcode::BADVERS), &query("a.b", Type::A, Some(1232)), 512);
        assert_eq!((words_at(&packet, 2) & 15, packet[21 + 5]), (0, 1));
    }

    #[test]
    fn names_point_back_in_the_same_spelling_only() {
        let zone: Name = "cluster.local".parse().unwrap();
        let mut response = Response::authoritative(Rcode::NOERROR);
        let alias: Name = "web.ns.svc.cluster.local".parse().unwrap();
        response.answer.push(RecordSet::new(
            Owner::Question,
            Type::CNAME,
            5,
            Rdatas::one(alias.wire()),
        ));
        response.answer.push(RecordSet::new(
            Owner::from(&alias),
            Type::A,
            5,
            Rdatas::one(&[10, 0, 0, 1]),
        ));
        response.authority.push(RecordSet::new(
            Owner::QuestionFrom(2),
            Type::NS,
            5,
            Rdatas::one(zone.wire()),
        ));
        let (packet, _) = encode(&response, &query("a.cluster.local", Type::A, None), 512);
        // Header, question, CNAME with `web.ns.svc` and a pointer, A behind a pointer, NS with
        // owner and target as pointers.
        assert_eq!(packet.len(), 12 + 21 + (12 + 13) + 16 + 14);
        let mut shouted = query("a.cluster.local", Type::A, None);
        shouted.question.caps = crate::wire::Caps::random(&shouted.question.name, [u64::MAX; 4]);
        let (packet, _) = encode(&response, &shouted, 512);
        assert_eq!(packet.len(), 12 + 21 + (12 + 26) + 16 + 14);
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let set = RecordSet { shuffle: Some(7), ..addresses(40) };
        let mut seen = Vec::new();
        each_in_order(&set, |rdata| {
            seen.push(rdata[3]);
            true
        });
        assert_ne!(seen, (0..40).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..40).collect::<Vec<_>>());
    }
}
