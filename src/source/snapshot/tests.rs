use std::{fs, net::IpAddr};

use super::*;
use crate::model::{
    Addressing, Endpoint, EndpointDetails, EndpointFields, EndpointPort, EndpointSlice, Exposure,
    Gateway, Import, Ingress, LoadBalancerPoint, Namespace, Node, NodeAddress, Outside, Pod,
    Protocol, Route, Service, ServicePort,
};

const NOW: u64 = 1_800_000_000;

fn identity() -> ClusterIdentity {
    ClusterIdentity {
        host: "10.96.0.1:443".to_owned(),
        authority: "0123456789abcdef".to_owned(),
        labels: "app=web".to_owned(),
    }
}

fn header() -> Header {
    Header {
        cluster: identity(),
        written: NOW - 73,
        serials: [1, 2, 3],
        kinds: Kind::ALL.to_vec(),
        endpoint_fields: EndpointFields { pods: true, zones: false, nodes: true },
    }
}

fn address(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn services() -> Vec<Object> {
    let outside = Outside {
        exposure: Exposure::LoadBalancer,
        external_ips: Box::new([address(9)]),
        load_balancer: Box::new([
            LoadBalancerPoint::Ip(address(10)),
            LoadBalancerPoint::Hostname("lb.example".into()),
        ]),
        local_only: true,
        hosts: Box::new(["a.example".into()]),
        created: Some(1_700_000_000),
        ignored: false,
    };
    let port =
        ServicePort { node_port: Some(30_000), ..ServicePort::new("dns", Protocol::Sctp, 53) };
    let ips = Addressing::ClusterIps(Box::new([address(1), "2001:db8::1".parse().unwrap()]));
    vec![
        Object::Service(Service {
            ports: [port].into(),
            outside: Some(Box::new(outside)),
            ..Service::new("ns", "web", ips)
        }),
        Object::Service(Service::new("ns", "db", Addressing::Headless)),
        Object::Service(Service::new("ns", "ext", Addressing::ExternalName("a.example".into()))),
        Object::ServiceImport(Service::new("ns", "imported", Addressing::Headless)),
    ]
}

/// One object of each kind, with every field filled.
fn objects() -> Vec<Object> {
    let details = EndpointDetails {
        hostname: Some("db-0".into()),
        pod: Some("db-0".into()),
        zone: Some("z1".into()),
        node: Some("node-1".into()),
    };
    let endpoint = Endpoint::with(address(2), details);
    let slice = EndpointSlice {
        service: Some("db".into()),
        import: Some(Box::new(Import { service: "db".into(), cluster: "west".into() })),
        endpoints: [endpoint, Endpoint::new(address(3))].into(),
        ports: [EndpointPort { name: "sql".into(), protocol: Protocol::Udp, port: Some(5432) }]
            .into(),
        ..EndpointSlice::new("ns", "db-x")
    };
    let mut objects = services();
    objects.extend([
        Object::Namespace(Namespace {
            name: "ns".into(),
            labels: Box::new([("team".into(), "blue".into())]),
        }),
        Object::EndpointSlice(slice),
        Object::Pod(Pod {
            namespace: "ns".into(),
            name: "p".into(),
            addresses: Box::new([address(4)]),
            host_network: true,
        }),
        Object::Node(Node {
            name: "node-1".into(),
            ready: true,
            addresses: Box::new([
                NodeAddress::Internal(address(5)),
                NodeAddress::External(address(6)),
            ]),
        }),
        Object::Ingress(Ingress {
            class: "nginx".into(),
            hosts: Box::new(["www.example".into()]),
            points: Box::new([LoadBalancerPoint::Ip(address(7))]),
            ..Ingress::new("ns", "in")
        }),
        Object::Gateway(Gateway {
            namespace: "ns".into(),
            name: "gw".into(),
            class: "c".into(),
            points: Box::default(),
        }),
        Object::Route(Route {
            kind: Kind::HttpRoute,
            namespace: "ns".into(),
            name: "r".into(),
            created: Some(1_700_000_000),
            hosts: Box::new(["www.example".into()]),
            gateways: Box::new([("ns".into(), "gw".into())]),
        }),
    ]);
    objects
}

fn written() -> Vec<u8> {
    let mut writer = Writer::new(&header());
    objects().iter().for_each(|object| writer.add(object));
    writer.finish()
}

fn read_all(file: &[u8]) -> Result<Vec<Object>, SnapshotError> {
    let mut reader = Reader::new(file, &identity(), NOW)?;
    let mut found = Vec::new();
    while let Some(object) = reader.next_object()? {
        found.push(object);
    }
    Ok(found)
}

#[test]
fn every_fact_is_restored_unchanged() {
    let file = written();
    assert_eq!(Reader::new(&file, &identity(), NOW).unwrap().header, header());
    assert_eq!(read_all(&file).unwrap(), objects());
}

#[test]
fn another_layout_needs_another_format() {
    let checksum = Sha256::digest(written());
    let start: String = checksum.iter().take(8).map(|octet| format!("{octet:02x}")).collect();
    // If this fails, a fact or its octets have changed: increase FORMAT, and then correct this.
    assert_eq!((FORMAT, &*start), (2, "979d8f21d0e04eb5"));
}

#[test]
fn no_truncated_or_changed_file_is_used() {
    let file = written();
    for length in 0..file.len() {
        let error = read_all(&file[..length]).unwrap_err().to_string();
        assert!(error.starts_with("it is incomplete"), "{length}: {error}");
    }
    for at in 0..file.len() {
        for bit in [1, 0x80] {
            let mut flipped = file.clone();
            flipped[at] ^= bit;
            assert!(read_all(&flipped).is_err(), "octet {at}");
        }
    }
    assert!(read_all(&[&file[..], b"x"].concat()).is_err());
}

/// A file whose checksum is right, although no version of ndots wrote it.
#[test]
fn a_forged_file_is_an_error_and_no_panic() {
    let file = written();
    let end = file.len() - CHECKSUM;
    for at in PREFIX..end {
        for octet in [0, 1, 0x7f, 0xff] {
            let mut forged = file[..end].to_vec();
            forged[at] = octet;
            let checksum = Sha256::digest(&forged);
            forged.extend_from_slice(&checksum);
            // Some changes give other facts, and the others are errors.
            let _ = read_all(&forged);
        }
    }
}

#[test]
fn a_refused_file_says_why() {
    let with = |change: &dyn Fn(&mut Header)| {
        let mut header = header();
        change(&mut header);
        Writer::new(&header).finish()
    };
    let mut newer = written();
    newer[8] = 3;
    let mut older = written();
    older[8] = 0;
    for (file, expected) in [
        (b"#!/bin/sh\n".to_vec(), "it is not a snapshot of ndots"),
        (Vec::new(), "it is incomplete: 0 of 52 octets"),
        (newer, "a newer version of ndots has written it (format 3, this version has 2)"),
        (older, "an older version of ndots has written it (format 0, this version has 2)"),
        (
            with(&|header| header.cluster.host = "10.0.0.1:443".to_owned()),
            "it belongs to another cluster: 10.0.0.1:443 with the authority 0123456789ab, not 10.96.0.1:443 with the authority 0123456789ab",
        ),
        (
            with(&|header| header.cluster.authority = String::new()),
            "it belongs to another cluster: 10.96.0.1:443, not",
        ),
        (
            with(&|header| header.cluster.labels = String::new()),
            r#"it has the objects with the labels "", not those with "app=web""#,
        ),
        (
            with(&|header| header.written = NOW - 86_401),
            "it is 86401 s old, and only one of at most 86400 s is used",
        ),
    ] {
        let error = read_all(&file).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    // The clock of this machine may be wrong.
    assert!(read_all(&with(&|header| header.written = NOW + 86_400)).is_ok());
}

#[test]
fn only_a_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("facts");
    assert!(read(&path).unwrap().is_none());
    fs::write(&path, b"x").unwrap();
    assert_eq!(read(&path).unwrap().unwrap(), b"x");
    let error = read(directory.path()).unwrap_err().to_string();
    assert_eq!(error, "it cannot be read: it is not a file");
}
