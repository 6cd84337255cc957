//! One query of a client, its reply, and what a reply lacks that another has.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType},
};

use crate::support::{Tcp, packet::ask};

/// The time after which a client of the C library gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// The checks that run before the others, one after another.
pub(crate) const IN_ORDER: usize = 2;

/// One query.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// The name to ask for, below the name of the mode.
    host: &'static str,
    qtype: RecordType,
    how: How,
}

#[derive(PartialEq, Eq)]
enum How {
    Udp,
    /// With EDNS and the DO flag.
    Dnssec,
    Tcp,
}

pub(crate) const CHECKS: &[Check] = &[
    check("first", "www", RecordType::A, How::Udp),
    check("repeated", "www", RecordType::A, How::Udp),
    check("mixed case", "MiXed.CaSe", RecordType::A, How::Udp),
    check("AAAA", "www6", RecordType::AAAA, How::Udp),
    check("DNSSEC", "signed", RecordType::A, How::Dnssec),
    check("HTTPS", "web", RecordType::HTTPS, How::Udp),
    check("TCP", "tcp1", RecordType::A, How::Tcp),
    check("TCP with AAAA", "tcp2", RecordType::AAAA, How::Tcp),
    check("another TCP", "tcp3", RecordType::A, How::Tcp),
];

const fn check(name: &'static str, host: &'static str, qtype: RecordType, how: How) -> Check {
    Check { name, host, qtype, how }
}

/// The reply that a client gets, and the time that it takes.
pub(crate) struct Outcome {
    pub(crate) took: Duration,
    reply: Option<Message>,
}

impl Check {
    pub(crate) fn run(&self, server: SocketAddr, mode: &str) -> Outcome {
        let request = ask(&format!("{}.{mode}.test", self.host), self.qtype.into());
        let packet = match self.how {
            How::Dnssec => request.opt(1232, 0x8000, &[]),
            How::Udp | How::Tcp => request,
        }
        .packet();
        let begun = Instant::now();
        let reply = if self.how == How::Tcp {
            over_tcp(server, &packet)
        } else {
            over_udp(server, &packet)
        };
        Outcome::new(begun.elapsed(), reply.as_deref())
    }
}

fn over_udp(server: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(packet).unwrap();
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

pub(super) fn over_tcp(server: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = Tcp(stream);
    stream.send(packet);
    stream.receive()
}

impl Outcome {
    /// A reply that does not parse counts as no reply.
    pub(crate) fn new(took: Duration, reply: Option<&[u8]>) -> Self {
        Self { took, reply: reply.and_then(|reply| Message::from_vec(reply).ok()) }
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| reply.metadata.truncation)
    }

    /// Whether a client can go on: with records, with the fact that there are none, or over TCP.
    pub(crate) fn is_answer(&self) -> bool {
        let good = [ResponseCode::NoError, ResponseCode::NXDomain];
        self.reply.as_ref().is_some_and(|reply| good.contains(&reply.metadata.response_code))
    }

    /// What this reply lacks that the other has, in words.
    pub(crate) fn lacks(&self, other: &Self) -> Option<String> {
        let theirs = other.reply.as_ref()?;
        let Some(ours) = &self.reply else { return Some("no reply".to_owned()) };
        let wanted = answers(theirs);
        let missing: Vec<_> = wanted.difference(&answers(ours)).cloned().collect();
        let code = ours.metadata.response_code;
        if !missing.is_empty() {
            let count = missing.len();
            return Some(format!("{code:?} without {count} records such as {}", missing[0]));
        }
        // An empty truncated reply sends the client to TCP, and records are better.
        let goes_on = ours.metadata.truncation || !ours.answers.is_empty();
        if theirs.metadata.truncation && wanted.is_empty() && !goes_on {
            return Some(format!("{code:?} without TC"));
        }
        (!self.is_answer()).then(|| format!("{code:?}"))
    }
}

/// The records that answer the question: those of its name, and of the aliases from there, or the SOA
/// record of a negative answer. Names keep their spelling, except that of the question, in which each
/// server may repeat what the client sent.
fn answers(reply: &Message) -> BTreeSet<String> {
    let Some(question) = reply.queries.first() else { return BTreeSet::new() };
    let asked = question.name().to_lowercase();
    let (mut found, mut name) = (BTreeSet::new(), asked.clone());
    // A chain of more aliases than records is a loop.
    for _ in 0..=reply.answers.len() {
        let here = |record: &&Record| record.name.to_lowercase() == name;
        let wanted = [question.query_type(), RecordType::CNAME, RecordType::RRSIG];
        for record in reply.answers.iter().filter(here) {
            if wanted.contains(&record.record_type()) {
                let owner = if name == asked { asked.to_string() } else { record.name.to_string() };
                found.insert(format!("{owner} {} {}", record.record_type(), record.data));
            }
        }
        let next = reply.answers.iter().filter(here).find_map(|record| match &record.data {
            RData::CNAME(target) => Some(target.0.to_lowercase()),
            _ => None,
        });
        match next {
            Some(target) if question.query_type() != RecordType::CNAME => name = target,
            _ => break,
        }
    }
    let soa = reply.authorities.iter().filter(|record| record.record_type() == RecordType::SOA);
    found.extend(soa.map(|soa| format!("{} SOA {}", soa.name, soa.data)));
    found
}
