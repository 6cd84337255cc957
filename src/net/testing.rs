//! A server that answers by a name's first letters, an upstream that replies when it is told to,
//! and clients of both.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    chain::{self, Back, Cx, Exchange, Flow, Nested, Plugin},
    limits,
    metrics::Metrics,
    server::{Block, Listen, Scheme, Server},
    upstream::{Group, GroupSettings},
    wire::{
        Name, Owner, Query, Question, Rcode, Rdatas, RecordSet, Records, Response, Room, Transfer,
        Type,
    },
};

use super::{
    Dispatcher,
    listeners::{ListenConfig, Listeners},
    log::{Format, Log},
};

/// How long a test waits for what must come.
const LONG: Duration = Duration::from_secs(8);
/// What the upstream says.
pub(super) const UPSTREAM: [u8; 4] = [192, 0, 2, 1];
const HERE: [u8; 4] = [192, 0, 2, 2];

pub(super) struct World {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) listeners: Listeners,
    pub(super) upstream: Upstream,
    listens: Vec<Listen>,
    _tasks: JoinSet<()>,
}

impl World {
    /// Listens on loopback, at a port that is free.
    pub(super) async fn start() -> Self {
        Self::at(&["127.0.0.1:0"], u64::MAX).await
    }

    pub(super) async fn at(addresses: &[&str], descriptors: u64) -> Self {
        let listens: Vec<_> = addresses.iter().map(|address| listen(address)).collect();
        let upstream = Upstream::start().await;
        let metrics = Arc::new(Metrics::default());
        let log = Log::start(&metrics, Format::Text).unwrap();
        let (dispatcher, task) = Dispatcher::new(server(&listens, upstream.address), metrics, log);
        let mut tasks = JoinSet::new();
        tasks.spawn(task);
        let mut listeners = Listeners::new(descriptors);
        listeners.open(&listen_configs(&listens)).unwrap();
        listeners.serve(&dispatcher, &listen_configs(&listens)).unwrap();
        Self { dispatcher, listeners, upstream, listens, _tasks: tasks }
    }

    /// Where the listener of an address is.
    pub(super) fn bound(&self, index: usize) -> SocketAddr {
        let mut all = self.listeners.bound();
        all.find(|(listen, _)| *listen == self.listens[index]).unwrap().1
    }

    pub(super) async fn tcp(&self) -> Tcp {
        Tcp(TcpStream::connect(self.bound(0)).await.unwrap())
    }

    pub(super) async fn udp(&self) -> Udp {
        Udp::to(self.bound(0)).await
    }

    /// Takes over another list of addresses.
    pub(super) fn reload(&mut self, addresses: &[String]) -> anyhow::Result<()> {
        self.listens = addresses.iter().map(|address| listen(address)).collect();
        self.listeners.open(&listen_configs(&self.listens))?;
        self.dispatcher.server.store(Arc::new(server(&self.listens, self.upstream.address)));
        self.listeners.serve(&self.dispatcher, &listen_configs(&self.listens))
    }
}

pub(super) fn listen_configs(listens: &[Listen]) -> Vec<ListenConfig> {
    listens
        .iter()
        .map(|listen| ListenConfig { listen: *listen, identity: None, like: None })
        .collect()
}

pub(super) fn listen(address: &str) -> Listen {
    Listen { scheme: Scheme::Dns, address: address.parse().unwrap() }
}

fn server(listens: &[Listen], upstream: SocketAddr) -> Server {
    let read_timeout = limits::QUERY_TIME;
    let settings = GroupSettings {
        targets: vec![upstream.into()],
        max_fails: 0,
        read_timeout,
        ..GroupSettings::default()
    };
    let keys = listens.iter().map(|listen| (Name::root(), *listen)).collect();
    let plugins: Vec<Arc<dyn Plugin>> =
        vec![Arc::new(Toy { group: Arc::new(Group::new(settings)) }), Arc::new(Zones)];
    Server::new(vec![Block { plugins, transfers: true, ..Block::new(keys) }]).unwrap()
}

/// Names that begin with `slow` are the upstream's, those that begin with `panic` end badly
/// (`panic-late` once the upstream has replied), `local` is the address that was asked, and all
/// others are here.
struct Toy {
    group: Arc<Group>,
}

impl Plugin for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn query(&self, cx: &mut Cx, query: &Query) -> Flow {
        if query.question.qtype.is_transfer() {
            return Flow::Transfer;
        }
        let name = query.question.name.to_string();
        if name.starts_with("slow") || name.starts_with("panic-late") {
            return Flow::Forward(Exchange {
                query: query.clone(),
                group: Arc::clone(&self.group),
            });
        }
        assert!(!name.starts_with("panic"), "as the question wants it");
        match cx.local {
            SocketAddr::V4(local) if name.starts_with("local") => {
                Flow::Answer(address(local.ip().octets()))
            }
            _ => Flow::Answer(address(HERE)),
        }
    }

    fn response(
        &self,
        _cx: &mut Cx,
        query: &Query,
        _nested: Option<Nested<'_>>,
        reply: chain::Reply,
    ) -> Back {
        assert!(!query.question.name.to_string().starts_with("panic"), "as the question wants it");
        Back::Up(reply)
    }
}

/// Zones of as many addresses as their names say, and some that do not end.
struct Zones;

