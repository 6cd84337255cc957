use super::super::testing::{Said, UPSTREAM, Udp, World, eventually, here};
use super::*;

#[tokio::test]
async fn replies_leave_from_the_address_that_was_asked() {
    let world = World::at(&["0.0.0.0:0", "[::]:0"], u64::MAX).await;
    world.upstream.reply();
    for (listener, asked) in
        [(0, "127.0.0.1"), (0, "127.0.0.2"), (1, "127.0.0.1"), (1, "127.0.0.2"), (1, "::1")]
    {
        let to = SocketAddr::new(asked.parse().unwrap(), world.bound(listener).port());
        let client = Udp::to(to).await;
        let check = async |id, name: &str, expected| {
            client.ask(id, name).await;
            assert_eq!(
                client.receive_from().await,
                (Said::Address(id, expected), to),
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
fn one_flow_is_spread_over_the_sockets() {
    let sockets = open("127.0.0.1:0".parse().unwrap(), 4).unwrap();
    let address = sockets[0].local_addr().unwrap();
    assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
    #[expect(clippy::disallowed_methods, reason = "a client")]
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut counts = [0; 4];
    // Few at a time, so that no buffer overflows.
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
    // Less than half of its share is a matter of 1e-7.
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}

#[tokio::test]
async fn a_batch_holds_more_than_one_system_call_takes() {
    let world = World::start().await;
    let client = world.udp().await;
    for id in 0..100 {
        client.ask(id, "here.").await;
    }
    let mut left: std::collections::HashSet<u16> = (0..100).collect();
    while !left.is_empty() {
        let Said::Address(id, _) = client.receive().await else { panic!("a failure") };
        assert!(left.remove(&id), "a second reply to {id}");
    }
}

#[tokio::test]
async fn a_panic_costs_its_one_question() {
    let world = World::start().await;
    world.upstream.reply();
    let client = world.udp().await;
    for (id, name) in [(1, "panic."), (2, "panic-late.")] {
        client.ask(id, name).await;
        assert_eq!(client.receive().await, Said::Failure(id, 2));
    }
    assert_eq!(world.dispatcher.panics.get(), 2);
    client.ask(3, "here.").await;
    assert_eq!(client.receive().await, here(3));
}

#[tokio::test]
async fn what_is_too_long_for_a_request_is_malformed() {
    let world = World::start().await;
    let client = world.udp().await;
    let mut packet = super::super::testing::question(1, "here.");
    // An OPT record whose end is cut off.
    packet[11] = 1;
    packet.extend_from_slice(b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x20\x00");
    packet.resize(packet.len() + 0x2000, 0);
    client.send(&packet).await;
    assert_eq!(client.receive().await, Said::Failure(1, 1));
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_answered() {
    let world = World::start().await;
    let client = world.udp().await;
    client.ask(0, "slow.").await;
    world.upstream.has_heard(1).await;
    for id in 1..50 {
        client.ask(id, "here.").await;
    }
    let World { dispatcher, listeners, upstream, .. } = world;
    let replies = async {
        let mut late = None;
        for _ in 0..50 {
            match client.receive().await {
                Said::Address(0, address) => late = Some(address),
                other => assert!(matches!(other, Said::Address(..)), "{other:?}"),
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
    let mut world = World::start().await;
    let gone = world.bound(0);
    world.reload(&["127.0.0.2:0".to_owned()]).unwrap();
    // Without its sockets the system refuses.
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
