//! Connections and sockets to upstreams: how long they live, and where queries leave from.

use super::*;

#[tokio::test]
async fn connections_are_reused_and_replaced_if_the_upstream_closed_them() {
    for (closes, most_hits, misses) in [(false, 2, 1), (true, 2, 3)] {
        let script = move |asked: &ReceivedQuery| {
            let close = closes.then_some(Action::Close);
            [Action::Send(genuine(asked))].into_iter().chain(close).collect()
        };
        let upstream = ScriptedUpstream::start(script).await;
        let (exchanger, group) =
            (exchanger(), group_of(&[upstream.address], |settings| settings.force_tcp = true));
        for _ in 0..3 {
            assert_eq!(
                address(&exchanger.exchange(ask(&group, "www.example.com.")).await),
                Some(GENUINE)
            );
        }
        let labels = ["forward", &upstream.address.to_string(), "tcp"];
        let metrics = &exchanger.0.metrics;
        let [hits, new] =
            [&CONNECTION_HITS, &CONNECTION_MISSES].map(|family| family.with(metrics, labels).get());
        // The client may notice the closed connection before it uses the connection, or when it
        // does.
        assert!(closes && hits <= most_hits || hits == most_hits, "closes: {closes}, {hits} hits");
        assert_eq!(new, misses, "closes: {closes}");
        let sends = REQUESTS.with(metrics, [&upstream.address.to_string()]).get();
        assert_eq!(sends, 3, "a closed connection costs no attempt");
        assert_eq!(upstream.received_over(UpstreamTransport::Udp), 0);
    }
}

#[tokio::test]
async fn an_exchange_goes_on_when_its_client_stops_waiting() {
    let upstream =
        ScriptedUpstream::start(|asked| vec![Action::Pause(ms(50)), Action::Send(genuine(asked))])
            .await;
    let (exchanger, group) = (exchanger(), group_of(&[upstream.address], |_| {}));
    assert!(
        tokio::time::timeout(ms(10), exchanger.exchange(ask(&group, "www.example.com.")))
            .await
            .is_err()
    );
    eventually("its reply is counted", || {
        let labels = [&*upstream.address.to_string(), "NOERROR"];
        RESPONSES.with(&exchanger.0.metrics, labels).get() == 1
    })
    .await;
}

/// Sockets of this machine that are connected to an address, as the kernel lists them.
pub(super) fn sockets_to(address: SocketAddr, table: &str) -> usize {
    let port = format!(":{:04X}", address.port());
    let lines = std::fs::read_to_string(table).unwrap();
    let established = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words[2].ends_with(&port) && matches!(words[3], "01" | "08")
    };
    lines.lines().skip(1).filter(established).count()
}

#[tokio::test]
async fn sockets_are_closed_after_their_query() {
    let upstream = ScriptedUpstream::start(|asked| {
        if asked.turn % 2 == 0 { vec![Action::Send(genuine(asked))] } else { Vec::new() }
    })
    .await;
    let (exchanger, group) =
        (exchanger(), group_of(&[upstream.address], |settings| settings.read_timeout = ms(400)));
    (0..3).for_each(|_| group.upstream(0).health.probe_failed());
    let names: Vec<_> = (0..20).map(|name| format!("n{name}.example.com.")).collect();
    join_all(names.iter().map(|name| exchanger.exchange(ask(&group, name)))).await;
    eventually("no UDP socket is left", || sockets_to(upstream.address, "/proc/net/udp") == 0)
        .await;
    assert_eq!(exchanger.0.sockets.taken(), 0);
}

#[tokio::test]
async fn idle_connections_are_closed_in_time() {
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
    let (exchanger, group) = (
        exchanger(),
        group_of(&[upstream.address], |settings| {
            (settings.force_tcp, settings.expire) = (true, ms(200));
        }),
    );
    exchanger.exchange(ask(&group, "www.example.com.")).await.unwrap();
    assert_eq!(sockets_to(upstream.address, "/proc/net/tcp"), 1);
    eventually("the connection is closed", || sockets_to(upstream.address, "/proc/net/tcp") == 0)
        .await;
    eventually("the sweeper ends", || lock(&exchanger.0.background).try_join_next().is_some())
        .await;
    exchanger.exchange(ask(&group, "www.example.com.")).await.unwrap();
    eventually("the next one is closed too", || sockets_to(upstream.address, "/proc/net/tcp") == 0)
        .await;
}

