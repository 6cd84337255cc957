//! `make bench`: measures ndots, CoreDNS and a socket that only echoes, in one run on the same
//! machine.
//!
//! The servers take turns on one core, and dnsperf uses the other. The figures are the server's own
//! CPU time, which other processes hardly disturb, and its memory. CoreDNS and ndots read the same
//! Corefile and the lab's API server. The lab must have been built (`make lab`).
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark opens sockets, reads clocks and prints"
)]

mod cluster;
mod forwarding;
mod load;
mod relay;
mod server;
/// The helpers of the integration tests.
#[path = "../it"]
#[allow(dead_code, unused_imports, reason = "the benchmark uses a part of them")]
#[allow(clippy::print_stderr, reason = "a lab prints why it failed")]
mod shared {
    pub(crate) mod support;
}

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use server::Server;
use shared::support;
use shared::support::{
    free_address,
    lab::{self, Lab, LabOptions},
    turn,
    upstream::{address_reply, datagrams},
};

const ROUNDS: usize = 5;

const CASES: [(&str, &str); 3] = [
    ("a cluster name", "kubernetes.default.svc.cluster.local"),
    ("NXDOMAIN of the search path", "www.example.org.default.svc.cluster.local"),
    ("an external name, cached", "www.example.org"),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["echo"] => return relay::echo(),
        ["relay", upstream] => return relay::relay(upstream.parse().unwrap()),
        _ => {}
    }
    let directory = tempfile::tempdir().unwrap();
    let bench = Bench { upstream: datagrams(|query| address_reply(query, 3600)), directory };
    let cafe = "manifests examples/cafe\n        pods insecure";
    println!(
        "first answer after the process starts: {:.1} ms (median of {ROUNDS})",
        median(|| bench.first_answer(cafe))
    );
    println!(
        "an edited manifest in the answers: {:.0} ms (median of {ROUNDS})",
        median(|| bench.edit())
    );
    forwarding::costs(&bench);
    if arguments.iter().any(|argument| argument == "forwarding") {
        return;
    }
    let turn = turn::alone();
    let lab = Lab::start(&turn, &LabOptions { controllers: false, ..LabOptions::default() });
    let lab_facts = facts(&lab, "insecure");
    bench.costs(&peers(), &lab_facts, &CASES.map(|(what, name)| (what, vec![name.to_owned()])));
    drop(lab);
    cluster::large(&bench, &turn);
}

/// The measured programs in the order of the columns.
fn peers() -> Vec<(&'static str, PathBuf)> {
    let ndots = ("ndots", support::program());
    vec![("CoreDNS", lab::program("coredns")), ndots]
}

/// The lines in the `kubernetes` block that say where it reads objects from.
fn facts(lab: &Lab, pods: &str) -> String {
    format!("kubeconfig {}\n        pods {pods}", lab.kubeconfig().display())
}

/// What all measurements share.
struct Bench {
    directory: tempfile::TempDir,
    upstream: SocketAddr,
}

/// A running server and its `ready` page.
struct Started {
    server: Server,
    ready: SocketAddr,
}

impl Bench {
    /// Starts a program with kubeadm's Corefile; `facts` are the lines of its `kubernetes` block.
    fn start(&self, program: &Path, facts: &str) -> Started {
        let [address, ready, metrics] = std::array::from_fn(|_| free_address());
        let file = self.directory.path().join(format!("Corefile-{}", address.port()));
        fs::write(&file, self.corefile(address.port(), ready, metrics, facts)).unwrap();
        Started { server: Server::corefile(program, &file, address), ready }
    }

    fn corefile(&self, port: u16, ready: SocketAddr, metrics: SocketAddr, facts: &str) -> String {
        format!(
            ".:{port} {{
    bind 127.0.0.1
    errors
    ready {ready}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        {facts}
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus {metrics}
    forward . {} {{
        max_concurrent 1000
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loadbalance
}}
",
            self.upstream
        )
    }

    fn first_answer(&self, facts: &str) -> f64 {
        let started = self.start(&support::program(), facts);
        started
            .server
            .until(&query("kubernetes.default.svc.cluster.local"), |reply| !reply.is_empty())
            .as_secs_f64()
            * 1e3
    }

    fn edit(&self) -> f64 {
        let manifests = self.directory.path().join("edited");
        fs::create_dir_all(&manifests).unwrap();
        let write = |last: u8| {
            let text = format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 10.96.1.{last}}}\n"
            );
            fs::write(manifests.join("web.yaml"), text).unwrap();
        };
        write(1);
        let started =
            self.start(&support::program(), &format!("manifests {}", manifests.display()));
        let web = query("web.default.svc.cluster.local");
        started.server.until(&web, |reply| reply.ends_with(&[10, 96, 1, 1]));
        std::thread::sleep(Duration::from_millis(200));
        write(2);
        started.server.until(&web, |reply| reply.ends_with(&[10, 96, 1, 2])).as_secs_f64() * 1e3
    }

    /// Prints the CPU time for each query, of the echoing socket and of the servers, for several
    /// sets of names.
    fn costs<const N: usize>(
        &self,
        peers: &[(&str, PathBuf)],
        facts: &str,
        cases: &[(&str, Vec<String>); N],
    ) {
        let echo = Server::echo();
        let started: Vec<_> = peers.iter().map(|(_, program)| self.start(program, facts)).collect();
        for Started { server, ready } in &started {
            server.until_ready(*ready);
        }
        let mut heading = format!("{:<30} {:>8}", "", "echo");
        peers.iter().for_each(|(peer, _)| write!(heading, " {peer:>8}   ratio").unwrap());
        println!(
            "\nCPU time a query, in microseconds: median of {ROUNDS} turns, and its ratio to the echo\n{heading}"
        );
        for (what, names) in cases {
            let file = self.questions(names);
            let mut figures = vec![Vec::new(); 1 + started.len()];
            for _ in 0..ROUNDS {
                figures[0].push(load::cost(&echo, &file));
                figures[1..].iter_mut().zip(&started).for_each(|(figures, started)| {
                    figures.push(load::cost(&started.server, &file));
                });
            }
            let mut medians = figures.into_iter().map(middle);
            let echo = medians.next().unwrap();
            let mut line = format!("{what:<30} {echo:>8.2}");
            medians.for_each(|cost| write!(line, " {cost:>8.2} {:>7.2}", cost / echo).unwrap());
            println!("{line}");
        }
        for ((peer, _), started) in peers.iter().zip(&started) {
            println!(
                "resident memory of {peer} after it: {:.1} MB",
                started.server.memory("VmRSS")
            );
        }
    }

    /// Writes the input file of dnsperf.
    fn questions(&self, names: &[String]) -> PathBuf {
        let file = self.directory.path().join("questions");
        fs::write(&file, names.iter().map(|name| format!("{name} A\n")).collect::<String>())
            .unwrap();
        file
    }
}

fn query(name: &str) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    packet.extend_from_slice(name.parse::<ndots::wire::Spelled>().unwrap().wire());
    packet.extend_from_slice(&[0, 1, 0, 1]);
    packet
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    middle((0..ROUNDS).map(|_| measure()).collect())
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
