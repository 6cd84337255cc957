//! Opens, keeps and closes the listening sockets.
#![expect(clippy::disallowed_methods, reason = "the threads that answer UDP are made here")]

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, runtime::Handle, sync::watch, task::JoinSet};

use crate::{
    limits,
    server::{Listen, Scheme},
};

use super::{
    Dispatcher, hickory,
    stream::{self, Clients},
    tls::{Current, Identity},
    udp,
};

/// An address to listen on, and what is shown there; nothing is encrypted without it.
pub struct ListenConfig {
    pub listen: Listen,
    pub identity: Option<Arc<Identity>>,
    /// Served by hickory-server's own listeners, as if it came in there.
    pub like: Option<Listen>,
}

/// The sockets that are open, by the address that was asked for.
pub struct Listeners {
    open: BTreeMap<Listen, Listener>,
    clients: Arc<Clients>,
    tasks: JoinSet<()>,
    /// Threads for each UDP address.
    threads: usize,
}

struct Listener {
    udp: Vec<Arc<UdpSocket>>,
    tcp: Option<TcpListener>,
    shown: Arc<Current>,
    bound: SocketAddr,
    like: Option<Listen>,
    running: Option<Running>,
}

struct Running {
    stop_threads: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    stop_tasks: watch::Sender<bool>,
}

impl Listeners {
    /// `descriptors` is how many the process may have; half of them are for TCP clients, the rest
    /// for upstreams and sources.
    pub fn new(descriptors: u64) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let clients = Clients::new(usize::try_from(descriptors / 2).unwrap_or(usize::MAX));
        Self { open: BTreeMap::new(), clients: Arc::new(clients), tasks: JoinSet::new(), threads }
    }

    /// Opens what is not open yet, without answering there: nothing is changed where one of them
    /// cannot be had.
    ///
    /// # Errors
    /// Names the address, and what may help.
    pub fn open(&mut self, listen_configs: &[ListenConfig]) -> anyhow::Result<()> {
        let mut new = BTreeMap::new();
        let is_open = |listen_config: &&ListenConfig| {
            self.open.get(&listen_config.listen).is_some_and(|open| open.like == listen_config.like)
        };
        for listen_config in listen_configs.iter().filter(|listen_config| !is_open(listen_config)) {
            let ListenConfig { listen, identity, .. } = listen_config;
            let address = listen.address;
            // One of our own that will be closed may be in the way, such as every address in that
            // of one of them.
            let stays = |listen: &Listen, open: &Listener| {
                listen_configs.iter().any(|listen_config| {
                    listen_config.listen == *listen && listen_config.like == open.like
                })
            };
            let shared = self
                .open
                .iter()
                .any(|(listen, open)| open.bound.port() == address.port() && !stays(listen, open));
            let listener = Listener::open(listen_config, shared, self.threads)
                .map_err(|error| explained(error, *listen))?;
            listener.shown.show(identity.as_ref(), listen.scheme)?;
            new.insert(*listen, listener);
        }
        self.open.extend(new);
        Ok(())
    }

    /// Starts answering wherever that does not happen yet, shows new clients what they are to be
    /// shown, and closes what is not in `listen_configs`.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn serve(
        &mut self,
        dispatcher: &Arc<Dispatcher>,
        listen_configs: &[ListenConfig],
    ) -> anyhow::Result<()> {
        while self.tasks.try_join_next().is_some() {}
        for (_, gone) in self.open.extract_if(.., |listen, _| {
            !listen_configs.iter().any(|listen_config| listen_config.listen == *listen)
        }) {
            gone.stop(&mut self.tasks);
        }
        for ListenConfig { listen, identity, .. } in listen_configs {
            if let Some(listener) = self.open.get_mut(listen) {
                listener.shown.show(identity.as_ref(), listen.scheme)?;
            }
        }
        for (listen, listener) in &mut self.open {
            if listener.running.is_none() {
                listener
                    .start(dispatcher, *listen, &self.clients, &mut self.tasks)
                    .context("cannot start a thread")?;
            }
        }
        Ok(())
    }

    /// Where a listener is really bound: the port that the system chose for port 0.
    pub fn bound(&self) -> impl Iterator<Item = (Listen, SocketAddr)> {
        self.open.iter().map(|(listen, listener)| (*listen, listener.bound))
    }

    /// Stops listening, and waits until TCP clients have their replies; those over UDP may still be
    /// on their way ([`Dispatcher::finish`]).
    pub async fn close(mut self) {
        for listener in std::mem::take(&mut self.open).into_values() {
            listener.stop(&mut self.tasks);
        }
        let _ = tokio::time::timeout(stream::GRACE, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
    }
}