impl Plugin for Zones {
    fn name(&self) -> &'static str {
        "zones"
    }

    fn transfer(&self, question: &Question) -> Option<Result<Transfer, Response>> {
        let records = std::iter::repeat_with(|| host(HERE));
        let records: Records = match question.name.to_string().trim_end_matches('.').parse() {
            Ok(count) => Box::new(records.take(count)),
            Err(_) => Box::new(records),
        };
        Some(Ok(Transfer {
            soa: RecordSet::new(Owner::Question, Type::SOA, 60, Rdatas::one(&[0; 22])),
            serial: 0,
            records,
        }))
    }
}

fn host(octets: [u8; 4]) -> RecordSet {
    RecordSet::new(Owner::Question, Type::A, 60, Rdatas::one(&octets))
}

fn address(octets: [u8; 4]) -> Response {
    let set = host(octets);
    Response { answer: [set].into_iter().collect(), ..Response::of(Rcode::NOERROR) }
}

/// Keeps questions until it is told to reply.
pub(super) struct Upstream {
    address: SocketAddr,
    heard: Arc<Mutex<HashSet<Name>>>,
    open: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Upstream {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, heard, open) =
            (socket.local_addr().unwrap(), Arc::default(), watch::Sender::new(false));
        let mut task = JoinSet::new();
        task.spawn(Self::run(socket, Arc::clone(&heard), open.subscribe()));
        Self { address, heard, open, _task: task }
    }

    async fn run(socket: UdpSocket, heard: Arc<Mutex<HashSet<Name>>>, open: watch::Receiver<bool>) {
        let (socket, mut tasks, mut buffer) = (Arc::new(socket), JoinSet::new(), [0; 512]);
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Query::parse(&buffer[..length]).unwrap();
            heard.lock().unwrap().insert(query.question.name.clone());
            let (socket, mut open) = (Arc::clone(&socket), open.clone());
            tasks.spawn(async move {
                let _ = open.wait_for(|open| *open).await;
                let mut packet = Vec::new();
                address(UPSTREAM).encode(&query, Room::stream(limits::UDP_OCTETS), &mut packet);
                let _ = socket.send_to(&packet, from).await;
            });
        }
    }

    /// Until it was asked for this many names.
    pub(super) async fn has_heard(&self, count: usize) {
        eventually("the upstream is asked", async || self.heard.lock().unwrap().len() >= count)
            .await;
    }

    /// From now on it replies.
    pub(super) fn reply(&self) {
        self.open.send_replace(true);
    }
}

/// Until something holds; what never does fails the test.
pub(super) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub(super) fn question(id: u16, name: &str) -> Vec<u8> {
    question_of(id, name, Type::A)
}

fn question_of(id: u16, name: &str, qtype: Type) -> Vec<u8> {
    let mut packet = Vec::new();
    Query { id, edns: None, ..Query::internal(Question::new(name.parse().unwrap(), qtype)) }
        .encode(&mut packet);
    packet
}

/// What a reply says: its id, and the address or the code of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Address(u16, [u8; 4]),
    Failure(u16, u8),
}

/// The reply that says what is here.
pub(super) fn here(id: u16) -> Said {
    Said::Address(id, HERE)
}

fn said(reply: &[u8]) -> Said {
    let id = u16::from_be_bytes([reply[0], reply[1]]);
    match (reply[3] & 15, reply.last_chunk()) {
        (0, Some(address)) => Said::Address(id, *address),
        (rcode, _) => Said::Failure(id, rcode),
    }
}

pub(super) struct Udp {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Udp {
    /// Not connected, so replies from any address are seen.
    pub(super) async fn to(to: SocketAddr) -> Self {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Self { socket: UdpSocket::bind(any).await.unwrap(), to }
    }

    pub(super) async fn ask(&self, id: u16, name: &str) {
        self.send(&question(id, name)).await;
    }

    pub(super) async fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.to).await.unwrap();
    }

    /// What is said, and from where.
    pub(super) async fn receive_from(&self) -> (Said, SocketAddr) {
        let mut buffer = [0; 512];
        let (length, from) = timeout(LONG, self.socket.recv_from(&mut buffer))
            .await
            .expect("a reply comes")
            .unwrap();
        (said(&buffer[..length]), from)
    }

    pub(super) async fn receive(&self) -> Said {
        self.receive_from().await.0
    }
}

pub(super) struct Tcp(pub(super) TcpStream);

impl Tcp {
    pub(super) async fn ask(&mut self, id: u16, name: &str) {
        self.send(&question(id, name)).await;
    }

    pub(super) async fn ask_for_zone(&mut self, id: u16, name: &str) {
        self.send(&question_of(id, name, Type::AXFR)).await;
    }

    async fn send(&mut self, packet: &[u8]) {
        let frame = [&(packet.len() as u16).to_be_bytes(), packet].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// `None` where the connection has ended.
    pub(super) async fn receive(&mut self) -> Option<Said> {
        self.receive_message().await.map(|reply| said(&reply))
    }

    pub(super) async fn receive_message(&mut self) -> Option<Vec<u8>> {
        let reply = async {
            let mut reply = vec![0; self.0.read_u16().await?.into()];
            self.0.read_exact(&mut reply).await?;
            io::Result::Ok(reply)
        };
        reply.await.ok()
    }
}
