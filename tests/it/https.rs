//! DNS over HTTPS: status codes, cache headers, concurrent streams, timeouts.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{
    Ndots,
    encrypted::{Authority, connect, dot, https, runtime},
    page, question, rcode, turn,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    client::conn::http2,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use hyper_util::rt::{TokioExecutor, TokioIo};

const A: u16 = 1;
const MESSAGE: &str = "application/dns-message";
const PAGES: &str = "127.0.0.1:0";

/// Starts a server that forwards unknown names to a silent upstream.
fn server(tls: &str, silent: std::net::SocketAddr) -> Ndots {
    let text = format!(
        "https://.:0 {{\n bind 127.0.0.1\n {tls}\n prometheus 127.0.0.1:0\n hosts none {{\n 192.0.2.1 host.example\n ttl 300\n fallthrough\n }}\n forward . {silent}\n}}\n"
    );
    Ndots::corefile(&text, &["https", PAGES], &[])
}

fn silent() -> std::net::UdpSocket {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn request(method: &Method, path: &str, kind: Option<&str>, body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::builder()
        .method(method)
        .uri(format!("https://localhost{path}"))
        .header("host", "localhost");
    let request =
        kind.into_iter().fold(request, |request, kind| request.header(CONTENT_TYPE, kind));
    request.body(Full::from(body)).unwrap()
}

#[test]
fn requests_without_a_query_get_an_http_status() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority.directive(), upstream.local_addr().unwrap());
    let ask = question(0, "host.example", A);
    let encoded = BASE64_URL_SAFE_NO_PAD.encode(&ask);
    let get = |query: &str| request(&Method::GET, &format!("/dns-query{query}"), None, Vec::new());
    let post = |kind, body: &[u8]| request(&Method::POST, "/dns-query", kind, body.to_vec());
    let table = [
        (post(Some(MESSAGE), &ask), 200),
        (post(Some("Application/DNS-Message; charset=utf-8"), &ask), 200),
        (get(&format!("?dns={encoded}")), 200),
        (get(&format!("?a=b&dns={encoded}&c=d")), 200),
        // A message of which only the header is valid gets a DNS reply.
        (post(Some(MESSAGE), &ask[..20]), 200),
        (post(Some(MESSAGE), &[7; 4096]), 200),
        (post(Some(MESSAGE), b"short"), 400),
        (post(Some(MESSAGE), b""), 400),
        (get(""), 400),
        (get("?dns"), 400),
        (get("?dns="), 400),
        (get(&format!("?dns={encoded}&dns={encoded}")), 400),
        (get(&format!("?dns={encoded}=")), 400),
        (get("?dns=a+b/"), 400),
        (request(&Method::GET, &format!("/?dns={encoded}"), None, Vec::new()), 404),
        (request(&Method::POST, "/dns-query/", Some(MESSAGE), ask.clone()), 404),
        (request(&Method::PUT, "/dns-query", Some(MESSAGE), ask.clone()), 405),
        (request(&Method::DELETE, &format!("/dns-query?dns={encoded}"), None, Vec::new()), 405),
        (post(Some(MESSAGE), &[7; 4097]), 413),
        (get(&format!("?dns={}", "a".repeat(5464 + 1))), 414),
        // The message decides, as in CoreDNS. Old clients send the type of a draft.
        (post(Some("application/dns-udpwireformat"), &ask), 200),
        (post(Some("text/plain"), &ask), 200),
        (post(None, &ask), 200),
    ];
    for protocol in ["h2", "http/1.1"] {
        for (request, expected) in &table {
            let response =
                https(server.bound["https"], authority.client(&[protocol]), request.clone());
            assert_eq!(response.status(), *expected, "{protocol}: {request:?}");
            let kind = response.headers()[CONTENT_TYPE].to_str().unwrap();
            assert_eq!(kind == MESSAGE, *expected == 200, "{protocol}: {request:?}: {kind}");
            assert_eq!(response.headers().contains_key(ALLOW), *expected == 405);
        }
    }
    let counted = page(server.bound[PAGES], "/metrics").unwrap();
    let count = |status| {
        format!(
            "coredns_dns_https_responses_total{{server=\"https://127.0.0.1:0\",status=\"{status}\"}}"
        )
    };
    let of = |status| 2 * table.iter().filter(|(_, expected)| *expected == status).count();
    for status in [200, 400, 404, 405, 413, 414] {
        assert!(
            counted.contains(&format!("{} {}\n", count(status), of(status))),
            "{status}: {counted}"
        );
    }
}

