//! DNS over QUIC: streams, renewed certificates, client certificates, graceful shutdown.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots,
    encrypted::{Authority, ask_quic, doq, quic, runtime},
    page, question, rcode,
};
use rustls::pki_types::CertificateDer;

const PAGES: &str = "127.0.0.1:0";

fn corefile(tls: &str, upstream: &UdpSocket) -> String {
    let hosts = "hosts none {\n 192.0.2.1 host.example\n fallthrough\n }";
    let upstream = upstream.local_addr().unwrap();
    format!(
        "quic://.:0 {{\n bind 127.0.0.1\n {tls}\n prometheus {PAGES}\n {hosts}\n forward . {upstream}\n}}\n"
    )
}

fn silent() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn server(tls: &str, upstream: &UdpSocket) -> Ndots {
    Ndots::corefile(&corefile(tls, upstream), &["quic", PAGES], &[])
}

fn frame(id: u16, name: &str) -> Vec<u8> {
    let packet = question(id, name, 1);
    [&(packet.len() as u16).to_be_bytes()[..], &packet].concat()
}

#[test]
fn streams_are_answered_and_counted() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority.directive(), &upstream);
    runtime().block_on(async {
        let connection = quic(server.bound["quic"], authority.client(&["doq"])).await.unwrap();
        for _ in 0..3 {
            let reply = ask_quic(&connection, &frame(0, "host.example")).await.unwrap();
            assert!(reply[2..4] == [0, 0] && reply.ends_with(&[192, 0, 2, 1]), "{reply:02x?}");
        }
        // An id other than 0 is a protocol error without a reply (RFC 9250, 4.2.1).
        assert!(
            ask_quic(&connection, &frame(7, "host.example"))
                .await
                .is_none_or(|reply| reply.is_empty())
        );
    });
    let text = page(server.bound[PAGES], "/metrics").unwrap();
    for (status, count) in [("0x0", 3), ("0x2", 1)] {
        let line = format!(
            "coredns_dns_quic_responses_total{{server=\"quic://127.0.0.1:0\",status=\"{status}\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line}{text}");
    }
    let requests = "coredns_dns_requests_total{family=\"1\",proto=\"udp\",server=\"quic://127.0.0.1:0\",type=\"A\",view=\"\",zone=\".\"} 3\n";
    assert!(text.contains(requests), "{text}");
}

async fn shown(address: SocketAddr, authority: &Authority) -> Vec<u8> {
    let connection = quic(address, authority.client(&["doq"])).await.unwrap();
    let identity =
        connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
    identity[0].to_vec()
}

#[test]
fn a_renewed_certificate_is_used_and_connections_survive() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority.directive(), &upstream);
    let address = server.bound["quic"];
    runtime().block_on(async {
        let first = shown(address, &authority).await;
        let before = quic(address, authority.client(&["doq"])).await.unwrap();
        authority.renew();
        let renewed = Instant::now();
        while shown(address, &authority).await == first {
            assert!(renewed.elapsed() < Duration::from_secs(6), "the new certificate is not shown");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(
            ask_quic(&before, &frame(0, "host.example")).await.unwrap().ends_with(&[192, 0, 2, 1])
        );
    });
}

#[test]
fn a_reload_changes_the_required_client_certificates() {
    let (authority, upstream) = (Authority::new(), silent());
    let (cert, key, ca) =
        (authority.path("cert.pem"), authority.path("key.pem"), authority.path("ca.pem"));
    let files = format!("{} {} {}", cert.display(), key.display(), ca.display());
    let server =
        server(&format!("tls {files} {{\n client_auth require_and_verify\n }}"), &upstream);
    let let_in = |signer| {
        let reply = doq(
            server.bound["quic"],
            authority.client_as(&["doq"], signer),
            &question(0, "host.example", 1),
        );
        reply.is_some_and(|reply| rcode(&reply) == 0)
    };
    assert_eq!((let_in(None), let_in(Some(&authority))), (false, true));
    let path = server.file.as_ref().unwrap();
    fs::write(Path::new(path), corefile(&authority.directive(), &upstream)).unwrap();
    server.child.signal("USR1");
    let reloaded = Instant::now();
    while !let_in(None) {
        assert!(
            reloaded.elapsed() < Duration::from_secs(6),
            "a client without a certificate is still rejected"
        );
    }
}

#[test]
fn queries_before_the_shutdown_are_answered() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority.directive(), &upstream);
    let reply = runtime().block_on(async {
        let connection = quic(server.bound["quic"], authority.client(&["doq"])).await.unwrap();
        let asked = frame(0, "slow.example");
        let ask = ask_quic(&connection, &asked);
        let end = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.child.signal("TERM");
        };
        tokio::join!(ask, end).0
    });
    assert_eq!(reply.map(|reply| rcode(&reply[2..])), Some(2), "nobody has answered upstream");
}
