//! Zone transfers over TCP and TLS: many messages, and the same records as in answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::{Read, Write},
};

use crate::support::{
    Ndots, Tcp,
    encrypted::{Authority, dot},
    question, rcode,
};
use hickory_proto::{
    op::Message,
    rr::{RData, Record, RecordType},
};

const AXFR: u16 = 252;
const ENDPOINTS: usize = 2500;

/// Writes the example's manifests, and a headless Service with thousands of endpoints.
fn manifests(directory: &std::path::Path) {
    let mut text = String::from(
        "apiVersion: v1\nkind: Service\nmetadata: {name: many}\nspec: {clusterIP: None, ports: [{name: http, port: 80}]}\n",
    );
    for slice in 0..ENDPOINTS / 100 {
        let addresses = (0..100).map(|last| format!("{{addresses: [10.245.{slice}.{last}]}}"));
        let endpoints = addresses.collect::<Vec<_>>().join(", ");
        write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: many-{slice}, labels: {{kubernetes.io/service-name: many}}}}\n\
             addressType: IPv4\nendpoints: [{endpoints}]\nports: [{{name: http, port: 80}}]\n"
        )
        .unwrap();
    }
    fs::write(directory.join("many.yaml"), text).unwrap();
    for example in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe")).unwrap() {
        let path = example.unwrap().path();
        fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
    }
}

/// All records up to the second SOA record, and the number of messages.
fn transfer<S: Read + Write>(client: &mut Tcp<S>, zone: &str) -> (Vec<Record>, usize) {
    client.send(&question(7, zone, AXFR));
    let (mut records, mut messages) = (Vec::new(), 0);
    while records.iter().filter(|record: &&Record| record.record_type() == RecordType::SOA).count()
        < 2
    {
        let message = Message::from_vec(&client.receive().unwrap()).unwrap();
        assert!(
            message.metadata.authoritative
                && !message.metadata.truncation
                && message.metadata.id == 7
        );
        records.extend(message.answers);
        messages += 1;
    }
    (records, messages)
}

/// The text of a record. It leaves out the weight of SRV records, which a transfer computes for
/// each EndpointSlice, as CoreDNS does.
fn said(record: &Record) -> String {
    match &record.data {
        RData::SRV(srv) => {
            format!("{} {} SRV {} {}", record.name, record.ttl, srv.port, srv.target)
        }
        data => format!("{} {} {} {data}", record.name, record.ttl, record.record_type()),
    }
}

#[test]
fn a_transfer_is_complete_and_has_the_records_of_answers() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    manifests(directory.path());
    let kubernetes = format!(
        "kubernetes cluster.local in-addr.arpa {{\n manifests {}\n }}",
        directory.path().display()
    );
    let zones = format!(" transfer {{\n to *\n }}\n {kubernetes}\n");
    let text = format!(
        ".:0 {{\n bind 127.0.0.1\n{zones}}}\ntls://.:0 {{\n bind 127.0.0.1\n {}\n{zones}}}\n",
        authority.directive()
    );
    let server = Ndots::corefile(&text, &["dns", "tls"], &[]);

    let mut tcp = server.tcp();
    let (records, messages) = transfer(&mut tcp, "cluster.local");
    assert!(messages > 10, "{messages} messages");
    let (first, last) = (&records[0], &records[records.len() - 1]);
    assert_eq!((first.record_type(), first), (RecordType::SOA, last));
    let many = |rtype| {
        records
            .iter()
            .filter(|record| {
                record.record_type() == rtype && record.name.to_string().contains("many.")
            })
            .count()
    };
    assert_eq!((many(RecordType::A), many(RecordType::SRV)), (2 * ENDPOINTS, ENDPOINTS));
    let (encrypted, _) =
        transfer(&mut dot(server.bound["tls"], authority.client(&["dot"])), "cluster.local");
    assert_eq!(encrypted, records);

    let (pointers, _) = transfer(&mut tcp, "in-addr.arpa");
    let mut sets: BTreeMap<(String, u16), BTreeSet<String>> = BTreeMap::new();
    // The large Service has more records than fit into one answer.
    for record in
        records.iter().chain(&pointers).filter(|record| !record.to_string().contains("many."))
    {
        sets.entry((record.name.to_string(), record.record_type().into()))
            .or_default()
            .insert(said(record));
    }
    assert!(sets.len() > 40, "{} record sets", sets.len());
    for ((name, qtype), expected) in sets {
        tcp.send(&question(8, &name, qtype));
        let answer = Message::from_vec(&tcp.receive().unwrap()).unwrap();
        let answered: BTreeSet<String> = answer.answers.iter().map(said).collect();
        assert!(
            expected.is_subset(&answered),
            "{name} {qtype}: {expected:?}\nanswered {answered:?}"
        );
        // The answer for SRV records at the bare name of a Service includes unnamed ports.
        assert!(
            expected == answered || qtype == 33,
            "{name} {qtype}: {expected:?}\nanswered {answered:?}"
        );
    }
}

#[test]
fn transfers_need_a_stream_and_a_permitted_client() {
    let directory = tempfile::tempdir().unwrap();
    manifests(directory.path());
    let kubernetes = format!(
        "kubernetes cluster.local other.local {{\n manifests {}\n }}",
        directory.path().display()
    );
    let text = format!(
        ".:0 {{\n bind 127.0.0.1\n transfer cluster.local {{\n to 127.0.0.1\n }}\n transfer {{\n to 192.0.2.1\n }}\n {kubernetes}\n}}\n"
    );
    let server = Ndots::corefile(&text, &["dns"], &[]);
    let mut tcp = server.tcp();
    let mut over_tcp = |zone: &str| {
        tcp.send(&question(7, zone, AXFR));
        rcode(&tcp.receive().unwrap())
    };
    for (zone, expected) in [("other.local", 5), ("svc.cluster.local", 9), ("cluster.local", 0)] {
        assert_eq!(over_tcp(zone), expected, "{zone}");
    }
    assert_eq!(rcode(&server.udp(&question(7, "cluster.local", AXFR)).unwrap()), 5);
}
