//! Changes of facts, as clients outside see them.

use std::sync::Arc;

use crate::{
    model::{
        Addressing, Change, Exposure, Ingress, Key, Kind, LoadBalancerPoint, Node, NodeAddress,
        Object, Outside, Service, ServicePort,
    },
    wire::{Question, Type},
    zone::{Found, Index, View},
};

use super::{Apex, ClaimRules, Gateway, GatewaySettings, NodeAddressType};

struct Cluster {
    index: Index,
    view: Gateway,
}

impl Cluster {
    fn new() -> Self {
        let index = Index::default();
        let server = "ns.dmz".parse().unwrap();
        let settings = GatewaySettings {
            zones: vec!["example.com".parse().unwrap()],
            ttl: 60,
            top: Apex::of_server(&server, None),
            resources: vec![Kind::Ingress, Kind::Service],
            ingress_classes: Vec::new(),
            gateway_classes: Vec::new(),
            controllers: Vec::new(),
            node_addresses: vec![NodeAddressType::External],
            own_addresses: Vec::new(),
            claims: ClaimRules::default(),
        };
        let view = Gateway::new(index.store(), settings);
        Self { index, view }
    }

    fn synced() -> Self {
        let mut cluster = Self::new();
        [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::Ingress]
            .into_iter()
            .for_each(|kind| cluster.apply(Change::Synced(kind)));
        cluster
    }

    fn apply(&mut self, change: Change) {
        self.index.apply(change, 1000);
    }

    /// The A records of a name in short form, or the other result.
    fn ask(&self, name: &str) -> String {
        match self.view.find(&Question::new(name.parse().unwrap(), Type::A)) {
            Found::Records { answer, .. } => {
                let each = answer
                    .iter()
                    .flat_map(|set| set.rdatas.iter())
                    .map(|octets| octets.iter().map(u8::to_string).collect::<Vec<_>>().join("."));
                each.collect::<Vec<_>>().join(" ")
            }
            Found::Alias { target, .. } => format!("CNAME {target}"),
            other => format!("{other:?}"),
        }
    }

    fn serial(&self) -> u32 {
        let soa = self.view.soa(&Question::new("example.com".parse().unwrap(), Type::SOA)).unwrap();
        let rdata = soa.rdatas.iter().next().unwrap();
        u32::from_be_bytes(rdata[rdata.len() - 20..][..4].try_into().unwrap())
    }
}

fn ingress(name: &str, hosts: &[&str], address: u8) -> Change {
    let points = Box::new([LoadBalancerPoint::Ip([192, 0, 2, address].into())]);
    let hosts = hosts.iter().map(|host| Box::from(*host)).collect();
    Change::Upsert(Object::Ingress(Ingress { hosts, points, ..Ingress::new("default", name) }))
}

fn service(addressing: Addressing, outside: Option<Outside>) -> Change {
    let port = ServicePort::new("http", crate::model::Protocol::Tcp, 80);
    Change::Upsert(Object::Service(Service {
        ports: [ServicePort { node_port: Some(30_007), ..port }].into(),
        outside: outside.map(Box::new),
        ..Service::new("default", "web", addressing)
    }))
}

fn node(name: &str, ready: bool) -> Change {
    let addresses = Box::new([NodeAddress::External([198, 51, 100, 1].into())]);
    Change::Upsert(Object::Node(Node { name: name.into(), ready, addresses }))
}

#[test]
fn hosts_move_between_objects() {
    let mut cluster = Cluster::synced();
    assert_eq!(cluster.ask("cafe.example.com"), "NoName");
    cluster.apply(ingress("one", &["cafe.example.com", "a.b.example.com"], 1));
    cluster.apply(ingress("two", &["cafe.example.com"], 2));
    assert_eq!(cluster.ask("cafe.example.com"), "192.0.2.1 192.0.2.2");
    assert_eq!(cluster.ask("b.example.com"), "NoData");
    cluster.apply(ingress("one", &["tea.example.com"], 1));
    assert_eq!(
        (cluster.ask("cafe.example.com"), cluster.ask("b.example.com")),
        ("192.0.2.2".into(), "NoName".into())
    );
    // A list without the object removes it.
    cluster.apply(Change::Relist(Kind::Ingress));
    cluster.apply(ingress("one", &["tea.example.com"], 1));
    assert_eq!(cluster.ask("cafe.example.com"), "192.0.2.2");
    cluster.apply(Change::Synced(Kind::Ingress));
    assert_eq!(
        (cluster.ask("cafe.example.com"), cluster.ask("tea.example.com")),
        ("NoName".into(), "192.0.2.1".into())
    );
}

