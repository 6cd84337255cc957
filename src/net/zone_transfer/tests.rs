use super::{
    scripted::{Pace, Primary, origin},
    *,
};

/// The result of a transfer, and how long it took.
async fn fetched(pace: Pace) -> (Result<usize, ZoneTransferError>, Duration) {
    let (primary, begun) = (Primary::start(pace).await, Instant::now());
    let fetched = fetch(primary.address, &origin(), None, None).await;
    let records = fetched.map(|fetched| match fetched {
        Fetched::Zone(zone) => zone.len(),
        Fetched::Current => panic!("no version is known"),
    });
    (records, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_primary_server_that_sends_little_is_given_up() {
    let pause = Duration::from_secs(9);
    let (result, took) =
        fetched(Pace { records: 10_000, piece: 100, pause, ..Pace::fast(1) }).await;
    assert!(matches!(result, Err(ZoneTransferError::TooSlow)), "{result:?}");
    let expected = limits::TRANSFER_IN_GRACE..limits::TRANSFER_IN_GRACE + 2 * pause;
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_transfers_a_large_zone() {
    let pause = Duration::from_secs(5);
    let pace = Pace { records: 20_000, piece: 6 * 1024, pause, ..Pace::fast(1) };
    let (result, took) = fetched(pace).await;
    assert_eq!(result.ok(), Some(20_001));
    assert!(took > limits::TRANSFER_IN_GRACE * 5, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_primary_server_may_not_be_silent() {
    let pause = Duration::from_secs(11);
    let (result, took) = fetched(Pace { piece: 100, pause, ..Pace::fast(1) }).await;
    assert!(matches!(result, Err(ZoneTransferError::Timeout)), "{result:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_has_an_end() {
    let pause = Duration::from_secs(9);
    let pace = Pace { records: 400_000, piece: 10 * 1024, pause, ..Pace::fast(1) };
    let (result, took) = fetched(pace).await;
    assert!(matches!(result, Err(ZoneTransferError::TooLong)), "{result:?}");
    assert!(took >= limits::TRANSFER_IN_WHOLE && took < limits::TRANSFER_IN_WHOLE + pause);
}
