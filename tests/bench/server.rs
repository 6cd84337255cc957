//! Starts the measured servers on one core, and reads what they have used.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The core of the measured servers.
const CORE: &str = "0";
/// The core of the load and of what the servers query.
pub(crate) const LOAD_CORE: &str = "1";

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts ndots or CoreDNS with a Corefile that listens on `address`.
    pub(crate) fn corefile(program: &Path, corefile: &Path, address: SocketAddr) -> Self {
        let mut command = pinned(program);
        command.arg("-conf").arg(corefile).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), address }
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
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
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
        let mut child = pinned(&std::env::current_exe().unwrap())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
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
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", CORE]).arg(program);
    command
}

fn ready(page: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(page) else { return false };
    let mut reply = String::new();
    let asked =
        write!(stream, "GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    asked.and_then(|()| stream.read_to_string(&mut reply)).is_ok()
        && reply.starts_with("HTTP/1.1 200")
}

/// A loopback port that is free for UDP and for TCP.
pub(crate) fn free_port() -> SocketAddr {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A socket that sends each query back as a reply, in batches as ndots does. It shows the cost of the
/// system alone.
pub(crate) fn echo() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    println!("{}", socket.local_addr().unwrap());
    echo_batches(&socket);
}

/// As many messages as ndots reads with one system call.
const BATCH: usize = 16;
const PACKET: usize = 4096;

#[expect(unsafe_code, reason = "recvmmsg and sendmmsg have no safe form")]
fn echo_batches(socket: &UdpSocket) {
    let descriptor = socket.as_raw_fd();
    let mut packets = vec![[0u8; PACKET]; BATCH];
    // SAFETY: a `sockaddr_in` and an `mmsghdr` of zeros are valid.
    let mut peers: [libc::sockaddr_in; BATCH] = unsafe { std::mem::zeroed() };
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let mut buffers: Vec<libc::iovec> = packets
        .iter_mut()
        .map(|packet| libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: PACKET })
        .collect();
    for ((message, peer), buffer) in messages.iter_mut().zip(&mut peers).zip(&mut buffers) {
        message.msg_hdr.msg_name = (&raw mut *peer).cast();
        message.msg_hdr.msg_iov = &raw mut *buffer;
        message.msg_hdr.msg_iovlen = 1;
    }
    let mut used = BATCH;
    loop {
        for (message, buffer) in messages.iter_mut().zip(&mut buffers).take(used) {
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            buffer.iov_len = PACKET;
        }
        // SAFETY: every pointer in `messages` leads to memory of its length that lives longer.
        let received = unsafe {
            libc::recvmmsg(
                descriptor,
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE as _,
                std::ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(received) else { return };
        used = count;
        for (message, (buffer, packet)) in
            messages.iter().zip(buffers.iter_mut().zip(&mut packets)).take(used)
        {
            packet[2] |= 0x80;
            buffer.iov_len = message.msg_len as usize;
        }
        // SAFETY: as above.
        unsafe {
            libc::sendmmsg(descriptor, messages.as_mut_ptr(), used as libc::c_uint, 0);
        }
    }
}
