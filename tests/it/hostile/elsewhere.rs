//! Attacks that were reported for other DNS servers and HTTP libraries.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use rustls::{ClientConnection, StreamOwned};

use crate::support::{
    Ndots, Tcp,
    encrypted::{Authority, doq, dot, https},
    question, rcode, turn,
    upstream::Upstream,
};

use super::{
    arena::{A, resident},
    attacks::{self, connect, framed},
};

const HTTPS: &str = "https";
const START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Memory that an attack may cost, in KiB. A debug build and its allocator need some for each
/// connection.
const GROWTH: u64 = 24 << 10;

struct World {
    server: Ndots,
    authority: Authority,
    upstream: Upstream,
}

impl World {
    fn start() -> Self {
        let (authority, upstream) = (Authority::new(), Upstream::start(Ipv4Addr::LOCALHOST));
        let (identity, to) = (authority.directive(), upstream.address);
        let block = |scheme: &str, tls: &str| {
            format!("{scheme}.:0 {{\n bind 127.0.0.1\n {tls}\n forward . {to}\n}}\n")
        };
        let schemes = ["tls://", "https://", "quic://"].map(|it| block(it, &identity)).concat();
        let text = block("", "") + &schemes;
        let server = Ndots::corefile(&text, &["dns", "tls", HTTPS, "quic"], &[]);
        Self { server, authority, upstream }
    }

    fn memory(&self) -> u64 {
        resident(self.server.child.id())
    }

    fn https_stream(&self) -> StreamOwned<ClientConnection, TcpStream> {
        let stream = dot(self.server.bound[HTTPS], self.authority.client(&["h2"])).0;
        stream.sock.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        stream
    }

    /// Panics unless the server still answers other clients.
    fn assert_serves(&self) {
        let reply = self.server.udp(&question(7, "other.example.org", A)).expect("a reply");
        assert_eq!(rcode(&reply), 0);
    }
}

fn post(body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::post("https://localhost/dns-query");
    request.header("content-type", "application/dns-message").body(Full::from(body)).unwrap()
}

/// CVE-2026-86003: UPDATE over the newer transports reached the upstream, which trusted the server.
#[test]
fn update_requests_reach_no_upstream() {
    let world = World::start();
    let mut update = question(0, "example.org", 6);
    update[2] = 5 << 3;
    let bound = &world.server.bound;
    let mut over_tls = dot(bound["tls"], world.authority.client(&["dot"]));
    over_tls.send(&update);
    let mut over_tcp = world.server.tcp();
    over_tcp.send(&update);
    let over_https = https(bound[HTTPS], world.authority.client(&["h2"]), post(update.clone()));
    let replies = [
        world.server.udp(&update),
        over_tcp.receive(),
        over_tls.receive(),
        Some(over_https.into_body().to_vec()),
        doq(bound["quic"], world.authority.client(&["doq"]), &update),
    ];
    for reply in replies {
        assert_eq!(reply.map(|reply| rcode(&reply)), Some(4), "NOTIMP");
    }
    assert_eq!(world.upstream.asked(|_| true), 0);
    world.assert_serves();
}

