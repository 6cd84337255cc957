//! Opens, keeps and closes the listening sockets.
#![expect(clippy::disallowed_methods, reason = "the threads that answer UDP are started here")]

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, runtime::Handle, sync::watch, task::JoinSet};

use crate::{limits, server::Listen, transport::Sockets};

use super::{
    Dispatcher, hickory, quic,
    slots::Slots,
    stream,
    tls::{CurrentIdentity, Identity},
    udp,
};

/// An address to listen on, with its settings.
pub struct ListenConfig {
    pub listen: Listen,
    /// `None`: nothing is encrypted.
    pub identity: Option<Arc<Identity>>,
    /// The number of UDP sockets; `None` means one for each processor.
    pub sockets: Option<usize>,
    /// A listener of `--compat-listener`: hickory-server serves it, and answers as this other
    /// listener does.
    pub compat_for: Option<Listen>,
}

/// The open sockets, by configured address.
pub struct Listeners {
    open: BTreeMap<Listen, Listener>,
    slots: Arc<Slots>,
    tasks: JoinSet<()>,
    /// Threads for each UDP address.
    threads: usize,
}

struct Listener {
    udp: Vec<Arc<UdpSocket>>,
    tcp: Option<TcpListener>,
    identity: Arc<CurrentIdentity>,
    bound: SocketAddr,
    compat_for: Option<Listen>,
    workers: Option<Workers>,
}

/// Whether a listener may share its port with another one of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortSharing {
    Exclusive,
    Shared,
}

/// The threads and tasks that answer at a listener.
struct Workers {
    stop_threads: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    stop_tasks: watch::Sender<bool>,
}

impl Listeners {
    /// `descriptors` is the process's limit of open files. Half of them are for TCP clients, the
    /// rest for upstreams and sources.
    pub fn new(descriptors: u64) -> Self {
        let threads = super::parallelism(limits::UDP_THREADS);
        let slots = Slots::new(usize::try_from(descriptors / 2).unwrap_or(usize::MAX));
        Self { open: BTreeMap::new(), slots: Arc::new(slots), tasks: JoinSet::new(), threads }
    }

    /// Opens the sockets that are not open yet. Nothing answers there until [`Listeners::serve`].
    /// If one of them cannot be opened, nothing changes.
    ///
    /// # Errors
    /// Names the address and a remedy.
    pub fn open(&mut self, listen_configs: &[ListenConfig]) -> anyhow::Result<()> {
        let is_open = |config: &&ListenConfig| {
            let open = self.open.get(&config.listen);
            open.is_some_and(|open| open.compat_for == config.compat_for)
        };
        let mut configs: Vec<_> = listen_configs.iter().filter(|config| !is_open(config)).collect();
        // A wildcard address that is opened first, and exclusively, shows whether another program
        // has the port at any address.
        configs.sort_by_key(|config| breadth(config.listen.address.ip()));
        let mut new = BTreeMap::new();
        for config in configs {
            let ListenConfig { listen, identity, .. } = config;
            // The kernel gives a query to the socket with the most specific address.
            let mut bound =
                self.open.values().chain(new.values()).map(|open: &Listener| open.bound);
            let sharing = if bound.any(|bound| overlap(bound, listen.address)) {
                PortSharing::Shared
            } else {
                PortSharing::Exclusive
            };
            let listener = Listener::open(config, sharing, config.sockets.unwrap_or(self.threads))
                .map_err(|error| with_remedy(error, *listen))?;
            listener.identity.set(identity.as_ref(), listen.scheme)?;
            new.insert(*listen, listener);
        }
        self.open.extend(new);
        Ok(())
    }

