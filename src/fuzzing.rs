//! The checks that the fuzz targets and the replay of their corpora run. Each function panics if
//! the code breaks one of its promises.
//!
//! hickory-proto is the second opinion about messages, because ndots reads and writes them without
//! it.

mod index;
mod reply;
mod text;
mod update;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::LazyLock,
    time::Instant,
};

use hickory_proto::{
    op::Message,
    serialize::binary::{BinEncodable, BinEncoder, NameEncoding},
};

use crate::{
    chain::{Cx, QueryError, Transport},
    corefile::{self, Diagnostics, Reader},
    limits,
    model::{
        Addressing, Change, Endpoint, EndpointPort, EndpointSlice, Exposure, Ingress, Kind,
        LoadBalancerPoint, Namespace, Object, Outside, Protocol, Service, ServicePort,
    },
    plugin::{self, Need},
    server::{
        AssembleError, BlockConfig, Listen, NothingOutside, Outcome, Scheme, Server, assemble,
        check,
    },
    wire::{
        Completeness, Ede, Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Room,
        Sets, Type,
    },
    zone::Index,
};

pub use index::index_equals_rebuild;
pub use reply::upstream_reply;
pub use text::{template, zone_file};
pub use update::zone_update;

const LISTEN: Listen = Listen {
    scheme: Scheme::Dns,
    address: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 53)),
};

static SERVER: LazyLock<Server> = LazyLock::new(server);

/// Sends any datagram. The server does not panic. A reply has the id of the query and QR set, is no
/// longer than allowed, and hickory-proto can parse it.
///
/// # Panics
/// If one of these promises is broken.
pub fn query(packet: &[u8], now: Instant) {
    check_reply(&SERVER, packet, now);
}

fn check_reply(server: &Server, packet: &[u8], now: Instant) {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut cx = Cx::new(now, 1, ([127, 0, 0, 1], 4000).into(), LISTEN.address, transport);
        let mut out = Vec::new();
        let mut outcome = server.receive(LISTEN, packet, &mut cx, &mut out);
        while let Outcome::Wait(pending, _) = outcome {
            outcome = server.resume(pending, Err(QueryError::Overloaded).into(), &mut cx, &mut out);
        }
        if !matches!(outcome, Outcome::Reply) {
            assert!(out.is_empty(), "there is no reply, but the buffer has octets");
            continue;
        }
        assert_eq!(out[..2], packet[..2], "the reply has another id");
        assert!(out[2] & 0x80 != 0, "the reply does not have QR set");
        let limit = if transport == Transport::Udp {
            usize::from(limits::UDP_OCTETS)
        } else {
            limits::STREAM_OCTETS
        };
        assert!(out.len() <= limit, "{} octets", out.len());
        let message = Message::from_vec(&out);
        assert!(message.is_ok() || out.len() == 12, "{message:?} {out:02x?}");
    }
}

/// Encodes any reply with any size limit, both made from `data`. The message fits, hickory-proto
/// can parse it, and no record is missing unless TC is set.
///
/// # Panics
/// If one of these promises is broken.
pub fn encode_fits(data: &[u8]) {
    let mut bytes = Bytes(data);
    let question = Question::new(bytes.name(), Type::A);
    let edns = bytes.octet() % 2 == 0;
    let query = Query {
        edns: Query::internal(question.clone()).edns.filter(|_| edns),
        ..Query::internal(question)
    };
    let mut response = Response::of(Rcode(u16::from(bytes.octet() % 6)));
    response.answer = bytes.sets(&query);
    response.authority = bytes.sets(&query);
    response.additional = bytes.sets(&query);
    let limit = 512 + usize::from(bytes.octet()) * 257;
    let options = bytes.octet();
    response.ede = (options & 4 != 0).then_some(Ede::NOT_READY);
    let cookie = (options & 1 != 0).then_some([options; 24]);
    let keepalive = (options & 2 != 0).then_some(100);
    let padding = (options & 8 != 0).then_some(limits::REPLY_PADDING);
    let room = Room { limit, cookie, keepalive, padding, ..Room::stream(1232) };
    let mut out = Vec::new();
    let truncated = response.encode(&query, room, &mut out) == Completeness::Truncated;
    assert!(out.len() <= limit, "{} octets of {limit}", out.len());
    let message = Message::from_vec(&out).expect("hickory-proto can parse the message");
    assert_eq!(message.metadata.truncation, truncated);
    assert_eq!(message.edns.is_some(), edns, "the OPT record is never left out");
    for (sets, read) in [
        (&response.answer, &message.answers),
        (&response.authority, &message.authorities),
        (&response.additional, &message.additionals),
    ] {
        let written: Vec<_> =
            sets.iter().flat_map(|set| set.rdatas.iter().map(move |rdata| (set, rdata))).collect();
        // RRsets of the additional section may be left out without TC.
        let complete = !truncated && !std::ptr::eq(sets, &response.additional);
        assert!(
            read.len() <= written.len() && (!complete || read.len() == written.len()),
            "{} of {} records",
            read.len(),
            written.len()
        );
        for (record, (set, rdata)) in read.iter().zip(written) {
            assert_eq!((u16::from(record.record_type()), record.ttl), (set.rtype.0, set.ttl));
            assert_eq!(uncompressed(&record.name), owner(set, &query));
            assert_eq!(uncompressed(&record.data), rdata);
        }
    }
}

