//! Starts the measured servers on one core, and reads what they have used.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    child::{OwnedChild, START, status},
    page,
};

/// The core of the measured servers.
const CORE: &str = "0";
/// The core of the load and of what the servers query.
pub(crate) const LOAD_CORE: &str = "1";

pub(crate) struct Server {
    child: OwnedChild,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts ndots or CoreDNS with a Corefile that listens on `address`.
    pub(crate) fn corefile(program: &Path, corefile: &Path, address: SocketAddr) -> Self {
        let mut command = pinned(program);
        command.arg("-conf").arg(corefile).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: OwnedChild::spawn(&mut command), address }
    }

    /// A program on the core of the measured servers.
    pub(crate) fn server_side(program: &str, arguments: &[String], address: SocketAddr) -> Self {
        Self::on(CORE, program, arguments, address)
    }

    /// A program on the core of the load.
    pub(crate) fn load_side(program: &str, arguments: &[String], address: SocketAddr) -> Self {
        Self::on(LOAD_CORE, program, arguments, address)
    }

    fn on(core: &str, program: &str, arguments: &[String], address: SocketAddr) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", core, program]).args(arguments);
        let child = OwnedChild::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        Self { child, address }
    }

    /// This program as a socket that echoes.
    pub(crate) fn echo() -> Self {
        Self::own(&["echo"])
    }

    /// This program as a forwarder that makes only the system calls of a cache miss.
    pub(crate) fn relay(upstream: SocketAddr) -> Self {
        Self::own(&["relay", &upstream.to_string()])
    }

    /// This program with these arguments. It prints its address.
    fn own(arguments: &[&str]) -> Self {
        let mut command = pinned(&std::env::current_exe().unwrap());
        let (child, lines) = OwnedChild::with_lines(command.args(arguments));
        let address = lines.recv_timeout(START).expect("it prints its address");
        Self { child, address: address.parse().unwrap() }
    }

    /// Sends a datagram and returns the reply, which is empty if none came.
    pub(crate) fn ask(&self, packet: &[u8], patience: Duration) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.connect(self.address).unwrap();
        let mut reply = vec![0; 4096];
        let length = socket.send(packet).and_then(|_| socket.recv(&mut reply)).unwrap_or(0);
        reply.truncate(length);
        reply
    }

    /// Returns how long it takes until the reply to `packet` is as wanted.
    pub(crate) fn until(&self, packet: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Duration {
        let begun = Instant::now();
        while !wanted(&self.ask(packet, Duration::from_millis(20))) {
            assert!(
                begun.elapsed() < Duration::from_secs(300),
                "the server does not answer as it should"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        begun.elapsed()
    }

    /// Returns how long it takes until the `ready` page says so.
    pub(crate) fn until_ready(&self, page: SocketAddr) -> Duration {
        let begun = Instant::now();
        while !ready(page) {
            assert!(begun.elapsed() < Duration::from_secs(600), "the server does not get ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        begun.elapsed()
    }

    /// User and system time of the process (proc(5)), in units of 10 ms.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in MB: the current value (`VmRSS`) or the peak (`VmHWM`).
    pub(crate) fn memory(&self, field: &str) -> f64 {
        status(self.child.id(), field).unwrap() as f64 / 1000.0
    }
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CORE]).arg(program);
    command
}

fn ready(address: SocketAddr) -> bool {
    page(address, "/ready").is_some_and(|page| page.starts_with("HTTP/1.1 200"))
}
