//! How long a client that can have a stale reply waits for upstreams.

use super::*;

/// A client that can have a stale reply. With `max_fails 0` there are no health checks.
#[tokio::test]
async fn a_client_with_a_stale_reply_waits_only_until_the_upstreams_are_suspect() {
    for max_fails in [2, 0] {
        let silent = ScriptedUpstream::start(|_| Vec::new()).await;
        let change = |settings: &mut GroupSettings| settings.max_fails = max_fails;
        let (exchanger, group) = (exchanger(), group_of(&[silent.address], change));
        group.upstream(0).health.record_reply(ms(1));
        let asked = |name| {
            let client = waiter(WaiterKind::Datagram);
            let asked = exchanger.exchange_while_up(client, ask(&group, name));
            asked.map(|exchanged| exchanged.reply).boxed()
        };
        let started = Instant::now();
        assert_eq!(asked("first.example.com.").await, Err(QueryError::Impatient));
        assert!(started.elapsed() < ms(1500), "{:?}", started.elapsed());
        let later = asked("later.example.com.").now_or_never();
        assert_eq!(later, Some(Err(QueryError::Impatient)), "it does not wait at all");
        group.upstream(0).health.record_reply(ms(1));
        assert!(!group.is_suspect(), "a reply ends the suspicion");
        assert_eq!(silent.probes() > 0, max_fails > 0);
    }
}

/// Other names show that the upstream works, so the client waits for a name that takes long.
#[tokio::test]
async fn an_upstream_without_health_checks_that_answers_other_queries_is_not_suspect() {
    let slow = ScriptedUpstream::start(|asked| {
        let is_slow = asked.query.question.name.to_string().starts_with("slow");
        let pause = Action::Pause(ms(if is_slow { 1000 } else { 1 }));
        vec![pause, Action::Send(genuine(asked))]
    })
    .await;
    let change = |settings: &mut GroupSettings| settings.max_fails = 0;
    let (exchanger, group) = (exchanger(), group_of(&[slow.address], change));
    // The longest wait before the upstream is suspect: 400 ms.
    group.upstream(0).health.record_reply(ms(100));
    let client = waiter(WaiterKind::Datagram);
    let (reply, ()) = tokio::join!(
        exchanger.exchange_while_up(client, ask(&group, "slow.example.com.")),
        async {
            for number in 0..10 {
                tokio::time::sleep(ms(40)).await;
                let name = format!("{number}.example.com.");
                let exchanged = exchanger.exchange_for(client, ask(&group, &name)).await;
                assert!(exchanged.reply.is_ok());
            }
        }
    );
    assert_eq!(address(&reply.reply), Some(GENUINE), "{reply:?}");
}

/// Replies to queries show that the upstream is up, although it never replies to a health check.
#[tokio::test]
async fn an_upstream_that_replies_to_queries_only_is_not_shown_as_down() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let upstream = ScriptedUpstream::start(move |asked| {
        up.load(Ordering::SeqCst).then(|| Action::Send(genuine(asked))).into_iter().collect()
    })
    .await;
    let change = |settings: &mut GroupSettings| {
        settings.max_fails = 1;
        settings.health_check.interval = ms(10);
    };
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], change));
    let down = DOWN.with(&exchanger.0.metrics, [&upstream.address.to_string()]);
    exchanger.0.start_probe(&group, 0);
    eventually("it is shown as down", || down.get() == 1).await;
    is_up.store(true, Ordering::SeqCst);
    assert!(exchanger.exchange(ask(&group, "www.example.com.")).await.is_ok());
    eventually("it is shown as up", || down.get() == 0).await;
}
