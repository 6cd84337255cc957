//! Builds requests octet by octet, and prints each reply as one line.

use hickory_proto::{op::Message, rr::rdata::opt::EdnsOption};
use ndots::wire::{Rcode, Spelled};

/// A builder of requests, valid or not. The default has class IN and RD, and no EDNS.
#[derive(Clone)]
pub(crate) struct Request {
    flags: u16,
    /// The four counts of the header: questions, answers, authority, additional.
    counts: [u16; 4],
    body: Vec<u8>,
}

pub(crate) const RD: u16 = 0x0100;
pub(crate) const ID: u16 = 0x4242;

pub(crate) fn ask(name: &str, qtype: u16) -> Request {
    ask_class(name, qtype, 1)
}

pub(crate) fn ask_class(name: &str, qtype: u16, class: u16) -> Request {
    let name = name.parse::<Spelled>().unwrap();
    Request { flags: RD, counts: [1, 0, 0, 0], body: Vec::new() }
        .raw(name.wire())
        .word(qtype)
        .word(class)
}

/// A request with only a header so far.
pub(crate) fn blank(counts: [u16; 4]) -> Request {
    Request { flags: RD, counts, body: Vec::new() }
}

impl Request {
    pub(crate) fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    pub(crate) fn opcode(self, opcode: u16) -> Self {
        let flags = self.flags | opcode << 11;
        Self { flags, ..self }
    }

    pub(crate) fn count(mut self, section: usize, count: u16) -> Self {
        self.counts[section] = count;
        self
    }

    pub(crate) fn raw(mut self, octets: &[u8]) -> Self {
        self.body.extend_from_slice(octets);
        self
    }

    fn word(self, word: u16) -> Self {
        self.raw(&word.to_be_bytes())
    }

    /// An OPT record with a size, the 32 bits of its TTL field, and its options.
    pub(crate) fn opt(self, size: u16, ttl: u32, options: &[u8]) -> Self {
        self.opt_at(&[0], size, ttl, options)
    }

    pub(crate) fn opt_at(mut self, owner: &[u8], size: u16, ttl: u32, options: &[u8]) -> Self {
        self.counts[3] += 1;
        self.raw(owner)
            .word(41)
            .word(size)
            .raw(&ttl.to_be_bytes())
            .word(options.len() as u16)
            .raw(options)
    }

    /// EDNS as most clients send it: 1232 octets, no options.
    pub(crate) fn edns(self) -> Self {
        self.opt(1232, 0, &[])
    }

    pub(crate) fn option(self, code: u16, data: &[u8]) -> Self {
        self.opt(1232, 0, &option(code, data))
    }

    pub(crate) fn packet(&self) -> Vec<u8> {
        let header = [ID, self.flags].into_iter().chain(self.counts).flat_map(u16::to_be_bytes);
        header.chain(self.body.iter().copied()).collect()
    }
}

pub(crate) fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

/// Prints a reply as `NOERROR aa rd 1/1/0/1 opt=1232 do 81 octets`: the code, the flags, the
/// counts, the OPT record and the size. A packet that is no reply to a request with [`ID`] is
/// printed raw.
pub(crate) fn told(reply: &[u8]) -> String {
    let word = |at: usize| u16::from_be_bytes([reply[at], reply[at + 1]]);
    if word(0) != ID || word(2) & 0x8000 == 0 {
        return format!("no reply to this: {reply:02x?}");
    }
    let flags = [
        (0x0400, "aa"),
        (0x0200, "tc"),
        (0x0100, "rd"),
        (0x0080, "ra"),
        (0x0040, "z"),
        (0x0020, "ad"),
        (0x0010, "cd"),
    ];
    let mut line = String::new();
    for (_, name) in flags.iter().filter(|(bit, _)| word(2) & bit != 0) {
        line += &format!(" {name}");
    }
    if word(2) >> 11 & 15 != 0 {
        line += &format!(" opcode={}", word(2) >> 11 & 15);
    }
    line += &format!(" {}/{}/{}/{}", word(4), word(6), word(8), word(10));
    let mut rcode = word(2) & 15;
    // A reply that is only a header has no OPT record.
    if reply.len() > 12 {
        let message = Message::from_vec(reply).expect("hickory-proto can parse the reply");
        if let Some(edns) = &message.edns {
            rcode |= u16::from(edns.rcode_high()) << 4;
            line += &format!(" opt={}", edns.max_payload());
            line += if edns.version() == 0 { "" } else { " another version" };
            line += if edns.flags().dnssec_ok { " do" } else { "" };
            line += if edns.flags().z == 0 { "" } else { " z" };
            edns.options()
                .as_ref()
                .iter()
                .for_each(|(code, data)| line += &told_option((*code).into(), data));
        }
    }
    format!("{}{line} {} octets", Rcode(rcode), reply.len())
}

fn told_option(code: u16, data: &EdnsOption) -> String {
    let data = Vec::<u8>::try_from(data).unwrap();
    match (code, data.split_at_checked(8)) {
        (10, Some((client, server))) => {
            format!(" cookie={}+{}", String::from_utf8_lossy(client), server.len())
        }
        (11, _) => format!(
            " keepalive={}",
            data.iter().fold(0, |number, octet| number << 8 | u32::from(*octet))
        ),
        (15, _) => format!(
            " ede={}",
            data.iter().take(2).fold(0, |number, octet| number << 8 | u32::from(*octet))
        ),
        (12, _) if data.iter().all(|octet| *octet == 0) => " padding".to_owned(),
        _ => format!(" option{code}={data:02x?}"),
    }
}

/// The data of the answer section as `dig +short` prints it. Without answers: the code, and the
/// extended error (EDE).
pub(crate) fn data(reply: &[u8]) -> String {
    let message = Message::from_vec(reply).expect("hickory-proto can parse the reply");
    let data: Vec<_> = message.answers.iter().map(|record| record.data.to_string()).collect();
    if !data.is_empty() {
        return data.join(" ");
    }
    let told = told(reply);
    let words = told
        .split(' ')
        .enumerate()
        .filter(|(index, word)| *index == 0 || word.starts_with("ede="))
        .map(|(_, word)| word);
    words.collect::<Vec<_>>().join(" ")
}