impl Listener {
    fn open(listen_config: &ListenConfig, shared: bool, threads: usize) -> io::Result<Self> {
        let ListenConfig { listen: Listen { scheme, address }, like, .. } = *listen_config;
        if scheme == Scheme::Quic {
            return Self::open_quic(address, shared);
        }
        let threads = if like.is_some() { 1 } else { threads };
        // With port 0 the port that is free for TCP may be taken for UDP: another try gives another
        // port.
        let mut tries = if address.port() == 0 { limits::PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            // UDP sockets share an address with whoever wants to. TCP goes first, and tells of
            // another program that is there.
            let tcp = tcp(address, shared)?;
            let bound = tcp.local_addr()?;
            let udp =
                if scheme == Scheme::Dns { udp::open(bound, threads) } else { Ok(Vec::new()) };
            match udp {
                Ok(udp) => {
                    let udp = udp.into_iter().map(Arc::new).collect();
                    return Ok(Self {
                        udp,
                        tcp: Some(tcp),
                        shown: Arc::default(),
                        bound,
                        like,
                        running: None,
                    });
                }
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn open_quic(address: SocketAddr, shared: bool) -> io::Result<Self> {
        if !shared {
            // Without sharing another program is told of.
            drop(UdpSocket::bind(address)?);
        }
        let udp: Vec<_> = udp::open(address, 1)?.into_iter().map(Arc::new).collect();
        let bound = udp[0].local_addr()?;
        Ok(Self { udp, tcp: None, shown: Arc::default(), bound, like: None, running: None })
    }

    fn start(
        &mut self,
        dispatcher: &Arc<Dispatcher>,
        listen: Listen,
        clients: &Arc<Clients>,
        tasks: &mut JoinSet<()>,
    ) -> io::Result<()> {
        let stop_threads = Arc::new(AtomicBool::new(false));
        let (stop_tasks, stopped) = watch::channel(false);
        if listen.scheme == Scheme::Quic || self.like.is_some() {
            let (sockets, shown) = (self.sockets(listen.scheme)?, Arc::clone(&self.shown));
            let door = hickory::Door::new(dispatcher, self.like.unwrap_or(listen), self.bound);
            tasks.spawn_on(hickory::serve(door, sockets, shown, stopped), &Handle::current());
            self.running = Some(Running { stop_threads, threads: Vec::new(), stop_tasks });
            return Ok(());
        }
        if let Some(tcp) = self.tcp.take() {
            let stream = (tcp, Arc::clone(&self.shown));
            tasks.spawn_on(
                stream::serve(Arc::clone(dispatcher), listen, stream, Arc::clone(clients), stopped),
                &Handle::current(),
            );
        }
        let running =
            self.running.insert(Running { stop_threads, threads: Vec::new(), stop_tasks });
        for socket in &self.udp {
            let (dispatcher, socket, stop) =
                (Arc::clone(dispatcher), Arc::clone(socket), Arc::clone(&running.stop_threads));
            let thread = thread::Builder::new().name(format!("udp {}", self.bound));
            running
                .threads
                .push(thread.spawn(move || udp::serve(&dispatcher, listen, &socket, &stop))?);
        }
        Ok(())
    }

    /// As hickory-server takes them.
    fn sockets(&mut self, scheme: Scheme) -> io::Result<Vec<hickory::Socket>> {
        let kind =
            if scheme == Scheme::Quic { hickory::Socket::Quic } else { hickory::Socket::Datagrams };
        let streams =
            self.tcp.take().map(|tcp| tcp.into_std().map(hickory::Socket::Streams)).transpose()?;
        Ok(self.udp.iter().map(|socket| kind(Arc::clone(socket))).chain(streams).collect())
    }

    /// Tells threads and tasks to end; `tasks` holds who waits for the threads.
    fn stop(self, tasks: &mut JoinSet<()>) {
        let Some(Running { stop_threads, threads, stop_tasks }) = self.running else { return };
        stop_threads.store(true, Ordering::Relaxed);
        let _ = stop_tasks.send(true);
        tasks.spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        });
    }
}

/// With `shared` the address may be one that we listen on already.
pub(super) fn tcp(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    set_shared(&socket, shared)?;
    socket.bind(&address.into())?;
    // From now on: another listener of ours may take over, and until then nobody else was let in.
    set_shared(&socket, true)?;
    socket.listen(limits::TCP_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(unix)]
fn set_shared(socket: &Socket, shared: bool) -> io::Result<()> {
    socket.set_reuse_port(shared)
}

#[cfg(not(unix))]
fn set_shared(_socket: &Socket, _shared: bool) -> io::Result<()> {
    Ok(())
}

fn explained(error: io::Error, listen: Listen) -> anyhow::Error {
    let address = listen.address;
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => format!("another program listens there; `ss -lunpt sport = :{}` shows which", address.port()),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root, the capability NET_BIND_SERVICE, or the sysctl net.ipv4.ip_unprivileged_port_start".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has the address; `ip address` shows which there are".to_owned(),
        _ => return anyhow::Error::new(error).context(format!("cannot listen on {address}")),
    };
    anyhow::Error::new(error).context(help).context(format!("cannot listen on {address}"))
}

#[cfg(test)]
mod tests;
