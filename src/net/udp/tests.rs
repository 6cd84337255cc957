use super::super::testing::{ReplySummary, TestServer, UPSTREAM, Udp, eventually, here};
use super::*;

#[tokio::test]
async fn replies_leave_from_the_address_that_the_query_was_sent_to() {
    let server = TestServer::at(&["0.0.0.0:0", "[::]:0"], u64::MAX).await;
    server.upstream.reply();
    for (listener, asked) in
        [(0, "127.0.0.1"), (0, "127.0.0.2"), (1, "127.0.0.1"), (1, "127.0.0.2"), (1, "::1")]
    {
        let to = SocketAddr::new(asked.parse().unwrap(), server.bound(listener).port());
        let client = Udp::to(to).await;
        let check = async |id, name: &str, expected| {
            client.ask(id, name).await;
            assert_eq!(
                client.receive_from().await,
                (ReplySummary::Address(id, expected), to),
                "{name} of listener {listener} at {asked}"
            );
        };
        check(1, "slow.", UPSTREAM).await;
        if let SocketAddr::V4(to) = to {
            check(2, "local.", to.ip().octets()).await;
        } else {
            client.ask(2, "here.").await;
            assert_eq!(client.receive_from().await, (here(2), to));
        }
    }
}

#[test]
fn one_flow_is_distributed_among_the_sockets() {
    let sockets = open("127.0.0.1:0".parse().unwrap(), 4).unwrap();
    let address = sockets[0].local_addr().unwrap();
    assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
    #[expect(clippy::disallowed_methods, reason = "a client")]
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut counts = [0; 4];
    // Few datagrams at a time, so that no buffer overflows.
    for _ in 0..20 {
        for _ in 0..20 {
            client.send_to(b"x", address).unwrap();
        }
        for (socket, count) in sockets.iter().zip(&mut counts) {
            socket.set_nonblocking(true).unwrap();
            while socket.recv(&mut [0; 8]).is_ok() {
                *count += 1;
            }
        }
    }
    assert_eq!(counts.iter().sum::<i32>(), 400);
    // A socket gets less than half of its share with a probability of 1e-7.
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[tokio::test]
async fn queries_beyond_one_batch_are_answered() {
    let server = TestServer::start().await;
    let client = server.udp().await;
    for id in 0..100 {
        client.ask(id, "here.").await;
    }
    let mut left: std::collections::HashSet<u16> = (0..100).collect();
    while !left.is_empty() {
        let ReplySummary::Address(id, _) = client.receive().await else { panic!("a failure") };
        assert!(left.remove(&id), "a second reply to {id}");
    }
}

#[tokio::test]
async fn a_panic_costs_only_its_query() {
    let server = TestServer::start().await;
    server.upstream.reply();
    let client = server.udp().await;
    for (id, name) in [(1, "panic."), (2, "panic-late.")] {
        client.ask(id, name).await;
        assert_eq!(client.receive().await, ReplySummary::Failure(id, 2));
    }
    assert_eq!(server.dispatcher.panics.get(), 2);
    client.ask(3, "here.").await;
    assert_eq!(client.receive().await, here(3));
}

#[tokio::test]
async fn a_datagram_that_is_too_long_is_malformed() {
    let server = TestServer::start().await;
    let client = server.udp().await;
    let mut packet = super::super::testing::query(1, "here.");
    // An OPT record without its end.
    packet[11] = 1;
    packet.extend_from_slice(b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x20\x00");
    packet.resize(packet.len() + 0x2000, 0);
    client.send(&packet).await;
    assert_eq!(client.receive().await, ReplySummary::Failure(1, 1));
}

#[tokio::test]
async fn queries_sent_before_the_end_are_answered() {
    let server = TestServer::start().await;
    let client = server.udp().await;
    client.ask(0, "slow.").await;
    server.upstream.has_received(1).await;
    for id in 1..50 {
        client.ask(id, "here.").await;
    }
    let TestServer { dispatcher, listeners, upstream, .. } = server;
    let replies = async {
        let mut late = None;
        for _ in 0..50 {
            match client.receive().await {
                ReplySummary::Address(0, address) => late = Some(address),
                other => assert!(matches!(other, ReplySummary::Address(..)), "{other:?}"),
            }
            upstream.reply();
        }
        late
    };
    let end = async {
        listeners.close().await;
        dispatcher.finish().await;
    };
    let (late, ()) = tokio::join!(replies, end);
    assert_eq!(late, Some(UPSTREAM));
}

#[tokio::test]
async fn sockets_are_closed_with_their_listener() {
    let mut server = TestServer::start().await;
    let gone = server.bound(0);
    server.reload(&["127.0.0.2:0".to_owned()]).unwrap();
    // The system refuses datagrams to a port without a socket.
    eventually("the socket is closed", async || {
        let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(gone).await.unwrap();
        let refused = client.send(b"x").await.is_err();
        refused
            || matches!(
                tokio::time::timeout(Duration::from_millis(20), client.recv(&mut [0])).await,
                Ok(Err(_))
            )
    })
    .await;
}
