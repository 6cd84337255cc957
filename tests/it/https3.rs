//! DNS over HTTPS with HTTP/3: requests, their statuses, bounds, graceful shutdown.

use std::{net::UdpSocket, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

use crate::support::{
    Ndots,
    encrypted::{Authority, ask_https3, https3, quic, runtime},
    page, question, rcode,
};

const PAGES: &str = "127.0.0.1:0";

fn server(authority: &Authority, upstream: &UdpSocket) -> Ndots {
    let text = format!(
        "https3://.:0 {{\n bind 127.0.0.1\n {}\n prometheus {PAGES}\n hosts none {{\n 192.0.2.1 host.example\n fallthrough\n }}\n forward . {}\n}}\n",
        authority.directive(),
        upstream.local_addr().unwrap(),
    );
    Ndots::corefile(&text, &["https3", PAGES], &[])
}

fn silent() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn post(path: &str, kind: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::post(format!("https://localhost{path}")).header("content-type", kind);
    request.body(Full::from(body)).unwrap()
}

fn query(name: &str) -> Request<Full<Bytes>> {
    post("/dns-query", "application/dns-message", question(0, name, 1))
}

#[test]
fn requests_are_answered_and_counted() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority, &upstream);
    let send = |request| https3(server.bound["https3"], authority.client(&["h3"]), request);
    let parameter = BASE64_URL_SAFE_NO_PAD.encode(question(0, "host.example", 1));
    let get = Request::get(format!("https://localhost/dns-query?dns={parameter}"));
    for request in [query("host.example"), get.body(Full::default()).unwrap()] {
        let response = send(request);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/dns-message");
        assert_eq!(response.headers()["cache-control"], "max-age=3600");
        assert!(response.body().ends_with(&[192, 0, 2, 1]), "{:02x?}", response.body());
    }
    let message = || question(0, "host.example", 1);
    for (request, status) in [
        (post("/", "application/dns-message", message()), 404),
        (post("/dns-query", "text/plain", message()), 200),
        (post("/dns-query", "application/dns-message", vec![0; 100_000]), 413),
        (post("/dns-query", "application/dns-message", vec![1, 2]), 400),
        (Request::put("https://localhost/dns-query").body(Full::default()).unwrap(), 405),
    ] {
        let what = format!("{request:?}");
        assert_eq!(send(request).status(), status, "{what}");
    }
    let text = page(server.bound[PAGES], "/metrics").unwrap();
    for (status, count) in [(200, 3), (404, 1), (413, 1), (400, 1), (405, 1)] {
        let line = format!(
            "coredns_dns_https3_responses_total{{server=\"https3://127.0.0.1:0\",status=\"{status}\"}} {count}\n"
        );
        assert!(text.contains(&line), "{line}{text}");
    }
    let requests = "coredns_dns_requests_total{family=\"1\",proto=\"udp\",server=\"https3://127.0.0.1:0\",type=\"A\",view=\"\",zone=\".\"} 3\n";
    assert!(text.contains(requests), "{text}");
}

/// A frame of HTTP/3 whose length is written in eight octets.
fn frame(kind: u8, length: u64) -> Vec<u8> {
    [&[kind][..], &(length | 3 << 62).to_be_bytes()].concat()
}

/// h3 would keep such frames in memory until they are complete.
#[test]
fn a_frame_that_is_too_long_ends_its_stream() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const UNKNOWN: u8 = 0x21;
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority, &upstream);
    let address = server.bound["https3"];
    runtime().block_on(async {
        for kind in [HEADERS, UNKNOWN, DATA] {
            let connection = quic(address, authority.client(&["h3"])).await.unwrap();
            let (mut send, _receive) = connection.open_bi().await.unwrap();
            send.write_all(&frame(kind, 1 << 30)).await.unwrap();
            let endless = async { while send.write_all(&[0; 1024]).await.is_ok() {} };
            let ended = tokio::time::timeout(Duration::from_secs(8), endless).await;
            assert!(ended.is_ok(), "a frame of the kind {kind} is read for ever");
        }
        // The control stream is a stream of the type 0, and begins with SETTINGS.
        let connection = quic(address, authority.client(&["h3"])).await.unwrap();
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&[0, 4, 0]).await.unwrap();
        control.write_all(&frame(UNKNOWN, 1 << 30)).await.unwrap();
        let endless = async { while control.write_all(&[0; 1024]).await.is_ok() {} };
        let ended = tokio::time::timeout(Duration::from_secs(8), endless).await;
        assert!(ended.is_ok(), "a frame of the control stream is read for ever");
    });
    let response = https3(address, authority.client(&["h3"]), query("host.example"));
    assert_eq!(response.status(), 200);
}

#[test]
fn requests_before_the_shutdown_are_answered() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority, &upstream);
    let response = runtime().block_on(async {
        let connection = quic(server.bound["https3"], authority.client(&["h3"])).await.unwrap();
        let ask = ask_https3(&connection, query("slow.example"));
        let end = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.child.signal("TERM");
        };
        tokio::join!(ask, end).0
    });
    assert_eq!(rcode(response.unwrap().body()), 2, "the upstream has not replied");
}
