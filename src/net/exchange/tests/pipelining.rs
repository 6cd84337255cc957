//! Several queries on one TCP connection (RFC 7766), with upstreams that answer them side by side
//! or one after another.

use std::{net::Ipv4Addr, sync::atomic::AtomicUsize};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    SideBySide,
    OneByOne,
    /// Only the first query is answered. The connection is closed when this many more have arrived.
    ClosesAt(usize),
    /// The connection is closed after the first reply.
    AnswersOne,
    /// A slow answer is sent 10 ms after an answer on another connection.
    AfterOthers,
}

/// An answer that takes at least this many milliseconds is slow.
const SLOW: u32 = 400;

/// The first label of a name is the number of milliseconds that its answer takes.
struct TcpUpstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl TcpUpstream {
    /// `order` depends on the number of the connection, from 0.
    async fn start(order: impl Fn(usize) -> Order + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut tasks = JoinSet::new();
            let answered = Arc::new(Notify::new());
            while let Ok((stream, _)) = listener.accept().await {
                let order = order(count.fetch_add(1, Ordering::SeqCst));
                let answered = Arc::clone(&answered);
                tasks.spawn(async move { drop(serve(stream, order, &answered).await) });
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// `answered` is notified of each answer on a connection that does not wait for others.
async fn serve(stream: TcpStream, order: Order, answered: &Arc<Notify>) -> io::Result<()> {
    let (mut reader, writer) = stream.into_split();
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    let mut tasks = JoinSet::new();
    let mut waiting = 0;
    loop {
        let mut packet = vec![0; reader.read_u16().await?.into()];
        reader.read_exact(&mut packet).await?;
        let query = Query::parse(&packet).expect("queries to upstreams are well formed");
        if query.question.qtype == Type::NS {
            // A health check.
            continue;
        }
        waiting += 1;
        match order {
            Order::ClosesAt(count) if waiting > count => return Ok(()),
            Order::ClosesAt(_) if waiting > 1 => continue,
            Order::AnswersOne if waiting > 1 => continue,
            _ => {}
        }
        let millis = number(&query.question.name.to_string());
        let (writer, answered) = (Arc::clone(&writer), Arc::clone(answered));
        let answer = async move {
            if order == Order::AfterOthers && millis >= SLOW {
                answered.notified().await;
                tokio::time::sleep(ms(10)).await;
            } else {
                tokio::time::sleep(ms(millis.into())).await;
            }
            let reply = scripted::reply(&query, millis.to_be_bytes());
            let frame = [&(reply.len() as u16).to_be_bytes(), &*reply].concat();
            let _ = writer.lock().await.write_all(&frame).await;
            if order != Order::AfterOthers {
                answered.notify_waiters();
            }
        };
        if matches!(order, Order::SideBySide | Order::AfterOthers) {
            tasks.spawn(answer);
        } else {
            answer.await;
            if order == Order::AnswersOne {
                return Ok(());
            }
        }
    }
}

fn over_tcp(upstream: &TcpUpstream) -> Arc<Group> {
    group_of(&[upstream.address], |settings| settings.force_tcp = true)
}

fn sends(exchanger: &Exchanger, upstream: &TcpUpstream) -> u64 {
    REQUESTS.with(&exchanger.0.metrics, [&upstream.address.to_string()]).get()
}

/// Asks for a name whose answer takes this time. Returns how long it took.
async fn timed(exchanger: &Exchanger, group: &Arc<Group>, millis: u32, label: u32) -> Duration {
    let (name, started) = (format!("{millis}.{label}.example."), Instant::now());
    let reply = exchanger.exchange(ask(group, &name)).await;
    assert_eq!(address(&reply), Some(millis.to_be_bytes()), "{name}: {reply:?}");
    started.elapsed()
}

/// Starts a slow query, and a fast one while it waits. Returns the time of the fast one.
async fn fast_behind_slow(exchanger: &Exchanger, group: &Arc<Group>, slow: u32) -> Duration {
    let (_, fast) = tokio::join!(timed(exchanger, group, slow, 0), async {
        tokio::time::sleep(ms(30)).await;
        timed(exchanger, group, 5, 1).await
    });
    fast
}

#[tokio::test]
async fn an_upstream_that_answers_side_by_side_gets_many_queries_on_a_connection() {
    let upstream = TcpUpstream::start(|_| Order::SideBySide).await;
    let (exchanger, group) = (exchanger(), over_tcp(&upstream));
    let fast = fast_behind_slow(&exchanger, &group, 2000).await;
    assert!(fast < ms(1500), "{fast:?}");
    assert!(group.upstream(0).health.pipelines());
    let before = upstream.connections();
    let queries = join_all((0..90).map(|label| timed(&exchanger, &group, 10 + label, label)));
    let (_, most) = tokio::join!(queries, async {
        tokio::time::sleep(ms(40)).await;
        exchanger.0.sockets.taken()
    });
    let opened = upstream.connections() - before;
    assert!(opened <= 9, "90 queries opened {opened} connections");
    assert!(most <= 9, "90 queries use {most} places of their client");
    assert_eq!(exchanger.0.sockets.taken(), 0);
}

/// As in CoreDNS and dnsmasq. Without pipelining, no query waits behind another one.
#[tokio::test]
async fn an_upstream_that_answers_one_by_one_gets_one_query_on_a_connection() {
    let upstream = TcpUpstream::start(|_| Order::OneByOne).await;
    let (exchanger, group) = (exchanger(), over_tcp(&upstream));
    let fast = fast_behind_slow(&exchanger, &group, 2000).await;
    assert!(fast < ms(1000), "{fast:?}");
    assert!(!group.upstream(0).health.pipelines());
    let started = Instant::now();
    join_all((0..40).map(|label| timed(&exchanger, &group, 100, label))).await;
    assert!(started.elapsed() < ms(2000), "{:?}", started.elapsed());
}

/// For example, the upstream was replaced by another one.
#[tokio::test]
async fn an_upstream_that_no_longer_answers_side_by_side_delays_a_query_only_once() {
    let upstream = TcpUpstream::start(|_| Order::OneByOne).await;
    let (exchanger, group) = (exchanger(), over_tcp(&upstream));
    timed(&exchanger, &group, 1, 0).await;
    group.upstream(0).health.record_overtaking();
    let fast = fast_behind_slow(&exchanger, &group, 3000).await;
    assert!(fast < ms(1500), "{fast:?}");
    assert!(!group.upstream(0).health.pipelines());
}

/// RFC 7766 §6.2.4: the server may close a connection at any time.
#[tokio::test]
async fn all_queries_on_a_connection_that_is_closed_are_repeated_once() {
    for closing in [1, 7] {
        let upstream = TcpUpstream::start(move |connection| match connection {
            0 => Order::ClosesAt(closing),
            _ => Order::SideBySide,
        })
        .await;
        let (exchanger, group) = (exchanger(), over_tcp(&upstream));
        timed(&exchanger, &group, 1, 0).await;
        let health: &Health = &group.upstream(0).health;
        health.record_overtaking();
        // An attempt waits for 300 ms, so a busy machine causes no further one.
        health.record_reply(ms(10_000));
        join_all((0..7).map(|label| timed(&exchanger, &group, 20, label))).await;
        assert_eq!(sends(&exchanger, &upstream), 8, "a closed connection costs no attempt");
        assert!(health.pipelines(), "the upstream did not close it after a reply");
    }
}

/// A reply that comes after its query was given up belongs to no later query.
#[tokio::test]
async fn a_reply_that_comes_too_late_is_not_taken_for_another_one() {
    let upstream = TcpUpstream::start(|_| Order::SideBySide).await;
    let (exchanger, group) = (exchanger(), over_tcp(&upstream));
    group.upstream(0).health.record_overtaking();
    let query = |name: &str| Query { id: 7, ..Query::internal(question(name)) };
    let client = IpAddr::from([192, 0, 2, 1]);
    for round in 0..5 {
        let slow = query(&format!("60.{round}.example."));
        let given_up = multiplex::ask(&exchanger.0, &group, group.upstream(0), (&slow, client));
        let fast = timed(&exchanger, &group, 30, 100 + round);
        let (given_up, _) = tokio::join!(tokio::time::timeout(ms(10), given_up), fast);
        assert!(given_up.is_err());
        timed(&exchanger, &group, 50, 200 + round).await;
    }
}

/// systemd-resolved closed a connection after one reply. The queries that still wait are repeated,
/// each on its own connection.
#[tokio::test]
async fn queries_behind_one_after_which_the_connection_is_closed_are_repeated_alone() {
    let upstream = TcpUpstream::start(|_| Order::AnswersOne).await;
    let (exchanger, group) = (exchanger(), over_tcp(&upstream));
    group.upstream(0).health.record_overtaking();
    join_all((0..9).map(|label| timed(&exchanger, &group, 20, label))).await;
    assert_eq!(sends(&exchanger, &upstream), 9, "a closed connection costs no attempt");
    assert!(!group.upstream(0).health.pipelines());
}

/// Two slow queries on one connection. The second one is sent again on a new connection, where its
/// reply comes a little sooner. That does not show that it waited behind the first one.
#[tokio::test]
async fn a_reply_that_comes_a_little_later_on_a_kept_connection_does_not_end_sharing() {
    let upstream = TcpUpstream::start(|connection| match connection {
        0 => Order::AfterOthers,
        _ => Order::SideBySide,
    })
    .await;
    let (exchanger, group) = (exchanger(), over_tcp(&upstream));
    timed(&exchanger, &group, 1, 0).await;
    let to = group.upstream(0);
    to.health.record_overtaking();
    to.health.record_reply(ms(10_000));
    let query = |millis| Query::internal(question(&format!("{millis}.example.")));
    let (first, second) = (query(2 * SLOW), query(SLOW));
    let client = IpAddr::from([192, 0, 2, 1]);
    let asked = |query| multiplex::ask(&exchanger.0, &group, to, (query, client));
    let (first, second) = tokio::join!(asked(&first), asked(&second));
    assert!(first.is_ok() && second.is_ok());
    assert!(upstream.connections() > 1, "the second query was sent again");
    assert!(to.health.pipelines());
}

/// While replies arrive on a shared connection, it works, so a slow query is sent once.
#[tokio::test]
async fn a_slow_query_on_a_connection_on_which_others_are_answered_is_sent_once() {
    let upstream = TcpUpstream::start(|_| Order::SideBySide).await;
    let (exchanger, group) = (exchanger(), over_tcp(&upstream));
    timed(&exchanger, &group, 1, 0).await;
    let to = group.upstream(0);
    to.health.record_overtaking();
    to.health.record_reply(ms(10_000));
    let slow = Query::internal(question("900.1.example."));
    let client = IpAddr::from([192, 0, 2, 1]);
    let (slow, ()) =
        tokio::join!(multiplex::ask(&exchanger.0, &group, to, (&slow, client)), async {
            for label in 2..12 {
                timed(&exchanger, &group, 20, label).await;
            }
        });
    assert!(slow.is_ok());
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_connection_without_a_free_id_does_not_send_the_query() {
    let (stream, _other_end) = tokio::io::duplex(1);
    let (connection, _driver) = framed::FramedConnection::open(stream);
    let query = Query::internal(question("www.example."));
    let sent = || connection.converse(&query).now_or_never();
    for _ in 0..limits::SHARED_SOCKET_QUERIES {
        assert!(sent().is_none(), "it waits");
    }
    let failure = sent().and_then(Result::err).map(|error| error.kind());
    assert_eq!(failure, Some(io::ErrorKind::NotConnected));
}