/// The wire form that hickory-proto writes, without compression.
fn uncompressed(value: &impl BinEncodable) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    value.emit(&mut encoder).expect("a parsed value can be encoded");
    octets
}

fn owner(set: &RecordSet, query: &Query) -> Vec<u8> {
    match &set.owner {
        Owner::Question => query.question.spelled().wire().to_vec(),
        Owner::QuestionFrom(offset) => {
            query.question.spelled_from(usize::from(*offset)).wire().to_vec()
        }
        Owner::Name(wire) => wire.to_vec(),
    }
}

/// Reads any Corefile. Printing it and parsing the result gives the same Corefile. If it has no
/// errors, its blocks make a server. The fuzzer reports an input that takes long.
///
/// # Panics
/// If one of these promises is broken.
pub fn corefile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    corefile::round_trip(text);
    let mut diagnostics = Diagnostics::default();
    let corefile = corefile::parse("Corefile", text, &NoFiles, &mut diagnostics);
    let checked = check(&corefile, 53, &mut diagnostics);
    diagnostics.render(true);
    if diagnostics.has_errors() {
        return;
    }
    let (outside, stores) = (NothingOutside::default(), HashMap::new());
    let context = outside.context(&stores);
    for block in checked {
        let keys = block.keys.into_iter().map(|(zone, _)| (zone, LISTEN)).take(1).collect();
        let assembled = assemble(&[BlockConfig { keys, checked: block.checked }], &context);
        assert!(
            !matches!(assembled, Err(AssembleError::Overlap(_))),
            "a single key overlaps with nothing"
        );
    }
}

/// Makes values from the octets of the fuzzer, and zeros when the octets are used up.
struct Bytes<'d>(&'d [u8]);

impl Bytes<'_> {
    fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn name(&mut self) -> Name {
        let labels: Vec<Vec<u8>> = (0..self.octet() % 6)
            .map(|_| (0..=self.octet() % 20).map(|_| b'a' + self.octet() % 26).collect())
            .collect();
        Name::join(labels.iter().map(Vec::as_slice), &Name::root()).unwrap_or_else(Name::root)
    }

    fn sets(&mut self, query: &Query) -> Sets {
        (0..self.octet() % 5).map(|_| self.set(query)).collect()
    }

    fn set(&mut self, query: &Query) -> RecordSet {
        let labels = query.question.name.offsets().collect::<Vec<_>>();
        let owner = match self.octet() % 3 {
            0 => Owner::Question,
            1 => Owner::QuestionFrom(labels[usize::from(self.octet()) % labels.len()] as u8),
            _ => Owner::from(&self.name()),
        };
        let rtype = [
            Type::A,
            Type::AAAA,
            Type::CNAME,
            Type::NS,
            Type::PTR,
            Type::MX,
            Type::SRV,
            Type::TXT,
            Type::SOA,
        ];
        let rtype = rtype[usize::from(self.octet()) % rtype.len()];
        let rdatas: Rdatas = (0..self.octet() % 40).map(|_| self.rdata(rtype)).collect();
        RecordSet { shuffle: None, ..RecordSet::new(owner, rtype, u32::from(self.octet()), rdatas) }
    }

    fn rdata(&mut self, rtype: Type) -> Vec<u8> {
        let name = |bytes: &mut Self| bytes.name().wire().to_vec();
        match rtype {
            Type::A => (0..4).map(|_| self.octet()).collect(),
            Type::AAAA => (0..16).map(|_| self.octet()).collect(),
            Type::MX => [vec![0, self.octet()], name(self)].concat(),
            Type::SRV => [vec![0, self.octet(), 0, 1, 0, 80], name(self)].concat(),
            Type::TXT => vec![2, self.octet(), self.octet()],
            Type::SOA => [name(self), name(self), vec![0; 20]].concat(),
            _ => name(self),
        }
    }
}

