//! The plugin `trace`: what a collector of OpenTelemetry gets.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use ndots::protobuf::fields;

use crate::support::{
    coredns::CoreDns, free_address, lab::until, page, question, serving::Serving, udp,
};

const A: u16 = 1;

/// A span that a collector got.
#[derive(Debug)]
struct Seen {
    service: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    attributes: Vec<(String, String)>,
    failed: bool,
}

fn all(message: &[u8], wanted: u32) -> Vec<Vec<u8>> {
    let fields = fields(message).expect("a message of protocol buffers");
    let found = fields.iter().filter(|(field, _)| *field == wanted);
    found.map(|(_, value)| value.octets().to_vec()).collect()
}

fn one(message: &[u8], wanted: u32) -> Vec<u8> {
    all(message, wanted).into_iter().next().unwrap_or_default()
}

fn text(octets: Vec<u8>) -> String {
    String::from_utf8(octets).unwrap()
}

fn attribute(message: &[u8]) -> (String, String) {
    (text(one(message, 1)), text(one(&one(message, 2), 1)))
}

fn read(request: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for of_resource in all(request, 1) {
        let service = attribute(&one(&one(&of_resource, 1), 1));
        assert_eq!(service.0, "service.name");
        for span in all(&of_resource, 2).iter().flat_map(|scope| all(scope, 2)) {
            seen.push(Seen {
                service: service.1.clone(),
                trace: one(&span, 1),
                id: one(&span, 2),
                parent: one(&span, 4),
                name: text(one(&span, 5)),
                attributes: all(&span, 9).iter().map(|it| attribute(it)).collect(),
                failed: !one(&span, 15).is_empty(),
            });
        }
    }
    seen
}

/// A collector over HTTP.
fn collector() -> (SocketAddr, Receiver<Vec<Seen>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, (send, seen)) = (listener.local_addr().unwrap(), channel());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut length, mut head) = (0, String::new());
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let line = line.trim().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(octets) = line.strip_prefix("content-length: ") {
                    length = octets.parse().unwrap();
                }
                head += &format!("{line}\n");
            }
            assert!(head.starts_with("post /v1/traces http/1.1\n"), "{head}");
            assert!(head.contains("content-type: application/x-protobuf\n"), "{head}");
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            if send.send(read(&body)).is_err() {
                return;
            }
        }
    });
    (address, seen)
}

fn corefile(port: u16, collector: SocketAddr, rest: &str) -> String {
    format!(
        ".:{port} {{\n bind 127.0.0.1\n trace otlp http://{collector} {{\n service dns-test\n every 2\n }}\n {rest}\n}}\n"
    )
}

#[test]
fn a_query_is_a_span_and_its_upstreams_are_its_children() {
    let upstream = CoreDns::start(|port| {
        format!(
            ".:{port} {{\n bind 127.0.0.1\n template IN A {{\n answer \"{{{{ .Name }}}} 60 IN A 192.0.2.1\"\n }}\n}}\n"
        )
    });
    let (address, seen) = collector();
    let rest = format!("forward . {}", upstream.address);
    let server = Serving::start(|port| corefile(port, address, &rest));
    for name in ["first.test", "second.test", "third.test"] {
        udp(server.address, &question(7, name, A)).expect("a reply");
    }
    let spans = seen.recv_timeout(Duration::from_secs(10)).expect("spans");
    let [child, own] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((&*own.name, &*own.service, own.failed), ("servedns", "dns-test", false));
    assert_eq!((own.trace.len(), own.id.len(), own.parent.len()), (16, 8, 0));
    let expected = [
        ("coredns.io/name", "second.test."),
        ("coredns.io/type", "A"),
        ("coredns.io/rcode", "NOERROR"),
        ("coredns.io/proto", "udp"),
        ("coredns.io/remote", "127.0.0.1"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(own.attributes, expected);
    assert_eq!((&*child.name, &child.trace, &child.parent), ("connect", &own.trace, &own.id));
    assert_eq!(child.attributes, [("peer.address".to_owned(), upstream.address.to_string())]);
}

/// No query waits for a collector, and spans that it does not take are counted.
#[test]
fn a_collector_that_is_not_there_delays_nothing() {
    let metrics = free_address();
    let rest = format!("whoami\n prometheus {metrics}");
    let server = Serving::start(|port| corefile(port, free_address(), &rest));
    let begun = Instant::now();
    for _ in 0..100 {
        udp(server.address, &question(7, "a.test", A)).expect("a reply");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let dropped = until("dropped spans", Duration::from_secs(20), || {
        let page = page(metrics, "/metrics")?;
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix("coredns_trace_dropped_spans_total "))?;
        line.parse::<u64>().ok().filter(|count| *count >= 50)
    });
    assert_eq!(dropped, 50);
}