#[test]
fn a_wildcard_does_not_apply_below_a_name_server() {
    let mut cluster = Cluster::synced();
    cluster.apply(ingress("one", &["*.dmz.example.com", "web.dmz.example.com"], 1));
    for (name, expected) in [
        ("x.dmz.example.com", "192.0.2.1"),
        ("x.y.dmz.example.com", "192.0.2.1"),
        ("x.web.dmz.example.com", "NoName"),
        ("ns.dmz.example.com", "NoData"),
        ("x.ns.dmz.example.com", "NoName"),
        ("x.example.com", "NoName"),
    ] {
        assert_eq!(cluster.ask(name), expected, "{name}");
    }
}

/// An Ingress of a namespace with one host.
fn tenant(namespace: &str, created: Option<i64>, address: u8) -> Change {
    Change::Upsert(Object::Ingress(Ingress {
        created,
        hosts: Box::new(["cafe.example.com".into()]),
        points: Box::new([LoadBalancerPoint::Ip([192, 0, 2, address].into())]),
        ..Ingress::new(namespace, "web")
    }))
}

#[test]
fn the_namespace_of_the_oldest_object_has_the_host() {
    let check = |changes: &[Change], expected: &str, losers: &[&str]| {
        let mut cluster = Cluster::synced();
        changes.iter().cloned().for_each(|change| cluster.apply(change));
        assert_eq!(cluster.ask("cafe.example.com"), expected, "{changes:?}");
        let refused = cluster.view.refused_claims();
        let found: Vec<_> = refused.iter().map(|it| format!("{}: {}", it.object, it.why)).collect();
        assert_eq!(found, losers, "{changes:?}");
    };
    let old = || tenant("good", Some(100), 1);
    check(&[old()], "192.0.2.1", &[]);
    let lost = ["Ingress evil/web: Ingress good/web has it and is older"];
    check(&[old(), tenant("evil", Some(101), 66)], "192.0.2.1", &lost);
    check(&[tenant("evil", Some(101), 66), old()], "192.0.2.1", &lost);
    // Only an API server sets the time, so an object without one counts as new.
    check(&[tenant("evil", None, 66), old()], "192.0.2.1", &lost);
    // Of the same second, the first namespace by name.
    let lost = ["Ingress good/web: Ingress evil/web has it and is older"];
    check(&[old(), tenant("evil", Some(100), 66)], "192.0.2.66", &lost);
    // A second object of the owner's namespace belongs to the same tenant.
    let mut second = tenant("good", Some(500), 2);
    if let Change::Upsert(Object::Ingress(ingress)) = &mut second {
        ingress.name = "other".into();
    }
    let lost = ["Ingress later/web: Ingress good/web has it and is older"];
    check(&[old(), second.clone(), tenant("later", Some(300), 3)], "192.0.2.1 192.0.2.2", &lost);
    // The owner leaves.
    let gone = Change::Remove(Key::new(Kind::Ingress, "good", "web"));
    let lost = ["Ingress good/other: Ingress later/web has it and is older"];
    check(&[old(), second, tenant("later", Some(300), 3), gone], "192.0.2.3", &lost);
}

#[test]
fn services_change_their_kind() {
    let mut cluster = Cluster::synced();
    let ips = || Addressing::ClusterIps(Box::new([[10, 96, 0, 9].into()]));
    let steps = [
        (service(ips(), None), "NoName"),
        (
            service(ips(), Some(Outside { exposure: Exposure::NodePort, ..Outside::default() })),
            "NoData",
        ),
        (node("one", true), "198.51.100.1"),
        (node("one", false), "NoData"),
        (node("one", true), "198.51.100.1"),
        (
            service(
                ips(),
                Some(Outside {
                    external_ips: Box::new([[80, 11, 12, 10].into()]),
                    ..Outside::default()
                }),
            ),
            "80.11.12.10",
        ),
        (service(Addressing::ExternalName("db.example.net".into()), None), "CNAME db.example.net."),
        (service(ips(), None), "NoName"),
        (Change::Remove(Key::new(Kind::Service, "default", "web")), "NoName"),
    ];
    for (step, (change, expected)) in steps.into_iter().enumerate() {
        cluster.apply(change);
        assert_eq!(cluster.ask("web.default.example.com"), expected, "step {step}");
    }
    assert_eq!(cluster.ask("default.example.com"), "NoName");
}