    /// Starts answering at new listeners, updates certificates, and closes the listeners that are not
    /// in `listen_configs`. Returns what is missing: a listener that keeps its last certificate, or
    /// one that lacks threads. The others answer.
    pub fn serve(
        &mut self,
        dispatcher: &Arc<Dispatcher>,
        listen_configs: &[ListenConfig],
    ) -> Vec<anyhow::Error> {
        while self.tasks.try_join_next().is_some() {}
        let is_gone =
            |listen: &Listen| !listen_configs.iter().any(|config| config.listen == *listen);
        for (_, gone) in self.open.extract_if(.., |listen, _| is_gone(listen)) {
            gone.stop(&mut self.tasks);
        }
        let mut missing = Vec::new();
        for ListenConfig { listen, identity, .. } in listen_configs {
            let Some(listener) = self.open.get_mut(listen) else { continue };
            if let Err(error) = listener.identity.set(identity.as_ref(), listen.scheme) {
                let problem = format!("the certificate of {listen} cannot be used");
                missing.push(anyhow::Error::new(error).context(problem));
            }
        }
        for (listen, listener) in &mut self.open {
            if listener.workers.is_none()
                && let Err(error) =
                    listener.start(dispatcher, *listen, &self.slots, &mut self.tasks)
            {
                let problem = format!("a thread of {listen} cannot be started");
                missing.push(anyhow::Error::new(error).context(problem));
            }
        }
        missing
    }

    /// The bound addresses, with the port that the system chose for port 0.
    pub fn bound(&self) -> impl Iterator<Item = (Listen, SocketAddr)> {
        self.open.iter().map(|(listen, listener)| (*listen, listener.bound))
    }

    /// Stops listening when no query over UDP waits for its reply, and then waits until TCP clients
    /// have their replies.
    pub async fn close(mut self) {
        for listener in std::mem::take(&mut self.open).into_values() {
            listener.stop(&mut self.tasks);
        }
        let grace = limits::CLOSING_EXCHANGES + limits::QUERY_TIME + stream::GRACE;
        let _ =
            tokio::time::timeout(grace, async { while self.tasks.join_next().await.is_some() {} })
                .await;
    }
}

