use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    time::{Instant, pause, timeout},
};

use super::super::testing::{Said, Tcp, UPSTREAM, World, eventually, here, question};
use super::*;

fn late(id: u16) -> Option<Said> {
    Some(Said::Address(id, UPSTREAM))
}

#[tokio::test]
async fn a_slow_question_holds_up_none_behind_it() {
    let world = World::start().await;
    let mut client = world.tcp().await;
    client.ask(1, "slow.").await;
    for id in 2..10 {
        client.ask(id, "here.").await;
    }
    for id in 2..10 {
        assert_eq!(client.receive().await, Some(here(id)));
    }
    world.upstream.reply();
    assert_eq!(client.receive().await, late(1));
}

#[tokio::test]
async fn who_closes_one_half_gets_the_replies() {
    let world = World::start().await;
    let mut client = world.tcp().await;
    client.ask(1, "slow.").await;
    client.ask(2, "here.").await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.receive().await, Some(here(2)));
    world.upstream.reply();
    assert_eq!(client.receive().await, late(1));
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn questions_past_the_bound_wait_in_the_socket() {
    let world = World::start().await;
    let mut client = world.tcp().await;
    let bound = limits::TCP_PENDING_QUERIES as u16;
    for id in 0..bound + 5 {
        client.ask(id, &format!("slow{id}.")).await;
    }
    client.ask(bound + 5, "here.").await;
    world.upstream.has_heard(bound.into()).await;
    // It is not the client who is slow.
    sleep(limits::TCP_MESSAGE_TIME + Duration::from_millis(300)).await;
    world.upstream.reply();
    let mut ids = Vec::new();
    for _ in 0..bound + 6 {
        let Some(Said::Address(id, _) | Said::Failure(id, _)) = client.receive().await else {
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

/// How long the server keeps a connection at which nothing more happens than `deed`, every half
/// second.
async fn kept(client: &mut Tcp, deed: impl AsyncFn(&mut Tcp) -> io::Result<()>) -> Duration {
    pause();
    let begun = Instant::now();
    while timeout(Duration::from_millis(500), client.receive()).await.is_err()
        && deed(client).await.is_ok()
    {}
    begun.elapsed()
}

#[tokio::test]
async fn a_connection_without_a_question_ends() {
    let world = World::start().await;
    let time = kept(&mut world.tcp().await, async |_| Ok(())).await;
    assert!(
        (limits::TCP_MESSAGE_TIME..limits::TCP_MESSAGE_TIME + Duration::from_secs(1))
            .contains(&time),
        "{time:?}"
    );
}

#[tokio::test]
async fn a_message_that_trickles_in_is_not_waited_for() {
    let world = World::start().await;
    let mut client = world.tcp().await;
    client.ask(1, "here.").await;
    client.receive().await.unwrap();
    client.0.write_all(&[0]).await.unwrap();
    let time = kept(&mut client, async |client| client.0.write_all(&[1]).await).await;
    // The octet that finds the connection closed is one or two too many.
    assert!(
        (limits::TCP_MESSAGE_TIME..limits::TCP_MESSAGE_TIME + Duration::from_millis(1500))
            .contains(&time),
        "{time:?}"
    );
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_a_while() {
    let world = World::start().await;
    let mut client = world.tcp().await;
    client.ask(1, "here.").await;
    client.receive().await.unwrap();
    let time = kept(&mut client, async |_| Ok(())).await;
    assert!(
        (limits::TCP_IDLE_TIME..limits::TCP_IDLE_TIME + Duration::from_secs(1)).contains(&time),
        "{time:?}"
    );
}

#[tokio::test]
async fn who_is_late_with_a_message_still_gets_the_replies() {
    let world = World::start().await;
    let mut client = world.tcp().await;
    client.ask(1, "slow.").await;
    client.0.write_all(&[0]).await.unwrap();
    sleep(limits::TCP_MESSAGE_TIME + Duration::from_millis(300)).await;
    // Too late: this is not read any more.
    client.0.write_all(&question(2, "here.")).await.unwrap();
    world.upstream.reply();
    assert_eq!(client.receive().await, late(1));
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn what_is_longer_than_any_request_ends_the_connection() {
    let world = World::start().await;
    let mut client = world.tcp().await;
    client.0.write_all(&(limits::REQUEST_OCTETS as u16 + 1).to_be_bytes()).await.unwrap();
    let closed = timeout(limits::TCP_MESSAGE_TIME / 2, client.receive()).await;
    assert_eq!(closed.expect("it is closed at once"), None);
}

#[tokio::test]
async fn a_newcomer_takes_the_place_of_the_longest_idle() {
    let world = World::at(&["127.0.0.1:0"], 6).await;
    let [mut busy, mut older, mut newer] =
        [world.tcp().await, world.tcp().await, world.tcp().await];
    busy.ask(1, "slow.").await;
    world.upstream.has_heard(1).await;
    for client in [&mut older, &mut newer] {
        client.ask(1, "here.").await;
        client.receive().await.unwrap();
    }
    let mut newcomer = world.tcp().await;
    newcomer.ask(2, "here.").await;
    assert_eq!(newcomer.receive().await, Some(here(2)));
    assert_eq!(timeout(limits::TCP_IDLE_TIME / 2, older.receive()).await, Ok(None));
    newer.ask(3, "here.").await;
    assert_eq!(newer.receive().await, Some(here(3)));
    world.upstream.reply();
    assert_eq!(busy.receive().await, late(1));
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody_and_is_left() {
    let world = World::start().await;
    let mut greedy = world.tcp().await;
    let packet = question(1, "here.");
    let frame = [&(packet.len() as u16).to_be_bytes(), &packet[..]].concat().repeat(1000);
    // Until the server stops reading, because nobody takes what it writes.
    while let Ok(written) = timeout(Duration::from_millis(500), greedy.0.write_all(&frame)).await {
        written.unwrap();
    }
    let mut other = world.tcp().await;
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
async fn what_was_asked_before_the_end_is_answered() {
    let world = World::start().await;
    let address = world.bound(0);
    let (mut client, mut idle) = (world.tcp().await, world.tcp().await);
    client.ask(1, "slow.").await;
    world.upstream.has_heard(1).await;
    // Connected and asked, but not yet accepted.
    let mut last = world.tcp().await;
    last.ask(2, "here.").await;
    let World { dispatcher, listeners, upstream, .. } = world;
    let end = async {
        listeners.close().await;
        dispatcher.finish().await;
    };
    let replies = async {
        assert_eq!(last.receive().await, Some(here(2)));
        assert_eq!((last.receive().await, idle.receive().await), (None, None));
        eventually("nobody listens", async || TcpStream::connect(address).await.is_err()).await;
        upstream.reply();
        assert_eq!(client.receive().await, late(1));
        assert_eq!(client.receive().await, None);
    };
    tokio::join!(end, replies);
}
