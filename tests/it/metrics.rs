//! Sends the same queries to CoreDNS and ndots. Both must export the same families, labels and
//! values, and every query of known dashboards and alerts must find a series.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::Duration,
};

use crate::support::{
    Tcp,
    coredns::CoreDns,
    encrypted::{Authority, dot},
    free_address,
    lab::{Container, Lab, LabOptions, Program, until},
    page,
    prometheus::{Labels, Series, read},
    question,
    serving::Serving,
    turn, udp,
    upstream::Upstream,
};
use serde_json::json;

/// The exceptions with their reasons: the family, the labels to ignore, and whether values are
/// compared.
const DIFFERENT: &[(&str, &[&str], bool, &str)] = &[
    ("coredns_build_info", &["version", "revision", "goversion"], true, "another program"),
    (
        "coredns_dns_responses_total",
        &["plugin"],
        true,
        "ndots names the plugin that answered, CoreDNS the one after `prometheus`",
    ),
    ("coredns_dns_request_duration_seconds_bucket", &[], false, "a time"),
    ("coredns_dns_request_duration_seconds_sum", &[], false, "a time"),
    (
        "coredns_dns_response_size_bytes_bucket",
        &[],
        false,
        "replies are compressed, and the size is that of the sent reply",
    ),
    (
        "coredns_dns_response_size_bytes_sum",
        &[],
        false,
        "replies are compressed, and the size is that of the sent reply",
    ),
    ("coredns_proxy_request_duration_seconds_bucket", &[], false, "a time"),
    ("coredns_proxy_request_duration_seconds_sum", &[], false, "a time"),
    (
        "coredns_proxy_request_duration_seconds_count",
        &[],
        false,
        "after SERVFAIL the upstream is asked once more, without EDNS",
    ),
    (
        "coredns_proxy_conn_cache",
        &["proto"],
        false,
        "each query over UDP has its own socket, and queries over TCP are forwarded over UDP",
    ),
    (
        "coredns_dns_request_size_bytes_sum",
        &[],
        false,
        "the name that `loop` queries has another length",
    ),
    ("coredns_hosts_reload_timestamp_seconds", &[], false, "each has a file of its own"),
    ("coredns_proxy_healthcheck_failures_total", &[], false, "how many depends on time"),
    ("coredns_forward_healthcheck_broken_total", &[], false, "how many depends on time"),
    ("coredns_health_request_duration_seconds", &[], false, "how many depends on time"),
    (
        "coredns_cache_entries",
        &[],
        false,
        "in CoreDNS the instance before a reload may get the query of `loop` after it",
    ),
    (
        "coredns_kubernetes_rest_client",
        &[],
        false,
        "lists are read in pages, and a watch lasts 30 s",
    ),
    ("coredns_kubernetes_dns_programming_duration_seconds", &[], false, "a time"),
    ("coredns_reload_version_info", &["value"], true, "the hash of the Corefile as each prints it"),
];

/// CoreDNS exports this family even if its plugin is not in use.
const COREDNS_ONLY: &str = "coredns_local_localhost_requests_total";

/// A query of a dashboard or alert: the name of a series, labels with a value, and the labels to
/// group by.
type Query = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// The alerts and panels of coredns-mixin, the dashboard and rules of kube-prometheus (Grafana
/// 12539) and its SLO.
const QUERIES: &[Query] = &[
    ("coredns_build_info", &[], &[]),
    ("coredns_panics_total", &[], &[]),
    ("coredns_plugin_enabled", &[], &["name"]),
    ("coredns_dns_responses_total", &[], &["server", "zone", "view", "rcode", "plugin"]),
    ("coredns_dns_responses_total", &[("rcode", "SERVFAIL")], &[]),
    ("coredns_dns_request_duration_seconds_bucket", &[], &["server", "zone", "le"]),
    ("coredns_dns_requests_total", &[], &["proto"]),
    ("coredns_dns_requests_total", &[], &["type"]),
    ("coredns_dns_requests_total", &[], &["zone"]),
    ("coredns_dns_do_requests_total", &[], &[]),
    ("coredns_dns_request_size_bytes_bucket", &[], &["server", "zone", "proto", "le"]),
    ("coredns_dns_request_size_bytes_bucket", &[("proto", "udp")], &["le"]),
    ("coredns_dns_request_size_bytes_bucket", &[("proto", "tcp")], &["le"]),
    ("coredns_dns_response_size_bytes_bucket", &[], &["server", "zone", "proto", "le"]),
    ("coredns_dns_response_size_bytes_bucket", &[("proto", "udp")], &["le"]),
    ("coredns_dns_response_size_bytes_bucket", &[("proto", "tcp")], &["le"]),
    ("coredns_cache_entries", &[], &["type"]),
    ("coredns_cache_hits_total", &[], &["type"]),
    ("coredns_cache_misses_total", &[], &[]),
    ("coredns_forward_requests_total", &[], &["to"]),
    ("coredns_forward_responses_total", &[], &["rcode"]),
    ("coredns_forward_responses_total", &[("rcode", "SERVFAIL")], &[]),
    ("coredns_forward_request_duration_seconds_bucket", &[], &["to", "le"]),
    ("coredns_forward_healthcheck_failures_total", &[], &[]),
    ("coredns_forward_healthcheck_broken_total", &[], &[]),
    ("coredns_kubernetes_dns_programming_duration_seconds_bucket", &[], &["service_kind", "le"]),
    ("process_resident_memory_bytes", &[], &[]),
    ("process_cpu_seconds_total", &[], &[]),
    ("go_goroutines", &[], &[]),
];

