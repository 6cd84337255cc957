//! A server that answers by the first letters of a name, an upstream that replies on demand, and
//! clients.

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
    chain::{self, Back, Cx, Exchange, Flow, Plugin},
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
};

/// How long a test waits for an event that must happen.
const LONG: Duration = Duration::from_secs(8);
/// The upstream's address in answers.
pub(super) const UPSTREAM: [u8; 4] = [192, 0, 2, 1];
/// The server's own address in answers.
const HERE: [u8; 4] = [192, 0, 2, 2];

pub(super) struct TestServer {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) listeners: Listeners,
    pub(super) upstream: Upstream,
    listens: Vec<Listen>,
    _tasks: JoinSet<()>,
}

impl TestServer {
    /// Listens on loopback, at a free port.
    pub(super) async fn start() -> Self {
        Self::at(&["127.0.0.1:0"], u64::MAX).await
    }

    pub(super) async fn at(addresses: &[&str], descriptors: u64) -> Self {
        let listens: Vec<_> = addresses.iter().map(|address| listen(address)).collect();
        let upstream = Upstream::start().await;
        let metrics = Arc::new(Metrics::default());
        let (dispatcher, task) = Dispatcher::new(server(&listens, upstream.address), metrics);
        let mut tasks = JoinSet::new();
        tasks.spawn(task);
        let mut listeners = Listeners::new(descriptors);
        listeners.open(&listen_configs(&listens)).unwrap();
        assert!(listeners.serve(&dispatcher, &listen_configs(&listens)).is_empty());
        Self { dispatcher, listeners, upstream, listens, _tasks: tasks }
    }

    /// The bound address of a listener.
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

    /// Reloads with another list of addresses.
    pub(super) fn reload(&mut self, addresses: &[String]) -> anyhow::Result<()> {
        self.listens = addresses.iter().map(|address| listen(address)).collect();
        self.listeners.open(&listen_configs(&self.listens))?;
        self.dispatcher.server.store(Arc::new(server(&self.listens, self.upstream.address)));
        let missing = self.listeners.serve(&self.dispatcher, &listen_configs(&self.listens));
        missing.into_iter().next().map_or(Ok(()), Err)
    }
}

pub(super) fn listen_configs(listens: &[Listen]) -> Vec<ListenConfig> {
    listens
        .iter()
        .map(|listen| ListenConfig {
            listen: *listen,
            identity: None,
            sockets: None,
            compat_for: None,
        })
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
        vec![Arc::new(TestPlugin { group: Arc::new(Group::new(settings)) }), Arc::new(TestZones)];
    Server::new(vec![Block { plugins, transfers: true, ..Block::new(keys) }]).unwrap()
}

/// Names that begin with `slow` or `panic-late` are forwarded. Names that begin with `panic` cause
/// a panic, and those that begin with `panic-late` cause it after the upstream's reply. Names that
/// begin with `local` have the address that the query was sent to. All others have the address
/// [`HERE`].
struct TestPlugin {
    group: Arc<Group>,
}

impl Plugin for TestPlugin {
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
        assert!(!name.starts_with("panic"), "the query asks for a panic");
        match cx.local {
            SocketAddr::V4(local) if name.starts_with("local") => {
                Flow::Answer(address(local.ip().octets()))
            }
            _ => Flow::Answer(address(HERE)),
        }
    }

    fn response(&self, _cx: &mut Cx, query: &Query, reply: chain::Reply) -> Back {
        assert!(
            !query.question.name.to_string().starts_with("panic"),
            "the query asks for a panic"
        );
        Back::Up(reply)
    }
}

/// Zones with as many records as their names say. Other names are zones without an end.
struct TestZones;

