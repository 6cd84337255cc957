//! A server within the memory limit of kubeadm, an attack on it, and other clients meanwhile.

use std::{
    fmt,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    cgroup::{KUBEADM, MemoryGroup},
    child::status,
    encrypted::Authority,
    end::{Ended, end},
    free_address,
    lab::Program,
    question, rcode,
    requirements::require_lab_program,
    serving::Serving,
    upstream,
};

pub(super) const A: u16 = 1;
/// A name with a reply of 48 kB.
pub(super) const LARGE: &str = "large.example";
/// The names below it belong to an upstream that is silent.
pub(super) const SILENT: &str = "silent.test";
/// A name of the cluster.
const OWN: &str = "kubernetes.default.svc.cluster.local";
/// How long a client waits for a reply.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an attack is, and what it may cost.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) time: Duration,
    /// The share of other clients' queries that may fail, and the highest p99 of their times.
    pub(super) loss: f64,
    pub(super) rare: Duration,
    /// The highest ratio of the memory 10 s after the attack to the memory before it.
    pub(super) growth: f64,
    /// The most memory in octets, with that of the kernel.
    pub(super) most: u64,
}

/// The addresses of a server.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) dns: SocketAddr,
    pub(super) tls: SocketAddr,
    pub(super) https: SocketAddr,
    pub(super) quic: SocketAddr,
}

pub(super) struct Arena {
    server: Serving,
    addresses: Addresses,
    authority: Authority,
    group: Option<MemoryGroup>,
    _silent: UdpSocket,
}

