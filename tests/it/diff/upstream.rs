//! The upstream for external names. It answers a name in the same way each time.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    str::FromStr,
    sync::Arc,
    thread,
};

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

/// Its records: `owner ttl type data`, or `owner RCODE`.
const RECORDS: &str = "
example.org 3600 SOA ns.example.org. hostmaster.example.org. 7 7200 1800 86400 60
example.org 3600 NS ns.example.org.
example.org 600 MX 10 mail.example.org.
example.org 600 TXT v=spf1
ns.example.org 3600 A 192.0.2.53
www.example.org 300 A 198.51.100.80
www.example.org 300 A 198.51.100.81
www.example.org 300 AAAA 2001:db8::80
four.example.org 20 A 198.51.100.4
six.example.org 20 AAAA 2001:db8::6
txt.example.org 60 TXT some-text
alias.example.org 120 CNAME www.example.org.
chain.example.org 90 CNAME alias.example.org.
dangling.example.org 60 CNAME missing.example.org.
_sip._tcp.example.org 60 SRV 1 2 5060 www.example.org.
brief.example.org 1 A 198.51.100.1
zero.example.org 0 A 198.51.100.2
day.example.org 86400 A 198.51.100.3
Spelled.Example.org 60 A 198.51.100.5
servfail.example.org ServFail
refused.example.org Refused
notimp.example.org NotImp
";

/// External names to query.
pub(crate) const NAMES: [&str; 20] = [
    "example.org",
    "www.example.org",
    "four.example.org",
    "six.example.org",
    "txt.example.org",
    "alias.example.org",
    "chain.example.org",
    "dangling.example.org",
    "_sip._tcp.example.org",
    "_tcp.example.org",
    "brief.example.org",
    "zero.example.org",
    "day.example.org",
    "spelled.example.org",
    "servfail.example.org",
    "refused.example.org",
    "notimp.example.org",
    "large.example.org",
    "www.stub.test",
    "host.k3s.test",
];

/// The number of addresses of `large.example.org`. They do not fit into 1232 octets.
const MANY: u8 = 100;

#[derive(Default)]
struct World {
    records: BTreeMap<Name, Vec<Record>>,
    codes: BTreeMap<Name, ResponseCode>,
}

/// Answers on port 53 of the address until the process ends.
pub(crate) fn start(address: IpAddr) {
    let udp = UdpSocket::bind((address, 53)).unwrap();
    let tcp = TcpListener::bind((address, 53)).unwrap();
    let world = Arc::new(World::read());
    let datagrams = Arc::clone(&world);
    thread::spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, peer)) = udp.recv_from(&mut packet) {
            if let Some(reply) = datagrams.reply(&packet[..length], false) {
                let _ = udp.send_to(&reply, peer);
            }
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            let world = Arc::clone(&world);
            thread::spawn(move || world.serve(stream));
        }
    });
}

impl World {
    fn read() -> Self {
        let mut world = Self::default();
        for line in RECORDS.lines().filter(|line| !line.is_empty()) {
            let (owner, rest) = line.split_once(' ').unwrap();
            let owner = name(owner);
            let Some((ttl, rest)) = rest.split_once(' ') else {
                let code = [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp]
                    .into_iter()
                    .find(|code| format!("{code:?}") == rest);
                world.codes.insert(owner, code.unwrap());
                continue;
            };
            let (rtype, data) = rest.split_once(' ').unwrap();
            world.add(owner, ttl.parse().unwrap(), rtype, data);
        }
        (0..MANY).for_each(|last| {
            world.add(name("large.example.org"), 60, "A", &format!("198.51.101.{last}"));
        });
        world
    }

    fn add(&mut self, owner: Name, ttl: u32, rtype: &str, data: &str) {
        let data = RData::try_from_str(RecordType::from_str(rtype).unwrap(), data).unwrap();
        self.records
            .entry(owner.to_lowercase())
            .or_default()
            .push(Record::from_rdata(owner, ttl, data));
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut packet = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut packet).ok()?;
            let reply = self.reply(&packet, true)?;
            stream.write_all(&[&(reply.len() as u16).to_be_bytes(), &*reply].concat()).ok()?;
        }
    }

    fn reply(&self, packet: &[u8], stream: bool) -> Option<Vec<u8>> {
        let asked = Message::from_vec(packet).ok()?;
        let question = asked.queries.first()?.clone();
        let mut reply = Message::response(asked.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = asked.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(question.clone());
        reply.edns = asked.edns.clone();
        self.answer(&mut reply, question.name().clone(), question.query_type());
        let whole = reply.to_vec().ok()?;
        let room = asked.edns.as_ref().map_or(512, |edns| edns.max_payload().max(512));
        if stream || whole.len() <= room.into() {
            return Some(whole);
        }
        reply.answers.clear();
        reply.authorities.clear();
        reply.metadata.truncation = true;
        reply.to_vec().ok()
    }

    fn answer(&self, reply: &mut Message, mut owner: Name, qtype: RecordType) {
        for _ in 0..8 {
            let here = owner.to_lowercase();
            if let Some(code) = self.codes.get(&here) {
                reply.metadata.response_code = *code;
                return;
            }
            let records = self.records.get(&here);
            let of = |rtype| {
                records
                    .into_iter()
                    .flatten()
                    .filter(move |record| record.record_type() == rtype || rtype == RecordType::ANY)
            };
            let found: Vec<_> = of(qtype).map(|record| owned_by(&owner, record)).collect();
            if !found.is_empty() {
                reply.answers.extend(found);
                return;
            }
            if let Some(alias) = of(RecordType::CNAME).next() {
                reply.answers.push(owned_by(&owner, alias));
                if let RData::CNAME(target) = &alias.data {
                    owner = target.0.clone();
                    continue;
                }
            }
            let is_above = |name: &Name| here.zone_of(name);
            if records.is_none() && !self.records.keys().any(is_above) {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            reply.authorities.push(soa_above(&here, &self.records));
            return;
        }
    }
}

/// The SOA record of `example.org`, or one of the root.
fn soa_above(here: &Name, records: &BTreeMap<Name, Vec<Record>>) -> Record {
    let apex = name("example.org");
    if apex.zone_of(here)
        && let Some(soa) =
            records[&apex].iter().find(|record| record.record_type() == RecordType::SOA)
    {
        // The minimum is the TTL of a negative answer (RFC 2308 §5).
        return Record::from_rdata(soa.name.clone(), 60, soa.data.clone());
    }
    let data =
        RData::try_from_str(RecordType::SOA, "a.root. b.root. 1 1800 900 604800 86400").unwrap();
    Record::from_rdata(Name::root(), 86_400, data)
}

/// The record with the owner in the spelling of the question.
fn owned_by(owner: &Name, record: &Record) -> Record {
    Record::from_rdata(owner.clone(), record.ttl, record.data.clone())
}

fn name(text: &str) -> Name {
    Name::from_str(&format!("{}.", text.trim_end_matches('.'))).unwrap()
}