/// CVE-2026-82399: a message whose header counts 65,535 records in each section, each with a pointer
/// to a long name, made the parser allocate 10 MiB.
#[test]
fn the_counts_of_a_header_cost_no_memory() {
    let _turn = turn::alone();
    let world = World::start();
    let name = ["x".repeat(60).as_str(); 4].join(".");
    let mut packet = question(0, &name, A);
    packet[4..12].fill(0xff);
    while packet.len() < 4080 {
        packet.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let before = world.memory();
    let config = world.authority.client(&["h2"]);
    let long = https(world.server.bound[HTTPS], config.clone(), post(vec![0xff; 65_533]));
    assert_eq!(long.status(), 413);
    let reply = https(world.server.bound[HTTPS], config, post(packet.clone()));
    assert_eq!(rcode(reply.body()), 1, "FORMERR");
    let mut stream = world.server.tcp();
    for _ in 0..2000 {
        stream.send(&packet);
        assert_eq!(stream.receive().map(|reply| rcode(&reply)), Some(1), "FORMERR");
    }
    assert!(world.memory() < before + GROWTH, "{before} KiB, {} KiB", world.memory());
}

/// CVE-2026-32936 and CVE-2025-68151: long values of `dns` were decoded, and long bodies were read,
/// before they were rejected.
#[test]
fn long_requests_are_rejected_before_they_are_read() {
    let _turn = turn::alone();
    let world = World::start();
    let before = world.memory();
    for round in 0..20 {
        let mut stream = dot(world.server.bound[HTTPS], world.authority.client(&["http/1.1"])).0;
        let (head, expected) = match round % 2 {
            0 => (format!("GET /dns-query?dns={}", "a".repeat(4 << 20)), "HTTP/1.1 431"),
            _ => (
                "POST /dns-query HTTP/1.1\r\nHost: localhost\r\nContent-Type: \
                 application/dns-message\r\nContent-Length: 1073741824\r\n\r\n"
                    .to_owned(),
                "HTTP/1.1 413",
            ),
        };
        // The server closes the connection while the client still sends.
        let _ = stream.write_all(head.as_bytes());
        // `StreamOwned` would try to send the rest again before it reads.
        let (connection, socket) = (&mut stream.conn, &mut stream.sock);
        let mut status = [0; 12];
        let mut read = 0;
        while read < status.len() && matches!(connection.read_tls(socket), Ok(1..)) {
            connection.process_new_packets().unwrap();
            read += connection.reader().read(&mut status[read..]).unwrap_or(0);
        }
        assert_eq!(String::from_utf8_lossy(&status), expected);
    }
    assert!(world.memory() < before + GROWTH, "{before} KiB, {} KiB", world.memory());
    world.assert_serves();
}

/// Sends frames again and again for at most 3 s. Returns whether the server ended the connection.
fn ends_connection(world: &World, mut frames: impl FnMut(u32) -> Vec<u8>) -> bool {
    let mut stream = world.https_stream();
    let begun = Instant::now();
    if stream.write_all(START).is_err() {
        return true;
    }
    let mut id = 1;
    while begun.elapsed() < Duration::from_secs(3) {
        let batch: Vec<u8> = (0..50).flat_map(|at| frames(id + 2 * at)).collect();
        if let Err(error) = stream.write_all(&batch).and_then(|()| stream.flush()) {
            return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        }
        id += 100;
    }
    false
}

/// The frames of a stream, whose number is the argument.
type Frames = fn(u32) -> Vec<u8>;

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let length = &(body.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags], &id.to_be_bytes(), body].concat()
}

/// CVE-2024-27316: headers that never end. CVE-2019-9512 and CVE-2019-9515: pings and settings whose
/// replies the client does not read.
#[test]
fn endless_frames_cost_no_memory() {
    let _turn = turn::alone();
    let world = World::start();
    let before = world.memory();
    let header = b"\0\x01a\x7f\x80\x7f".iter().copied().chain([b'x'; 255]).collect::<Vec<_>>();
    let headers = |id| frame(if id == 1 { 1 } else { 9 }, 0, 1, &header);
    assert!(ends_connection(&world, headers), "the headers have an end");
    let many: [(&str, Frames); 3] = [
        ("pings", |_| frame(6, 0, 0, &[0; 8])),
        ("settings", |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 9])),
        ("empty data", |id| match id {
            1 => attacks::request(1, "https", 4),
            _ => frame(0, 0, 1, &[]),
        }),
    ];
    for (what, frames) in many {
        let ended = ends_connection(&world, frames);
        println!("{what}: the connection was ended: {ended}; {} KiB", world.memory());
        assert!(world.memory() < before + GROWTH, "{what}: {before} KiB, {} KiB", world.memory());
    }
    world.assert_serves();
}

/// CVE-2023-44487: the client resets its streams. CVE-2025-8671: the server resets them because of
/// an error that the client makes on purpose. In both, the work for a reset stream went on, but the
/// stream did not count any more.
#[test]
fn reset_requests_do_not_pile_up() {
    let _turn = turn::alone();
    let world = World::start();
    let before = world.memory();
    let resets: [(&str, Frames); 3] = [
        ("RST_STREAM", |id| frame(3, 0, id, &8u32.to_be_bytes())),
        ("a window of 0", |id| frame(8, 0, id, &[0; 4])),
        ("a window that is too large", |id| frame(8, 0, id, &[0x7f, 0xff, 0xff, 0xff])),
    ];
    for (what, reset) in resets {
        let frames = |id| [attacks::request(id, "reset.example.org", 5), reset(id)].concat();
        let ended = ends_connection(&world, frames);
        println!("{what}: {} KiB", world.memory());
        assert!(ended, "{what}: the connection ends");
        world.assert_serves();
    }
    assert!(world.memory() < before + GROWTH, "{before} KiB, {} KiB", world.memory());
}

/// A handshake in many fragments that never becomes complete.
#[test]
fn an_endless_handshake_of_tls_is_ended() {
    let _turn = turn::alone();
    let world = World::start();
    let before = world.memory();
    let mut stream = TcpStream::connect(world.server.bound["tls"]).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let begun = Instant::now();
    // A ClientHello of 16 MiB in records of 16 KiB.
    let mut body = vec![1, 0xff, 0xff, 0xff];
    body.resize(1 << 14, 0);
    let record = [&[22, 3, 1, 0x40, 0][..], &body].concat();
    while stream.write_all(&record).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the server reads on");
    }
    assert!(world.memory() < before + GROWTH, "{before} KiB, {} KiB", world.memory());
    world.assert_serves();
}

