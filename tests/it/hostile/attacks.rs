//! What hostile clients do: one function for each attack, which runs until the test ends it, and
//! returns what it has done. Their addresses are 127.0.0.2 and the next ones.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};
use tokio::task::JoinSet;

use crate::support::{
    encrypted::{Authority, runtime},
    end::Ended,
    question,
};

use super::{
    arena::{A, Addresses, LARGE, SILENT, client},
    quic::initials,
};

const TIMEOUT: Duration = Duration::from_secs(1);

fn attacker(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 2 + (number % 20) as u8)
}

/// Calls `send` with the numbers of the packets that are due, and returns how many there were.
fn at_rate(rate: u32, ended: &Ended, mut send: impl FnMut(u32)) -> u32 {
    let (begun, mut sent) = (Instant::now(), 0);
    while !ended.is_true() {
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        (sent..due).for_each(&mut send);
        sent = due.max(sent);
        thread::sleep(Duration::from_millis(2));
    }
    sent
}

/// Sends datagrams from one address, and reads the replies.
fn flood(to: SocketAddr, rate: u32, ended: &Ended, packet: impl Fn(u32) -> Vec<u8>) -> String {
    let socket = client(attacker(0), to);
    socket.set_nonblocking(true).unwrap();
    let (mut replies, begun) = (0, Instant::now());
    let sent = at_rate(rate, ended, |number| {
        let _ = socket.send(&packet(number));
        while socket.recv(&mut [0; 4096]).is_ok() {
            replies += 1;
        }
    });
    let rate = f64::from(sent) / begun.elapsed().as_secs_f64();
    format!("{rate:.0} datagrams a second, {replies} replies")
}

/// Names of an upstream that does not reply.
pub(super) fn misses(to: Addresses, rate: u32, ended: &Ended) -> String {
    flood(to.dns, rate, ended, |number| {
        question(number as u16, &format!("miss{number}.{SILENT}"), A)
    })
}

/// A name that is answered from memory.
pub(super) fn hits(to: Addresses, rate: u32, ended: &Ended) -> String {
    flood(to.dns, rate, ended, |number| {
        question(number as u16, "kubernetes.default.svc.cluster.local", A)
    })
}

/// Random octets, some of them behind a valid header.
pub(super) fn garbage(to: Addresses, rate: u32, ended: &Ended) -> String {
    flood(to.dns, rate, ended, |number| {
        let mut state = u64::from(number) << 20 | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let length = usize::from(next()) * 2;
        let mut packet: Vec<u8> = (0..length).map(|_| next()).collect();
        if number % 2 == 0 && length > 12 {
            packet[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        }
        packet
    })
}

pub(super) fn connect(own: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind(&SocketAddr::from((own, 0)).into())?;
    socket.connect_timeout(&to.into(), TIMEOUT)?;
    Ok(socket.into())
}

pub(super) fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes()[..], packet].concat()
}

