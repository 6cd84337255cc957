//! The plugin `dnstap`: what a receiver gets from ndots and from CoreDNS with the same Corefile,
//! receivers that go away and come back, and queues that are full.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver as Channel, Sender, channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::op::Message;
use ndots::protobuf::{Value, fields};
use rustls::{
    ClientConnection, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::support::{
    Tcp, coredns::CoreDns, encrypted::Authority, free_address, lab::until, page, question,
    serving::Serving, udp,
};

const A: u16 = 1;
const CONTENT: &[u8] = b"protobuf:dnstap.Dnstap";
const PATIENCE: Duration = Duration::from_secs(10);

/// A message that a receiver got.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// This and the next two fields are numbers of dnstap's schema.
    kind: u64,
    protocol: u64,
    family: u64,
    identity: String,
    version: String,
    extra: Option<String>,
    /// The port of the upstream.
    response_port: Option<u64>,
    has_query_address: bool,
    has_response_time: bool,
    /// The name, the type and the code of the DNS message.
    message: Option<String>,
}

fn text(value: Value<'_>) -> String {
    String::from_utf8(value.octets().to_vec()).unwrap()
}

impl Seen {
    fn read(frame: &[u8]) -> Self {
        let dnstap = fields(frame).expect("a message of protocol buffers");
        let find = |wanted: u32| dnstap.iter().find(|(field, _)| *field == wanted).map(|it| it.1);
        assert_eq!(find(15).map(Value::number), Some(1), "the type is MESSAGE");
        let inner = fields(find(14).expect("a message").octets()).unwrap();
        let inner = |wanted: u32| inner.iter().find(|(field, _)| *field == wanted).map(|it| it.1);
        let number = |wanted| inner(wanted).map_or(0, Value::number);
        let kind = number(1);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(seconds.abs_diff(number(8)) < 60, "the time of the query is now");
        if kind == 6 {
            assert!(seconds.abs_diff(number(12)) < 60, "the time of the response is now");
        }
        let message = inner(10).or(inner(14)).map(|packet| {
            let message = Message::from_vec(packet.octets()).expect("a DNS message");
            let query = &message.queries[0];
            let code = message.metadata.response_code;
            let name = query.name().to_lowercase();
            format!("{name} {} {code} {}", query.query_type(), message.answers.len())
        });
        Self {
            kind,
            protocol: number(3),
            family: number(2),
            identity: find(1).map(text).unwrap_or_default(),
            version: find(2).map(text).unwrap_or_default(),
            extra: find(3).map(text),
            // Only ndots says to which of its own addresses clients send queries.
            response_port: inner(7).map(Value::number).filter(|_| kind > 6),
            has_query_address: inner(4).is_some() || kind > 6,
            has_response_time: inner(12).is_some() && inner(13).is_some(),
            message,
        }
    }
}

fn read_frame(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

/// The kind of the next control frame.
fn read_control(stream: &mut impl Read) -> Option<u8> {
    assert!(read_frame(stream)?.is_empty(), "a control frame begins with the length zero");
    let frame = read_frame(stream)?;
    assert!(frame.len() == 4 || frame.ends_with(CONTENT));
    Some(frame[3])
}

fn control(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0];
    let field = if content.is_empty() {
        Vec::new()
    } else {
        [&[0, 0, 0, 1, 0, 0, 0, content.len() as u8], content].concat()
    };
    frame.extend([0, 0, 0, 4 + field.len() as u8, 0, 0, 0, kind]);
    frame.extend(field);
    frame
}

/// Reads a stream to its end.
fn receive(mut stream: impl Read + Write, seen: &Sender<Seen>) -> Option<()> {
    assert_eq!(read_control(&mut stream)?, 4, "READY");
    stream.write_all(&control(1, CONTENT)).ok()?;
    assert_eq!(read_control(&mut stream)?, 2, "START");
    loop {
        let frame = read_frame(&mut stream)?;
        if frame.is_empty() {
            assert_eq!(read_frame(&mut stream)?[3], 3, "STOP");
            return stream.write_all(&control(5, b"")).ok();
        }
        seen.send(Seen::read(&frame)).ok()?;
    }
}

/// Receives the messages of all connections.
fn on_unix(path: &Path) -> Channel<Seen> {
    let (listener, (send, seen)) = (UnixListener::bind(path).unwrap(), channel());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let send = send.clone();
            thread::spawn(move || receive(stream.unwrap(), &send));
        }
    });
    seen
}

fn on_tcp(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Channel<Seen> {
    let (send, seen) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (send, tls, stream) = (send.clone(), tls.clone(), stream.unwrap());
            thread::spawn(move || match tls {
                None => receive(stream, &send),
                Some(tls) => {
                    let connection = ServerConnection::new(tls).unwrap();
                    receive(StreamOwned::new(connection, stream), &send)
                }
            });
        }
    });
    seen
}

