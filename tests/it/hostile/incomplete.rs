//! Clients that begin requests over HTTP and QUIC and do not complete them. One address may not use
//! up the memory for such requests.

use std::{net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::{
    Request,
    body::{Body, Frame},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quinn::{Connection, RecvStream, SendStream};
use tokio::{
    net::TcpSocket,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::support::{
    Ndots,
    encrypted::{Authority, ask_quic, connect_over, quic_from, runtime},
    question,
};

use super::arena::A;

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// A request must be complete after 3 s. What ends before was refused.
const AT_ONCE: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    server: Ndots,
    authority: Authority,
}

impl World {
    fn start(scheme: &str) -> Self {
        let authority = Authority::new();
        let text = format!(
            "{scheme}://.:0 {{\n bind 127.0.0.1\n {}\n hosts none {{\n 192.0.2.1 host.example\n }}\n}}\n",
            authority.directive()
        );
        Self { server: Ndots::corefile(&text, &[scheme], &[]), authority }
    }

    async fn quic(&self, own: Ipv4Addr, scheme: &str, protocol: &str) -> Connection {
        let config = self.authority.client(&[protocol]);
        quic_from(own, self.server.bound[scheme], config).await.unwrap()
    }

    /// Opens 300 streams that begin with these octets, and returns how many are refused.
    async fn hold_streams(
        &self,
        (scheme, protocol): (&str, &str),
        octets: &[u8],
    ) -> (usize, Vec<(Connection, SendStream, RecvStream)>) {
        let (mut connections, mut held) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            connections.push(self.quic(ATTACKER, scheme, protocol).await);
        }
        for connection in connections {
            for _ in 0..75 {
                let (mut sender, receiver) = connection.open_bi().await.unwrap();
                let _ = sender.write_all(octets).await;
                held.push((connection.clone(), sender, receiver));
            }
        }
        sleep(AT_ONCE).await;
        let mut refused = 0;
        for (_, sender, _) in &mut held {
            refused += usize::from(timeout(Duration::ZERO, sender.stopped()).await.is_ok());
        }
        (refused, held)
    }
}

/// The message of a query behind its length.
fn frame() -> Vec<u8> {
    let packet = question(0, "host.example", A);
    [&(packet.len() as u16).to_be_bytes()[..], &packet].concat()
}

#[test]
fn over_quic_one_address_leaves_room_for_others() {
    let world = World::start("quic");
    runtime().block_on(async {
        let (refused, held) = world.hold_streams(("quic", "doq"), &frame()[..2]).await;
        println!("{refused} of {} streams", held.len());
        assert!((80..=120).contains(&refused), "{refused}");
        // The message of another address arrives in two parts.
        let connection = world.quic(OTHER, "quic", "doq").await;
        let (mut sender, mut receiver) = connection.open_bi().await.unwrap();
        sender.write_all(&frame()[..2]).await.unwrap();
        sleep(Duration::from_millis(200)).await;
        sender.write_all(&frame()[2..]).await.unwrap();
        let reply = timeout(PATIENCE, receiver.read_to_end(1000)).await.unwrap().unwrap();
        assert!(reply.ends_with(&[192, 0, 2, 1]), "{reply:02x?}");
        // A message that arrives at once needs no room.
        let reply = timeout(PATIENCE, ask_quic(&held[0].0, &frame())).await.unwrap();
        assert!(reply.is_some_and(|reply| reply.ends_with(&[192, 0, 2, 1])));
    });
}

#[test]
fn over_http3_one_address_leaves_room_for_others() {
    const HEADERS: u8 = 1;
    let world = World::start("https3");
    runtime().block_on(async {
        // A frame of 200 octets that does not end.
        let begun = [&[HEADERS, 0x40, 200][..], &[0; 20]].concat();
        let (refused, held) = world.hold_streams(("https3", "h3"), &begun).await;
        println!("{refused} of {} streams", held.len());
        assert!((160..=220).contains(&refused), "{refused}");
        let connection = world.quic(OTHER, "https3", "h3").await;
        let (mut sender, _receiver) = connection.open_bi().await.unwrap();
        sender.write_all(&begun).await.unwrap();
        let stopped = timeout(AT_ONCE, sender.stopped()).await;
        assert!(stopped.is_err(), "another address has room: {stopped:?}");
    });
}

/// A body that begins and does not end.
fn endless() -> impl Body<Data = Bytes, Error = std::io::Error> + Send + Unpin + 'static {
    let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from_static(&[0])))]);
    StreamBody::new(futures_util::StreamExt::chain(first, futures_util::stream::pending()))
}

/// Sends requests that are not complete, and returns the statuses that come at once, and the other
/// requests.
async fn hold_requests(
    world: &World,
    own: Ipv4Addr,
    count: usize,
) -> (Vec<u16>, JoinSet<Option<u16>>) {
    let address = world.server.bound["https"];
    let mut senders = Vec::new();
    for _ in 0..count.div_ceil(100) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((own, 0).into()).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let stream = connect_over(stream, address, world.authority.client(&["h2"])).await;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        senders.push(sender);
    }
    let mut responses = JoinSet::new();
    for sender in senders.iter().cycle().take(count) {
        let mut sender = sender.clone();
        responses.spawn(async move {
            let request = Request::post("https://localhost/dns-query").body(endless()).unwrap();
            Some(sender.send_request(request).await.ok()?.status().as_u16())
        });
    }
    let mut statuses = Vec::new();
    while let Ok(Some(response)) = timeout(AT_ONCE / 5, responses.join_next()).await {
        statuses.extend(response.unwrap());
    }
    (statuses, responses)
}

#[test]
fn over_http2_one_address_leaves_room_for_others() {
    let world = World::start("https");
    runtime().block_on(async {
        let (refused, _others) = hold_requests(&world, ATTACKER, 1200).await;
        println!("{} of 1200 requests", refused.len());
        assert!(refused.iter().all(|status| *status == 503), "{refused:?}");
        assert!((150..=300).contains(&refused.len()), "{}", refused.len());
        let (refused, _others) = hold_requests(&world, OTHER, 50).await;
        assert_eq!(refused, Vec::<u16>::new());
    });
}
