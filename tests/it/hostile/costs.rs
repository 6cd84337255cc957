//! What tenants, upstreams and files make large: four times as many objects or records cost at most
//! about four times as much, and a query does not pay for objects that are not in its answer.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use ndots::{
    model::{
        Addressing, Change, Endpoint, EndpointDetails, EndpointPort, EndpointSlice, Exposure,
        Ingress, Kind, LoadBalancerPoint, Namespace, Node, NodeAddress, Object, Outside, Protocol,
        Service, ServicePort,
    },
    wire::{Edns, Name, Query, Question, Type, reply},
    zone::{
        Found, Index, Settings, View, Zone,
        outside::{
            Apex, ClaimRules, External, ExternalSettings, Gateway, GatewaySettings, NodeAddressType,
        },
    },
    zonefile::{self, IncomingZone},
};

/// A cost that is the same for every size is measured as about 1, a linear one as about 4, and a
/// quadratic one as about 16. The bounds leave room for a busy machine.
const CONSTANT: f64 = 2.5;
const LINEAR: f64 = 8.0;
/// For a query that reads the ports of every slice, but not the endpoints. With the endpoints, too,
/// 4.6 was measured.
const SLICES: f64 = 3.7;

/// Costs that grow more than they should.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    /// Compares the cost with `size` to that with four times the size. `prepare` returns the work.
    fn check<W: FnMut()>(
        &mut self,
        what: &str,
        bound: f64,
        size: usize,
        prepare: impl Fn(usize) -> W,
    ) {
        let (mut small, mut large) = (prepare(size), prepare(4 * size));
        let mut growth = f64::MAX;
        for _ in 0..5 {
            growth = growth.min(fastest(&mut large) / fastest(&mut small));
            if growth < bound {
                return;
            }
        }
        self.0.push(format!("{what}: four times the size costs {growth:.1} times as much"));
    }

    fn are_none(self) {
        assert!(self.0.is_empty(), "{:#?}", self.0);
    }
}

/// The shortest time of a few runs, in seconds.
fn fastest(work: &mut impl FnMut()) -> f64 {
    let (begun, mut best) = (Instant::now(), f64::MAX);
    for run in 0..50 {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
        if run > 1 && begun.elapsed() > Duration::from_millis(100) {
            break;
        }
    }
    best
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn v4(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number as u32)
}

#[test]
fn a_reply_with_many_records_is_read_in_linear_time() {
    let mut faults = Faults::default();
    let mut asked = Query::internal(Question::new(name("a.example"), Type::A));
    asked.edns = Some(Edns::new(1232, true));
    // The owner is the question's name, or a name of its own below the root.
    let one_name = |_: usize| vec![0xc0, 12];
    let many_names = |number: usize| format!("\x06{number:06}\0").into_bytes();
    let packet = |records: usize, rtype: Type, owner: &dyn Fn(usize) -> Vec<u8>| {
        let mut packet = Vec::new();
        asked.encode(&mut packet);
        packet.truncate(12 + asked.question.name.wire().len() + 4);
        packet[2] |= 0x80;
        // The records are in the answer section if the question has their type.
        let section = if rtype == Type::A { 6 } else { 8 };
        packet[6..12].fill(0);
        packet[section..section + 2].copy_from_slice(&(records as u16).to_be_bytes());
        for number in 0..records {
            packet.extend(owner(number));
            packet.extend([0, rtype.0 as u8, 0, 1, 0, 0, 0, 60, 0, 4]);
            packet.extend(v4(number).octets());
        }
        packet
    };
    let read = |packet: Vec<u8>, sets: usize, records: usize| {
        let asked = asked.clone();
        move || {
            let response = reply::read(&packet, &asked).unwrap();
            let count = response.sets().map(|set| set.rdatas.iter().count()).sum::<usize>();
            assert_eq!((response.sets().count(), count), (sets, records));
        }
    };
    faults.check("addresses of one name", LINEAR, 1000, |size| {
        read(packet(size, Type::A, &one_name), 1, size)
    });
    faults.check("delegations of many names", LINEAR, 700, |size| {
        read(packet(size, Type::DS, &many_names), size, size)
    });
    faults.are_none();
}

/// Facts, and the views of them.
struct Cluster(Index);

