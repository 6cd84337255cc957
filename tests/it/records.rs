//! Zone transfers, zonal names and the cluster set: ndots and CoreDNS on one real API server.

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::support::{
    Ndots, Tcp,
    coredns::CoreDns,
    lab::{Lab, LabOptions, until},
    question, turn,
};
use hickory_proto::{
    op::Message,
    rr::{RData, Record, RecordType},
};

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: serviceimports.multicluster.x-k8s.io, annotations: { api-approved.kubernetes.io: 'https://github.com/kubernetes/enhancements/pull/1646' } }
spec:
  group: multicluster.x-k8s.io
  scope: Namespaced
  names: { plural: serviceimports, singular: serviceimport, kind: ServiceImport, listKind: ServiceImportList }
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: { openAPIV3Schema: { type: object, properties: { spec: { type: object, x-kubernetes-preserve-unknown-fields: true } } } }
";

const OBJECTS: &str = "
{ apiVersion: v1, kind: Service, metadata: { name: web }, spec: { clusterIP: 10.96.7.1, ports: [{ name: http-alt, port: 80 }, { name: dns, port: 53, protocol: UDP }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: far }, spec: { type: ExternalName, externalName: www.example.org } }
---
{ apiVersion: v1, kind: Service, metadata: { name: db }, spec: { clusterIP: None, ports: [{ name: sql, port: 5432 }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: nobody }, spec: { clusterIP: None, ports: [{ port: 1 }] } }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: db-1, labels: { kubernetes.io/service-name: db } }
addressType: IPv4
endpoints:
  - { addresses: [10.244.0.1], hostname: db-0, zone: eu-1a }
  - { addresses: [10.244.0.2], zone: EU-1b }
  - { addresses: [10.244.0.3], zone: eu-1b, conditions: { ready: false } }
ports: [{ name: sql, port: 5432, protocol: TCP }, { name: '', port: 9, protocol: UDP }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: db-2, labels: { kubernetes.io/service-name: db } }
addressType: IPv6
endpoints: [{ addresses: ['fd00::1'], hostname: db-0 }]
ports: [{ name: sql, port: 5432, protocol: TCP }]
";

const IMPORTS: &str = "
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: { name: shared }
spec: { type: ClusterSetIP, ips: [10.42.0.1], ports: [{ name: http, protocol: TCP, port: 80 }] }
---
apiVersion: multicluster.x-k8s.io/v1alpha1
kind: ServiceImport
metadata: { name: peers }
spec: { type: Headless, ports: [{ name: sql, protocol: TCP, port: 5432 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: peers-west, labels: { multicluster.kubernetes.io/service-name: peers, multicluster.kubernetes.io/source-cluster: west } }
addressType: IPv4
endpoints: [{ addresses: [10.1.0.1], hostname: peer-0 }, { addresses: [10.1.0.2] }]
ports: [{ name: sql, port: 5432, protocol: TCP }]
";

/// A Corefile with `autopath`. The Pod that sends the queries has the loopback address.
fn searched(lab: &Lab, port: u16) -> String {
    let kubeconfig = lab.kubeconfig();
    format!(
        "cluster.local:{port} {{\n bind 127.0.0.1\n autopath @kubernetes\n kubernetes {{\n kubeconfig {}\n pods verified\n }}\n}}\n",
        kubeconfig.display()
    )
}

fn corefile(lab: &Lab, port: u16) -> String {
    let kubeconfig = lab.kubeconfig();
    format!(
        "cluster.local:{port} clusterset.local:{port} in-addr.arpa:{port} {{\n bind 127.0.0.1\n transfer {{\n to *\n }}\n kubernetes {{\n kubeconfig {}\n \
         zonal\n multicluster clusterset.local\n }}\n}}\n",
        kubeconfig.display()
    )
}

/// The code, and the records of the answer and additional sections. For a transfer, those of all
/// messages.
fn asked(address: SocketAddr, name: &str, qtype: RecordType) -> (String, BTreeSet<String>) {
    let mut client = Tcp(TcpStream::connect(address).unwrap());
    client.0.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    client.send(&question(7, name, qtype.into()));
    let (mut said, mut starts) = (BTreeSet::new(), 0);
    loop {
        let message = Message::from_vec(&client.receive().unwrap()).unwrap();
        let records = message.answers.iter().chain(&message.additionals);
        starts += records.clone().filter(|record| record.record_type() == RecordType::SOA).count();
        said.extend(records.map(printed));
        if qtype != RecordType::AXFR || starts != 1 {
            return (message.metadata.response_code.to_string(), said);
        }
    }
}

fn printed(record: &Record) -> String {
    let data = match &record.data {
        RData::SOA(soa) => format!("{} {} {}", soa.mname, soa.rname, soa.minimum),
        data => data.to_string(),
    };
    format!("{} {} {} {data}", record.name, record.ttl, record.record_type())
}

/// Whether CoreDNS has the record right. It loses the NS record and its address because of `bind`.
/// Its endpoint names in a cluster set lack the label of the cluster, so these names do not exist.
fn is_compared(record: &str) -> bool {
    let of_set =
        [".peers.default.svc.clusterset.local. 5 A ", "peers.default.svc.clusterset.local. 5 SRV "];
    let wrong = record.contains(" NS ")
        || record.starts_with("ns.dns.")
        || of_set.iter().any(|text| record.contains(text));
    !wrong
}

#[test]
fn transfers_zonal_names_and_the_cluster_set_are_those_of_coredns() {
    let turn = turn::alone();
    let lab = Lab::start(&turn, &LabOptions::default());
    lab.apply(OBJECTS);
    // A cluster without the ServiceImport API has no imports.
    let ours = Ndots::corefile(&corefile(&lab, 0), &["dns"], &[]);
    let own = |name: &str| asked(ours.address, name, RecordType::A);
    until("the cluster's names", Duration::from_secs(10), || {
        own("web.default.svc.cluster.local").1.pop_first()
    });
    until("NXDOMAIN in the zone of the cluster set", Duration::from_secs(10), || {
        (own("shared.default.svc.clusterset.local").0 == "Non-Existent Domain").then_some(())
    });
    drop(ours);

    lab.apply(DEFINITION);
    until("the kind", Duration::from_secs(20), || lab.try_kubectl("get serviceimports", "").ok());
    lab.apply(IMPORTS);
    let (ours, theirs) = (
        Ndots::corefile(&corefile(&lab, 0), &["dns"], &[]),
        CoreDns::start(|port| corefile(&lab, port)),
    );
    for address in [ours.address, theirs.address] {
        until("names of both zones", Duration::from_secs(20), || {
            TcpStream::connect(address).ok()?;
            asked(address, "web.default.svc.cluster.local", RecordType::A).1.pop_first()?;
            asked(address, "peers.default.svc.clusterset.local", RecordType::A).1.pop_first()
        });
    }
    let set = [
        "shared",
        "_http._tcp.shared",
        "peers",
        "_sql._tcp.peers",
        "peer-0.west.peers",
        "10-1-0-2.west.peers",
        "peer-0.peers",
        "web",
        "",
    ];
    let zonal = [
        "eu-1a.pin._zone.db",
        "eu-1b.pin._zone.db",
        "eu-1c.pin._zone.db",
        "eu-1c.prefer._zone.db",
        "eu-1a.prefer._zone.nobody",
    ];
    let zonal = zonal.into_iter().chain([
        "eu-1a.pin._zone.web",
        "eu-1a.pin._zone.far",
        "eu-1a.other._zone.db",
        "pin._zone.db",
        "shared",
        "peers",
    ]);
    let names = set.iter().map(|name| format!("{name}.default.svc.clusterset.local"));
    let names: Vec<_> =
        names.chain(zonal.map(|name| format!("{name}.default.svc.cluster.local"))).collect();
    let mut questions = 0;
    for name in names.iter().map(|name| name.trim_start_matches('.')) {
        for qtype in [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::MX] {
            questions += 1;
            assert_eq!(
                asked(ours.address, name, qtype),
                asked(theirs.address, name, qtype),
                "{name} {qtype}"
            );
        }
    }
    for (zone, least) in [("cluster.local", 19), ("clusterset.local", 6)] {
        let [mine, other] =
            [ours.address, theirs.address].map(|address| asked(address, zone, RecordType::AXFR));
        let compared = |(code, records): (String, BTreeSet<String>)| {
            (code, records.into_iter().filter(|it| is_compared(it)).collect::<BTreeSet<_>>())
        };
        let (mine, other) = (compared(mine), compared(other));
        println!("{zone}: {} records handed over, {questions} questions alike", mine.1.len());
        assert_eq!(mine, other, "{zone}");
        assert!(mine.0 == "No Error" && mine.1.len() >= least, "{zone}: {mine:?}");
    }
    println!("{} questions alike", questions + compare_autopath(&lab));
}

/// Compares the answers for the search list of a Pod, and returns how many there are.
fn compare_autopath(lab: &Lab) -> usize {
    lab.apply("{ apiVersion: v1, kind: Pod, metadata: { name: client }, spec: { containers: [{ name: c, image: none }] } }");
    lab.running("default", "client", &["127.0.0.1"], true);
    let (ours, theirs) = (
        Ndots::corefile(&searched(lab, 0), &["dns"], &[]),
        CoreDns::start(|port| searched(lab, port)),
    );
    for address in [ours.address, theirs.address] {
        until("the Pod that asks", Duration::from_secs(20), || {
            TcpStream::connect(address).ok()?;
            asked(address, "web.default.default.svc.cluster.local", RecordType::A).1.pop_first()
        });
    }
    let mut questions = 0;
    for name in [
        "web",
        "web.default",
        "Web.default.svc",
        "web.default.svc.cluster.local",
        "_dns._udp.web.default",
        "db-0.db.default.svc",
    ] {
        for qtype in [RecordType::A, RecordType::AAAA, RecordType::SRV, RecordType::CNAME] {
            let name = format!("{name}.default.svc.cluster.local");
            assert_eq!(
                asked(ours.address, &name, qtype),
                asked(theirs.address, &name, qtype),
                "{name} {qtype}"
            );
            questions += 1;
        }
    }
    // The last candidate, `absent.`, is in no zone of the block. CoreDNS answers SERVFAIL, at which
    // musl ends its search.
    let (code, records) = asked(ours.address, "absent.default.svc.cluster.local", RecordType::A);
    assert_eq!((&*code, records.len()), ("Non-Existent Domain", 0));
    questions
}
