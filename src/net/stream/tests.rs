use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    time::{Instant, pause, timeout},
};

use super::super::testing::{ReplySummary, Tcp, TestServer, UPSTREAM, eventually, here, query};
use super::*;

/// The upstream's answer.
fn forwarded(id: u16) -> Option<ReplySummary> {
    Some(ReplySummary::Address(id, UPSTREAM))
}

#[tokio::test]
async fn a_slow_query_does_not_hold_up_others() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    client.ask(1, "slow.").await;
    for id in 2..10 {
        client.ask(id, "here.").await;
    }
    for id in 2..10 {
        assert_eq!(client.receive().await, Some(here(id)));
    }
    server.upstream.reply();
    assert_eq!(client.receive().await, forwarded(1));
}

#[tokio::test]
async fn a_client_that_closes_its_half_gets_the_replies() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    client.ask(1, "slow.").await;
    client.ask(2, "here.").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.receive().await, Some(here(2)));
    server.upstream.reply();
    assert_eq!(client.receive().await, forwarded(1));
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn queries_beyond_the_bound_wait_in_the_socket() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    let bound = limits::TCP_PENDING_QUERIES as u16;
    for id in 0..bound + 5 {
        client.ask(id, &format!("slow{id}.")).await;
    }
    client.ask(bound + 5, "here.").await;
    server.upstream.has_received(bound.into()).await;
    // The deadline for messages does not apply: the server is not waiting for the client.
    sleep(limits::TCP_MESSAGE_TIME + Duration::from_millis(300)).await;
    server.upstream.reply();
    let mut ids = Vec::new();
    for _ in 0..bound + 6 {
        let Some(ReplySummary::Address(id, _) | ReplySummary::Failure(id, _)) =
            client.receive().await
        else {
            panic!("after {ids:?}")
        };
        ids.push(id);
    }
    assert!(
        ids.iter().position(|id| *id == bound + 5).unwrap() > 0,
        "it was read before there was room"
    );
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..bound + 6));
}

/// How long the server keeps a connection on which the client only runs `action`, every half
/// second.
async fn kept(client: &mut Tcp, action: impl AsyncFn(&mut Tcp) -> io::Result<()>) -> Duration {
    pause();
    let begun = Instant::now();
    while timeout(Duration::from_millis(500), client.receive()).await.is_err()
        && action(client).await.is_ok()
    {}
    begun.elapsed()
}

#[tokio::test]
async fn a_connection_without_a_query_ends() {
    let server = TestServer::start().await;
    let time = kept(&mut server.tcp().await, async |_| Ok(())).await;
    assert!(
        (limits::TCP_MESSAGE_TIME..limits::TCP_MESSAGE_TIME + Duration::from_secs(1))
            .contains(&time),
        "{time:?}"
    );
}

#[tokio::test]
async fn a_message_that_trickles_in_ends_the_connection() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    client.ask(1, "here.").await;
    client.receive().await.unwrap();
    client.0.write_all(&[0]).await.unwrap();
    let time = kept(&mut client, async |client| client.0.write_all(&[1]).await).await;
    // The client notices the end with the next octet or the one after.
    assert!(
        (limits::TCP_MESSAGE_TIME..limits::TCP_MESSAGE_TIME + Duration::from_millis(1500))
            .contains(&time),
        "{time:?}"
    );
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_a_while() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    client.ask(1, "here.").await;
    client.receive().await.unwrap();
    let time = kept(&mut client, async |_| Ok(())).await;
    assert!(
        (limits::TCP_IDLE_TIME..limits::TCP_IDLE_TIME + Duration::from_secs(1)).contains(&time),
        "{time:?}"
    );
}

#[tokio::test]
async fn a_client_with_an_incomplete_message_gets_earlier_replies() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    client.ask(1, "slow.").await;
    client.0.write_all(&[0]).await.unwrap();
    sleep(limits::TCP_MESSAGE_TIME + Duration::from_millis(300)).await;
    // Too late: the server does not read this message.
    client.0.write_all(&query(2, "here.")).await.unwrap();
    server.upstream.reply();
    assert_eq!(client.receive().await, forwarded(1));
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn a_message_longer_than_any_request_ends_the_connection() {
    let server = TestServer::start().await;
    let mut client = server.tcp().await;
    client.0.write_all(&(limits::REQUEST_OCTETS as u16 + 1).to_be_bytes()).await.unwrap();
    let closed = timeout(limits::TCP_MESSAGE_TIME / 2, client.receive()).await;
    assert_eq!(closed.expect("it is closed at once"), None);
}

#[tokio::test]
async fn a_new_connection_evicts_the_longest_idle() {
    let server = TestServer::at(&["127.0.0.1:0"], 6).await;
    let [mut busy, mut older, mut newer] =
        [server.tcp().await, server.tcp().await, server.tcp().await];
    busy.ask(1, "slow.").await;
    server.upstream.has_received(1).await;
    for client in [&mut older, &mut newer] {
        client.ask(1, "here.").await;
        client.receive().await.unwrap();
    }
    let mut newest = server.tcp().await;
    newest.ask(2, "here.").await;
    assert_eq!(newest.receive().await, Some(here(2)));
    assert_eq!(timeout(limits::TCP_IDLE_TIME / 2, older.receive()).await, Ok(None));
    newer.ask(3, "here.").await;
    assert_eq!(newer.receive().await, Some(here(3)));
    server.upstream.reply();
    assert_eq!(busy.receive().await, forwarded(1));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let server = TestServer::start().await;
    let mut greedy = server.tcp().await;
    let packet = query(1, "here.");
    let frame = [&(packet.len() as u16).to_be_bytes(), &packet[..]].concat().repeat(1000);
    // The client writes until the server stops reading, because the client does not read the
    // replies.
    while let Ok(written) = timeout(Duration::from_millis(500), greedy.0.write_all(&frame)).await {
        written.unwrap();
    }
    let mut other = server.tcp().await;
    other.ask(1, "here.").await;
    assert_eq!(other.receive().await, Some(here(1)));
    let gone = async || {
        greedy.0.try_write(&[0]).is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
    };
    assert!(!gone().await);
    pause();
    sleep(limits::TCP_WRITE_TIME).await;
    eventually("the connection ends", gone).await;
}

#[tokio::test]
async fn queries_sent_before_the_end_are_answered() {
    let server = TestServer::start().await;
    let address = server.bound(0);
    let (mut client, mut idle) = (server.tcp().await, server.tcp().await);
    client.ask(1, "slow.").await;
    server.upstream.has_received(1).await;
    // This client is connected and has sent a query, but is not accepted yet.
    let mut last = server.tcp().await;
    last.ask(2, "here.").await;
    let TestServer { dispatcher, listeners, upstream, .. } = server;
    let end = async {
        listeners.close().await;
        dispatcher.finish().await;
    };
    let replies = async {
        assert_eq!(last.receive().await, Some(here(2)));
        assert_eq!((last.receive().await, idle.receive().await), (None, None));
        eventually("the listener is closed", async || TcpStream::connect(address).await.is_err())
            .await;
        upstream.reply();
        assert_eq!(client.receive().await, forwarded(1));
        assert_eq!(client.receive().await, None);
    };
    tokio::join!(end, replies);
}