/// Names that point to themselves or forwards.
#[test]
fn compression_loops_are_format_errors() {
    let world = World::start();
    for pointers in [&[0xc0, 12][..], &[1, b'a', 0xc0, 12], &[0xc0, 14, 0xc0, 12], &[0xc0, 0xff]] {
        let mut packet = question(1, ".", A);
        packet.splice(12..13, pointers.iter().copied());
        let reply = world.server.udp(&packet).expect("a reply");
        assert_eq!((rcode(&reply), reply.len()), (1, 12), "{pointers:?}");
    }
    world.assert_serves();
}

/// The reply to a datagram with a forged address goes to a victim, so it must not be much larger
/// than the query.
#[test]
fn replies_to_datagrams_are_not_much_longer_than_queries() {
    let lines: String = (0..3000u32)
        .map(|host| format!(" 10.0.{}.{} large.example\n", host / 250, host % 250))
        .collect();
    let text = format!(".:0 {{\n bind 127.0.0.1\n any\n hosts {{\n{lines} }}\n}}\n");
    let server = Ndots::corefile(&text, &["dns"], &[]);
    for qtype in [A, 255] {
        let mut packet = question(1, "large.example", qtype);
        let plain = server.udp(&packet).unwrap();
        assert!(plain.len() <= 512, "{qtype}: {} octets", plain.len());
        // EDNS with 65,535 octets.
        packet[11] = 1;
        packet.extend_from_slice(&[0, 0, 41, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
        let extended = server.udp(&packet).unwrap();
        assert!(extended.len() <= 1232, "{qtype}: {} octets", extended.len());
    }
}

/// One client starts as many zone transfers as it can, and does not read them.
#[test]
fn transfers_that_are_not_read_leave_some_for_others() {
    let directory = tempfile::tempdir().unwrap();
    let records: String =
        (0..20_000).map(|host| format!("h{host} 60 IN TXT \"{}\"\n", "x".repeat(200))).collect();
    let zone = format!(
        "@ 60 IN SOA ns hostmaster 1 7200 1800 86400 60\n@ 60 IN NS ns\nns 60 IN A 192.0.2.1\n{records}"
    );
    let file = directory.path().join("db");
    fs::write(&file, zone).unwrap();
    let text = format!(
        "example.org:0 {{\n bind 127.0.0.1\n file {}\n transfer {{\n to *\n }}\n}}\n",
        file.display()
    );
    let server = Ndots::corefile(&text, &["dns"], &[]);
    let transfer = question(1, "example.org", 252);
    let held: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut stream = connect(Ipv4Addr::new(127, 0, 0, 2), server.address).unwrap();
            stream.write_all(&framed(&transfer)).unwrap();
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let mut other = server.tcp();
    other.send(&transfer);
    let mut octets = 0;
    while octets < 20_000 * 200 {
        let message = other.receive().expect("the transfer goes on");
        assert_eq!(rcode(&message), 0);
        octets += message.len();
    }
    drop(held);
}

/// Requests that hide a second one: the headers disagree about the length of the first request, or
/// are invalid.
#[test]
fn smuggled_requests_are_rejected() {
    let world = World::start();
    let query = BASE64_URL_SAFE_NO_PAD.encode(question(0, "www.example.org", A));
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Transfer-Encoding: chunked, identity",
        "Content-Length: +5",
    ] {
        let mut stream = dot(world.server.bound[HTTPS], world.authority.client(&["http/1.1"])).0;
        let head = format!(
            "POST /dns-query HTTP/1.1\r\nHost: localhost\r\nContent-Type: \
             application/dns-message\r\n{headers}\r\n\r\n0\r\n\r\nGET /dns-query?dns={query} \
             HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("HTTP/1.1 200"), "{headers}: {text}");
    }
    assert_eq!(world.upstream.asked(|name| name.starts_with("www")), 0);
}

/// A client that sends 3,000 queries over one TCP connection, and reads no reply for a second.
#[test]
fn a_client_that_sends_ahead_gets_its_replies_in_the_end() {
    let world = World::start();
    let address: SocketAddr = world.server.address;
    let mut writer = Tcp::to(address);
    let mut reader = Tcp(writer.0.try_clone().unwrap());
    let count = 3000;
    let sending = std::thread::spawn(move || {
        (0..count).for_each(|id| writer.send(&question(id, &format!("n{id}.example.org"), A)));
    });
    std::thread::sleep(Duration::from_secs(1));
    let mut seen = vec![false; usize::from(count)];
    for _ in 0..count {
        let reply = reader.receive().expect("a reply");
        assert_eq!(rcode(&reply), 0);
        seen[usize::from(u16::from_be_bytes([reply[0], reply[1]]))] = true;
    }
    sending.join().unwrap();
    assert!(seen.iter().all(|seen| *seen));
}
