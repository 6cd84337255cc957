//! Clients over QUIC and HTTP/3 that do not read their replies.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use quinn::{Connection, ConnectionError, ReadError};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::support::{
    Ndots,
    encrypted::{Authority, ask_https3, ask_quic, quic_from, quic_with, runtime},
    question,
};

use super::{
    arena::A,
    https3::{ended_by, post},
};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
const LARGE: &str = "large.example";
/// Octets of the address records of the reply.
const REPLY: usize = 3000 * 16;
const PATIENCE: Duration = Duration::from_secs(20);
/// The bounds of SECURITY.md.
const OF_CONNECTION: usize = 256 << 10;
const OF_ADDRESS: usize = 1 << 20;

struct World {
    server: Ndots,
    authority: Authority,
    scheme: &'static str,
    protocol: &'static str,
}

impl World {
    fn start(scheme: &'static str, protocol: &'static str) -> Self {
        let authority = Authority::new();
        let hosts = authority.path("large.hosts");
        let lines: String =
            (0..3000).map(|host| format!("10.0.{}.{} {LARGE}\n", host / 250, host % 250)).collect();
        std::fs::write(&hosts, lines).unwrap();
        let text = format!(
            "{scheme}://.:0 {{\n bind 127.0.0.1\n {}\n hosts {}\n}}\n",
            authority.directive(),
            hosts.display()
        );
        Self { server: Ndots::corefile(&text, &[scheme], &[]), authority, scheme, protocol }
    }

    /// A client that takes at most 1,000 octets of each reply.
    async fn greedy(&self) -> Result<Connection, ConnectionError> {
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(1000_u32.into());
        let config = self.authority.client(&[self.protocol]);
        quic_with(ATTACKER, self.server.bound[self.scheme], config, transport).await
    }

    async fn modest(&self, own: Ipv4Addr) -> Connection {
        let config = self.authority.client(&[self.protocol]);
        quic_from(own, self.server.bound[self.scheme], config).await.unwrap()
    }

    /// Whether this connection gets the whole reply.
    async fn answers(&self, connection: &Connection) -> bool {
        let reply = async {
            if self.protocol == "doq" {
                return ask_quic(connection, &frame()).await;
            }
            let request = post(question(0, LARGE, A));
            ask_https3(connection, request).await.ok().map(|response| response.body().to_vec())
        };
        timeout(PATIENCE, reply).await.unwrap().is_some_and(|reply| reply.len() >= REPLY)
    }

    /// Asks for the reply on 60 streams of each of six connections, and returns how many streams
    /// begin to answer.
    async fn attack(&self) -> Vec<(Connection, usize)> {
        let mut connections = Vec::new();
        for _ in 0..6 {
            connections.push(self.greedy().await.unwrap());
        }
        let mut attacked = Vec::new();
        for connection in connections {
            let begun = match self.protocol {
                "doq" => over_quic(&connection).await,
                _ => over_http3(&connection).await,
            };
            attacked.push((connection, begun));
        }
        attacked
    }
}

fn frame() -> Vec<u8> {
    let packet = question(0, LARGE, A);
    [&(packet.len() as u16).to_be_bytes()[..], &packet].concat()
}

async fn over_quic(connection: &Connection) -> usize {
    let mut streams = JoinSet::new();
    for _ in 0..60 {
        let connection = connection.clone();
        streams.spawn(async move {
            let (mut sender, mut receiver) = connection.open_bi().await.unwrap();
            sender.write_all(&frame()).await.unwrap();
            let first = receiver.read(&mut [0; 10]).await;
            if !matches!(first, Ok(Some(_))) {
                assert_eq!(first, Err(ReadError::Reset(4_u32.into())));
                return false;
            }
            tokio::spawn(async move {
                let _stream = (sender, receiver);
                sleep(PATIENCE).await;
            });
            true
        });
    }
    timeout(PATIENCE, streams.join_all()).await.unwrap().into_iter().filter(|begun| *begun).count()
}

async fn over_http3(connection: &Connection) -> usize {
    let streams = h3_quinn::Connection::new(connection.clone());
    let (mut driver, sender) = h3::client::new(streams).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    let mut streams = JoinSet::new();
    for _ in 0..60 {
        let mut sender = sender.clone();
        streams.spawn(async move {
            let (head, body) = post(question(0, LARGE, A)).into_parts();
            let request = hyper::Request::from_parts(head, ());
            let mut stream = sender.send_request(request).await.unwrap();
            let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
            stream.send_data(body).await.unwrap();
            stream.finish().await.unwrap();
            let status = stream.recv_response().await.unwrap().status();
            tokio::spawn(async move {
                let _stream = (stream, sender);
                sleep(PATIENCE).await;
            });
            assert!(status == 200 || status == 503, "{status}");
            status == 200
        });
    }
    timeout(PATIENCE, streams.join_all()).await.unwrap().into_iter().filter(|begun| *begun).count()
}

fn check(scheme: &'static str, protocol: &'static str, too_much: u32) {
    let world = World::start(scheme, protocol);
    runtime().block_on(async {
        let begun = Instant::now();
        let attacked = world.attack().await;
        let all: Vec<_> = attacked.iter().map(|(_, begun)| *begun).collect();
        println!("replies that begin: {all:?}, after {:?}", begun.elapsed());
        assert!(all.iter().all(|begun| begun * REPLY <= OF_CONNECTION), "{all:?}");
        let held = all.iter().sum::<usize>() * REPLY;
        assert!((OF_ADDRESS / 2..=OF_ADDRESS).contains(&held), "{all:?}");
        // Another address is served, and this one gets no further connection.
        assert!(world.answers(&world.modest(OTHER).await).await);
        if let Ok(connection) = world.greedy().await {
            assert_eq!(ended_by(&connection).await, Some(too_much.into()));
        }
        for (connection, _) in attacked.iter().filter(|(_, begun)| *begun > 0) {
            assert_eq!(ended_by(connection).await, Some(too_much.into()));
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        // What the connections held is free again.
        assert!(world.answers(&world.modest(ATTACKER).await).await);
    });
}

#[test]
fn replies_over_quic_that_are_not_read_have_bounds() {
    check("quic", "doq", 4);
}

#[test]
fn replies_over_http3_that_are_not_read_have_bounds() {
    check("https3", "h3", 0x107);
}
