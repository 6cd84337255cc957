//! Headers of the PROXY protocol before queries, compared with CoreDNS.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use hickory_proto::op::Message;

use crate::support::{coredns::CoreDns, question, serving::Serving, turn};

const A: u16 = 1;
const TXT: u16 = 16;

fn corefile(port: u16, options: &str) -> String {
    format!(".:{port} {{\n bind 127.0.0.1\n proxyproto {{\n {options}\n }}\n whoami\n}}\n")
}

/// The address and the port of the client as `whoami` tells them; `None` without a reply.
fn client(reply: Option<Vec<u8>>, own_port: u16) -> Option<String> {
    let message = Message::from_vec(&reply?).unwrap();
    let told: Vec<_> = message.additionals.iter().map(|record| record.data.to_string()).collect();
    Some(told.join(" ").replace(&format!(" {own_port} "), " OWN "))
}

fn over_udp(server: SocketAddr, header: &[u8]) -> Option<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    socket.send(&[header, &question(7, "a.example", A)].concat()).unwrap();
    let mut reply = vec![0; 4096];
    let length = socket.recv(&mut reply).ok();
    client(length.map(|length| reply[..length].to_vec()), socket.local_addr().unwrap().port())
}

fn over_tcp(server: SocketAddr, header: &[u8]) -> Option<String> {
    over_tcp_in_parts(server, header, 0)
}

/// Sends the first octets on their own, to see that the server waits for the rest of a header.
fn over_tcp_in_parts(server: SocketAddr, header: &[u8], first: usize) -> Option<String> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let query = question(7, "a.example", A);
    let octets = [header, &(query.len() as u16).to_be_bytes(), &query].concat();
    let (first, rest) = octets.split_at(first);
    let _ = stream.write_all(first);
    if !first.is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = stream.write_all(rest);
    let mut length = [0; 2];
    let reply = stream.read_exact(&mut length).ok().and_then(|()| {
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply).ok().map(|()| reply)
    });
    client(reply, stream.local_addr().unwrap().port())
}

fn version2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = (addresses.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &length, addresses].concat()
}

#[test]
fn the_client_is_the_one_of_the_header_as_in_coredns() {
    let _turn = turn::alone();
    let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0, 53];
    let headers = [
        Vec::new(),
        version2(1, 0x11, &v4),
        version2(1, 0x12, &v4),
        version2(0, 0x12, &v4),
        version2(1, 0x13, &v4),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 4660 53\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1\r\n".to_vec(),
    ];
    // Without a reply the two servers look alike, so replies are counted.
    let (mut found, mut replies) = (0, 0);
    for options in [
        "",
        "allow 127.0.0.0/8",
        "allow 10.0.0.0/8",
        "allow 10.0.0.0/8\n default reject",
        "default skip",
        "allow 10.0.0.0/8\n default use",
    ] {
        let ours = Serving::start(|port| corefile(port, options));
        let theirs = CoreDns::start(|port| corefile(port, options));
        for header in &headers {
            let both = |ask: fn(SocketAddr, &[u8]) -> Option<String>| {
                (ask(ours.address, header), ask(theirs.address, header))
            };
            let (ours, theirs) = both(over_udp);
            assert_eq!(ours, theirs, "over UDP, {options:?} {header:?}");
            replies += usize::from(ours.is_some());
            found += usize::from(ours.is_some_and(|ours| ours.contains("192.0.2.1")));
            let (ours, theirs) = both(over_tcp);
            assert_eq!(ours, theirs, "over TCP, {options:?} {header:?}");
            replies += usize::from(ours.is_some());
        }
    }
    let ours = Serving::start(|port| corefile(port, ""));
    for header in headers[1..].iter().filter(|header| header.len() > 30 || header[13] == 0x11) {
        let told = over_tcp_in_parts(ours.address, header, header.len() / 2);
        assert_eq!(told.as_deref(), Some("192.0.2.1 0 0 4660 ."), "{header:?}");
    }
    println!("{replies} replies, {found} for the client of a header");
    assert_eq!((replies, found), (42, 3));
}

/// A health check of the load balancer: the receiver ignores the family and the addresses.
#[test]
fn a_check_of_the_load_balancer_itself_is_answered() {
    let server = Serving::start(|port| corefile(port, ""));
    for (family, addresses) in [(0, &[][..]), (0x11, &[1, 2, 3]), (0xff, &[7; 20])] {
        let header = version2(0, family, addresses);
        for told in [over_udp(server.address, &header), over_tcp(server.address, &header)] {
            assert!(told.is_some_and(|told| told.contains("127.0.0.1")), "{header:?}");
        }
    }
}

/// The text of the answer to a TXT query; `None` without a reply.
fn text_of(reply: Option<Vec<u8>>) -> Option<String> {
    let message = Message::from_vec(&reply?).unwrap();
    Some(message.answers.iter().map(|record| record.data.to_string()).collect())
}