/// Has no files and no environment.
struct NoFiles;

impl Reader for NoFiles {
    fn read(&self, _path: &str) -> Result<String, String> {
        Err("no files".to_owned())
    }

    fn list(&self, _directory: &str) -> Vec<String> {
        Vec::new()
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }
}

/// A server with a small cluster and the usual plugins.
fn server() -> Server {
    const COREFILE: &str = ". {\n errors\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n manifests x\n pods insecure\n }\n k8s_gateway example.org\n k8s_external example.net {\n headless\n }\n forward . 127.0.0.1\n cache\n loadbalance\n}";
    let mut diagnostics = Diagnostics::default();
    let corefile = corefile::parse("Corefile", COREFILE, &NoFiles, &mut diagnostics);
    let checked = plugin::check(&corefile.blocks[0], &[Name::root()], &mut diagnostics);
    let mut index = Index::default();
    facts().into_iter().for_each(|change| {
        index.apply(change, 1);
    });
    let sources = checked.needs();
    let stores: HashMap<_, _> = sources
        .filter_map(|need| {
            if let Need::Source { source, .. } = need {
                Some((source, index.store()))
            } else {
                None
            }
        })
        .collect();
    let outside = NothingOutside::default();
    let context = outside.context(&stores);
    let written = BlockConfig { keys: vec![(Name::root(), LISTEN)], checked };
    assemble(&[written], &context).map(|assembled| assembled.server).unwrap_or_default()
}

fn facts() -> Vec<Change> {
    let exposed = |name: &str, addressing, outside: Option<Outside>| {
        Change::Upsert(Object::Service(Service {
            ports: [ServicePort::new("http", Protocol::Tcp, 80)].into(),
            outside: outside.map(Box::new),
            ..Service::new("default", name, addressing)
        }))
    };
    let service = |name: &str, addressing| exposed(name, addressing, None);
    let endpoints = (0..200_u8).map(|last| Endpoint::new(Ipv4Addr::new(10, 244, 0, last).into()));
    let slice = EndpointSlice {
        service: Some("db".into()),
        endpoints: endpoints.collect::<Vec<_>>().into(),
        ports: [EndpointPort { name: "sql".into(), protocol: Protocol::Tcp, port: Some(5432) }]
            .into(),
        ..EndpointSlice::new("default", "db-1")
    };
    let points = || -> Box<[LoadBalancerPoint]> {
        Box::new([LoadBalancerPoint::Ip(Ipv4Addr::new(192, 0, 2, 1).into())])
    };
    let hosts = Box::new(["*.apps.example.org".into(), "cafe.example.org".into()]);
    let ingress = Ingress { hosts, points: points(), ..Ingress::new("default", "cafe") };
    let balanced =
        Outside { exposure: Exposure::LoadBalancer, load_balancer: points(), ..Outside::default() };
    let mut changes = vec![
        Change::Upsert(Object::Namespace(Namespace {
            name: "default".into(),
            labels: Box::default(),
        })),
        service(
            "kubernetes",
            Addressing::ClusterIps(Box::new([Ipv4Addr::new(10, 96, 0, 1).into()])),
        ),
        service("db", Addressing::Headless),
        service("far", Addressing::ExternalName("example.com".into())),
        service("near", Addressing::ExternalName("kubernetes.default.svc.cluster.local".into())),
        exposed(
            "web",
            Addressing::ClusterIps(Box::new([Ipv4Addr::new(10, 96, 0, 2).into()])),
            Some(balanced),
        ),
        Change::Upsert(Object::Ingress(ingress)),
        Change::Upsert(Object::EndpointSlice(slice)),
    ];
    changes.extend(Kind::ALL.map(Change::Synced));
    changes
}