#[test]
fn the_serial_changes_with_the_answers() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.serial(), 0);
    cluster.apply(Change::Synced(Kind::Service));
    assert_eq!(cluster.serial(), 1000);
    // Within the same second, after the serial was read.
    cluster.apply(ingress("one", &["cafe.example.com"], 1));
    cluster.apply(ingress("two", &["cafe.example.com"], 2));
    assert_eq!(cluster.serial(), 1001);
    // An equal object, and a change that is not visible outside.
    cluster.apply(ingress("two", &["cafe.example.com"], 2));
    cluster.apply(service(Addressing::ClusterIps(Box::default()), None));
    assert_eq!(cluster.serial(), 1001);
    cluster.apply(node("one", true));
    assert_eq!(cluster.serial(), 1002);
    cluster.index.apply(node("one", false), 2000);
    assert_eq!(cluster.serial(), 2000);
}

#[test]
fn a_forbidden_kind_does_not_delay_answers() {
    let mut cluster = Cluster::new();
    assert_eq!(
        (cluster.ask("cafe.example.com"), cluster.view.waiting().len()),
        ("Unsynced".into(), 2)
    );
    cluster.apply(Change::Synced(Kind::Service));
    cluster.apply(Change::Refused(Kind::EndpointSlice, "forbidden".into()));
    assert!(cluster.view.waiting().is_empty(), "nodes and Ingresses hold nothing up");
    // A known name is answered, even if other kinds are not listed.
    cluster.apply(ingress("one", &["cafe.example.com"], 1));
    assert_eq!(
        (cluster.ask("cafe.example.com"), cluster.ask("tea.example.com")),
        ("192.0.2.1".into(), "Unsynced".into())
    );
    let node_port = Outside { exposure: Exposure::NodePort, ..Outside::default() };
    cluster
        .apply(service(Addressing::ClusterIps(Box::new([[10, 96, 0, 9].into()])), Some(node_port)));
    assert_eq!(cluster.ask("web.default.example.com"), "Unsynced");
    cluster.apply(Change::Refused(Kind::Node, "forbidden".into()));
    cluster.apply(Change::Refused(Kind::Ingress, "forbidden".into()));
    assert_eq!(
        (cluster.ask("web.default.example.com"), cluster.ask("tea.example.com")),
        ("NoData".into(), "NoName".into())
    );
}

#[test]
fn a_large_cluster_answers_with_a_spread_of_its_nodes() {
    let mut cluster = Cluster::synced();
    let addressing = Addressing::ClusterIps(Box::new([[10, 96, 0, 9].into()]));
    cluster.apply(service(
        addressing,
        Some(Outside { exposure: Exposure::NodePort, ..Outside::default() }),
    ));
    for number in 0..5000_u16 {
        let [high, low] = number.to_be_bytes();
        let addresses = Box::new([NodeAddress::External([10, 0, high, low].into())]);
        cluster.apply(Change::Upsert(Object::Node(Node {
            name: format!("node-{number:04}").into(),
            ready: true,
            addresses,
        })));
    }
    assert_eq!(cluster.ask("web.default.example.com").split(' ').count(), 500);
    // The answer follows a change of a Node.
    cluster.apply(node("node-0000", false));
    assert!(cluster.ask("web.default.example.com").starts_with("10.0.0.1 "));
    let first = Box::new([NodeAddress::External([10, 0, 0, 0].into())]);
    let first = Node { name: "node-0000".into(), ready: true, addresses: first };
    cluster.apply(Change::Upsert(Object::Node(first)));
    let said = cluster.ask("web.default.example.com");
    let told: Vec<&str> = said.split(' ').collect();
    assert_eq!((told.len(), told[0], told[told.len() - 1]), (500, "10.0.0.0", "10.0.19.126"));
}

#[test]
fn names_of_nodes_are_held_once() {
    let mut cluster = Cluster::synced();
    for slice in 0..3 {
        let endpoint = |last: u8| {
            let node = Some("worker-1".into());
            let details = crate::model::EndpointDetails { node, ..Default::default() };
            crate::model::Endpoint::with([10, 244, slice, last].into(), details)
        };
        let endpoints: Vec<_> = (0..3).map(endpoint).collect();
        let slice = crate::model::EndpointSlice {
            service: Some("web".into()),
            endpoints: endpoints.into(),
            ..crate::model::EndpointSlice::new("default", &format!("web-{slice}"))
        };
        cluster.apply(Change::Upsert(Object::EndpointSlice(slice)));
    }
    let entry = cluster.index.store().service(b"\x03web\x07default").unwrap();
    let held: Vec<_> =
        entry.endpoints().filter_map(|(_, endpoint)| endpoint.node().cloned()).collect();
    assert!(held.len() == 9 && held.iter().all(|node| Arc::ptr_eq(node, &held[0])));
}
