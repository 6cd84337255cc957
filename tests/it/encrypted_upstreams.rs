//! Upstreams over HTTPS and QUIC, served by ndots and by CoreDNS.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots, coredns::CoreDns, encrypted::Authority, page, question, rcode, turn, udp,
};

const A: u16 = 1;
const PAGES: &str = "127.0.0.1:0";

fn answers(reply: Option<Vec<u8>>) -> bool {
    reply.is_some_and(|reply| rcode(&reply) == 0 && reply.ends_with(&[192, 0, 2, 1]))
}

/// The blocks of a server over HTTPS and QUIC.
fn blocks(ports: [u16; 2], tls: &str) -> String {
    let block = |scheme: &str, port: u16| {
        format!(
            "{scheme}://.:{port} {{\n bind 127.0.0.1\n {tls}\n template IN A {{\n answer \"{{{{ .Name }}}} 60 IN A 192.0.2.1\"\n }}\n}}\n"
        )
    };
    block("https", ports[0]) + &block("quic", ports[1])
}

/// The same with the names that a client asks for.
fn our_blocks(tls: &str) -> String {
    let names: String = (0..250)
        .fold("host.example".to_owned(), |all, at| format!("{all}\n 192.0.2.1 n{at}.example"));
    ["https", "quic"]
        .map(|scheme| {
            format!(
                "{scheme}://.:0 {{\n bind 127.0.0.1\n {tls}\n hosts none {{\n 192.0.2.1 {names}\n }}\n}}\n"
            )
        })
        .concat()
}

fn forwarder(to: &str, options: &str) -> Ndots {
    let text = format!(
        ".:0 {{\n bind 127.0.0.1\n errors\n prometheus {PAGES}\n forward . {to} {{\n {options}\n }}\n}}\n"
    );
    Ndots::corefile(&text, &["dns", PAGES], &[])
}

/// Whether the name is resolved, and the log.
fn forwarded(to: &str, options: &str) -> (bool, String) {
    let server = forwarder(to, options);
    let answered = answers(server.udp(&question(7, "host.example", A)));
    (answered, server.end().1.join("\n"))
}

#[test]
fn upstreams_are_used_if_their_certificate_matches() {
    let [authority, stranger] = [Authority::new(), Authority::new()];
    let server = Ndots::corefile(&our_blocks(&authority.directive()), &["https", "quic"], &[]);
    let ca = authority.path("ca.pem").display().to_string();
    let theirs = stranger.path("ca.pem").display().to_string();
    for scheme in ["https", "quic"] {
        let address = server.bound[scheme];
        let port = address.port();
        let (plain, host) =
            (format!("{scheme}://{address}"), format!("{scheme}://localhost:{port}"));
        let check = |to: &str, options: String, expected: Result<(), String>| {
            let (answered, log) = forwarded(to, &options);
            assert_eq!(answered, expected.is_ok(), "{to} {options}: {log}");
            let words = expected.err().unwrap_or_default();
            assert!(log.contains(&words), "{to} {options}: {log}");
        };
        check(&plain, format!("tls {ca}"), Ok(()));
        check(&host, format!("tls {ca}\n health_check 100ms\n force_tcp"), Ok(()));
        check(&plain, format!("tls {ca}\n tls_servername localhost"), Ok(()));
        let named = format!("{scheme}://127.0.0.1%localhost:{port}");
        check(&named, format!("tls {ca}"), Ok(()));
        let failed = format!("tls: failed to verify certificate of {address}:");
        let other = format!("{failed} it is for another name");
        check(&plain, format!("tls {ca}\n tls_servername other.example"), Err(other));
        let unknown = format!("{failed} no trusted authority signed it");
        check(&plain, format!("tls {theirs}"), Err(unknown));
        // The QUIC port serves no HTTPS, and the other way round.
        let wrong = if scheme == "https" { "quic" } else { "https" };
        check(&format!("{wrong}://{address}"), format!("tls {ca}"), Err(String::new()));
    }
    for method in ["GET", "POST"] {
        let to = format!("https://{}", server.bound["https"]);
        assert!(forwarded(&to, &format!("tls {ca}\n doh_method {method}")).0, "{method}");
    }
}

/// Ten clients send 250 queries, and the forwarder opens at most six connections for them.
#[test]
fn many_queries_reach_each_server_on_few_connections() {
    let authority = Authority::new();
    let ca = authority.path("ca.pem").display().to_string();
    let ours = Ndots::corefile(&our_blocks(&authority.directive()), &["https", "quic"], &[]);
    let coredns = CoreDns::start(|port| blocks([port, port], &authority.directive()));
    let targets = [
        ("ndots", "https", ours.bound["https"]),
        ("ndots", "quic", ours.bound["quic"]),
        ("CoreDNS", "https", coredns.address),
        ("CoreDNS", "quic", coredns.address),
    ];
    for (program, scheme, address) in targets {
        let server = forwarder(&format!("{scheme}://{address}"), &format!("tls {ca}"));
        let failed = ask_all(server.address, 250);
        assert_eq!(failed, [""; 0], "{scheme} of {program}");
        let metrics = page(server.bound[PAGES], "/metrics").unwrap();
        let opened = value(&metrics, "proxy_conn_cache_misses_total", scheme);
        println!("{program} over {scheme}: {opened} connections for 250 queries");
        assert!((1..=6).contains(&opened), "{scheme} of {program}: {opened} connections");
    }
}

/// The names without an answer, when 10 clients ask.
fn ask_all(server: SocketAddr, count: usize) -> Vec<String> {
    let part = |client: usize| {
        let names = (client..count).step_by(10).map(|at| format!("n{at}.example"));
        names.filter(|name| !answers(udp(server, &question(7, name, A)))).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..10).map(|client| scope.spawn(move || part(client))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

fn value(metrics: &str, family: &str, proto: &str) -> u64 {
    let label = format!("proto=\"{proto}\"");
    let line = metrics.lines().find(|line| line.contains(family) && line.contains(&label));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// CoreDNS is killed and started again at the same port, with a new certificate.
#[test]
fn a_restart_of_the_upstream_is_over_at_once() {
    let _turn = turn::alone();
    let authority = Authority::new();
    let ca = authority.path("ca.pem").display().to_string();
    for scheme in ["https", "quic"] {
        let coredns = CoreDns::start(|port| blocks([port, port], &authority.directive()));
        let address = coredns.address;
        let server =
            forwarder(&format!("{scheme}://{address}"), &format!("tls {ca}\n health_check 100ms"));
        assert!(answers(server.udp(&question(7, "n0.example", A))), "{scheme}");
        drop(coredns);
        assert!(!answers(server.udp(&question(7, "n1.example", A))), "{scheme}");
        authority.renew();
        let _again =
            CoreDns::start_at(address, &blocks([address.port(); 2], &authority.directive()));
        let started = Instant::now();
        let answered =
            (2..20).any(|at| answers(server.udp(&question(7, &format!("n{at}.example"), A))));
        println!("{scheme}: answers after {:.2} s", started.elapsed().as_secs_f64());
        assert!(answered && started.elapsed() < Duration::from_secs(3), "{scheme}");
    }
}