impl Arena {
    /// Starts the program with the same Corefile, and fills its cache with names, so that its memory
    /// does not grow for that reason later.
    pub(super) fn start(program: Program, names: u16) -> Self {
        let (authority, silent) = (Authority::new(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let ports = [free_address(), free_address(), free_address(), free_address()];
        let [dns, tls, https, quic] = ports;
        let upstream = upstream::datagrams(|query| upstream::address_reply(query, 300));
        let own = match program {
            Program::Ndots => format!(
                "kubernetes cluster.local {{\n manifests {} \n}}",
                concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cafe")
            ),
            Program::CoreDns => {
                require_lab_program("coredns");
                format!("hosts {{\n 10.96.0.1 {OWN}\n fallthrough\n }}")
            }
        };
        let text = corefile(&authority, ports, [upstream, silent.local_addr().unwrap()], &own);
        let server = Serving::run(&program.path(), dns, &text);
        let group = MemoryGroup::limit(server.child.id(), KUBEADM);
        let addresses = Addresses { dns, tls, https, quic };
        fill_cache(dns, names);
        Self { server, addresses, authority, group, _silent: silent }
    }

    fn memory(&self) -> u64 {
        resident(self.server.child.id())
    }

    /// Runs an attack, and other clients after its first second.
    pub(super) fn attacked(
        &mut self,
        attack: impl FnOnce(Addresses, &Authority, &Ended) -> String + Send,
        Bounds { time, growth, .. }: Bounds,
    ) -> Outcome {
        let before = self.memory();
        let ((end, ended), addresses) = (end(), self.addresses);
        let (said, clients) = thread::scope(|scope| {
            let authority = &self.authority;
            let attacker = scope.spawn(move || attack(addresses, authority, &ended));
            thread::sleep(Duration::from_secs(1));
            let clients = Clients::ask(addresses.dns, time);
            drop(end);
            (attacker.join().unwrap(), clients)
        });
        let during = self.memory();
        let mut after = during;
        let begun = Instant::now();
        // Some programs give memory back only at the end of this time.
        while begun.elapsed() < Duration::from_secs(10) && after as f64 > before as f64 * growth {
            thread::sleep(Duration::from_millis(500));
            after = self.memory();
        }
        let back = begun.elapsed();
        let peak = self.group.as_ref().map(MemoryGroup::peak);
        let lives = self.server.child.is_running();
        Outcome { said, clients, before, during, after, back, peak, lives }
    }
}

/// Resident memory of a process in KiB; 0 when it is gone.
pub(super) fn resident(process: u32) -> u64 {
    status(process, "VmRSS").unwrap_or(0)
}

fn corefile(
    authority: &Authority,
    [dns, tls, https, quic]: [SocketAddr; 4],
    [upstream, silent]: [SocketAddr; 2],
    own: &str,
) -> String {
    let lines: String =
        (0..3000u32).map(|host| format!(" 10.0.{}.{} {LARGE}\n", host / 250, host % 250)).collect();
    let large = authority.path("large.hosts");
    std::fs::write(&large, lines).unwrap();
    let large = format!("hosts {} {LARGE} {{\n reload 0\n }}", large.display());
    let identity = authority.directive();
    let plain = dns.port();
    let encrypted = |scheme: &str, address: SocketAddr| {
        format!("{scheme}://.:{} {{\n bind 127.0.0.1\n {identity}\n {large}\n}}\n", address.port())
    };
    format!(
        "{LARGE}:{plain} {{\n bind 127.0.0.1\n {large}\n}}\n\
         {SILENT}:{plain} {{\n bind 127.0.0.1\n forward . {silent}\n}}\n\
         .:{plain} {{\n bind 127.0.0.1\n {own}\n cache 30\n forward . {upstream}\n}}\n{}{}{}",
        encrypted("tls", tls),
        encrypted("https", https),
        encrypted("quic", quic),
    )
}

fn fill_cache(server: SocketAddr, names: u16) {
    let socket = client(Ipv4Addr::LOCALHOST, server);
    for id in 0..names {
        let _ = socket.send(&question(id, &format!("fill{id}.example.org"), A));
        let _ = socket.recv(&mut [0; 512]);
    }
}

/// A UDP socket at an address of the loopback interface.
pub(super) fn client(own: Ipv4Addr, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((own, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The times of one kind of query of other clients.
#[derive(Default)]
pub(super) struct Times {
    times: Vec<Duration>,
    failed: usize,
}

impl Times {
    /// Asks until the time is over. `ask` returns whether there was a good reply.
    fn measure(time: Duration, mut ask: impl FnMut(u16) -> bool) -> Self {
        let (mut all, begun) = (Self::default(), Instant::now());
        let mut id = 0;
        while begun.elapsed() < time {
            let sent = Instant::now();
            match ask(id) {
                true => all.times.push(sent.elapsed()),
                false => all.failed += 1,
            }
            id = id.wrapping_add(1);
            thread::sleep(Duration::from_millis(3));
        }
        all.times.sort();
        all
    }

    pub(super) fn at(&self, percent: usize) -> Duration {
        self.times.get(self.times.len() * percent / 100).copied().unwrap_or(PATIENCE)
    }

    /// The share of queries that failed.
    pub(super) fn loss(&self) -> f64 {
        self.failed as f64 / (self.failed + self.times.len()).max(1) as f64
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.failed + self.times.len();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.;
        write!(
            f,
            "{} of {all} failed, p50 {:.1} ms, p99 {:.1} ms",
            self.failed,
            milliseconds(self.at(50)),
            milliseconds(self.at(99))
        )
    }
}

/// Other clients: for a name of the cluster over UDP and TCP, and for names of a healthy upstream
/// that are not in the cache.
pub(super) struct Clients {
    pub(super) own: Times,
    pub(super) tcp: Times,
    pub(super) forwarded: Times,
}

impl Clients {
    fn ask(server: SocketAddr, time: Duration) -> Self {
        thread::scope(|scope| {
            let own = scope.spawn(move || {
                let socket = client(Ipv4Addr::LOCALHOST, server);
                Times::measure(time, |id| answered(&socket, id, OWN))
            });
            let forwarded = scope.spawn(move || {
                let socket = client(Ipv4Addr::LOCALHOST, server);
                Times::measure(time, |id| answered(&socket, id, &format!("new{id}.example.org")))
            });
            let tcp = scope
                .spawn(move || Times::measure(time, |id| over_tcp(server, id).unwrap_or(false)));
            let [own, tcp, forwarded] = [own, tcp, forwarded].map(|it| it.join().unwrap());
            Self { own, tcp, forwarded }
        })
    }

    pub(super) fn all(&self) -> [(&'static str, &Times); 3] {
        [("cluster", &self.own), ("TCP", &self.tcp), ("forwarded", &self.forwarded)]
    }
}

fn answered(socket: &UdpSocket, id: u16, name: &str) -> bool {
    let _ = socket.send(&question(id, name, A));
    let mut reply = [0; 512];
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match socket.recv(&mut reply) {
            // A late reply to an earlier query.
            Ok(_) if reply[..2] != id.to_be_bytes() => {}
            found => return found.is_ok() && rcode(&reply) == 0,
        }
    }
    false
}

fn over_tcp(server: SocketAddr, id: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let packet = question(id, OWN, A);
    stream.write_all(&[&(packet.len() as u16).to_be_bytes()[..], &packet].concat())?;
    let mut reply = [0; 14];
    stream.read_exact(&mut reply)?;
    Ok(rcode(&reply[2..]) == 0)
}

/// The effect of an attack.
pub(super) struct Outcome {
    /// What the attacker counted.
    pub(super) said: String,
    pub(super) clients: Clients,
    /// Resident memory in KiB.
    pub(super) before: u64,
    pub(super) during: u64,
    pub(super) after: u64,
    /// The time from the end of the attack to `after`.
    back: Duration,
    /// The most memory in octets, with that of the kernel.
    pub(super) peak: Option<u64>,
    pub(super) lives: bool,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, times) in self.clients.all() {
            write!(f, "{kind}: {times}; ")?;
        }
        let mib = |kib: u64| kib as f64 / 1024.;
        write!(
            f,
            "memory {:.0} MiB, {:.0} MiB at the end, {:.0} MiB {:.0} s later, at most {:.0} MiB \
             with the kernel's; lives: {}; {}",
            mib(self.before),
            mib(self.during),
            mib(self.after),
            self.back.as_secs_f64(),
            mib(self.peak.unwrap_or(0) >> 10),
            self.lives,
            self.said
        )
    }
}