/// Queries of the chart's alerts and dashboard for series that CoreDNS does not export.
const OWN_QUERIES: &[Query] = &[
    ("coredns_corefile_info", &[("state", "running")], &["sha512"]),
    ("coredns_corefile_info", &[("state", "file")], &["sha512"]),
    ("coredns_cpu_periods_total", &[], &[]),
    ("coredns_cpu_throttled_periods_total", &[], &[]),
    ("coredns_forward_upstream_down", &[], &["to"]),
    ("coredns_kubernetes_facts_hash", &[], &["host"]),
    ("coredns_kubernetes_heard_timestamp_seconds", &[("resource", "services")], &["host"]),
    ("coredns_kubernetes_refused", &[("resource", "services")], &["host"]),
    ("coredns_kubernetes_synced", &[("resource", "services")], &["host"]),
    ("coredns_log_lines_lost_total", &[], &[]),
    ("coredns_udp_dropped_datagrams_total", &[], &[]),
];

/// The time of queries. It must not be 0 in server blocks that only answer from memory.
const REQUEST_TIME: &str = "coredns_dns_request_duration_seconds_sum";

/// kubeadm's Corefile, with blocks for further plugins.
fn corefile(upstream: SocketAddr, comment: &str) -> String {
    format!(
        ".:53 {{
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    hosts /etc/coredns/NodeHosts node.example {{
       192.0.2.2 inline.node.example
       fallthrough
    }}
    prometheus :9153
    forward . {upstream} {{
       max_concurrent 1000
    }}
    cache 30 {{
       disable success cluster.local in-addr.arpa node.example
       disable denial cluster.local in-addr.arpa node.example
       {comment}
    }}
    loop
    reload 2s 0s
    loadbalance
}}
tcp.example {{
    prometheus :9153
    forward . {upstream} {{
       force_tcp
    }}
}}
dead.example {{
    errors
    prometheus :9153
    forward . 127.0.0.9:9 {{
       health_check 100ms
       max_connect_attempts 2
    }}
}}
other.example:5353 {{
    prometheus :9153
    whoami
}}
"
    )
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: db, namespace: default }
spec: { clusterIP: None, selector: { app: db }, ports: [{ name: sql, port: 5432 }] }
";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: { name: db-0, namespace: default, labels: { app: db } }
spec: { containers: [{ name: db, image: db }] }
";

const UDP: bool = false;
const TCP: bool = true;

/// The queries for each server, in this order.
fn questions() -> Vec<(bool, Vec<u8>)> {
    let dnssec = |mut packet: Vec<u8>| {
        packet[11] = 1;
        packet.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0x80, 0, 0, 0]);
        packet
    };
    let names = [
        ("kubernetes.default.svc.cluster.local", 1),
        ("kubernetes.default.svc.cluster.local", 28),
        ("_https._tcp.kubernetes.default.svc.cluster.local", 33),
        ("dns-version.cluster.local", 16),
        ("nope.default.svc.cluster.local", 1),
        ("www.example.org.default.svc.cluster.local", 1),
        ("10-1-2-3.default.pod.cluster.local", 1),
        ("1.0.96.10.in-addr.arpa", 12),
        ("www.example.org", 1),
        ("www.example.org", 1),
        ("none.example.org", 28),
        ("none.example.org", 28),
        ("nx.example.org", 1),
        ("nx.example.org", 1),
        ("www.example.org", 65),
        ("fail.example.org", 1),
        ("file.node.example", 1),
        ("inline.node.example", 28),
        ("gone.node.example", 1),
        ("a.tcp.example", 1),
        ("b.tcp.example", 1),
        ("c.tcp.example", 99),
        ("a.dead.example", 1),
    ];
    let asked =
        |tcp: bool| names.into_iter().map(move |(name, qtype)| (tcp, question(7, name, qtype)));
    let more = ["kubernetes.default.svc.cluster.local", "www.example.org"]
        .map(|name| (UDP, dnssec(question(7, name, 1))));
    asked(UDP).chain(asked(TCP)).chain(more).collect()
}