fn next(seen: &Channel<Seen>) -> Seen {
    seen.recv_timeout(PATIENCE).expect("a message")
}

fn take(seen: &Channel<Seen>, count: usize) -> Vec<Seen> {
    (0..count).map(|_| next(seen)).collect()
}

fn upstream() -> CoreDns {
    let zone = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/small/zone");
    CoreDns::start(|port| {
        format!("example.org:{port} {{\n bind 127.0.0.1\n file {}\n}}\n", zone.display())
    })
}

/// One Corefile, and each query over UDP or TCP with the number of messages that it causes.
#[test]
fn messages_are_those_of_coredns() {
    let (upstream, directory) = (upstream(), tempfile::tempdir().unwrap());
    let closed = free_address();
    let sockets: Vec<PathBuf> = ["ours", "theirs", "ours-full", "theirs-full"]
        .iter()
        .map(|name| directory.path().join(name))
        .collect();
    let seen: Vec<_> = sockets.iter().map(|path| on_unix(path)).collect();
    let corefile = |port: u16, sparse: &Path, full: &Path| {
        format!(
            ".:{port} {{\n bind 127.0.0.1\n metadata\n \
             dnstap {} {{\n identity me\n version 7\n }}\n \
             dnstap unix://{} full {{\n identity you\n version 8\n \
             extra \"{{name}} {{type}} {{proto}} {{rcode}} {{/forward/upstream}} {{/no/label}}\"\n }}\n \
             cache 30\n hosts {{\n 192.0.2.1 host.test\n fallthrough\n }}\n \
             forward closed.test {closed} {{\n max_fails 0\n max_connect_attempts 1\n }}\n \
             forward example.org {}\n template ANY ANY refused.test {{\n rcode REFUSED\n }}\n}}\n",
            sparse.display(),
            full.display(),
            upstream.address
        )
    };
    let ours = Serving::start(|port| corefile(port, &sockets[0], &sockets[2]));
    let theirs = CoreDns::start(|port| corefile(port, &sockets[1], &sockets[3]));
    let table = [
        ("v4.example.org", false, 4),
        ("v4.example.org", false, 2),
        ("v4.example.org", true, 2),
        ("missing.example.org", true, 4),
        ("host.test", false, 2),
        ("x.refused.test", false, 2),
        ("nobody.test", false, 2),
    ];
    let mut kinds = Vec::new();
    for (name, over_tcp, count) in table {
        for server in [ours.address, theirs.address] {
            let packet = question(7, name, A);
            if over_tcp {
                let mut tcp = Tcp::to(server);
                tcp.send(&packet);
                tcp.receive().expect("a reply");
            } else {
                udp(server, &packet).expect("a reply");
            }
        }
        let got: Vec<_> = seen.iter().map(|seen| take(seen, count)).collect();
        // After a query over TCP, CoreDNS queries the upstream over TCP.
        let comparable = |seen: &[Seen]| -> Vec<Seen> {
            let all = seen.iter().cloned();
            all.map(|it| Seen { protocol: if it.kind > 6 { 0 } else { it.protocol }, ..it })
                .collect()
        };
        assert_eq!(comparable(&got[0]), comparable(&got[1]), "{name}");
        assert_eq!(comparable(&got[2]), comparable(&got[3]), "{name} full");
        kinds.push(got[0].iter().map(|seen| seen.kind).collect::<Vec<_>>());
    }
    assert_eq!(kinds[0], [5, 7, 8, 6]);
    assert_eq!(kinds[1], [5, 6]);
    // The upstream does not answer.
    udp(ours.address, &question(7, "a.closed.test", A)).expect("a reply");
    let got = take(&seen[2], 3);
    assert_eq!((got[0].kind, got[1].kind), (5, 7));
    assert_eq!(got[1].response_port, Some(closed.port().into()));
}

fn corefile(port: u16, dnstap: &str) -> String {
    format!(".:{port} {{\n bind 127.0.0.1\n {dnstap}\n hosts {{\n 192.0.2.1 host.test\n }}\n}}\n")
}

fn ask(server: SocketAddr) {
    udp(server, &question(7, "host.test", A)).expect("a reply");
}

