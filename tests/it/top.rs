//! The option `top` of `prometheus`: frequent clients, names and namespaces.

use std::{net::SocketAddr, time::Duration};

use crate::support::{Ndots, free_address, lab::until, page, prometheus::read, question};

const A: u16 = 1;

/// The body of a page; empty if there is no such page.
fn body(monitor: SocketAddr, path: &str) -> String {
    let page = page(monitor, path).unwrap();
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    if head.starts_with("HTTP/1.1 200") { body.to_owned() } else { String::new() }
}

fn corefile(monitor: &str, top: &str) -> String {
    let cafe = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe");
    format!(
        ".:0 {{
    bind 127.0.0.1
    kubernetes cluster.local {{
        manifests {cafe}
    }}
    prometheus {monitor} {{
        {top}
    }}
}}
"
    )
}

#[test]
fn the_page_has_frequent_clients_and_names_and_the_metrics_have_namespaces() {
    let monitor = free_address();
    let server = Ndots::corefile(&corefile(&monitor.to_string(), "top 3"), &["dns"], &[]);
    let ask = |name: &str| server.udp(&question(1, name, A)).expect("a reply");
    until("the manifests", Duration::from_secs(20), || {
        (ask("kubernetes.default.svc.cluster.local")[3] & 15 == 0).then_some(())
    });
    for number in 0..20 {
        ask("tea-svc.default.svc.cluster.local");
        ask("TEA-svc.default.svc.cluster.local");
        ask(&format!("{number}.rare.example.org"));
        // There is no such namespace, so no series must appear.
        ask(&format!("web.made-up-{number}.svc.cluster.local"));
    }
    let text = body(monitor, "/top");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let of = |kind: &str| lines.iter().filter(|line| line[0] == kind).collect::<Vec<_>>();
    assert_eq!(of("client").len(), 1, "{text}");
    assert_eq!(of("client")[0][1], "127.0.0.1");
    let names = of("name");
    assert_eq!((names.len(), names[0][1]), (3, "tea-svc.default.svc.cluster.local."), "{text}");
    assert!(names[0][2].parse::<u32>().unwrap() >= 40, "{text}");

    let series = read(&body(monitor, "/metrics"));
    let namespaces: Vec<_> = series
        .iter()
        .filter(|((name, _), _)| name == "coredns_dns_namespace_responses_total")
        .map(|((_, labels), count)| (labels["namespace"].as_str(), *count))
        .collect();
    assert!(matches!(namespaces[..], [("default", count)] if count >= 40.), "{namespaces:?}");
}

#[test]
fn without_the_option_nobody_sees_clients() {
    let monitor = free_address();
    let server = Ndots::corefile(&corefile(&monitor.to_string(), ""), &["dns"], &[]);
    server.udp(&question(1, "kubernetes.default.svc.cluster.local", A)).expect("a reply");
    assert!(!body(monitor, "/metrics").contains("namespace_responses"));
    assert_eq!(body(monitor, "/top"), "");
}
