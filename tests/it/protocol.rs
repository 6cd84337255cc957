//! Sends each packet of a table over every transport and to both implementations, and compares the
//! replies.

mod rows;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use crate::support::{
    Ndots, Tcp,
    encrypted::{Authority, doq, dot, https, https3},
    own_host,
    packet::{ask, told},
    requirements::require_root,
    witness::Witness,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use rows::{table, without_size};

const API: &str = "kubernetes.default.svc.cluster.local";
/// A headless Service of 150 endpoints.
const BIG: &str = "big.default.svc.cluster.local";
const WORLD: &str = "www.world.example";
const SILENCE: &str = "silence";
const FORMERR: &str = "FORMERR rd 0/0/0/0 12 octets";
const NOTIMP: &str = "NOTIMP rd";

const A: u16 = 1;

/// A client of one transport.
trait Client {
    /// Sends a packet and returns the reply. With `silence` no reply is expected. A second query
    /// follows, and its reply must be the first one that arrives.
    fn ask(&self, packet: &[u8], silence: bool) -> Option<Vec<u8>>;
}

/// The query after a packet that must get no reply.
fn next() -> Vec<u8> {
    let mut next = ask(API, A).packet();
    next[..2].copy_from_slice(b"!!");
    next
}

fn unless_next(reply: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let reply = reply.expect("there is a reply to the next question");
    (reply[..2] != *b"!!").then_some(reply)
}

struct Udp(SocketAddr);

impl Client for Udp {
    fn ask(&self, packet: &[u8], silence: bool) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.0).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        socket.send(packet).unwrap();
        if silence {
            socket.send(&next()).unwrap();
        }
        let mut reply = vec![0; 65_535];
        let length = socket.recv(&mut reply).ok()?;
        reply.truncate(length);
        if silence { unless_next(Some(reply)) } else { Some(reply) }
    }
}

/// A client that opens a stream for each query.
struct Stream<F>(F);

impl<S: Read + Write, F: Fn() -> Tcp<S>> Client for Stream<F> {
    fn ask(&self, packet: &[u8], silence: bool) -> Option<Vec<u8>> {
        let mut tcp = (self.0)();
        tcp.send(packet);
        if silence {
            tcp.send(&next());
            return unless_next(tcp.receive());
        }
        tcp.receive()
    }
}

/// A client of DNS over HTTPS. `protocol` is its ALPN name, which chooses the version of HTTP.
struct Web<'a> {
    address: SocketAddr,
    authority: &'a Authority,
    protocol: &'a str,
    request: fn(&[u8]) -> Request<Full<Bytes>>,
}

impl Client for Web<'_> {
    fn ask(&self, packet: &[u8], _silence: bool) -> Option<Vec<u8>> {
        let client = self.authority.client(&[self.protocol]);
        let send = if self.protocol == "h3" { https3 } else { https };
        let response = send(self.address, client, (self.request)(packet));
        match response.status().as_u16() {
            200 => Some(response.into_body().to_vec()),
            400 => None,
            status => panic!("status {status}"),
        }
    }
}

fn post(packet: &[u8]) -> Request<Full<Bytes>> {
    let request = Request::post("https://localhost/dns-query")
        .header("content-type", "application/dns-message");
    request.body(Full::from(packet.to_vec())).unwrap()
}

fn get(packet: &[u8]) -> Request<Full<Bytes>> {
    let url = format!("/dns-query?dns={}", BASE64_URL_SAFE_NO_PAD.encode(packet));
    Request::get(url).header("host", "localhost").body(Full::default()).unwrap()
}

struct Quic<'a> {
    address: SocketAddr,
    authority: &'a Authority,
}

impl Client for Quic<'_> {
    fn ask(&self, packet: &[u8], _silence: bool) -> Option<Vec<u8>> {
        doq(self.address, self.authority.client(&["doq"]), packet)
    }
}

fn objects() -> String {
    let mut yaml = "apiVersion: v1\nkind: Service\nmetadata: {name: big}\nspec: {clusterIP: None}\n---\n\
                    apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
                    metadata: {name: big-1, labels: {kubernetes.io/service-name: big}}\nendpoints:\n"
        .to_owned();
    for last in 0..150 {
        writeln!(yaml, "- addresses: [10.244.0.{last}]").unwrap();
    }
    yaml
}

/// A Corefile with every block for every scheme.
fn corefile(schemes: &[&str], tls: &str, upstream: SocketAddr, directory: &str) -> String {
    let keys = |zone: &str| {
        schemes.iter().map(|scheme| format!("{scheme}://{zone}:0 ")).collect::<String>()
    };
    let many: String = (0..50).map(|last| format!("10.0.0.{last} many.sized.example\n")).collect();
    format!(
        "(common) {{\n bind 127.0.0.1\n errors\n {tls}\n}}\n\
         {} {{\n import common\n kubernetes cluster.local {{\n manifests {directory}\n }}\n forward . {upstream}\n loadbalance\n}}\n\
         {} {{\n import common\n bufsize 600\n hosts none {{\n 10.0.0.1 one.sized.example\n {many} }}\n}}\n\
         {} {{\n import common\n kubernetes dark.example {{\n kubeconfig {directory}/../kubeconfig\n fallthrough\n }}\n forward . {upstream}\n}}\n",
        keys("."),
        keys("sized.example"),
        keys("dark.example"),
    )
}