fn load(server: &Container) {
    let address = SocketAddr::from((server.netns.address, 53));
    for (tcp, packet) in questions() {
        let reply = if tcp == TCP {
            let mut stream = Tcp(std::net::TcpStream::connect(address).unwrap());
            stream.0.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
            stream.send(&packet);
            stream.receive()
        } else {
            udp(address, &packet).or_else(|| udp(address, &packet))
        };
        assert!(reply.is_some(), "no reply: {packet:?}\n{}", server.log());
    }
    let elsewhere = SocketAddr::from((server.netns.address, 5353));
    for name in ["other.example", "nowhere.example"] {
        udp(elsewhere, &question(7, name, 1)).unwrap();
    }
}

fn scrape(server: &Container) -> Series {
    let (code, page) = server.page(9153, "/metrics");
    assert_eq!(code, "200");
    read(&page)
}

/// The compared part of a series: its labels without the ignored ones, and its value if it counts.
fn compared(series: &Series) -> Vec<(String, Labels, Option<f64>)> {
    let mut sums = Series::new();
    let rule = |name: &str| DIFFERENT.iter().find(|(family, ..)| name.starts_with(family));
    for ((name, labels), value) in
        series.iter().filter(|((name, _), _)| name.starts_with("coredns_") && name != COREDNS_ONLY)
    {
        let left_out = rule(name).map_or(&[][..], |(_, left_out, ..)| left_out);
        let labels = labels
            .iter()
            .filter(|(label, _)| !left_out.contains(&&***label))
            .map(|(label, value)| (label.clone(), value.clone()));
        *sums.entry((name.clone(), labels.collect())).or_default() += value;
    }
    let value =
        |name: &str, value| rule(name).is_none_or(|(_, _, compared, _)| *compared).then_some(value);
    sums.into_iter()
        .map(|((name, labels), sum)| (name.clone(), labels, value(&name, sum)))
        .collect()
}

fn finds(series: &Series, (name, selected, grouped): &Query) -> bool {
    let has = |labels: &Labels| {
        selected.iter().all(|(label, value)| labels.get(*label).is_some_and(|found| found == value))
            && grouped.iter().all(|label| labels.contains_key(*label))
    };
    series.keys().any(|(found, labels)| found == name && has(labels))
}

/// The upstream of `dead.example` is down, and the other one is not.
fn wrong_states(ndots: &Series, living: &str) -> Vec<String> {
    let down = |to: &str| {
        let labels = Labels::from([("to".to_owned(), to.to_owned())]);
        ndots.get(&("coredns_forward_upstream_down".to_owned(), labels)).copied()
    };
    let states = [("127.0.0.9:9", Some(1.)), (living, Some(0.))];
    let wrong = states.into_iter().filter(|(to, expected)| down(to) != *expected);
    wrong.map(|(to, expected)| format!("{to}: {:?}, expected {expected:?}", down(to))).collect()
}

