//! The binary over sockets: transports, edited manifests and Corefiles, HTTP pages, graceful
//! shutdown.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{Ndots, lab::until, page, question, rcode, turn, udp};

const A: u16 = 1;
const API: &str = "kubernetes.default.svc.cluster.local";

fn cafe() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cafe").display().to_string()
}

/// Serves the example. Nothing listens on the port of its upstream.
fn server() -> Ndots {
    Ndots::serve(&["--manifests", &cafe(), "--upstream", "127.0.0.1:1"])
}

#[test]
fn every_transport_gives_the_same_answers() {
    let server = server();
    for name in [
        API,
        "my-service.default.svc.cluster.local",
        "nope.default.svc.cluster.local",
        "prometheus-operated.monitoring.svc.cluster.local",
    ] {
        for qtype in [5, 33, 28, 16, 6, 255] {
            let packet = question(7, name, qtype);
            let mut tcp = server.tcp();
            tcp.send(&packet);
            assert_eq!(server.udp(&packet), tcp.receive(), "{name} {qtype}");
        }
    }
}

#[test]
fn queries_of_one_connection_do_not_block_each_other() {
    let server = server();
    let mut tcp = server.tcp();
    // Nothing listens on the upstream port, so this query fails late.
    tcp.send(&question(1, "slow.example", A));
    tcp.send(&question(2, API, A));
    let first = tcp.receive().unwrap();
    assert_eq!(first[1], 2, "the quick one comes first");
    let second = tcp.receive().unwrap();
    assert_eq!((second[1], rcode(&second)), (1, 2));
}

#[test]
fn a_slow_message_is_dropped() {
    let server = server();
    let mut tcp = server.tcp();
    let begun = Instant::now();
    tcp.0.write_all(&[0]).unwrap();
    assert_eq!(tcp.receive(), None);
    assert!(begun.elapsed() < Duration::from_secs(7), "closed after {:?}", begun.elapsed());
}

#[test]
fn an_edit_shows_within_a_second() {
    let _turn = turn::alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yaml");
    let write = |ip: &str| {
        fs::write(&file, format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: {ip}}}\n")).unwrap();
    };
    write("10.96.1.1");
    let server = Ndots::serve(&[
        "--manifests",
        directory.path().to_str().unwrap(),
        "--upstream",
        "127.0.0.1:1",
    ]);
    let packet = question(7, "web.default.svc.cluster.local", A);
    let shows = |octets: [u8; 4]| server.udp(&packet).is_some_and(|reply| reply.ends_with(&octets));
    assert!(shows([10, 96, 1, 1]));
    for last in 2..5 {
        write(&format!("10.96.1.{last}"));
        let edited = Instant::now();
        while !shows([10, 96, 1, last]) {
            assert!(edited.elapsed() < Duration::from_secs(1), "an edit was not seen");
        }
    }
    // A file that does not parse changes nothing.
    fs::write(&file, "kind: [").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(shows([10, 96, 1, 4]));
    fs::remove_file(&file).unwrap();
    let gone = Instant::now();
    while rcode(&server.udp(&packet).unwrap()) != 3 {
        assert!(gone.elapsed() < Duration::from_secs(1), "a removed file was not seen");
    }
}

#[test]
fn sigterm_ends_it_well() {
    assert_eq!(server().terminate(), 0);
}

#[test]
fn pages_show_health_readiness_and_metrics() {
    let [health, ready, metrics] = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"];
    let text = format!(
        ".:0 {{\n bind 127.0.0.1\n errors\n health {health}\n ready {ready}\n prometheus {metrics}\n \
         kubernetes cluster.local {{\n manifests {}\n }}\n}}\n",
        cafe()
    );
    let server = Ndots::corefile(&text, &["dns", health, ready, metrics], &[]);
    let get = |listen: &str, path: &str| page(server.bound[listen], path);
    assert!(get(health, "/health").unwrap().ends_with("OK"));
    assert!(get(ready, "/ready").unwrap().ends_with("OK"));
    assert!(get(health, "/nope").unwrap().starts_with("HTTP/1.1 404"));
    assert!(server.udp(&question(7, API, A)).is_some());
    let shown = get(metrics, "/metrics").unwrap();
    let requests = "coredns_dns_requests_total{family=\"1\",proto=\"udp\",server=\"dns://127.0.0.1:0\",type=\"A\",view=\"\",zone=\".\"} 1";
    assert!(shown.contains(requests), "{shown}");
    assert!(
        shown.contains("process_open_fds ") && !shown.contains("process_resident_memory_bytes 0\n"),
        "{shown}"
    );
    assert!(shown.contains("rcode=\"NOERROR\""), "{shown}");
}

#[test]
fn an_edited_corefile_is_used_and_a_broken_one_is_not() {
    let text = |address: &str| {
        format!(
            ".:0 {{\n bind 127.0.0.1\n reload 2s\n hosts none {{\n {address} host.example\n }}\n}}\n"
        )
    };
    let server = Ndots::corefile(&text("192.0.2.1"), &["dns"], &[]);
    let corefile = server.file.as_ref().unwrap();
    let answers = |octets: &[u8]| {
        server.udp(&question(7, "host.example", A)).is_some_and(|reply| reply.ends_with(octets))
    };
    assert!(answers(&[192, 0, 2, 1]));
    fs::write(corefile, text("192.0.2.2")).unwrap();
    let patience = Duration::from_secs(20);
    until("the new address", patience, || answers(&[192, 0, 2, 2]).then_some(()));
    fs::write(corefile, ". {\n hosst\n}\n").unwrap();
    let mut line = String::new();
    while !line.contains("reload failed") {
        line = server.log.recv_timeout(patience).expect("the log names the broken file");
    }
    assert!(answers(&[192, 0, 2, 2]), "a broken file changed what is served");
}

#[test]
fn each_address_has_its_own_counters() {
    let text = ".:0 {\n bind 127.0.0.1 127.0.0.2\n prometheus 127.0.0.1:0\n whoami\n}\n";
    let server = Ndots::corefile(text, &["dns", "127.0.0.1:0"], &[]);
    let second = server.bound["dns://127.0.0.2:0"];
    for id in 0..3 {
        assert!(udp(second, &question(id, "a.example", A)).is_some());
    }
    let shown = page(server.bound["127.0.0.1:0"], "/metrics").unwrap();
    let requests: Vec<_> =
        shown.lines().filter(|line| line.starts_with("coredns_dns_requests_total")).collect();
    assert!(
        requests.len() == 1
            && requests[0].contains("server=\"dns://127.0.0.2:0\"")
            && requests[0].ends_with(" 3"),
        "{requests:?}"
    );
    for address in ["127.0.0.1", "127.0.0.2"] {
        let enabled = format!(
            "coredns_plugin_enabled{{name=\"whoami\",server=\"dns://{address}:0\",view=\"\",zone=\".\"}} 1"
        );
        assert!(shown.contains(&enabled), "{shown}");
    }
}
