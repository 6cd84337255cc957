//! Helpers of the tests: the binary as a child process, and queries to it over sockets.

pub(crate) mod cgroup;
pub(crate) mod child;
pub(crate) mod coredns;
pub(crate) mod encrypted;
pub(crate) mod end;
pub(crate) mod imperfect;
pub(crate) mod knot;
pub(crate) mod lab;
pub(crate) mod packet;
mod ports;
pub(crate) mod prometheus;
pub(crate) mod requirements;
pub(crate) mod serving;
pub(crate) mod turn;
pub(crate) mod upstream;
pub(crate) mod witness;

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use child::{OwnedChild, START};
pub(crate) use ports::{free_address, own_host};

/// Arguments with which dnsmasq stays in the foreground and reads no file of this machine.
pub(crate) const DNSMASQ: [&str; 6] = [
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--no-resolv",
    "--no-hosts",
    "--user=root",
    "--pid-file",
];

/// The configuration of Unbound on a port of 127.0.0.1, with one thread and without validation. It
/// forwards all names to the upstream on another port.
pub(crate) fn unbound_conf(directory: &Path, port: u16, upstream: u16) -> String {
    format!(
        "server:
  interface: 127.0.0.1@{port}
  port: {port}
  num-threads: 1
  username: \"\"
  chroot: \"\"
  directory: \"{}\"
  pidfile: \"\"
  do-daemonize: no
  do-not-query-localhost: no
  module-config: iterator
  use-syslog: no
  local-zone: test. nodefault
remote-control:
  control-enable: no
forward-zone:
  name: .
  forward-addr: 127.0.0.1@{upstream}
",
        directory.display()
    )
}

/// The program under test. The environment variable `NDOTS_PROGRAM` names another build, such as the
/// release, for tests that look at times and memory.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("NDOTS_PROGRAM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ndots")), PathBuf::from)
}

/// Runs ndots with a Corefile that it must reject, and returns its output.
pub(crate) fn rejected(corefile: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Corefile");
    fs::write(&file, corefile).unwrap();
    // Without a limit, a Corefile that is accepted would stop all tests.
    let mut command = Command::new("timeout");
    let output = command.arg("20").arg(program()).arg("-conf").arg(file).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// A running ndots. The process is killed when this is dropped.
pub(crate) struct Ndots {
    pub(crate) child: OwnedChild,
    pub(crate) address: SocketAddr,
    /// The first address of each scheme, and the address of each listener as the Corefile names it.
    pub(crate) bound: HashMap<String, SocketAddr>,
    /// The log lines after the start.
    pub(crate) log: Receiver<String>,
    /// The path of the Corefile.
    pub(crate) file: Option<PathBuf>,
    _directory: Option<tempfile::TempDir>,
}

impl Ndots {
    /// Runs `ndots serve` with these arguments on a free port.
    pub(crate) fn serve(arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.arg("serve").args(["--listen", "127.0.0.1:0"]).args(arguments);
        Self::start(command)
    }

    /// Runs a command that logs `listening on ADDRESS`, and waits for that line.
    pub(crate) fn start(command: Command) -> Self {
        let mut ndots = Self::spawn(command);
        let deadline = Instant::now() + START;
        ndots.address = loop {
            if let Some(rest) = ndots.line_before(deadline).strip_prefix("listening on ") {
                break rest.split(',').next().unwrap().parse().unwrap();
            }
        };
        ndots
    }

    fn spawn(mut command: Command) -> Self {
        let (child, log) = OwnedChild::with_lines(&mut command);
        let address = ([127, 0, 0, 1], 0).into();
        Self { child, address, bound: HashMap::new(), log, file: None, _directory: None }
    }

    /// The next line of the log, which must say in time where the server listens.
    fn line_before(&self, deadline: Instant) -> String {
        let left = deadline.saturating_duration_since(Instant::now());
        self.log.recv_timeout(left).expect("the server logs where it listens")
    }

    /// Serves a Corefile that listens on port 0 of one address for each of these schemes.
    pub(crate) fn corefile(text: &str, schemes: &[&str], arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("Corefile");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program());
        command.arg("-conf").arg(&file).args(arguments);
        let mut ndots = Self::with_banner(command, schemes);
        (ndots.file, ndots._directory) = (Some(file), Some(directory));
        ndots
    }

    /// Runs a command that prints the banner, and waits until the banner names each of these
    /// schemes or addresses of HTTP pages. They are at port 0 in the configuration.
    pub(crate) fn with_banner(command: Command, schemes: &[&str]) -> Self {
        let mut ndots = Self::spawn(command);
        let deadline = Instant::now() + START;
        while !schemes.iter().all(|scheme| ndots.bound.contains_key(*scheme)) {
            let line = ndots.line_before(deadline);
            if let Some((listen, address)) = line.split_once(" is ")
                && let Ok(address) = address.parse()
            {
                let scheme = listen.split("://").next().unwrap().to_owned();
                ndots.bound.entry(scheme).or_insert(address);
                ndots.bound.insert(listen.to_owned(), address);
            }
        }
        ndots.address = ndots.bound.get("dns").copied().unwrap_or(ndots.address);
        ndots
    }

    /// Sends one datagram and returns the reply, or `None` after 2.5 s.
    pub(crate) fn udp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        udp(self.address, packet)
    }

    pub(crate) fn tcp(&self) -> Tcp {
        Tcp::to(self.address)
    }

    /// Sends SIGTERM, as kubelet does, and returns the exit code.
    pub(crate) fn terminate(self) -> i32 {
        self.end().0
    }

    /// Like `terminate`, with the log lines.
    pub(crate) fn end(mut self) -> (i32, Vec<String>) {
        self.child.signal("TERM");
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, self.log.iter().collect())
    }
}

/// Sends one datagram and returns the reply, or `None` after 2.5 s.
pub(crate) fn udp(server: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(2500))).unwrap();
    socket.send(packet).unwrap();
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

/// A stream of messages with two octets of length before each (RFC 1035, 4.2.2).
pub(crate) struct Tcp<S = TcpStream>(pub(crate) S);

impl Tcp {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        Self(stream)
    }
}

impl<S: Read + Write> Tcp<S> {
    pub(crate) fn send(&mut self, packet: &[u8]) {
        let length = (packet.len() as u16).to_be_bytes();
        self.0.write_all(&[&length, packet].concat()).unwrap();
        self.0.flush().unwrap();
    }

    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 2];
        self.0.read_exact(&mut length).ok()?;
        let mut reply = vec![0; u16::from_be_bytes(length).into()];
        self.0.read_exact(&mut reply).ok()?;
        Some(reply)
    }
}

/// An HTTP page with its head.
pub(crate) fn page(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

/// A query without EDNS for a name in presentation form.
pub(crate) fn question(id: u16, name: &str, qtype: u16) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend_from_slice(name.parse::<ndots::wire::Spelled>().unwrap().wire());
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}

pub(crate) fn rcode(reply: &[u8]) -> u8 {
    reply[3] & 15
}