impl Cluster {
    fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut index = Index::default();
        let namespace = Namespace { name: "ns".into(), labels: Box::default() };
        index.stage(Change::Upsert(Object::Namespace(namespace)));
        objects.into_iter().for_each(|object| index.stage(Change::Upsert(object)));
        Kind::ALL.into_iter().for_each(|kind| index.stage(Change::Synced(kind)));
        index.publish_staged(1000);
        Self(index)
    }

    fn zone(&self) -> Zone {
        let zones = ["cluster.local", "10.in-addr.arpa"].map(name);
        let settings = Settings { zonal: true, ..Settings::new(zones.to_vec()) };
        Zone::new(self.0.store(), settings)
    }

    fn gateway(&self, change: impl FnOnce(&mut GatewaySettings)) -> Gateway {
        let mut settings = GatewaySettings {
            zones: vec![name("example.com")],
            ttl: 60,
            top: Apex::of_server(&name("ns.dmz"), None),
            resources: vec![Kind::Ingress, Kind::Service],
            ingress_classes: vec!["shown".into()],
            gateway_classes: Vec::new(),
            controllers: Vec::new(),
            node_addresses: vec![NodeAddressType::External],
            own_addresses: Vec::new(),
            claims: ClaimRules::default(),
        };
        change(&mut settings);
        Gateway::new(self.0.store(), settings)
    }
}

/// A query that is asked so often that the time for it can be measured.
fn query(view: impl View, text: &str, qtype: Type, expected: &'static str) -> impl FnMut() {
    let question = Question::new(name(text), qtype);
    move || {
        for _ in 0..20 {
            let found = match view.find(&question) {
                Found::Records { .. } => "records",
                Found::NoData => "no data",
                Found::NoName => "no name",
                _ => "another result",
            };
            assert_eq!(found, expected, "{} {qtype}", question.name);
        }
    }
}

fn ingress(number: usize, class: &str, suffix: &str) -> Object {
    let host = format!("h{number}.{suffix}").into();
    Object::Ingress(Ingress {
        class: class.into(),
        hosts: Box::new([host]),
        points: Box::new([LoadBalancerPoint::Ip([192, 0, 2, 1].into())]),
        ..Ingress::new("ns", &format!("web-{number}"))
    })
}

#[test]
fn hosts_that_do_not_count_cost_nothing() {
    let mut faults = Faults::default();
    let hosts = |size: usize, class: &str| {
        Cluster::new((0..size).map(|number| ingress(number, class, "deep.example.com")))
    };
    let ask = |view: Gateway, expected| query(view, "deep.example.com", Type::A, expected);
    faults.check("hosts of another class", CONSTANT, 1000, |size| {
        ask(hosts(size, "other").gateway(|_| {}), "no name")
    });
    faults.check("hosts of another kind", CONSTANT, 1000, |size| {
        let only_services = |settings: &mut GatewaySettings| {
            settings.resources = vec![Kind::Service];
        };
        ask(hosts(size, "shown").gateway(only_services), "no name")
    });
    faults.check("hosts of another namespace", CONSTANT, 1000, |size| {
        let reserve = |settings: &mut GatewaySettings| {
            settings.claims.reserved = vec![(name("deep.example.com"), "good".into())];
        };
        ask(hosts(size, "shown").gateway(reserve), "no name")
    });
    faults.check("hosts that count", CONSTANT, 1000, |size| {
        ask(hosts(size, "shown").gateway(|_| {}), "no data")
    });
    faults.check("Ingresses of another class with one host", CONSTANT, 1000, |size| {
        let host = |number: usize| {
            let Object::Ingress(ingress) = ingress(number, "other", "example.com") else {
                unreachable!()
            };
            Object::Ingress(Ingress { hosts: Box::new(["cafe.example.com".into()]), ..ingress })
        };
        let view = Cluster::new((0..size).map(host)).gateway(|_| {});
        query(view, "cafe.example.com", Type::A, "no name")
    });
    faults.are_none();
}

fn node_port(local_only: bool) -> Object {
    let outside = Outside { exposure: Exposure::NodePort, local_only, ..Outside::default() };
    let addressing = Addressing::ClusterIps(Box::new([[10, 96, 0, 9].into()]));
    Object::Service(Service {
        outside: Some(Box::new(outside)),
        ..Service::new("ns", "web", addressing)
    })
}

#[test]
fn a_node_port_does_not_read_all_nodes_for_each_query() {
    let mut faults = Faults::default();
    let node = |number: usize, ready: bool| {
        let addresses = Box::new([NodeAddress::External(v4(number).into())]);
        Object::Node(Node { name: format!("node-{number:05}").into(), ready, addresses })
    };
    for local_only in [false, true] {
        faults.check("nodes that are not ready", CONSTANT, 500, |size| {
            let nodes = (0..size).map(|number| node(number, false));
            let endpoints = (0..size).map(|number| {
                let node = Some(format!("node-{number:05}").into());
                let details = EndpointDetails { node, ..EndpointDetails::default() };
                Endpoint::with(v4(number).into(), details)
            });
            let objects = nodes.chain([node_port(local_only), slice("web-1", endpoints, [])]);
            query(Cluster::new(objects).gateway(|_| {}), "web.ns.example.com", Type::A, "no data")
        });
    }
    faults.are_none();
}

