//! Clients of DNS over QUIC that begin something and do not end it.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::crypto::rustls::QuicClientConfig;
use tokio::time::timeout;

use crate::support::{
    Ndots,
    encrypted::{Authority, ask_quic, quic, runtime},
    question, turn,
};

const A: u16 = 1;

fn server(authority: &Authority) -> Ndots {
    let text = format!(
        "quic://.:0 {{\n bind 127.0.0.1\n {}\n hosts none {{\n 192.0.2.1 host.example\n }}\n}}\n",
        authority.directive()
    );
    Ndots::corefile(&text, &["quic"], &[])
}

fn frame(name: &str) -> Vec<u8> {
    let packet = question(0, name, A);
    [&(packet.len() as u16).to_be_bytes()[..], &packet].concat()
}

/// How long a new client waits for its first reply.
async fn first_reply(server: SocketAddr, authority: &Authority) -> Duration {
    let begun = Instant::now();
    let ask = async {
        let connection = quic(server, authority.client(&["doq"])).await.unwrap();
        ask_quic(&connection, &frame("host.example")).await.unwrap()
    };
    let reply = timeout(Duration::from_secs(20), ask).await.expect("a reply");
    assert!(reply.ends_with(&[192, 0, 2, 1]), "{reply:02x?}");
    begun.elapsed()
}

/// The first datagrams of `count` handshakes.
pub(super) async fn initials(count: usize, authority: &Authority) -> Vec<Vec<u8>> {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let crypto = QuicClientConfig::try_from(authority.client(&["doq"])).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let mut found = HashMap::new();
    for _ in 0..count {
        let _connecting = endpoint.connect(socket.local_addr().unwrap(), "localhost").unwrap();
        let mut packet = [0; 2048];
        let (length, _) =
            timeout(Duration::from_secs(20), socket.recv_from(&mut packet)).await.unwrap().unwrap();
        // The connection id that the client has chosen for the server stands behind the version.
        let id = packet[6..6 + usize::from(packet[5])].to_vec();
        found.entry(id).or_insert_with(|| packet[..length].to_vec());
    }
    found.into_values().collect()
}

/// The same test with 50 handshakes delays the next client of hickory-server 0.26 by 15 s.
#[test]
fn handshakes_that_never_complete_do_not_delay_the_next_client() {
    let _turn = turn::alone();
    let authority = Authority::new();
    let server = server(&authority);
    let address = server.bound["quic"];
    runtime().block_on(async {
        let before = first_reply(address, &authority).await;
        let mut flooders = Vec::new();
        for count in [50, 400] {
            for packet in initials(count, &authority).await {
                let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
                socket.send_to(&packet, address).unwrap();
                flooders.push(socket);
            }
            let after = first_reply(address, &authority).await;
            println!("{} handshakes: {before:?} before, {after:?} now", flooders.len());
            assert!(flooders.len() >= count / 2, "the datagrams are of different handshakes");
            // On a busy machine other processes need time, too.
            assert!(after < Duration::from_secs(4), "{after:?}");
        }
        // The server does not reply to an address that has not proven itself with much more than
        // it got (RFC 9000 §8.1).
        let octets: usize = flooders.iter().map(received).sum();
        assert!(octets < 3 * 1200 * flooders.len(), "{octets}");
    });
}

fn received(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    let mut packet = [0; 2048];
    std::iter::from_fn(|| socket.recv(&mut packet).ok()).sum()
}

#[test]
fn streams_without_their_end_do_not_hinder_others() {
    let authority = Authority::new();
    let server = server(&authority);
    let address = server.bound["quic"];
    runtime().block_on(async {
        let mut stalled = Vec::new();
        for part in [1, 2, 20] {
            let connection = quic(address, authority.client(&["doq"])).await.unwrap();
            for _ in 0..100 {
                let (mut sender, receiver) = connection.open_bi().await.unwrap();
                sender.write_all(&frame("host.example")[..part]).await.unwrap();
                stalled.push((connection.clone(), sender, receiver));
            }
        }
        let waited = first_reply(address, &authority).await;
        println!("with {} stalled streams: {waited:?}", stalled.len());
        assert!(waited < Duration::from_secs(4), "{waited:?}");
        // A stalled stream is reset, and the connection can be used again.
        let (connection, _sender, mut receiver) = stalled.pop().unwrap();
        let end = timeout(Duration::from_secs(20), receiver.read_to_end(10)).await.unwrap();
        assert!(end.is_err(), "{end:?}");
        // The other streams are reset, too. Ending them here would be an error of the client.
        for (_, _, receiver) in &mut stalled {
            let end = timeout(Duration::from_secs(20), receiver.read_to_end(10)).await.unwrap();
            assert!(end.is_err(), "{end:?}");
        }
        stalled.clear();
        let ask = async {
            let (mut sender, mut receiver) = connection.open_bi().await.unwrap();
            sender.write_all(&frame("host.example")).await.unwrap();
            // The client does not end its stream, and gets its reply.
            receiver.read_to_end(1000).await.unwrap()
        };
        let reply = timeout(Duration::from_secs(20), ask).await.expect("a reply");
        assert!(reply.ends_with(&[192, 0, 2, 1]), "{reply:02x?}");
    });
}

#[test]
fn broken_streams_end_their_connection_with_the_code_for_it() {
    let authority = Authority::new();
    let server = server(&authority);
    let long = [&[0xff, 0xff][..], &[0; 100]].concat();
    let id = [&frame("host.example")[..2], &question(1, "host.example", A)].concat();
    runtime().block_on(async {
        for (what, octets) in [
            ("a length that no request has", long),
            ("an id other than 0", id),
            ("an end within the message", frame("host.example")[..20].to_vec()),
            ("an end within the length", vec![0]),
        ] {
            let connection = quic(server.bound["quic"], authority.client(&["doq"])).await.unwrap();
            let reply = ask_quic(&connection, &octets).await;
            assert!(reply.is_none_or(|reply| reply.is_empty()), "{what}");
            let closed = timeout(Duration::from_secs(20), connection.closed()).await.unwrap();
            let quinn::ConnectionError::ApplicationClosed(close) = closed else {
                panic!("{what}: {closed}")
            };
            assert_eq!(close.error_code, 2_u32.into(), "{what}");
        }
    });
}
