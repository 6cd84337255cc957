use std::time::Duration;

use super::{
    super::testing::{ReplySummary, TestServer, UPSTREAM, eventually, here},
    waiting::exchange_time,
    *,
};

/// Takes all permits that the client of the test may have.
fn take_all(permits: &Arc<Shares>) -> Vec<Share> {
    std::iter::from_fn(|| permits.take(IpAddr::from([127, 0, 0, 1]))).collect()
}

#[tokio::test]
async fn a_query_fails_at_once_when_too_many_wait() {
    let server = TestServer::start().await;
    server.upstream.reply();
    let (udp, mut tcp) = (server.udp().await, server.tcp().await);
    let (failure, success) =
        (|id| ReplySummary::Failure(id, 2), |id| ReplySummary::Address(id, UPSTREAM));
    let full = take_all(&server.dispatcher.datagram_permits);
    udp.ask(1, "slow.").await;
    assert_eq!(udp.receive().await, failure(1));
    udp.ask(2, "here.").await;
    assert_eq!(udp.receive().await, here(2));
    tcp.ask(3, "slow.").await;
    assert_eq!(tcp.receive().await, Some(success(3)));
    drop(full);

    let full = take_all(&server.dispatcher.stream_permits);
    tcp.ask(4, "slow.").await;
    assert_eq!(tcp.receive().await, Some(failure(4)));
    udp.ask(5, "slow.").await;
    assert_eq!(udp.receive().await, success(5));
    drop(full);
    tcp.ask(6, "slow.").await;
    assert_eq!(tcp.receive().await, Some(success(6)));
}

#[tokio::test]
async fn permits_are_returned() {
    let server = TestServer::start().await;
    let (udp, mut tcp) = (server.udp().await, server.tcp().await);
    udp.ask(1, "slow.").await;
    udp.ask(2, "panic-late.").await;
    tcp.ask(3, "slow.").await;
    server.upstream.has_received(2).await;
    let taken =
        || [server.dispatcher.datagram_permits.taken(), server.dispatcher.stream_permits.taken()];
    assert_eq!(taken(), [2, 1]);
    server.upstream.reply();
    tcp.receive().await.unwrap();
    server.dispatcher.finish().await;
    tcp.ask(4, "here.").await;
    tcp.receive().await.unwrap();
    assert_eq!(taken(), [0, 0]);
}

#[tokio::test]
async fn a_transfer_holds_up_the_next_query_and_few_run_at_once() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    client.ask_for_zone(1, "5000.").await;
    client.ask(2, "here.").await;
    let mut records = 0;
    while records < 5002 {
        let message = client.receive_message().await.unwrap();
        assert!(
            message.len() <= limits::TRANSFER_OCTETS && message[1] == 1,
            "{} octets",
            message.len()
        );
        records += usize::from(u16::from_be_bytes([message[6], message[7]]));
    }
    assert_eq!((records, client.receive().await), (5002, Some(here(2))));

    let full = take_all(&server.dispatcher.transfer_permits);
    assert_eq!(full.len(), limits::TRANSFERS / 2, "others get the rest");
    assert!(server.dispatcher.transfer_permit(IpAddr::from([192, 0, 2, 1])).is_some());
    client.ask_for_zone(3, "1.").await;
    assert_eq!(client.receive().await, Some(ReplySummary::Failure(3, 2)));
    drop(full);
    client.ask_for_zone(4, "1.").await;
    // The last record is the SOA record. Its data ends with numbers that are 0.
    assert_eq!(client.receive().await, Some(ReplySummary::Address(4, [0; 4])));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_transfer_is_disconnected() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    client.ask_for_zone(1, "endless.").await;
    client.receive_message().await.unwrap();
    assert_eq!(server.dispatcher.transfer_permits.taken(), 1);
    sleep(limits::TCP_WRITE_TIME).await;
    eventually("its permit is free", async || server.dispatcher.transfer_permits.taken() == 0)
        .await;
}

#[test]
fn no_exchange_takes_longer_than_its_client_waits() {
    let address = ([192, 0, 2, 1], 53).into();
    let check = |ago: Duration, set: Option<Duration>, expected: Duration| {
        let mut cx = new_cx(address, address, Transport::Udp);
        cx.started -= ago;
        cx.patience = set;
        let waits = exchange_time(&mut cx);
        assert!(
            waits <= expected && waits + Duration::from_millis(500) > expected,
            "{ago:?} {set:?}: {waits:?}"
        );
        assert_eq!(cx.patience, None, "the time is set for one exchange");
    };
    let second = Duration::from_secs(1);
    check(Duration::ZERO, None, limits::EXCHANGE_TIME);
    check(Duration::ZERO, Some(second), second);
    check(2 * second, None, limits::EXCHANGE_TIME - 2 * second);
    check(limits::EXCHANGE_TIME - second, Some(2 * second), second);
    check(2 * limits::EXCHANGE_TIME, None, Duration::ZERO);
}
