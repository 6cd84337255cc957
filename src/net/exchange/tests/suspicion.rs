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
        for (name, bound) in [("first.example.com.", ms(400)), ("later.example.com.", ms(50))] {
            let started = Instant::now();
            let reply =
                exchanger.exchange_while_up(waiter(WaiterKind::Datagram), ask(&group, name)).await;
            assert_eq!(reply, Err(QueryError::Impatient));
            assert!(started.elapsed() < bound, "{name}: {:?}", started.elapsed());
        }
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
        let pause = Action::Pause(ms(if is_slow { 700 } else { 1 }));
        vec![pause, Action::Send(genuine(asked))]
    })
    .await;
    let change = |settings: &mut GroupSettings| settings.max_fails = 0;
    let (exchanger, group) = (exchanger(), group_of(&[slow.address], change));
    group.upstream(0).health.record_reply(ms(1));
    let client = waiter(WaiterKind::Datagram);
    let (reply, ()) = tokio::join!(
        exchanger.exchange_while_up(client, ask(&group, "slow.example.com.")),
        async {
            for number in 0..6 {
                tokio::time::sleep(ms(40)).await;
                let name = format!("{number}.example.com.");
                assert!(exchanger.exchange_for(client, ask(&group, &name)).await.is_ok());
            }
        }
    );
    assert_eq!(address(&reply), Some(GENUINE), "{reply:?}");
}