fn slice(
    name: &str,
    endpoints: impl IntoIterator<Item = Endpoint>,
    ports: impl IntoIterator<Item = EndpointPort>,
) -> Object {
    Object::EndpointSlice(EndpointSlice {
        service: Some("web".into()),
        endpoints: Vec::from_iter(endpoints).into(),
        ports: ports.into_iter().collect(),
        ..EndpointSlice::new("ns", name)
    })
}

fn headless(slices: impl IntoIterator<Item = Object>) -> Cluster {
    let service = Object::Service(Service::new("ns", "web", Addressing::Headless));
    Cluster::new([service].into_iter().chain(slices))
}

fn port(number: usize) -> EndpointPort {
    EndpointPort {
        name: format!("p{number}").into(),
        protocol: Protocol::Tcp,
        port: Some(number as u16),
    }
}

fn named(address: IpAddr, hostname: String) -> Endpoint {
    let hostname = Some(hostname.into());
    Endpoint::with(address, EndpointDetails { hostname, ..EndpointDetails::default() })
}

/// Slices of 100 endpoints with an address and a host name each.
fn slices(size: usize) -> impl Iterator<Item = Object> {
    (0..size / 100).map(|at| {
        let endpoints =
            (at * 100..).take(100).map(|number| named(v4(number).into(), format!("web-{number}")));
        slice(&format!("web-{at}"), endpoints, [port(80)])
    })
}

#[test]
fn a_query_for_one_endpoint_does_not_read_all() {
    let mut faults = Faults::default();
    for (text, qtype, expected, bound) in [
        ("web-1234.web.ns.svc.cluster.local", Type::A, "records", CONSTANT),
        ("10-0-4-210.web.ns.svc.cluster.local", Type::A, "no name", CONSTANT),
        ("nowhere.pin._zone.web.ns.svc.cluster.local", Type::A, "no data", CONSTANT),
        ("210.4.0.10.in-addr.arpa", Type::PTR, "records", CONSTANT),
        ("_other._tcp.web.ns.svc.cluster.local", Type::SRV, "no name", SLICES),
        ("web.ns.svc.cluster.local", Type::HTTPS, "no data", CONSTANT),
    ] {
        faults.check(text, bound, 2000, |size| {
            query(headless(slices(size)).zone(), text, qtype, expected)
        });
    }
    faults.are_none();
}

#[test]
fn many_endpoints_and_ports_cost_linear_time() {
    let mut faults = Faults::default();
    let service = "web.ns.svc.cluster.local";
    faults.check("endpoints with one host name", LINEAR, 1000, |size| {
        let endpoints = (0..size).map(|number| named(v4(number).into(), "web-0".into()));
        query(
            headless([slice("web-0", endpoints, [port(80)])]).zone(),
            service,
            Type::SRV,
            "records",
        )
    });
    faults.check("slices with one address", LINEAR, 1000, |size| {
        let slices = (0..size).map(|number| {
            slice(&format!("web-{number}"), [named(v4(1).into(), format!("web-{number}"))], [])
        });
        query(headless(slices).zone(), "1.0.0.10.in-addr.arpa", Type::PTR, "records")
    });
    faults.check("ports of an endpoint", LINEAR, 2000, |size| {
        let ports = (0..size).map(port);
        let slice = slice("web-0", [Endpoint::new(v4(1).into())], ports);
        query(headless([slice]).zone(), service, Type::SRV, "records")
    });
    // A message has room for a few thousand records, however many there are.
    faults.check("ports of many endpoints", CONSTANT, 1000, |size| {
        let endpoints = (0..20).map(|number| Endpoint::new(v4(number).into()));
        let slice = slice("web-0", endpoints, (0..size).map(port));
        query(headless([slice]).zone(), service, Type::SRV, "records")
    });
    faults.are_none();
}

/// Compares the time until the first records of a transfer with the time for all of them.
fn transfer(view: &dyn View, zone: &str, size: usize) {
    let question = Question::new(name(zone), Type::AXFR);
    let (mut start, mut all) = (f64::MAX, f64::MAX);
    for _ in 0..5 {
        let begun = Instant::now();
        let transfer = view.transfer(&question).unwrap().unwrap_or_else(|_| panic!("synced"));
        let mut records = transfer.records;
        assert!(records.nth(10).is_some(), "{zone}");
        start = start.min(begun.elapsed().as_secs_f64());
        assert!(records.count() > size - 20, "{zone}");
        all = all.min(begun.elapsed().as_secs_f64());
    }
    assert!(start < all / 2.0, "{zone}: {start} s until the first record, {all} s for all");
}