impl Listener {
    fn open(config: &ListenConfig, sharing: PortSharing, threads: usize) -> io::Result<Self> {
        let ListenConfig { listen: Listen { scheme, address }, compat_for, .. } = *config;
        let sockets = scheme.sockets();
        if sockets == Sockets::Udp {
            return Self::open_udp(address, sharing);
        }
        let threads = if compat_for.is_some() { 1 } else { threads };
        // With port 0 the system chooses a port that is free for TCP. If it is taken for UDP,
        // another try gives another port.
        let mut tries = if address.port() == 0 { limits::PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            // UDP sockets share their address with any other program, so TCP goes first: it fails
            // if another program listens there.
            let tcp = tcp(address, sharing)?;
            let bound = tcp.local_addr()?;
            let udp = match sockets {
                Sockets::UdpAndTcp => udp::open(bound, threads),
                Sockets::Tcp | Sockets::Udp => Ok(Vec::new()),
            };
            match udp {
                Ok(udp) => {
                    let udp = udp.into_iter().map(Arc::new).collect();
                    return Ok(Self {
                        udp,
                        tcp: Some(tcp),
                        identity: Arc::default(),
                        bound,
                        compat_for,
                        workers: None,
                    });
                }
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn open_udp(address: SocketAddr, sharing: PortSharing) -> io::Result<Self> {
        if sharing == PortSharing::Exclusive {
            // A socket that does not share its port fails if another program has it.
            drop(UdpSocket::bind(address)?);
        }
        let udp: Vec<_> = udp::open(address, 1)?.into_iter().map(Arc::new).collect();
        let bound = udp[0].local_addr()?;
        let identity = Arc::default();
        Ok(Self { udp, tcp: None, identity, bound, compat_for: None, workers: None })
    }

    fn start(
        &mut self,
        dispatcher: &Arc<Dispatcher>,
        listen: Listen,
        slots: &Arc<Slots>,
        tasks: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let stop_threads = Arc::new(AtomicBool::new(false));
        let (stop_tasks, stopped) = watch::channel(false);
        if let Some(serves) = self.compat_for {
            let (sockets, identity) = (self.sockets()?, Arc::clone(&self.identity));
            let handler = hickory::Handler::new(dispatcher, serves, self.bound);
            tasks.spawn_on(hickory::serve(handler, sockets, identity, stopped), &Handle::current());
            self.workers = Some(Workers { stop_threads, threads: Vec::new(), stop_tasks });
            return Ok(());
        }
        if listen.scheme.sockets() == Sockets::Udp {
            for socket in &self.udp {
                let socket = (Arc::clone(socket), Arc::clone(&self.identity));
                let (dispatcher, slots) = (Arc::clone(dispatcher), Arc::clone(slots));
                let serving = quic::serve(dispatcher, listen, socket, slots, stopped.clone());
                tasks.spawn_on(serving, &Handle::current());
            }
            self.workers = Some(Workers { stop_threads, threads: Vec::new(), stop_tasks });
            return Ok(());
        }
        if let Some(tcp) = self.tcp.take() {
            let stream = (tcp, Arc::clone(&self.identity));
            tasks.spawn_on(
                stream::serve(Arc::clone(dispatcher), listen, stream, Arc::clone(slots), stopped),
                &Handle::current(),
            );
        }
        let workers =
            self.workers.insert(Workers { stop_threads, threads: Vec::new(), stop_tasks });
        for socket in &self.udp {
            let (dispatcher, socket, stop) =
                (Arc::clone(dispatcher), Arc::clone(socket), Arc::clone(&workers.stop_threads));
            let thread = thread::Builder::new().name(format!("udp {}", self.bound));
            workers
                .threads
                .push(thread.spawn(move || udp::serve(&dispatcher, listen, socket, &stop))?);
        }
        Ok(())
    }

    /// The sockets in the form that hickory-server takes.
    fn sockets(&mut self) -> io::Result<Vec<hickory::Socket>> {
        let streams =
            self.tcp.take().map(|tcp| tcp.into_std().map(hickory::Socket::Tcp)).transpose()?;
        Ok(self
            .udp
            .iter()
            .map(|socket| hickory::Socket::Udp(Arc::clone(socket)))
            .chain(streams)
            .collect())
    }

    /// Tells the threads to end, and then the tasks: a client whose reply over UDP was truncated
    /// still finds TCP. A task in `tasks` waits for the threads.
    fn stop(self, tasks: &mut JoinSet<()>) {
        let Some(Workers { stop_threads, threads, stop_tasks }) = self.workers else { return };
        stop_threads.store(true, Ordering::Relaxed);
        tasks.spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
            let _ = stop_tasks.send(true);
        });
    }
}

/// 0 for `::`, which takes both families, 1 for `0.0.0.0`, and 2 for one address.
fn breadth(address: IpAddr) -> u8 {
    match (address.is_unspecified(), address) {
        (true, IpAddr::V6(_)) => 0,
        (true, IpAddr::V4(_)) => 1,
        (false, _) => 2,
    }
}

/// Whether sockets at both addresses can receive what is sent to one address and port.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match breadth(wide) {
        0 => true,
        1 => narrow.is_ipv4(),
        _ => wide == narrow,
    };
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (covers(a, b) || covers(b, a))
}

/// Whether sockets of this machine can be bound to IPv6 addresses.
pub fn has_ipv6() -> bool {
    UdpSocket::bind("[::]:0").is_ok()
}

/// Opens a listening TCP socket.
pub(super) fn tcp(address: SocketAddr, sharing: PortSharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    set_sharing(&socket, sharing)?;
    socket.bind(&address.into())?;
    // The port is ours now. A later listener of this process may share it and take over.
    set_sharing(&socket, PortSharing::Shared)?;
    socket.listen(limits::TCP_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(unix)]
fn set_sharing(socket: &Socket, sharing: PortSharing) -> io::Result<()> {
    socket.set_reuse_port(sharing == PortSharing::Shared)
}

#[cfg(not(unix))]
fn set_sharing(_socket: &Socket, _sharing: PortSharing) -> io::Result<()> {
    Ok(())
}

fn with_remedy(error: io::Error, listen: Listen) -> anyhow::Error {
    let address = listen.address;
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!("another program listens there; `ss -lunpt sport = :{}` shows which", address.port()),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root, the capability NET_BIND_SERVICE, or the sysctl net.ipv4.ip_unprivileged_port_start".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has the address; `ip address` shows which there are".to_owned(),
        _ => return anyhow::Error::new(error).context(format!("cannot listen on {address}")),
    };
    anyhow::Error::new(error).context(remedy).context(format!("cannot listen on {address}"))
}

#[cfg(test)]
mod tests;