/// Keeps this many connections open, and sends `octets` on each of them again and again. Nothing is
/// read.
fn hold(to: SocketAddr, count: usize, octets: &[u8], ended: &Ended) -> String {
    let (mut open, mut opened, mut refused) = (Vec::<TcpStream>::new(), 0, 0);
    while !ended.is_true() {
        open.retain_mut(|stream| match stream.write(octets) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
        while open.len() < count && !ended.is_true() {
            match connect(attacker(opened), to) {
                Ok(mut stream) => {
                    stream.set_nonblocking(true).unwrap();
                    let _ = stream.write(octets);
                    open.push(stream);
                }
                Err(_) => {
                    refused += 1;
                    break;
                }
            }
            opened += 1;
        }
        thread::sleep(Duration::from_millis(100));
    }
    format!("{opened} connections, {} of them open at the end, {refused} refused", open.len())
}

/// Queries with large replies that are not read.
pub(super) fn unread_tcp(to: Addresses, ended: &Ended) -> String {
    hold(to.dns, 1000, &framed(&question(1, LARGE, A)).repeat(50), ended)
}

/// Messages that are sent one octet at a time, with long pauses.
pub(super) fn slow_tcp(to: Addresses, ended: &Ended) -> String {
    hold(to.dns, 4000, &[0], ended)
}

/// TLS handshakes that never begin.
pub(super) fn silent_tls(to: Addresses, ended: &Ended) -> String {
    hold(to.tls, 2000, &[], ended)
}

/// The Initial datagrams of QUIC handshakes that are never continued, each from its own port.
pub(super) fn initial_quic(
    to: Addresses,
    authority: &Authority,
    rate: u32,
    ended: &Ended,
) -> String {
    let packets = runtime().block_on(initials(200, authority));
    let mut sockets = Vec::new();
    let sent = at_rate(rate, ended, |number| {
        let socket = client(attacker(number as usize), to.quic);
        let _ = socket.send(&packets[number as usize % packets.len()]);
        sockets.push(socket);
        if sockets.len() > 2000 {
            sockets.drain(..1000);
        }
    });
    format!("{sent} handshakes")
}

/// HTTP/2 clients that open no window, so the server cannot send them an octet of the replies.
pub(super) fn unread_http2(to: Addresses, authority: &Authority, ended: &Ended) -> String {
    let config = Arc::new(authority.client(&["h2"]));
    let runtime = runtime();
    let opened = runtime.block_on(async {
        let mut clients = JoinSet::new();
        for number in 0..60 {
            let (config, ended) = (Arc::clone(&config), ended.clone());
            clients.spawn(async move {
                let mut opened = 0;
                while !ended.is_true() {
                    let conversation = unread_connection(attacker(number), to.https, &config);
                    tokio::select! {
                        done = conversation => opened += usize::from(done.is_some()),
                        () = until(&ended) => {}
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                opened
            });
        }
        clients.join_all().await.into_iter().sum::<usize>()
    });
    format!("{opened} connections with 100 requests each")
}

async fn until(ended: &Ended) {
    while !ended.is_true() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sends 100 requests, and waits until the server closes the connection.
async fn unread_connection(
    own: Ipv4Addr,
    to: SocketAddr,
    config: &Arc<rustls::ClientConfig>,
) -> Option<()> {
    let stream = connect(own, to).ok()?;
    stream.set_nonblocking(true).ok()?;
    let stream = tokio::net::TcpStream::from_std(stream).ok()?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(to.ip().into(), stream).await.ok()?;
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let connection = tokio::spawn(connection);
    let mut responses = Vec::new();
    for _ in 0..100 {
        let request = Request::post("https://localhost/dns-query")
            .header("content-type", "application/dns-message")
            .body(Full::<Bytes>::from(question(0, LARGE, A)))
            .unwrap();
        responses.push(sender.send_request(request));
    }
    let mut bodies = Vec::new();
    for response in responses {
        bodies.extend(response.await);
    }
    let _ = connection.await;
    Some(())
}

/// HTTP/2 requests that are reset at once (CVE-2023-44487).
pub(super) fn rapid_reset(to: Addresses, authority: &Authority, ended: &Ended) -> String {
    let config = Arc::new(authority.client(&["h2"]));
    let (mut connections, mut streams) = (0usize, 0usize);
    while !ended.is_true() {
        let Ok(stream) = connect(attacker(connections), to.https) else { continue };
        let _ = (stream.set_write_timeout(Some(TIMEOUT)), stream.set_read_timeout(Some(TIMEOUT)));
        let session = ClientConnection::new(Arc::clone(&config), to.https.ip().into()).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        connections += 1;
        let start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        if stream.write_all(start).is_err() {
            continue;
        }
        let mut id = 1u32;
        while !ended.is_true() {
            let batch: Vec<u8> = (0..100).flat_map(|at| reset_request(id + 2 * at)).collect();
            if stream.write_all(&batch).and_then(|()| stream.flush()).is_err() {
                break;
            }
            id += 200;
            streams += 100;
        }
    }
    format!("{streams} requests on {connections} connections")
}

/// The frames HEADERS and RST_STREAM of a query that an upstream would have to answer.
fn reset_request(id: u32) -> Vec<u8> {
    let reset = [&[0, 0, 4, 3, 0][..], &id.to_be_bytes(), &8u32.to_be_bytes()].concat();
    [request(id, &format!("r{id}.{SILENT}"), 5), reset].concat()
}

/// The frame HEADERS of a GET request for a name. Flag 1 ends the stream, and flag 4 ends the
/// headers.
pub(super) fn request(id: u32, name: &str, flags: u8) -> Vec<u8> {
    let query = BASE64_URL_SAFE_NO_PAD.encode(question(0, name, A));
    let path = format!("/dns-query?dns={query}");
    // `:method: GET` and `:scheme: https` of the static table, and a path and an authority.
    let mut headers = vec![0x82, 0x87, 0x04, path.len() as u8];
    headers.extend_from_slice(path.as_bytes());
    headers.extend_from_slice(b"\x01\x09localhost");
    let length = &(headers.len() as u32).to_be_bytes()[1..];
    [length, &[1, flags], &id.to_be_bytes(), &headers].concat()
}
