//! DNS over gRPC in both directions with CoreDNS, with and without TLS, and requests that are not
//! queries.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::{
    Ndots,
    coredns::CoreDns,
    encrypted::{Authority, runtime},
    free_address, page, question, rcode,
    serving::Serving,
    udp,
};

const A: u16 = 1;
const HOST: &str = "hosts none {\n 192.0.2.1 host.example\n }";

/// The answer's last octets, or the code.
fn told(server: SocketAddr, name: &str) -> String {
    match udp(server, &question(7, name, A)) {
        Some(reply) if rcode(&reply) == 0 => format!("{:?}", &reply[reply.len() - 4..]),
        Some(reply) => rcode(&reply).to_string(),
        None => "none".to_owned(),
    }
}

fn served(port: u16, tls: &str) -> String {
    format!("grpc://.:{port} {{\n bind 127.0.0.1\n {tls}\n {HOST}\n}}\n")
}

fn asking(port: u16, upstream: SocketAddr, options: &str) -> String {
    format!(".:{port} {{\n bind 127.0.0.1\n grpc . {upstream} {{\n {options}\n }}\n whoami\n}}\n")
}

#[test]
fn each_program_asks_and_serves_the_other() {
    let authority = Authority::new();
    let ca = authority.path("ca.pem").display().to_string();
    let encrypted = format!("tls {ca}\n tls_servername localhost");
    for (tls, options) in [(String::new(), ""), (authority.directive(), &*encrypted)] {
        let theirs = CoreDns::start(|port| served(port, &tls));
        let ours = Serving::start(|port| served(port, &tls));
        for upstream in [theirs.address, ours.address] {
            let asked_by_ours = Serving::start(|port| asking(port, upstream, options));
            let asked_by_theirs = CoreDns::start(|port| asking(port, upstream, options));
            for asked in [asked_by_ours.address, asked_by_theirs.address] {
                assert_eq!(told(asked, "host.example"), "[192, 0, 2, 1]", "{upstream} {options}");
                // The server has no such name.
                assert_eq!(told(asked, "other.example"), "2", "{upstream} {options}");
            }
        }
    }
}

/// The series of a family that begins with one of these prefixes, without values.
fn series(page: &str, prefixes: &[&str]) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)));
    // The two programs write the bounds of buckets in different ways.
    let lines = lines.filter(|line| !line.contains("_bucket{"));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[test]
fn queries_are_counted_as_by_coredns() {
    let upstream = CoreDns::start(|port| served(port, ""));
    let (ours_at, theirs_at) = (free_address(), free_address());
    let measured = |port, at: SocketAddr| {
        asking(port, upstream.address, "").replace("whoami", &format!("prometheus {at}"))
    };
    let ours = Serving::start(|port| measured(port, ours_at));
    let theirs = CoreDns::start(|port| measured(port, theirs_at));
    for (server, name) in [(ours.address, "host.example"), (theirs.address, "host.example")] {
        assert_eq!(told(server, name), "[192, 0, 2, 1]");
    }
    let pages = [ours_at, theirs_at].map(|at| page(at, "/metrics").expect("a page"));
    let [ours, theirs] = pages.each_ref().map(|page| series(page, &["coredns_grpc_"]));
    assert_eq!(ours, theirs);
    assert!(!ours.is_empty());
    assert_eq!(series(&pages[0], &["coredns_forward_re"]), BTreeSet::new());
}

#[test]
fn a_certificate_for_another_name_is_rejected() {
    let authority = Authority::new();
    let ca = authority.path("ca.pem").display().to_string();
    let server = Serving::start(|port| served(port, &authority.directive()));
    let options = format!("tls {ca}\n tls_servername other.example");
    let asked = Serving::start(|port| asking(port, server.address, &options));
    assert_eq!(told(asked.address, "host.example"), "2");
}

