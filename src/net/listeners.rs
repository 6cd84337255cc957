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

use crate::{limits, server::Listen};

use super::{
    Shell,
    stream::{self, Clients},
    udp,
};

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
    bound: SocketAddr,
    running: Option<Running>,
}

struct Running {
    stop_threads: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    stop_tasks: watch::Sender<bool>,
}

impl Default for Listeners {
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self { open: BTreeMap::new(), clients: Arc::default(), tasks: JoinSet::new(), threads }
    }
}

impl Listeners {
    /// Opens what is not open yet, without answering there: nothing is changed where one of them cannot be had.
    ///
    /// # Errors
    /// Names the address, and what may help.
    pub fn open(&mut self, listens: &[Listen]) -> anyhow::Result<()> {
        let mut new = BTreeMap::new();
        for listen in listens.iter().filter(|listen| !self.open.contains_key(listen)) {
            new.insert(*listen, Listener::open(listen.address, self.threads).map_err(|error| explained(error, listen.address))?);
        }
        self.open.extend(new);
        Ok(())
    }

    /// Starts answering wherever that does not happen yet, and closes what is not in `listens`.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub fn serve(&mut self, shell: &Arc<Shell>, listens: &[Listen]) -> anyhow::Result<()> {
        self.open.retain(|listen, listener| listens.contains(listen) || listener.stop());
        for (listen, listener) in &mut self.open {
            if listener.running.is_none() {
                listener.start(shell, *listen, &self.clients, &mut self.tasks).context("cannot start a thread")?;
            }
        }
        Ok(())
    }

    /// Where a listener is really bound: the port that the system chose for port 0.
    pub fn bound(&self) -> impl Iterator<Item = (Listen, SocketAddr)> {
        self.open.iter().map(|(listen, listener)| (*listen, listener.bound))
    }

    /// Stops listening, and waits for what has been asked to be answered.
    pub async fn close(mut self) {
        self.open.retain(|_, listener| listener.stop());
        let _ = tokio::time::timeout(stream::GRACE, async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

impl Listener {
    fn open(address: SocketAddr, threads: usize) -> io::Result<Self> {
        // With port 0 the port that is free for UDP may be taken for TCP: another try gives another port.
        let mut tries = if address.port() == 0 { limits::PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let udp = udp::open(address, threads)?;
            let bound = udp[0].local_addr()?;
            match tcp(bound) {
                Ok(tcp) => return Ok(Self { udp: udp.into_iter().map(Arc::new).collect(), tcp: Some(tcp), bound, running: None }),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    fn start(&mut self, shell: &Arc<Shell>, listen: Listen, clients: &Arc<Clients>, tasks: &mut JoinSet<()>) -> io::Result<()> {
        let stop_threads = Arc::new(AtomicBool::new(false));
        let (stop_tasks, stopped) = watch::channel(false);
        if let Some(tcp) = self.tcp.take() {
            tasks.spawn_on(stream::serve(Arc::clone(shell), listen, tcp, Arc::clone(clients), stopped), &Handle::current());
        }
        let mut threads = Vec::new();
        for socket in &self.udp {
            let (shell, socket, stop) = (Arc::clone(shell), Arc::clone(socket), Arc::clone(&stop_threads));
            let thread = thread::Builder::new().name(format!("udp {}", self.bound));
            threads.push(thread.spawn(move || udp::serve(&shell, listen, &socket, &stop))?);
        }
        self.running = Some(Running { stop_threads, threads, stop_tasks });
        Ok(())
    }

    /// Ends the threads, and tells the tasks to. Says false: there is nothing to keep.
    fn stop(&mut self) -> bool {
        if let Some(running) = self.running.take() {
            running.stop_threads.store(true, Ordering::Relaxed);
            let _ = running.stop_tasks.send(true);
            for thread in running.threads {
                let _ = thread.join();
            }
        }
        false
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::TCP_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn explained(error: io::Error, address: SocketAddr) -> anyhow::Error {
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