/// Messages wait while there is no receiver, and a new connection follows a closed one.
#[test]
fn a_receiver_may_come_late_and_come_again() {
    let address = free_address();
    let server = Serving::start(|port| corefile(port, &format!("dnstap tcp://{address} full")));
    ask(server.address);
    let listener = TcpListener::bind(address).unwrap();
    let (mut first, _) = listener.accept().unwrap();
    assert_eq!(read_control(&mut first), Some(4));
    first.write_all(&control(1, CONTENT)).unwrap();
    assert_eq!(read_control(&mut first), Some(2));
    let kinds = [(); 2].map(|()| Seen::read(&read_frame(&mut first).unwrap()).kind);
    assert_eq!(kinds, [5, 6]);
    drop(first);
    let seen = on_tcp(listener, None);
    thread::sleep(Duration::from_millis(300));
    ask(server.address);
    assert_eq!(take(&seen, 2).iter().map(|seen| seen.kind).collect::<Vec<_>>(), [5, 6]);
}

/// No query waits for a receiver that does not read. The messages that it does not get are counted.
#[test]
fn a_receiver_that_does_not_read_delays_nothing() {
    let (listener, metrics) = (TcpListener::bind("127.0.0.1:0").unwrap(), free_address());
    let address = listener.local_addr().unwrap();
    let server = Serving::start(|port| {
        corefile(port, &format!("dnstap tcp://{address} full\n prometheus {metrics}"))
    });
    let (mut stream, _) = listener.accept().unwrap();
    assert_eq!(read_control(&mut stream), Some(4));
    stream.write_all(&control(1, CONTENT)).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server.address).unwrap();
    let (packet, mut reply) = (question(7, "host.test", A), [0; 512]);
    for _ in 0..40_000 {
        socket.send(&packet).unwrap();
        socket.recv(&mut reply).expect("a reply, although the receiver does not read");
    }
    let dropped = until("dropped messages", Duration::from_secs(20), || {
        let page = page(metrics, "/metrics")?;
        let name =
            format!("coredns_dnstap_dropped_messages_total{{endpoint=\"tcp://{address}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&*name).map(str::to_owned))?;
        line.parse::<u64>().ok().filter(|count| *count > 0)
    });
    assert!(dropped < 80_000, "{dropped}");
}

#[test]
fn receivers_connect_to_a_listener() {
    let directory = tempfile::tempdir().unwrap();
    let (path, address) = (directory.path().join("tap"), free_address());
    let lines = format!("dnstap listen {} full\n dnstap listen tcp://{address}", path.display());
    let server = Serving::start(|port| corefile(port, &lines));
    let (send, seen) = channel();
    let tcp = until("a listener", PATIENCE, || TcpStream::connect(address).ok());
    let unix = std::os::unix::net::UnixStream::connect(&path).unwrap();
    thread::spawn({
        let send = send.clone();
        move || receive(tcp, &send)
    });
    thread::spawn(move || receive(unix, &send));
    thread::sleep(Duration::from_millis(300));
    ask(server.address);
    let mut got: Vec<_> =
        take(&seen, 4).iter().map(|seen| (seen.kind, seen.message.is_some())).collect();
    got.sort_unstable();
    assert_eq!(got, [(5, false), (5, true), (6, false), (6, true)]);
}

/// The receiver's certificate is from an authority that this machine does not know.
#[test]
fn a_certificate_is_verified_unless_the_line_says_otherwise() {
    let authority = Authority::new();
    let pem = |name: &str| fs::read(authority.path(name)).unwrap();
    let chain = CertificateDer::pem_slice_iter(&pem("cert.pem")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&pem("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    for (option, expected) in [("", 0), ("{\n skipverify\n }", 2)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = on_tcp(listener, Some(Arc::clone(&config)));
        let line = format!("dnstap tls://{address} full {option}");
        let server = Serving::start(|port| corefile(port, &line));
        ask(server.address);
        let wait = if expected == 0 { Duration::from_secs(1) } else { PATIENCE };
        let count = (0..2).map_while(|_| seen.recv_timeout(wait).ok()).count();
        assert_eq!(count, expected, "{option}");
    }
}

#[test]
fn a_listener_uses_a_renewed_certificate() {
    let (authority, address) = (Authority::new(), free_address());
    let line =
        format!("dnstap listen tls://{address} {{\n {}\n skipverify\n }}", authority.directive());
    // Another plugin that watches its file would hide that this one does not.
    let _server =
        Serving::start(|port| format!(".:{port} {{\n bind 127.0.0.1\n {line}\n whoami\n}}\n"));
    let presented = || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let config = Arc::new(authority.client(&[]));
        let mut connection = ClientConnection::new(config, address.ip().into()).unwrap();
        connection.complete_io(&mut stream).ok()?;
        Some(connection.peer_certificates()?.first()?.to_vec())
    };
    let first = until("a certificate", PATIENCE, presented);
    authority.renew();
    until("the new certificate", PATIENCE, || presented().filter(|new| *new != first));
}
