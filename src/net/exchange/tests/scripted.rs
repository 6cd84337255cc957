//! An upstream on loopback that says, over UDP and TCP of one port, what a test tells it to.

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

/// What the genuine replies hold, and what the forged ones do.
pub(super) const GENUINE: [u8; 4] = [192, 0, 2, 1];
pub(super) const FORGED: [u8; 4] = [203, 0, 113, 66];

/// A question as it came in.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) over: UpstreamTransport,
    pub(super) from: SocketAddr,
    pub(super) query: Query,
    /// How many questions came before, health checks not counted.
    pub(super) turn: usize,
}

/// What is done about a question, one after the other.
pub(super) enum Deed {
    Say(Vec<u8>),
    Pause(Duration),
    /// Ends the connection; nothing over UDP.
    Close,
}

type Script = Arc<dyn Fn(&Asked) -> Vec<Deed> + Send + Sync>;

/// Ends with all its tasks when it is dropped.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    heard: Heard,
    _tasks: JoinSet<()>,
}

/// Questions, and health checks.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<(Vec<Asked>, usize)>>);

impl Heard {
    /// Notes what came in; health checks get no script.
    fn note(&self, packet: &[u8], from: SocketAddr, over: UpstreamTransport) -> Option<Asked> {
        let query = Query::parse(packet).expect("what goes upstream is well formed");
        let mut heard = lock(&self.0);
        if query.question.qtype == Type::NS {
            heard.1 += 1;
            return None;
        }
        let asked = Asked { over, from, query, turn: heard.0.len() };
        heard.0.push(asked.clone());
        Some(asked)
    }
}

impl Scripted {
    pub(super) async fn start(
        script: impl Fn(&Asked) -> Vec<Deed> + Send + Sync + 'static,
    ) -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let (script, heard): (Script, _) = (Arc::new(script), Heard::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&script), heard.clone()));
        tasks.spawn(serve_tcp(tcp, script, heard.clone()));
        Self { address, heard, _tasks: tasks }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        lock(&self.heard.0).0.clone()
    }

    pub(super) fn asked_over(&self, over: UpstreamTransport) -> usize {
        self.asked().iter().filter(|asked| asked.over == over).count()
    }

    pub(super) fn probes(&self) -> usize {
        lock(&self.heard.0).1
    }
}

/// A port that is free for both.
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..limits::PORT_TRIES {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

async fn serve_udp(socket: Arc<UdpSocket>, script: Script, heard: Heard) {
    let mut tasks = JoinSet::new();
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(asked) = heard.note(&buffer[..length], from, UpstreamTransport::Udp) else {
            continue;
        };
        let (socket, deeds) = (Arc::clone(&socket), script(&asked));
        tasks.spawn(async move {
            for deed in deeds {
                match deed {
                    Deed::Say(packet) => drop(socket.send_to(&packet, from).await),
                    Deed::Pause(time) => tokio::time::sleep(time).await,
                    Deed::Close => {}
                }
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, script: Script, heard: Heard) {
    let mut tasks = JoinSet::new();
    while let Ok((stream, from)) = listener.accept().await {
        let (script, heard) = (Arc::clone(&script), heard.clone());
        tasks.spawn(async move { drop(converse(stream, from, &script, &heard).await) });
    }
}

async fn converse(
    mut stream: TcpStream,
    from: SocketAddr,
    script: &Script,
    heard: &Heard,
) -> io::Result<()> {
    loop {
        let mut packet = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut packet).await?;
        let Some(asked) = heard.note(&packet, from, UpstreamTransport::Tcp) else { continue };
        for deed in script(&asked) {
            match deed {
                Deed::Say(packet) => {
                    stream.write_u16(packet.len() as u16).await?;
                    stream.write_all(&packet).await?;
                }
                Deed::Pause(time) => tokio::time::sleep(time).await,
                Deed::Close => return Ok(()),
            }
        }
    }
}

/// The reply of an honest upstream: one address.
pub(super) fn genuine(asked: &Asked) -> Vec<u8> {
    reply(&asked.query, GENUINE)
}

/// A forger's reply, right in all that the change leaves as it is.
pub(super) fn forged(asked: &Asked, change: impl FnOnce(&mut Query)) -> Vec<u8> {
    let mut query = asked.query.clone();
    change(&mut query);
    reply(&query, FORGED)
}

/// As [`forged`], with octets of the message changed.
pub(super) fn tampered(asked: &Asked, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut packet = forged(asked, |_| {});
    change(&mut packet);
    packet
}

pub(super) fn refusal(asked: &Asked, rcode: Rcode) -> Vec<u8> {
    encoded(&Response::of(rcode), &asked.query)
}

fn reply(query: &Query, address: [u8; 4]) -> Vec<u8> {
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