#[test]
fn the_records_of_a_transfer_are_made_while_it_runs() {
    let size = 3000;
    let ingresses = (0..size).map(|number| ingress(number, "shown", "example.com"));
    transfer(&Cluster::new(ingresses).gateway(|_| {}), "example.com", size);
    let service = |number: usize| {
        let external_ips = Box::new([v4(number).into()]);
        let exposure = Exposure::LoadBalancer;
        let outside = Outside { exposure, external_ips, ..Outside::default() };
        let addressing = Addressing::ClusterIps(Box::new([[10, 96, 0, 9].into()]));
        Object::Service(Service {
            outside: Some(Box::new(outside)),
            ports: [ServicePort::new("http", Protocol::Tcp, 80)].into(),
            ..Service::new("ns", &format!("web-{number}"), addressing)
        })
    };
    let settings = ExternalSettings {
        zones: vec![name("example.com"), name("10.in-addr.arpa")],
        ttl: 5,
        apex: name("dns"),
        top: ExternalSettings::top(&name("dns")),
        headless: false,
        namespaces: ndots::zone::Namespaces::All,
        endpoint_pod_names: false,
        no_endpoints: true,
        own_addresses: Vec::new(),
    };
    let cluster = Cluster::new((0..size).map(service));
    let view = External::new(cluster.0.store(), settings);
    transfer(&view, "example.com", size);
    let endpoints = (0..100).map(|number| Endpoint::new(v4(number).into()));
    let ports = headless([slice("web-0", endpoints, (0..500).map(port))]).zone();
    transfer(&ports, "cluster.local", 500);
}

const SOA: &str = "@ 60 IN SOA ns hostmaster 1 2 3 4 5\n";

fn zone_file(text: &str) -> Arc<zonefile::Zone> {
    let read = |_: &str| Err("no file is included".to_owned());
    Arc::new(
        zonefile::parse("db", &format!("{SOA}{text}"), &name("example.org"), &read).unwrap().zone,
    )
}

#[test]
fn many_records_of_one_name_are_loaded_in_linear_time() {
    let mut faults = Faults::default();
    faults.check("$GENERATE", LINEAR, 4000, |size| {
        move || {
            let zone = zone_file(&format!("$GENERATE 1-{size} a TXT $\n"));
            assert_eq!(zone.len(), size + 1);
        }
    });
    faults.check("an incremental transfer", LINEAR, 1000, |size| {
        let known = zone_file(&format!("$GENERATE 1-{size} a TXT $\n"));
        move || {
            let mut incoming = IncomingZone::since(&known);
            let (origin, owner) = (name("example.org"), name("a.example.org"));
            let soa =
                |serial: u32| (Type::SOA, [&[0, 0][..], &serial.to_be_bytes(), &[0; 16]].concat());
            let text = |number: usize| {
                let text = number.to_string();
                (Type::TXT, [&[text.len() as u8], text.as_bytes()].concat())
            };
            let removed = (1..=size).map(text);
            for (rtype, rdata) in
                [soa(2), soa(1)].into_iter().chain(removed).chain([soa(2), soa(2)])
            {
                let owner = if rtype == Type::SOA { &origin } else { &owner };
                incoming.add(owner, rtype, 60, rdata).unwrap();
            }
            assert_eq!(incoming.build().unwrap().len(), 1);
        }
    });
    faults.are_none();
}

#[test]
fn an_answer_from_a_zone_file_does_not_read_the_whole_zone() {
    let mut faults = Faults::default();
    let negative = |zone: Arc<zonefile::Zone>| {
        let question = Question::new(name("zz.example.org"), Type::A);
        move || {
            for _ in 0..20 {
                let answer = zone.answer(&question, true).response;
                assert!(answer.authority.iter().any(|set| set.rtype == Type::NSEC));
            }
        }
    };
    faults.check("names without a proof", CONSTANT, 1000, |size| {
        let mut text = "@ NSEC z A NSEC\n".to_owned();
        (0..size).for_each(|number| writeln!(text, "n{number} A 192.0.2.1").unwrap());
        negative(zone_file(&text))
    });
    faults.check("targets of a set", LINEAR, 1000, |size| {
        let targets = format!("$GENERATE 1-{size} @ MX 1 m$\n$GENERATE 1-{size} m$ A 192.0.2.1\n");
        let zone = zone_file(&targets);
        let question = Question::new(name("example.org"), Type::MX);
        move || {
            let answer = zone.answer(&question, false).response;
            assert_eq!(answer.additional.len(), size);
        }
    });
    faults.are_none();
}