/// Asks over UDP and over TCP with this header.
fn texts(server: SocketAddr, header: &[u8]) -> [Option<String>; 2] {
    let query = question(7, "a.example", TXT);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    socket.send_to(&[header, &query].concat(), server).unwrap();
    let mut reply = vec![0; 4096];
    let length = socket.recv(&mut reply).ok();
    let over_udp = text_of(length.map(|length| reply[..length].to_vec()));
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    stream.write_all(&[header, &(query.len() as u16).to_be_bytes(), &query].concat()).unwrap();
    let mut length = [0; 2];
    let reply = stream.read_exact(&mut length).ok().and_then(|()| {
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut reply).ok().map(|()| reply)
    });
    [over_udp, text_of(reply)]
}

#[test]
fn the_facts_of_the_load_balancer_are_metadata_as_in_coredns() {
    let meta = r#"template IN TXT . {
 answer "{{ .Name }} 0 IN TXT \"got {{ .Meta \"proxyproto/tlv\" }}\""
 }"#;
    let corefile = |port: u16, options: &str| {
        corefile(port, options).replace("whoami", &format!("metadata\n {meta}"))
    };
    let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0, 53];
    // The VPC endpoint of a cloud, and padding.
    let facts = b"\xea\0\x05\x01vpce\x04\0\x03\0\0\0";
    for options in ["tlv_metadata", ""] {
        let ours = Serving::start(|port| corefile(port, options));
        let theirs = CoreDns::start(|port| corefile(port, options));
        for facts in [&b""[..], facts, b"\xea\0\x09x"] {
            let both = [0x12, 0x11].map(|family| {
                let header = version2(1, family, &[&v4[..], facts].concat());
                [texts(ours.address, &header), texts(theirs.address, &header)]
            });
            // A header for datagrams before a datagram, and one for streams before a stream.
            let [[ours, theirs], [ours_stream, theirs_stream]] = both;
            assert_eq!((&ours[0], &ours_stream[1]), (&theirs[0], &theirs_stream[1]), "{facts:?}");
            if options == "tlv_metadata" && facts.len() > 10 {
                let expected = Some("\"got ea00050176706365040000\"".to_owned());
                let found = [ours[0].clone(), ours_stream[1].clone()];
                let plain =
                    found.map(|text| text.map(|text| format!("\"{}\"", text.trim_matches('"'))));
                assert_eq!(plain, [expected.clone(), expected]);
            }
        }
    }
}

/// Sends datagrams from one socket, and returns what `whoami` says to each of them.
fn session(server: SocketAddr, datagrams: &[Vec<u8>]) -> Vec<Option<String>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let own_port = socket.local_addr().unwrap().port();
    let ask = |datagram: &Vec<u8>| {
        socket.send(datagram).unwrap();
        let mut reply = vec![0; 4096];
        let length = socket.recv(&mut reply).ok();
        client(length.map(|length| reply[..length].to_vec()), own_port)
    };
    datagrams.iter().map(ask).collect()
}

#[test]
fn one_header_counts_for_a_session_over_udp_as_in_coredns() {
    let header =
        |last: u8| version2(1, 0x12, &[192, 0, 2, last, 198, 51, 100, 1, 0x12, 0x34, 0, 53]);
    let query = question(7, "a.example", A);
    let with = |header: Vec<u8>| [&header[..], &query].concat();
    let sessions = [
        // The header comes alone, with a query, anew, and from the load balancer itself.
        vec![query.clone(), header(1), query.clone(), query.clone()],
        vec![with(header(2)), query.clone(), with(header(3)), query.clone()],
        vec![version2(0, 0x12, &[0; 12]), query.clone()],
    ];
    for (options, told) in [
        ("udp_session_tracking 20s", true),
        ("udp_session_tracking 20s 1", true),
        ("udp_session_tracking 0s", false),
        ("allow 10.0.0.0/8\n udp_session_tracking 20s", false),
        ("", false),
    ] {
        let ours = Serving::start(|port| corefile(port, options));
        let theirs = CoreDns::start(|port| corefile(port, options));
        for datagrams in &sessions {
            let (ours, theirs) =
                (session(ours.address, datagrams), session(theirs.address, datagrams));
            assert_eq!(ours, theirs, "{options:?}");
        }
        let last = session(ours.address, &sessions[0]).pop().unwrap().unwrap();
        assert_eq!(last.contains("192.0.2.1"), told, "{options:?}: {last}");
    }
    let ours = Serving::start(|port| corefile(port, "udp_session_tracking 300ms"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(ours.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let told = || {
        socket.send(&query).unwrap();
        let mut reply = vec![0; 4096];
        let length = socket.recv(&mut reply).unwrap();
        client(Some(reply[..length].to_vec()), 0).unwrap().contains("192.0.2.1")
    };
    socket.send(&header(1)).unwrap();
    assert!(told());
    std::thread::sleep(Duration::from_millis(400));
    assert!(!told(), "the session has ended");
}