/// The next plugin gets the query if the name does not exist, or if no upstream answers.
#[test]
fn names_fall_through_as_in_coredns() {
    let server = CoreDns::start(|port| {
        format!(
            "grpc://.:{port} {{\n bind 127.0.0.1\n template IN A gone.example {{\n rcode NXDOMAIN\n }}\n {HOST}\n}}\n"
        )
    });
    for upstream in [server.address, free_address()] {
        for options in ["", "fallthrough", "fallthrough other.example", "except gone.example"] {
            let (ours, theirs) = (
                Serving::start(|port| asking(port, upstream, options)),
                CoreDns::start(|port| asking(port, upstream, options)),
            );
            for name in ["gone.example", "host.example"] {
                let code = |server| udp(server, &question(7, name, A)).map(|reply| rcode(&reply));
                let (ours, theirs) = (code(ours.address), code(theirs.address));
                assert_eq!(ours, theirs, "{upstream} {options} {name}");
            }
        }
    }
}

/// The status of a response, from its head or its trailers, and the length of its body.
fn call(server: SocketAddr, path: &str, body: &[u8]) -> (String, usize) {
    let request = Request::post(format!("http://{server}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::copy_from_slice(body)))
        .unwrap();
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(server).await.unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let exchange = async {
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            let status = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
            (status.unwrap().to_str().unwrap().to_owned(), body.to_bytes().len())
        };
        let exchange = tokio::time::timeout(Duration::from_secs(20), exchange);
        tokio::select! {
            outcome = exchange => outcome.unwrap(),
            _ = connection => panic!("the server has closed the connection"),
        }
    })
}

#[test]
fn requests_without_a_query_get_a_status() {
    const METHOD: &str = "/coredns.dns.DnsService/Query";
    let server = Ndots::corefile(&served(0, ""), &["grpc"], &[]);
    let address = server.bound["grpc"];
    let framed =
        |message: &[u8]| [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
    let field = |packet: &[u8]| [&[0x0a, packet.len() as u8][..], packet].concat();
    let ask = field(&question(7, "host.example", A));
    assert_eq!(call(address, METHOD, &framed(&ask)).0, "0");
    assert!(call(address, METHOD, &framed(&ask)).1 > 40);
    // A message of which only the header is valid gets a DNS reply.
    assert_eq!(
        call(address, METHOD, &framed(&field(&question(7, "host.example", A)[..12]))).0,
        "0"
    );
    let table: &[(&str, Vec<u8>, &str)] = &[
        ("/coredns.dns.DnsService/Other", framed(&ask), "12"),
        ("/", framed(&ask), "12"),
        (METHOD, Vec::new(), "3"),
        (METHOD, framed(b""), "3"),
        (METHOD, framed(&field(b"short")), "3"),
        (METHOD, framed(b"\xff"), "3"),
        (METHOD, framed(&ask)[..20].to_vec(), "3"),
        (METHOD, [&[1][..], &framed(&ask)[1..]].concat(), "3"),
        (METHOD, [&[0, 0xff, 0xff, 0xff, 0xff][..], &ask].concat(), "3"),
        (METHOD, vec![0; 5000], "3"),
    ];
    for (path, body, status) in table {
        assert_eq!(call(address, path, body), ((*status).to_owned(), 0), "{path} {body:?}");
    }
    assert_eq!(call(address, METHOD, &framed(&ask)).0, "0");
}

#[test]
fn the_log_names_the_plugin_whose_upstream_is_down() {
    for plugin in ["forward", "grpc"] {
        let text = format!(".:0 {{\n bind 127.0.0.1\n {plugin} . {}\n}}\n", free_address());
        let ndots = Ndots::corefile(&text, &["dns"], &[]);
        let reply = ndots.udp(&question(7, "a.example", A)).expect("a reply");
        assert_eq!(rcode(&reply), 2);
        let mut lines = std::iter::from_fn(|| ndots.log.recv_timeout(Duration::from_secs(20)).ok());
        let line = lines.find(|line| line.contains("is down")).expect("a line");
        assert!(line.starts_with(&format!("[WARNING] plugin/{plugin}: ")), "{line}");
    }
}
