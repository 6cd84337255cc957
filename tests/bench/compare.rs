//! `make bench`: how soon the first answer comes, how soon an edit shows, and what a query costs beside a socket that echoes.
//!
//! Both servers answer the same packets of the same client in turns, and the figure is their own CPU time: not what the client or
//! the clock says, so another process on the machine disturbs it little.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark opens sockets, reads clocks and prints"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
const QUERIES: usize = 200_000;
/// Queries on their way at once: enough that a server that works in batches finds some.
const WINDOW: usize = 32;

fn main() {
    if std::env::args().any(|argument| argument == "echo") {
        return echo();
    }
    println!("first answer after the process starts: {:.1} ms (median of {ROUNDS})", median((0..ROUNDS).map(|_| first_answer()).collect()));
    println!("an edited manifest in the answers: {:.0} ms (median of {ROUNDS})", median((0..ROUNDS).map(|_| edit()).collect()));

    let (upstream, _world) = world();
    let ndots = Server::ndots("examples/cafe", &upstream);
    let echo = Server::echo();
    // The first one fetches it, the others find it in the cache.
    ndots.ask(&query("www.example.org", 1));
    let cases = [
        ("a cluster name", query("kubernetes.default.svc.cluster.local", 1)),
        ("NXDOMAIN of the search path", query("www.example.org.default.svc.cluster.local", 1)),
        ("a name of the world, cached", query("www.example.org", 1)),
    ];
    println!("\nCPU time a query, in microseconds: median of {ROUNDS} turns of {QUERIES} queries, and the ratio");
    println!("{:<30} {:>8} {:>8} {:>8}", "", "echo", "ndots", "ratio");
    for (name, packet) in &cases {
        let turns: Vec<_> = (0..ROUNDS).map(|_| (echo.cost(packet), ndots.cost(packet))).collect();
        let (echo, ndots) = (median(turns.iter().map(|turn| turn.0).collect()), median(turns.iter().map(|turn| turn.1).collect()));
        println!("{name:<30} {echo:>8.2} {ndots:>8.2} {:>8.2}", ndots / echo);
    }
    println!("resident memory of ndots after it: {:.1} MB", ndots.resident_mb());
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn ndots(manifests: &str, upstream: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ndots"));
        Self::start(command.args(["serve", "--listen", "127.0.0.1:0", "--manifests", manifests, "--upstream", upstream]))
    }

    fn echo() -> Self {
        Self::start(Command::new(std::env::current_exe().unwrap()).arg("echo"))
    }

    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            if let Some(rest) = lines.next().unwrap().unwrap().strip_prefix("listening on ") {
                break rest.split(',').next().unwrap().parse().unwrap();
            }
        };
        // What is printed later is read on: nobody's output ends in a closed pipe.
        let _reader = std::thread::Builder::new().spawn(move || lines.for_each(drop)).unwrap();
        Self { child, address }
    }

    fn ask(&self, packet: &[u8]) -> Vec<u8> {
        let socket = client(self.address);
        socket.send(packet).unwrap();
        let mut reply = vec![0; 4096];
        let length = socket.recv(&mut reply).unwrap_or(0);
        reply.truncate(length);
        reply
    }

    /// Microseconds of the server's CPU time a query.
    fn cost(&self, packet: &[u8]) -> f64 {
        let socket = client(self.address);
        let before = self.cpu();
        let (mut sent, mut received, mut lost, mut reply) = (0, 0, 0, [0; 4096]);
        while received < QUERIES {
            while sent < QUERIES && sent - received < WINDOW {
                // What cannot be sent is lost like any datagram.
                let _ = socket.send(packet);
                sent += 1;
            }
            // What is lost is made up for, within bounds.
            match socket.recv(&mut reply) {
                Ok(_) => received += 1,
                Err(_) => (sent, lost) = (received, lost + 1),
            }
            assert!(lost < 10, "the server does not answer");
        }
        (self.cpu() - before).as_secs_f64() * 1e6 / QUERIES as f64
    }

    /// User and system time of the process (proc(5)), which counts in hundredths of a second.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    fn resident_mb(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket.connect(to).unwrap();
    socket
}

/// A socket that sends back what it gets: what the system itself costs.
fn echo() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    println!("listening on {}", socket.local_addr().unwrap());
    let mut packet = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut packet) {
        let _ = socket.send_to(&packet[..length], peer);
    }
}

/// An upstream that has one address for every name.
fn world() -> (String, std::thread::JoinHandle<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let thread = std::thread::Builder::new().spawn(move || {
        let mut packet = [0; 4096];
        while let Ok((length, peer)) = socket.recv_from(&mut packet) {
            let question = length - 11;
            let mut reply = packet[..question].to_vec();
            reply[2] |= 0x80;
            reply[7] = 1;
            reply[11] = 0;
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 80]);
            let _ = socket.send_to(&reply, peer);
        }
    });
    (address, thread.unwrap())
}

fn first_answer() -> f64 {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let packet = query("kubernetes.default.svc.cluster.local", 1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let begun = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ndots"));
    let command = command.args(["serve", "--manifests", "examples/cafe", "--upstream", "127.0.0.1", "--listen", &port.to_string()]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    while {
        let _ = socket.send_to(&packet, port);
        socket.recv(&mut [0; 512]).is_err()
    } {}
    let took = begun.elapsed().as_secs_f64() * 1e3;
    child.kill().unwrap();
    child.wait().unwrap();
    took
}

fn edit() -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yaml");
    let write = |last: u8| {
        let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 10.96.1.{last}}}\n");
        fs::write(&file, text).unwrap();
    };
    write(1);
    let server = Server::ndots(directory.path().to_str().unwrap(), "127.0.0.1");
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    write(2);
    while !server.ask(&query("web.default.svc.cluster.local", 1)).ends_with(&[10, 96, 1, 2]) {}
    begun.elapsed().as_secs_f64() * 1e3
}

fn query(name: &str, qtype: u16) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name.parse::<ndots::wire::Spelled>().unwrap().wire());
    packet.extend_from_slice(&qtype.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