#[test]
fn every_packet_gets_its_reply_over_every_transport() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = directory.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("objects.yaml"), objects()).unwrap();
    // Nothing listens on this port.
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n\
                      clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: a, user: {}}]\n";
    fs::write(directory.path().join("kubeconfig"), kubeconfig).unwrap();
    let (upstream, authority) = (Witness::start(), &Authority::new());
    let schemes = ["dns", "tls", "https", "quic", "https3"];
    let text = corefile(
        &schemes,
        &authority.directive(),
        upstream.address,
        &manifests.display().to_string(),
    );
    let compat = ["dns://127.0.0.2:0", "tls://127.0.0.2:0"];
    let arguments = compat.map(|listen| ["--compat-listener", listen]).concat();
    let server = Ndots::corefile(&text, &[&schemes[..], &compat].concat(), &arguments);
    let over_tls = |listen: &str| {
        let address = server.bound[listen];
        Stream(move || dot(address, authority.client(&["dot"])))
    };
    let web = |protocol, request| {
        let scheme = if protocol == "h3" { "https3" } else { "https" };
        Web { address: server.bound[scheme], authority, protocol, request }
    };
    let transports: [(&str, &dyn Client); 10] = [
        ("udp", &Udp(server.address)),
        ("tcp", &Stream(|| server.tcp())),
        ("tls", &over_tls("tls")),
        ("https", &web("h2", post)),
        ("https", &web("http/1.1", get)),
        ("quic", &Quic { address: server.bound["quic"], authority }),
        ("https3", &web("h3", post)),
        ("compat udp", &Udp(server.bound[compat[0]])),
        ("compat tcp", &Stream(|| Tcp::to(server.bound[compat[0]]))),
        ("compat tls", &over_tls(compat[1])),
    ];
    let (rows, mut wrong) = (table(), String::new());
    for (transport, client) in transports {
        for row in &rows {
            let want = row.want(transport);
            let got = client
                .ask(&row.packet, want == SILENCE)
                .map_or(SILENCE.to_owned(), |reply| told(&reply));
            if got != want && without_size(&got) != want {
                writeln!(wrong, "{transport}: {}\n  want {want}\n  got  {got}", row.what).unwrap();
            }
        }
    }
    println!("{} packets over {} transports", rows.len(), transports.len());
    assert!(wrong.is_empty(), "\n{wrong}");
    let heard = upstream.heard.lock().unwrap().clone();
    assert_eq!(
        heard,
        BTreeSet::from([format!("{WORLD}. A"), "version.bind. TXT".to_owned()]),
        "nothing else is forwarded"
    );
}

/// Sends a datagram from any source port, even 0, through a raw socket. `None` without the
/// permission.
fn from_port(port: u16, packet: &[u8], to: SocketAddr) -> Option<()> {
    let socket = socket2::Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::RAW,
        Some(socket2::Protocol::UDP),
    )
    .ok()?;
    let header = [port, to.port(), (8 + packet.len()) as u16, 0];
    let datagram: Vec<u8> =
        header.into_iter().flat_map(u16::to_be_bytes).chain(packet.iter().copied()).collect();
    socket.send_to(&datagram, &to.into()).ok().map(drop)
}

#[test]
fn source_ports_of_reflecting_services_get_no_errors() {
    require_root();
    let server = Ndots::corefile(
        "dns://.:0 {\n bind 127.0.0.1\n hosts none {\n 10.0.0.1 host.example\n }\n}\n",
        &["dns"],
        &[],
    );
    let (good, bad) =
        (ask("host.example", A).packet(), ask("host.example", A).count(0, 2).packet());
    // The services echo, daytime, qotd, chargen and time reply to any packet, so an error reply
    // could come back as the next query.
    for port in [7, 13, 17, 19, 37] {
        let socket = UdpSocket::bind((own_host(), port)).expect("the port is free");
        socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        socket.send_to(&bad, server.address).unwrap();
        socket.send_to(&good, server.address).unwrap();
        let mut reply = [0; 512];
        let length = socket.recv(&mut reply).unwrap();
        assert_eq!(told(&reply[..length]), "NOERROR aa rd 1/1/0/0 46 octets", "port {port}");
    }
    for packet in [&good, &bad] {
        from_port(0, packet, server.address).expect("root has a raw socket");
    }
    assert!(
        server.udp(&good).is_some(),
        "queries from port 0 cannot be answered, but others still are"
    );
}
