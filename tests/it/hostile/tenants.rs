//! Tenants that claim names of others through `k8s_gateway`: the log and a metric show it.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::support::{Ndots, page, prometheus, question, udp};

const PAGES: &str = "127.0.0.1:0";
const OBJECTS: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: pay, namespace: bank, creationTimestamp: "2024-01-01T00:00:00Z"}
spec: {rules: [{host: pay.example.com}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: late, namespace: evil, creationTimestamp: "2024-06-01T00:00:00Z"}
spec: {rules: [{host: pay.example.com}, {host: "*.example.com"}, {host: example.com}, {host: own.example.com}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.66}]}}
"#;

#[test]
fn the_log_and_a_metric_name_the_object_that_does_not_get_a_host() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("objects.yaml"), OBJECTS).unwrap();
    let manifests = directory.path().display();
    let text = format!(
        ".:0 {{\n bind 127.0.0.1\n prometheus {PAGES}\n kubernetes cluster.local {{\n \
         manifests {manifests}\n }}\n k8s_gateway example.com\n}}\n"
    );
    let server = Ndots::corefile(&text, &["dns", PAGES], &[]);
    let mut expected = [
        "pay.example.com. is not answered with the addresses of Ingress evil/late: \
         Ingress bank/pay has it and is older",
        "*.example.com. is not answered with the addresses of Ingress evil/late: \
         it stands for all unused names of the zone",
        "example.com. is not answered with the addresses of Ingress evil/late: \
         it is the zone itself",
    ]
    .map(|line| format!("[WARNING] plugin/k8s_gateway: {line}"))
    .to_vec();
    let begun = Instant::now();
    while !expected.is_empty() {
        let left = Duration::from_secs(20).saturating_sub(begun.elapsed());
        let line = server.log.recv_timeout(left).unwrap_or_else(|_| panic!("{expected:#?}"));
        expected.retain(|wanted| line != *wanted);
    }
    let metrics = page(server.bound[PAGES], "/metrics").unwrap();
    let series = prometheus::read(metrics.split("\r\n\r\n").nth(1).unwrap());
    let refused: Vec<_> = series
        .iter()
        .filter(|((name, _), _)| name == "coredns_k8s_gateway_refused_hosts")
        .map(|((_, labels), count)| {
            (&*labels["zone"], &*labels["namespace"], &*labels["reason"], *count)
        })
        .collect();
    assert_eq!(
        refused,
        ["apex", "older", "wildcard"].map(|reason| ("example.com.", "evil", reason, 1.))
    );
    // The late Ingress still gets the host that no other object claims.
    for (name, last) in [("pay.example.com", 1), ("own.example.com", 66)] {
        let reply = udp(server.address, &question(1, name, 1)).unwrap();
        assert_eq!(reply[reply.len() - 4..], [192, 0, 2, last], "{name}");
    }
}