#[test]
fn the_max_age_of_a_reply_is_its_lowest_ttl_and_0_for_errors() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority.directive(), upstream.local_addr().unwrap());
    for (name, expected) in [("host.example", "max-age=300"), ("slow.example", "max-age=0")] {
        let packet = question(0, name, A);
        let response = https(
            server.bound["https"],
            authority.client(&["h2"]),
            request(&Method::POST, "/dns-query", Some(MESSAGE), packet),
        );
        assert_eq!(response.headers()[CACHE_CONTROL], expected, "{name}");
    }
}

#[test]
fn streams_do_not_wait_for_each_other() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority.directive(), upstream.local_addr().unwrap());
    let replies = runtime().block_on(async {
        let stream = connect(server.bound["https"], authority.client(&["h2"])).await;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut replies = Vec::new();
        let ask = async |name: &str| {
            let request = request(&Method::POST, "/dns-query", Some(MESSAGE), question(0, name, A));
            let reply = sender
                .clone()
                .send_request(request)
                .await
                .unwrap()
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes();
            (name.to_owned(), rcode(&reply))
        };
        let asked = async {
            let (slow, quick) = (ask("slow.example"), ask("host.example"));
            tokio::pin!(slow, quick);
            tokio::select! {
                first = &mut slow => replies.extend([first, quick.await]),
                first = &mut quick => replies.extend([first, slow.await]),
            }
        };
        tokio::select! {
            () = asked => {}
            ended = connection => panic!("{ended:?}"),
        }
        replies
    });
    assert_eq!(replies, [("host.example".to_owned(), 0), ("slow.example".to_owned(), 2)]);
}

#[test]
fn the_limit_of_concurrent_streams_is_announced() {
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority.directive(), upstream.local_addr().unwrap());
    let mut stream = dot(server.bound["https"], authority.client(&["h2"])).0;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    stream.flush().unwrap();
    // The first frame is the server's settings (RFC 9113 §3.4).
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4);
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).unwrap();
    let setting = |id: u8| {
        settings
            .chunks(6)
            .find(|setting| setting[1] == id)
            .map(|setting| u32::from_be_bytes(*setting.last_chunk().unwrap()))
    };
    assert_eq!(
        (setting(3), setting(6)),
        (Some(100), Some(16 << 10)),
        "streams, and octets of headers"
    );
}

/// The flow-control window of each of the client's streams is 0, so the server cannot send a single
/// octet of the replies.
#[test]
fn a_client_that_takes_no_replies_gets_few_and_loses_its_connection() {
    let (authority, replies) = (Authority::new(), 100);
    let lines: String = (0..3000u32)
        .map(|host| format!(" 10.0.{}.{} large.example\n", host / 250, host % 250))
        .collect();
    let text = format!(
        "https://.:0 {{\n bind 127.0.0.1\n {}\n hosts none {{\n{lines} }}\n}}\n",
        authority.directive()
    );
    let server = Ndots::corefile(&text, &["https"], &[]);
    let ask =
        || request(&Method::POST, "/dns-query", Some(MESSAGE), question(0, "large.example", A));
    let begun = Instant::now();
    let statuses = runtime().block_on(async {
        let stream = connect(server.bound["https"], authority.client(&["h2"])).await;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(0)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let (_connection, mut statuses) = (tokio::spawn(connection), Vec::new());
        let mut bodies = Vec::new();
        for _ in 0..replies {
            let response = sender.clone().send_request(ask()).await.unwrap();
            statuses.push(response.status().as_u16());
            bodies.push(response.into_body());
        }
        for body in bodies {
            body.collect().await.unwrap_err();
        }
        statuses
    });
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!((1..=6).contains(&taken), "{taken} replies of 48 kB wait");
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), replies - taken);
    assert!(begun.elapsed() < Duration::from_secs(15), "the connection ends after 5 s");
    let other = https(server.bound["https"], authority.client(&["h2"]), ask());
    assert_eq!(other.status(), 200);
}

