//! Clients of DNS over HTTPS with HTTP/3 that send streams and frames without an end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use quinn::Connection;
use rustls::ClientConfig;
use tokio::time::{sleep, timeout};

use crate::support::{
    Ndots,
    encrypted::{Authority, ask_https3, quic, runtime},
    question, turn,
};

use super::arena::{A, resident};

const HTTPS3: &str = "https3";
const HEADERS: u8 = 1;
const UNKNOWN: u8 = 0x21;
const EXCESSIVE_LOAD: u32 = 0x107;
/// The type of a control stream, and empty SETTINGS.
const CONTROL: [u8; 3] = [0, 4, 0];
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    server: Ndots,
    authority: Authority,
}

impl World {
    fn start() -> Self {
        let authority = Authority::new();
        let text = format!(
            "https3://.:0 {{\n bind 127.0.0.1\n {}\n hosts none {{\n 192.0.2.1 host.example\n }}\n}}\n",
            authority.directive()
        );
        Self { server: Ndots::corefile(&text, &[HTTPS3], &[]), authority }
    }

    async fn connect(&self) -> Connection {
        quic(self.server.bound[HTTPS3], self.authority.client(&["h3"])).await.unwrap()
    }

    fn memory(&self) -> u64 {
        resident(self.server.child.id())
    }

    async fn assert_serves(&self) {
        assert_answers(&self.connect().await).await;
    }
}

pub(super) fn post(message: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::post("https://localhost/dns-query")
        .header("content-type", "application/dns-message");
    request.body(Full::from(message)).unwrap()
}

async fn assert_answers(connection: &Connection) {
    let request = post(question(0, "host.example", A));
    let response = timeout(PATIENCE, ask_https3(connection, request)).await.expect("a response");
    let response = response.unwrap();
    assert!(response.body().ends_with(&[192, 0, 2, 1]), "{:02x?}", response.body());
}

/// The code with which the server closes the connection.
pub(super) async fn ended_by(connection: &Connection) -> Option<quinn::VarInt> {
    match timeout(PATIENCE, connection.closed()).await.expect("the server closes the connection") {
        quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code),
        _ => None,
    }
}

/// A frame whose length is written in four octets.
fn frame(kind: u8, length: u32, payload: usize) -> Vec<u8> {
    [&[kind][..], &(length | 2 << 30).to_be_bytes(), &vec![0; payload]].concat()
}

/// h3 stores the id of each stream that ends without a request.
#[test]
fn streams_without_a_request_end_their_connection() {
    let world = World::start();
    runtime().block_on(async {
        let connection = world.connect().await;
        let mut opened = 0;
        while let Ok((mut sender, receiver)) = connection.open_bi().await {
            let _ = if opened % 2 == 0 { sender.finish() } else { sender.reset(0_u32.into()) };
            drop(receiver);
            opened += 1;
            assert!(opened < 20_000, "the server accepts such streams without end");
        }
        println!("{opened} streams");
        assert_eq!(ended_by(&connection).await, Some(EXCESSIVE_LOAD.into()));
        world.assert_serves().await;
    });
}

/// h3 keeps such a frame until it is complete, and each piece of it takes some 60 octets.
#[test]
fn long_frames_end_their_control_stream() {
    let world = World::start();
    runtime().block_on(async {
        let connection = world.connect().await;
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&[&CONTROL[..], &frame(UNKNOWN, 60_000, 20)].concat()).await.unwrap();
        let begun = Instant::now();
        let ended = timeout(PATIENCE, control.stopped()).await.expect("the stream ends");
        assert_ne!(ended, Ok(None), "the server reads on");
        // The server would close an idle connection after 10 s.
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    });
}

/// A client may change the priority of each of its requests, with a frame of some 20 octets.
#[test]
fn short_frames_of_a_control_stream_have_no_last_one() {
    let world = World::start();
    runtime().block_on(async {
        let connection = world.connect().await;
        let mut control = connection.open_uni().await.unwrap();
        control.write_all(&CONTROL).await.unwrap();
        let frames = frame(UNKNOWN, 20, 20).repeat(100);
        for _ in 0..60 {
            control.write_all(&frames).await.unwrap();
        }
        // One more frame arrives in pieces of one octet.
        for octet in frame(UNKNOWN, 300, 300) {
            control.write_all(&[octet]).await.unwrap();
        }
        sleep(Duration::from_millis(300)).await;
        assert!(connection.close_reason().is_none(), "{:?}", connection.close_reason());
    });
}

/// The server reads the octets of all streams as they arrive, and keeps them.
#[test]
fn incomplete_requests_of_a_connection_have_a_bound() {
    let world = World::start();
    runtime().block_on(async {
        let connection = world.connect().await;
        let mut streams = Vec::new();
        for _ in 0..90 {
            let (mut sender, receiver) = connection.open_bi().await.unwrap();
            let _ = sender.write_all(&frame(HEADERS, 16_000, 15_000)).await;
            streams.push((sender, receiver));
        }
        let mut refused = 0;
        for (sender, _) in &mut streams {
            let code = timeout(PATIENCE, sender.stopped()).await.expect("the stream ends");
            refused += usize::from(code == Ok(Some(EXCESSIVE_LOAD.into())));
        }
        assert!((60..85).contains(&refused), "{refused} of 90 streams");
        // What the other streams held is free again.
        let (mut sender, receiver) = connection.open_bi().await.unwrap();
        sender.write_all(&frame(HEADERS, 16_000, 15_000)).await.unwrap();
        let code = timeout(PATIENCE, sender.stopped()).await.expect("the stream ends");
        assert_ne!(code, Ok(Some(EXCESSIVE_LOAD.into())));
        drop(receiver);
        world.assert_serves().await;
    });
}

/// Opens streams without end, and a connection again when the server closes it.
async fn attack(address: SocketAddr, config: ClientConfig) {
    loop {
        let Ok(connection) = quic(address, config.clone()).await else { continue };
        let mut streams = Vec::new();
        while let Ok((mut sender, receiver)) = connection.open_bi().await {
            if sender.write_all(&frame(HEADERS, 16_000, 15_000)).await.is_ok() {
                streams.push((sender, receiver));
            }
        }
    }
}

#[test]
fn endless_incomplete_streams_cost_little_memory() {
    /// In KiB. A debug build and its allocator need some for each connection.
    const GROWTH: u64 = 24 << 10;
    let _turn = turn::alone();
    let world = World::start();
    runtime().block_on(async {
        world.assert_serves().await;
        let before = world.memory();
        let mut most = 0;
        let (address, config) = (world.server.bound[HTTPS3], world.authority.client(&["h3"]));
        let attackers: Vec<_> =
            (0..20).map(|_| tokio::spawn(attack(address, config.clone()))).collect();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            world.assert_serves().await;
            most = most.max(world.memory());
            sleep(Duration::from_millis(100)).await;
        }
        println!("{before} KiB before, {most} KiB at most");
        assert!(most < before + GROWTH, "{before} KiB, {most} KiB");
        attackers.iter().for_each(tokio::task::JoinHandle::abort);
    });
}