#[test]
fn dashboards_and_alerts_find_their_series() {
    let turn = turn::alone();
    let lab = Lab::start(&turn, &LabOptions::default());
    let upstream = Upstream::start(lab.lan.test_address());
    let servers = [Program::CoreDns, Program::Ndots].map(|program| {
        let guest = lab.guest();
        let mut server = lab.server(&guest, program, &corefile(upstream.address, ""));
        server.file("/etc/coredns/NodeHosts", "192.0.2.1 file.node.example other.node.example\n");
        server.wait_until_ready();
        server
    });
    // The endpoints appear while both servers watch, after they know the Service.
    lab.apply(SERVICE);
    for server in &servers {
        server.file("/etc/coredns/Corefile", &corefile(upstream.address, "servfail 10s"));
        until("a reload", Duration::from_secs(20), || {
            server.log().contains("Reloading complete").then_some(())
        });
    }
    lab.apply(POD);
    lab.running("default", "db-0", &["10.244.0.7"], false);
    // The first slice of a Service may arrive before the Service, and is not counted. The slice
    // with this Pod comes later.
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": now });
    lab.patch(
        "/api/v1/namespaces/default/pods/db-0/status",
        &json!({ "status": { "conditions": [ready] } }),
    );
    for server in &servers {
        let told = (
            "coredns_kubernetes_dns_programming_duration_seconds_count",
            &[("service_kind", "headless_with_selector")][..],
            &[][..],
        );
        until("the Pod's endpoint", Duration::from_secs(20), || {
            finds(&scrape(server), &told).then_some(())
        });
    }
    // The plugin `loop` sends queries for names of two numbers at the start and after a reload. ndots
    // puts the number of the query before them.
    let is_probe =
        |name: &str| name.split('.').filter(|label| label.parse::<u64>().is_ok()).count() >= 2;
    until("the probes of `loop`", Duration::from_secs(30), || {
        (upstream.asked(is_probe) >= 4).then_some(())
    });
    servers.iter().for_each(load);
    std::thread::sleep(Duration::from_secs(2));
    let [coredns, ndots] = [&servers[0], &servers[1]].map(scrape);
    let (theirs, ours) = (compared(&coredns), compared(&ndots));
    let mut faults: Vec<String> = Vec::new();
    for series in &theirs {
        let (name, labels, value) = series;
        match ours.iter().find(|(our, other, _)| our == name && other == labels) {
            None => faults.push(format!("{name} {labels:?} is missing")),
            Some((.., our)) if our != value => {
                faults.push(format!("{name} {labels:?}: {value:?} there, {our:?} here"));
            }
            Some(_) => {}
        }
    }
    faults.extend(
        QUERIES
            .iter()
            .chain(OWN_QUERIES)
            .filter(|query| !finds(&ndots, query))
            .map(|query| format!("nothing is found by {query:?}")),
    );
    let sums = ndots.iter().filter(|((name, _), _)| name == REQUEST_TIME).map(|(_, sum)| *sum);
    let sums: Vec<f64> = sums.collect();
    assert!(sums.len() > 1 && sums.iter().all(|sum| *sum > 0.0), "answers from memory: {sums:?}");
    faults.extend(wrong_states(&ndots, &upstream.address.to_string()));
    let dead = QUERIES.iter().filter(|query| !finds(&coredns, query)).count();
    println!(
        "{} series of CoreDNS are here, {} of them with the same value; {} queries find a series, of which CoreDNS has none for {dead}",
        theirs.len(),
        theirs.iter().filter(|(.., value)| value.is_some()).count(),
        QUERIES.len()
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The page over HTTPS, from ndots and CoreDNS with the same file, before and after it is renewed.
#[test]
fn the_page_is_served_over_https_as_in_coredns() {
    let authority = Authority::new();
    let file = authority.path("web.yml");
    let settings = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n";
    std::fs::write(&file, settings).unwrap();
    let (ours_at, theirs_at) = (free_address(), free_address());
    let corefile = |port: u16, at: SocketAddr| {
        format!(
            ".:{port} {{\n bind 127.0.0.1\n prometheus {at} {{\n tls {}\n }}\n whoami\n}}\n",
            file.display()
        )
    };
    let _ours = Serving::start(|port| corefile(port, ours_at));
    let _theirs = CoreDns::start(|port| corefile(port, theirs_at));
    let get = |at: SocketAddr, signer: Option<&Authority>| {
        let mut stream = dot(at, authority.client_as(&["http/1.1"], signer)).0;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut page = Vec::new();
        let _ = stream.read_to_end(&mut page);
        let page = String::from_utf8_lossy(&page).into_owned();
        page.contains("coredns_build_info").then_some(())
    };
    for at in [ours_at, theirs_at] {
        assert!(get(at, None).is_some(), "{at}");
        assert!(page(at, "/metrics").is_none_or(|page| !page.contains("coredns_")), "{at}");
    }
    let verified = format!(
        "{settings}  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
    );
    std::fs::write(&file, verified).unwrap();
    authority.renew();
    for at in [ours_at, theirs_at] {
        assert!(get(at, None).is_none(), "{at} wants a certificate");
        assert!(get(at, Some(&authority)).is_some(), "{at}");
        assert!(get(at, Some(&Authority::new())).is_none(), "{at} wants another certificate");
    }
}