/// Everything that the server sends until it closes the connection, and how long that takes.
fn until_closed(mut stream: impl Read, begun: Instant) -> (String, Duration) {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(error)
                if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset]
                    .contains(&error.kind()) =>
            {
                break;
            }
            Err(error) => panic!("{error} after {:?}", begun.elapsed()),
        }
    }
    (String::from_utf8_lossy(&text).into_owned(), begun.elapsed())
}

#[test]
fn a_slow_client_delays_no_other() {
    let _turn = turn::alone();
    let (authority, upstream) = (Authority::new(), silent());
    let server = server(&authority.directive(), upstream.local_addr().unwrap());
    let begun = Instant::now();
    let say = |protocols: &[&str], said: &str| {
        let mut client = dot(server.bound["https"], authority.client(protocols));
        client.0.sock.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.0.write_all(said.as_bytes()).unwrap();
        client.0.flush().unwrap();
        client.0
    };
    let body = say(
        &["http/1.1"],
        &format!(
            "POST /dns-query HTTP/1.1\r\nHost: a\r\nContent-Type: {MESSAGE}\r\nContent-Length: 40\r\n\r\nhalf"
        ),
    );
    let endless = say(
        &[],
        &format!(
            "POST /dns-query HTTP/1.1\r\nHost: a\r\nContent-Type: {MESSAGE}\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n{}",
            "x".repeat(5000)
        ),
    );
    let head = say(&["http/1.1"], "POST /dns-query HTTP/1.1\r\nHost:");
    let long_head =
        say(&["http/1.1"], &format!("GET /dns-query HTTP/1.1\r\nX: {}", "x".repeat(20_000)));
    let silent = [
        say(&["http/1.1"], ""),
        say(&["h2"], ""),
        say(&["h2"], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    ];
    for protocol in ["h2", "http/1.1", "h2"] {
        let packet = question(0, "host.example", A);
        let request = request(&Method::POST, "/dns-query", Some(MESSAGE), packet);
        let reply = https(server.bound["https"], authority.client(&[protocol]), request);
        assert!(reply.body().ends_with(&[192, 0, 2, 1]), "{reply:?}");
    }
    // The server ends the first of the slow clients after 3 s.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let (said, took) = until_closed(endless, begun);
    assert!(
        said.starts_with("HTTP/1.1 413") && took < Duration::from_secs(8),
        "{said} after {took:?}"
    );
    let (said, took) = until_closed(long_head, begun);
    assert!(
        said.starts_with("HTTP/1.1 431") && took < Duration::from_secs(8),
        "{said} after {took:?}"
    );
    let (said, took) = until_closed(body, begun);
    assert!(
        said.starts_with("HTTP/1.1 408") && took < Duration::from_secs(18),
        "{said} after {took:?}"
    );
    for idle in [head].into_iter().chain(silent) {
        let (said, took) = until_closed(idle, begun);
        assert!(!said.contains("200") && took < Duration::from_secs(18), "{said} after {took:?}");
    }
}

#[test]
fn without_a_certificate_nothing_is_encrypted() {
    let upstream = silent();
    let server = server("# none", upstream.local_addr().unwrap());
    let mut stream = TcpStream::connect(server.bound["https"]).unwrap();
    let encoded = BASE64_URL_SAFE_NO_PAD.encode(question(0, "host.example", A));
    write!(stream, "GET /dns-query?dns={encoded} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200") && response.ends_with(&[192, 0, 2, 1]));
}