impl Plugin for TestZones {
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

/// Keeps queries until [`Upstream::reply`] is called.
pub(super) struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<HashSet<Name>>>,
    open: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Upstream {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, received, open) =
            (socket.local_addr().unwrap(), Arc::default(), watch::Sender::new(false));
        let mut task = JoinSet::new();
        task.spawn(Self::run(socket, Arc::clone(&received), open.subscribe()));
        Self { address, received, open, _task: task }
    }

    async fn run(
        socket: UdpSocket,
        received: Arc<Mutex<HashSet<Name>>>,
        open: watch::Receiver<bool>,
    ) {
        let (socket, mut tasks, mut buffer) = (Arc::new(socket), JoinSet::new(), [0; 512]);
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Query::parse(&buffer[..length]).unwrap();
            received.lock().unwrap().insert(query.question.name.clone());
            let (socket, mut open) = (Arc::clone(&socket), open.clone());
            tasks.spawn(async move {
                let _ = open.wait_for(|open| *open).await;
                let mut packet = Vec::new();
                address(UPSTREAM).encode(&query, Room::stream(limits::UDP_OCTETS), &mut packet);
                let _ = socket.send_to(&packet, from).await;
            });
        }
    }

    /// Waits until queries for this many names have arrived.
    pub(super) async fn has_received(&self, count: usize) {
        eventually("the upstream is asked", async || self.received.lock().unwrap().len() >= count)
            .await;
    }

    /// Replies to all queries, those that come later as well.
    pub(super) fn reply(&self) {
        self.open.send_replace(true);
    }
}

/// Waits until a condition holds. Fails the test if it does not.
pub(super) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub(super) fn query(id: u16, name: &str) -> Vec<u8> {
    query_of(id, name, Type::A)
}

fn query_of(id: u16, name: &str, qtype: Type) -> Vec<u8> {
    let mut packet = Vec::new();
    Query { id, edns: None, ..Query::internal(Question::new(name.parse().unwrap(), qtype)) }
        .encode(&mut packet);
    packet
}

/// The id of a reply, and its address or the code of its failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReplySummary {
    Address(u16, [u8; 4]),
    Failure(u16, u8),
}

/// The reply with the address [`HERE`].
pub(super) fn here(id: u16) -> ReplySummary {
    ReplySummary::Address(id, HERE)
}

fn summary(reply: &[u8]) -> ReplySummary {
    let id = u16::from_be_bytes([reply[0], reply[1]]);
    match (reply[3] & 15, reply.last_chunk()) {
        (0, Some(address)) => ReplySummary::Address(id, *address),
        (rcode, _) => ReplySummary::Failure(id, rcode),
    }
}

pub(super) struct Udp {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Udp {
    /// The socket is not connected, so it receives replies from any address.
    pub(super) async fn to(to: SocketAddr) -> Self {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Self { socket: UdpSocket::bind(any).await.unwrap(), to }
    }

    pub(super) async fn ask(&self, id: u16, name: &str) {
        self.send(&query(id, name)).await;
    }

    pub(super) async fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.to).await.unwrap();
    }

    /// The next reply and its source address.
    pub(super) async fn receive_from(&self) -> (ReplySummary, SocketAddr) {
        let mut buffer = [0; 512];
        let (length, from) = timeout(LONG, self.socket.recv_from(&mut buffer))
            .await
            .expect("a reply comes")
            .unwrap();
        (summary(&buffer[..length]), from)
    }

    pub(super) async fn receive(&self) -> ReplySummary {
        self.receive_from().await.0
    }
}

pub(super) struct Tcp(pub(super) TcpStream);

impl Tcp {
    pub(super) async fn ask(&mut self, id: u16, name: &str) {
        self.send(&query(id, name)).await;
    }

    pub(super) async fn ask_for_zone(&mut self, id: u16, name: &str) {
        self.send(&query_of(id, name, Type::AXFR)).await;
    }

    async fn send(&mut self, packet: &[u8]) {
        let frame = [&(packet.len() as u16).to_be_bytes(), packet].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// `None` if the connection has ended.
    pub(super) async fn receive(&mut self) -> Option<ReplySummary> {
        self.receive_message().await.map(|reply| summary(&reply))
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