#[tokio::test]
async fn max_age_and_max_idle_bound_the_kept_connections() {
    let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
    let misses = |change: fn(&mut GroupSettings), pause: Duration| {
        let address = upstream.address;
        async move {
            let (exchanger, group) = (
                exchanger(),
                group_of(&[address], |settings| (settings.force_tcp, _) = (true, change(settings))),
            );
            for names in
                [["a.example.com.", "b.example.com."], ["c.example.com.", "d.example.com."]]
            {
                join_all(names.map(|name| exchanger.exchange(ask(&group, name)))).await;
                tokio::time::sleep(pause).await;
            }
            let labels = ["forward", &*address.to_string(), "tcp"];
            CONNECTION_MISSES.with(&exchanger.0.metrics, labels).get()
        }
    };
    assert_eq!(misses(|_| {}, ms(0)).await, 2);
    assert_eq!(
        misses(|settings| settings.max_age = Some(ms(100)), ms(150)).await,
        4,
        "an old connection is not kept, used or not"
    );
    assert_eq!(
        misses(|settings| settings.max_idle = Some(1), ms(0)).await,
        3,
        "one of the two is kept"
    );
}

#[tokio::test]
async fn queries_leave_from_the_configured_address() {
    let source = IpAddr::from([127, 0, 0, 9]);
    for over_tcp in [false, true] {
        let upstream = ScriptedUpstream::start(|asked| vec![Action::Send(genuine(asked))]).await;
        let group = group_of(&[upstream.address], |settings| {
            (settings.source, settings.force_tcp) = (Some(source), over_tcp);
        });
        assert_eq!(
            address(&exchanger().exchange(ask(&group, "www.example.com.")).await),
            Some(GENUINE)
        );
        assert_eq!(upstream.received()[0].from.ip(), source);
    }
}

#[tokio::test]
async fn finish_waits_for_exchanges_but_not_for_probes() {
    let silent = ScriptedUpstream::start(|_| Vec::new()).await;
    let (exchanger, group) =
        (exchanger(), group_of(&[silent.address], |settings| settings.read_timeout = ms(400)));
    (0..3).for_each(|_| group.upstream(0).health.probe_failed());
    let (reply, ()) =
        tokio::join!(exchanger.exchange(ask(&group, "www.example.com.")), exchanger.finish());
    assert!(matches!(reply, Err(QueryError::Upstream(_))));
    let started = Instant::now();
    exchanger.finish().await;
    assert!(started.elapsed() < limits::QUERY_TIME / 2);
}

/// The upstream replies to the first query after another one was sent for the same question.
#[tokio::test]
async fn finish_waits_for_an_exchange_that_a_later_one_replaced() {
    let late = limits::JOIN_TIME + ms(700);
    let script = move |asked: &ReceivedQuery| match (asked.over, asked.turn) {
        (UpstreamTransport::Udp, 0) => vec![Action::Pause(late), Action::Send(genuine(asked))],
        (UpstreamTransport::Udp, _) => vec![Action::Send(genuine(asked))],
        (UpstreamTransport::Tcp, _) => Vec::new(),
    };
    let upstream = ScriptedUpstream::start(script).await;
    let (exchanger, group) =
        (exchanger(), group_of(&[upstream.address], |settings| settings.max_attempts = Some(1)));
    let of_client =
        || exchanger.exchange_for(waiter(WaiterKind::Datagram), ask(&group, "www.example.com."));
    let later = async {
        tokio::time::sleep(limits::JOIN_TIME + ms(50)).await;
        let second = of_client().await.reply;
        exchanger.finish().await;
        second
    };
    let begun = Instant::now();
    let (first, second) = tokio::join!(of_client(), later);
    assert_eq!(address(&second), Some(GENUINE), "{second:?}");
    assert_eq!(address(&first.reply), Some(GENUINE), "{:?}", first.reply);
    assert!(begun.elapsed() >= late, "the first query has its own reply");
}

/// The reply arrives only on the kept connection, after the query was also sent on another one.
#[tokio::test]
async fn a_slow_reply_on_a_kept_connection_counts_when_new_connections_fail() {
    let script = |asked: &ReceivedQuery| match asked.turn {
        0 => vec![Action::Send(genuine(asked))],
        1 => vec![Action::Pause(2 * limits::MAX_HEDGE_DELAY), Action::Send(genuine(asked))],
        _ => vec![Action::Close],
    };
    let upstream = ScriptedUpstream::start(script).await;
    let (exchanger, group) =
        (exchanger(), group_of(&[upstream.address], |settings| settings.force_tcp = true));
    for name in ["first.example.", "second.example."] {
        let reply = exchanger.exchange(ask(&group, name)).await;
        assert_eq!(address(&reply), Some(GENUINE), "{name}: {reply:?}");
    }
}
