use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::*;
use crate::wire::{Owner, Rcode, Rdatas, RecordSet, Response, Room, Type};

const ADDRESS: [u8; 4] = [192, 0, 2, 1];
const FORGED: [u8; 4] = [203, 0, 113, 66];

fn reply(query: &Query, address: [u8; 4]) -> Vec<u8> {
    let set = RecordSet::new(Owner::Question, query.question.qtype, 60, Rdatas::one(&address));
    let response = Response { answer: [set].into_iter().collect(), ..Response::of(Rcode::NOERROR) };
    let mut packet = Vec::new();
    response.encode(query, Room::stream(4096), &mut packet);
    packet
}

/// Answers each datagram with the messages that `script` returns for the query and the number of
/// earlier datagrams. Answers each TCP query with [`ADDRESS`].
async fn serve(
    script: impl Fn(&Query, usize) -> Vec<Vec<u8>> + Send + 'static,
) -> (Nameserver, Arc<AtomicUsize>, JoinSet<()>) {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let (received, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let count = Arc::clone(&received);
    tasks.spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).await.unwrap();
            let query = Query::parse(&buffer[..length]).unwrap();
            for packet in script(&query, count.fetch_add(1, Ordering::SeqCst)) {
                udp.send_to(&packet, from).await.unwrap();
            }
        }
    });
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut packet = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut packet).await.unwrap();
            let packet = reply(&Query::parse(&packet).unwrap(), ADDRESS);
            stream.write_u16(packet.len() as u16).await.unwrap();
            stream.write_all(&packet).await.unwrap();
        }
    });
    (address.into(), received, tasks)
}

/// The address in the reply, and the transport that the reply came over.
async fn answer(
    nameserver: &Nameserver,
    policy: RetryPolicy,
) -> Result<(Vec<u8>, Transport), String> {
    let question = Question::new("www.example.".parse().unwrap(), Type::A);
    let reply = query(nameserver, question, policy).await.map_err(|error| error.to_string())?;
    let response = reply::read(&reply.message, &reply.query).unwrap();
    let address = response.answer.first().unwrap().rdatas.iter().next().unwrap().to_vec();
    Ok((address, reply.transport))
}

const POLICY: RetryPolicy = RetryPolicy { timeout: Duration::from_millis(400), datagrams: 2 };

#[tokio::test]
async fn a_lost_datagram_is_sent_again() {
    let script = |query: &Query, before| match before {
        0 => Vec::new(),
        _ => vec![reply(query, ADDRESS)],
    };
    let (nameserver, received, _tasks) = serve(script).await;
    assert_eq!(answer(&nameserver, POLICY).await, Ok((ADDRESS.to_vec(), Transport::Udp)));
    assert_eq!(received.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn one_datagram_is_sent_where_the_policy_says_so() {
    let (nameserver, received, _tasks) = serve(|_, _| Vec::new()).await;
    let policy = RetryPolicy::once(Duration::from_millis(300));
    assert_eq!(answer(&nameserver, policy).await, Err("no reply within 0.3 s".to_owned()));
    assert_eq!(received.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn replies_that_do_not_match_are_passed_over() {
    let script = |query: &Query, _| {
        let forged = Query { id: query.id ^ 1, ..query.clone() };
        vec![reply(&forged, FORGED), b"x".to_vec(), reply(query, ADDRESS)]
    };
    let (nameserver, _, _tasks) = serve(script).await;
    assert_eq!(answer(&nameserver, POLICY).await, Ok((ADDRESS.to_vec(), Transport::Udp)));
}

#[tokio::test]
async fn a_truncated_reply_is_fetched_over_tcp() {
    let script = |query: &Query, _| {
        let mut packet = reply(query, FORGED);
        packet[2] |= 2;
        vec![packet]
    };
    let (nameserver, _, _tasks) = serve(script).await;
    assert_eq!(answer(&nameserver, POLICY).await, Ok((ADDRESS.to_vec(), Transport::Tcp)));
}

#[tokio::test]
async fn many_replies_that_do_not_match_lead_to_tcp() {
    let script = |query: &Query, _| {
        let forged = |wrong| reply(&Query { id: query.id ^ wrong, ..query.clone() }, FORGED);
        (1..=10).map(forged).collect()
    };
    let (nameserver, _, _tasks) = serve(script).await;
    assert_eq!(answer(&nameserver, POLICY).await, Ok((ADDRESS.to_vec(), Transport::Tcp)));
}

#[tokio::test]
async fn a_nameserver_gives_the_addresses_of_both_families() {
    let script = |query: &Query, _| match query.question.qtype {
        Type::A => vec![reply(query, ADDRESS)],
        _ => {
            let mut packet = Vec::new();
            Response::of(Rcode::NOERROR).encode(query, Room::stream(512), &mut packet);
            vec![packet]
        }
    };
    let (nameserver, received, _tasks) = serve(script).await;
    let found = lookup(&nameserver, &"dns.example.".parse().unwrap(), POLICY).await;
    assert_eq!(found.unwrap(), [std::net::IpAddr::from(ADDRESS)]);
    assert_eq!(received.load(Ordering::SeqCst), 2);
}
