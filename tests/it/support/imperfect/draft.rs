//! A query as the upstreams of this module read it, and replies built octet by octet.

use std::time::Duration;

pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;
pub(crate) const FORMERR: u16 = 1;
pub(crate) const SERVFAIL: u16 = 2;
pub(crate) const NXDOMAIN: u16 = 3;
pub(crate) const NOTIMP: u16 = 4;
pub(crate) const REFUSED: u16 = 5;

pub(crate) const TC: u16 = 0x0200;
pub(crate) const AA: u16 = 0x0400;
pub(crate) const RA: u16 = 0x0080;
/// Reserved, and zero in every valid message.
pub(crate) const Z: u16 = 0x0040;

pub(crate) struct Asked {
    pub(crate) packet: Vec<u8>,
    /// Labels with dots between them, in the spelling of the query.
    pub(crate) name: String,
    pub(crate) qtype: u16,
    /// Whether the query has an OPT record.
    pub(crate) edns: bool,
    pub(crate) tcp: bool,
    /// How many queries for this name, type and transport came before.
    pub(crate) before: usize,
    /// The time since the first of them.
    pub(crate) age: Duration,
    /// The offset after the question.
    end: usize,
}

impl Asked {
    pub(crate) fn read(packet: &[u8], tcp: bool) -> Self {
        let (mut at, mut labels) = (12, Vec::new());
        while packet[at] > 0 {
            let label = &packet[at + 1..at + 1 + usize::from(packet[at])];
            labels.push(String::from_utf8_lossy(label).into_owned());
            at += 1 + label.len();
        }
        Self {
            packet: packet.to_vec(),
            name: labels.join("."),
            qtype: u16::from_be_bytes([packet[at + 1], packet[at + 2]]),
            edns: packet[11] > 0,
            tcp,
            before: 0,
            age: Duration::ZERO,
            end: at + 5,
        }
    }

    /// The question section in the spelling of the query.
    pub(crate) fn question(&self) -> &[u8] {
        &self.packet[12..self.end]
    }

    /// The offset of the name without its first label.
    pub(crate) fn parent(&self) -> u16 {
        13 + u16::from(self.packet[12])
    }

    /// A reply with one address for type A, and without records for every other type. It has no OPT
    /// record and no SOA record.
    pub(crate) fn answer(&self) -> Draft {
        let draft = Draft::new(self);
        if self.qtype == A && !self.name.is_empty() { draft.answer(&address(9)) } else { draft }
    }

    /// A reply without records.
    pub(crate) fn code(&self, rcode: u16) -> Draft {
        Draft { flags: Draft::FLAGS | rcode, ..Draft::new(self) }
    }
}

/// An A record that is owned by the name of the question, with a TTL of 60 s.
pub(crate) fn address(last: u8) -> Vec<u8> {
    owned(&[0xc0, 12], A, &[203, 0, 113, last])
}

/// A record of class IN with a TTL of 60 s. `owner` and `data` are in wire form.
pub(crate) fn owned(owner: &[u8], rtype: u16, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    [owner, &rtype.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length, data].concat()
}

/// An OPT record with the upper eight bits of an RCODE and a version.
pub(crate) fn opt(extended: u8, version: u8) -> Vec<u8> {
    vec![0, 0, 41, 4, 208, extended, version, 0, 0, 0, 0]
}

pub(crate) struct Draft {
    id: [u8; 2],
    pub(crate) flags: u16,
    /// The question section, which may be empty.
    pub(crate) question: Vec<u8>,
    /// The counts of answers, authority records and additional records.
    pub(crate) counts: [u16; 3],
    pub(crate) records: Vec<u8>,
}

impl Draft {
    /// QR, RD and RA.
    pub(crate) const FLAGS: u16 = 0x8180;

    fn new(asked: &Asked) -> Self {
        Self {
            id: [asked.packet[0], asked.packet[1]],
            flags: Self::FLAGS,
            question: asked.question().to_vec(),
            counts: [0; 3],
            records: Vec::new(),
        }
    }

    pub(crate) fn answer(self, record: &[u8]) -> Self {
        self.record(0, record)
    }

    pub(crate) fn authority(self, record: &[u8]) -> Self {
        self.record(1, record)
    }

    pub(crate) fn additional(self, record: &[u8]) -> Self {
        self.record(2, record)
    }

    fn record(mut self, section: usize, record: &[u8]) -> Self {
        self.counts[section] += 1;
        self.records.extend_from_slice(record);
        self
    }

    pub(crate) fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    pub(crate) fn without_question(self) -> Self {
        Self { question: Vec::new(), ..self }
    }

    pub(crate) fn another_id(mut self) -> Self {
        self.id[1] ^= 0x55;
        self
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let questions = u16::from(!self.question.is_empty());
        let [answers, authorities, additionals] = self.counts;
        let words = [self.flags, questions, answers, authorities, additionals];
        let header = words.iter().flat_map(|word| word.to_be_bytes());
        let mut packet: Vec<u8> = self.id.into_iter().chain(header).collect();
        packet.extend_from_slice(&self.question);
        packet.extend_from_slice(&self.records);
        packet
    }
}
