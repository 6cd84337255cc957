//! An upstream on loopback that follows a test's script, over UDP and TCP of one port.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

use super::super::lock;
use crate::{
    limits,
    upstream::UpstreamTransport,
    wire::{Owner, Query, Question, Rcode, Rdatas, RecordSet, Response, Room, Type},
};

/// The address in genuine replies, and the one in forged replies.
pub(super) const GENUINE: [u8; 4] = [192, 0, 2, 1];
pub(super) const FORGED: [u8; 4] = [203, 0, 113, 66];

/// A query that the upstream received.
#[derive(Clone, Debug)]
pub(super) struct ReceivedQuery {
    pub(super) over: UpstreamTransport,
    pub(super) from: SocketAddr,
    pub(super) query: Query,
    /// The number of earlier queries, without health probes.
    pub(super) turn: usize,
}

/// A step of the script for a query.
pub(super) enum Action {
    Send(Vec<u8>),
    Pause(Duration),
    /// Closes the connection. Over UDP it has no effect.
    Close,
}

type Script = Arc<dyn Fn(&ReceivedQuery) -> Vec<Action> + Send + Sync>;

/// Its tasks end when it is dropped.
pub(super) struct ScriptedUpstream {
    pub(super) address: SocketAddr,
    log: QueryLog,
    _tasks: JoinSet<()>,
}

/// The queries that arrived, and the number of health probes.
#[derive(Clone, Default)]
struct QueryLog(Arc<Mutex<(Vec<ReceivedQuery>, usize)>>);

impl QueryLog {
    /// Records a query. A health probe gets no reply.
    fn record(
        &self,
        packet: &[u8],
        from: SocketAddr,
        over: UpstreamTransport,
    ) -> Option<ReceivedQuery> {
        let query = Query::parse(packet).expect("queries to upstreams are well formed");
        let mut log = lock(&self.0);
        if query.question.qtype == Type::NS {
            log.1 += 1;
            return None;
        }
        let received = ReceivedQuery { over, from, query, turn: log.0.len() };
        log.0.push(received.clone());
        Some(received)
    }
}

impl ScriptedUpstream {
    pub(super) async fn start(
        script: impl Fn(&ReceivedQuery) -> Vec<Action> + Send + Sync + 'static,
    ) -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let (script, log): (Script, _) = (Arc::new(script), QueryLog::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&script), log.clone()));
        tasks.spawn(serve_tcp(tcp, script, log.clone()));
        Self { address, log, _tasks: tasks }
    }

    pub(super) fn received(&self) -> Vec<ReceivedQuery> {
        lock(&self.log.0).0.clone()
    }

    pub(super) fn received_over(&self, over: UpstreamTransport) -> usize {
        self.received().iter().filter(|received| received.over == over).count()
    }

    pub(super) fn probes(&self) -> usize {
        lock(&self.log.0).1
    }
}

/// Opens sockets at a port that is free for UDP and TCP.
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..limits::PORT_TRIES {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

async fn serve_udp(socket: Arc<UdpSocket>, script: Script, log: QueryLog) {
    let mut tasks = JoinSet::new();
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(received) = log.record(&buffer[..length], from, UpstreamTransport::Udp) else {
            continue;
        };
        let (socket, actions) = (Arc::clone(&socket), script(&received));
        tasks.spawn(async move {
            for action in actions {
                match action {
                    Action::Send(packet) => drop(socket.send_to(&packet, from).await),
                    Action::Pause(time) => tokio::time::sleep(time).await,
                    Action::Close => {}
                }
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, script: Script, log: QueryLog) {
    let mut tasks = JoinSet::new();
    while let Ok((stream, from)) = listener.accept().await {
        let (script, log) = (Arc::clone(&script), log.clone());
        tasks.spawn(async move { drop(converse(stream, from, &script, &log).await) });
    }
}

async fn converse(
    mut stream: TcpStream,
    from: SocketAddr,
    script: &Script,
    log: &QueryLog,
) -> io::Result<()> {
    loop {
        let mut packet = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut packet).await?;
        let Some(received) = log.record(&packet, from, UpstreamTransport::Tcp) else { continue };
        for action in script(&received) {
            match action {
                Action::Send(packet) => {
                    stream.write_u16(packet.len() as u16).await?;
                    stream.write_all(&packet).await?;
                }
                Action::Pause(time) => tokio::time::sleep(time).await,
                Action::Close => return Ok(()),
            }
        }
    }
}

/// The genuine reply: one address.
pub(super) fn genuine(received: &ReceivedQuery) -> Vec<u8> {
    reply(&received.query, GENUINE)
}

/// A reply with an address that depends on the first label of the name, a number.
pub(super) fn numbered(received: &ReceivedQuery) -> Vec<u8> {
    reply(&received.query, number(&received.query.question.name.to_string()).to_be_bytes())
}

/// The number that a name starts with.
pub(super) fn number(name: &str) -> u32 {
    name.split('.').next().and_then(|label| label.parse().ok()).expect("a number")
}

/// A forged reply that is right except for the change.
pub(super) fn forged(received: &ReceivedQuery, change: impl FnOnce(&mut Query)) -> Vec<u8> {
    let mut query = received.query.clone();
    change(&mut query);
    reply(&query, FORGED)
}

/// Like [`forged`], with a change of the message's octets.
pub(super) fn tampered(received: &ReceivedQuery, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = forged(received, |_| {});
    change(&mut packet);
    packet
}

pub(super) fn refusal(received: &ReceivedQuery, rcode: Rcode) -> Vec<u8> {
    encoded(&Response::of(rcode), &received.query)
}

pub(super) fn reply(query: &Query, address: [u8; 4]) -> Vec<u8> {
    let set = RecordSet::new(Owner::Question, query.question.qtype, 60, Rdatas::one(&address));
    encoded(
        &Response {
            answer: [set].into_iter().collect(),
            recursion_available: true,
            ..Response::of(Rcode::NOERROR)
        },
        query,
    )
}

fn encoded(response: &Response, query: &Query) -> Vec<u8> {
    let mut packet = Vec::new();
    response.encode(query, Room::stream(limits::UDP_OCTETS), &mut packet);
    packet
}

pub(super) fn question(name: &str) -> Question {
    Question::new(name.parse().unwrap(), Type::A)
}
